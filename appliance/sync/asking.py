"""Asks destinations for storage commitment, and takes their reports (PS3.4 Annex J, as SCU).

The report comes over the association that asked, or over one that the destination opens: `scp`
takes that one, and writes it down. What a report means is decided here alone.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import partial

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import build_context

from appliance import dimse, tls
from appliance.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, outcomes, request
from appliance.config import DicomPeer, Settings
from appliance.dimse import NothingAccepted, Peer
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, asked
from appliance.ledger import reported as reports
from appliance.ledger.asked import Transaction
from appliance.sync.courier import back_off
from appliance.sync.gate import Gate

log = logging.getLogger("echocart.sync")

_ANSWER_S = 60.0
_STAYS_S = 2.0  # for a report on the association that asked
_PAUSE_S = 2.0  # between requests: what is sent meanwhile goes in one
_HANGS_UP = 3  # times in a row without an answer count as one
_REQUEST = 1  # the action type, PS3.4 J.3.2
_SUCCESS, _INVALID_ARGUMENT_VALUE, _PROCESSING_FAILURE = 0x0000, 0x0115, 0x0110
# No such class, instance or action; not authorized; unrecognized operation (PS3.7 Annex C).
_FOR_GOOD = (0x0112, 0x0118, 0x0122, 0x0123, 0x0124, 0x0211)
_OPERATION = "ask for storage commitment"


@dataclass
class Asker:
    """Asks one destination about what was sent there, and takes its reports.

    Parameters
    ----------
    ledger, settings
        The box's.
    setting
        The destination's.
    """

    ledger: Ledger
    settings: Settings
    setting: DicomPeer
    _next: float = 0.0
    _failures: int = 0
    _gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        self._gate = Gate(self.ledger, self.setting)

    @property
    def name(self) -> str:
        """The destination's."""
        return self.setting.name

    def recover(self) -> None:
        """Give up what a kill left open, and ask also for what was sent before anybody asked."""
        asked.recover(self.ledger, self.name)
        while self.setting.proof == "commitment" and asked.adopt(self.ledger, self.name):
            pass

    def deliver_next(self) -> bool:
        """Take a report, or ask for some; False when there is nothing to do."""
        taken = reports.take(self.ledger, self.name, back_off(6))
        if taken:
            words = f"{taken.proven} proven, {taken.failed} not kept"
            log.info("storage commitment of %s: %s", self.name, words)
            return True
        if late := asked.expire(self.ledger, self.name):
            log.warning("%s reported nothing in time: %d asked anew", self.name, late)
        if time.monotonic() < self._next or not asked.waits(self.ledger, self.name):
            return False
        if not self._gate.is_open():
            return False
        transaction = asked.begin(self.ledger, self.name, self.setting.commit_within_s)
        if transaction is None:
            return False
        self._next = time.monotonic() + _PAUSE_S
        self._ask(transaction)
        return True

    def _ask(self, transaction: Transaction) -> None:
        try:
            status = self._request(transaction)
        except NothingAccepted:
            self._is_refused(transaction, "offers no storage commitment", for_good=True)
        except ApplianceError as problem:
            self._postpone(transaction, str(problem))
        except Exception as problem:  # noqa: BLE001
            # The text of an unknown error is not ours.
            self._postpone(transaction, f"an internal error ({type(problem).__name__})")
        else:
            if status == _SUCCESS:
                self._failures = 0
                return
            said = "nothing" if status is None else f"status 0x{status:04X}"
            words = f"answers {said} when asked for storage commitment"
            # One that may not ask is often told so by hanging up.
            hung_up = status is None and self._failures + 1 >= _HANGS_UP
            self._is_refused(transaction, words, for_good=hung_up or status in _FOR_GOOD)

    def _is_refused(self, transaction: Transaction, words: str, *, for_good: bool) -> None:
        problem = f"{self._peer.called_ae} at {self._peer.host}:{self._peer.port} {words}"
        if for_good and self.setting.proof == "auto":
            log.warning("%s; nothing proves what is sent there", problem)
            asked.never(self.ledger, transaction, f"{problem}, and gives nothing back by C-GET")
        else:
            hint = "Have it allowed there; it is asked again."
            self._postpone(transaction, f"{_OPERATION}: {problem}. {hint}")

    def _postpone(self, transaction: Transaction, problem: str) -> None:
        self._failures += 1
        log.warning("%d objects: %s", len(transaction.items), problem)
        asked.refused(self.ledger, transaction, problem, back_off(self._failures))
        self._next = time.monotonic() + back_off(self._failures)

    @property
    def _peer(self) -> Peer:
        item = self.setting
        host, port = item.commit_host or item.host, item.commit_port or item.port
        return Peer(host, port, item.commit_ae or item.called_ae, self.settings.box.ae_title)

    def _request(self, transaction: Transaction) -> int | None:
        """Make the request; return the N-ACTION's status, None when no answer came."""
        reported = threading.Event()
        ae = dimse.entity(self._peer.calling_ae, answer_s=_ANSWER_S)
        context = build_context(PUSH_MODEL, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
        association = dimse.associate(
            *(ae, self._peer, [context], _OPERATION),
            secure=tls.client_context(self.settings.scp) if self.setting.tls else None,
            on_report=partial(self._keep, reported),
        )
        try:
            information = request(transaction.transaction_uid, transaction.items)
            answer, _ = association.send_n_action(
                information, _REQUEST, PUSH_MODEL, PUSH_MODEL_INSTANCE
            )
            status = int(answer.Status) if "Status" in answer else None
            if status == _SUCCESS:
                asked.asked(self.ledger, transaction)
                self._wait(association, transaction, reported)
        finally:
            if association.is_established:
                association.release()
        return status

    def _wait(
        self, association: Association, transaction: Transaction, reported: threading.Event
    ) -> None:
        """Stay for the report, unless it comes another way or the destination hangs up."""
        end = time.monotonic() + _STAYS_S
        while time.monotonic() < end and association.is_established:
            if reported.wait(0.05) or reports.is_reported(self.ledger, transaction):
                return

    def _keep(self, reported: threading.Event, event: Event) -> tuple[int, None]:
        """Write a report down that came where it was asked. Handler of EVT_N_EVENT_REPORT."""
        try:
            transaction, found = outcomes(event.event_information)
            if reports.destination_of(self.ledger, transaction) != self.name:
                return _INVALID_ARGUMENT_VALUE, None
            reports.report(self.ledger, transaction, found)
        except Exception as problem:  # noqa: BLE001
            # Bytes that are no report, or a ledger that can't be written: it is asked anew.
            log.warning("a report of %s was lost (%s)", self.name, type(problem).__name__)
            return _PROCESSING_FAILURE, None
        reported.set()
        return _SUCCESS, None
