"""The report of storage commitment on the association that asked for it, for carts that wait there.

It is tried once and shortly. When the cart has hung up, or the objects take long to read, `sync`
reports over a new association as for any other cart.
"""

import logging
import sqlite3
import threading
import time
from io import BytesIO

from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.events import Event

from appliance.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, report, verify_one
from appliance.errors import LedgerError
from appliance.ledger import Ledger, commitment
from appliance.ledger.commitment import Due, Outcome
from appliance.scp.pump import PumpedAssociation
from appliance.spool import Spool

log = logging.getLogger("echocart.scp")

OWNER = "scp"
LEASE_S = 60.0  # for the cart's answer; then a new association is tried
_READING_S = 5.0  # the association serves nothing else meanwhile
_RESPONSE = 0x8100  # N-EVENT-REPORT-RSP, PS3.7 E.1-1
_PAUSE_S = 0.0005


class Reply:
    """One report.

    Parameters
    ----------
    ledger, spool
        The box's.
    event
        The N-ACTION.
    number
        The request's row, leased by `OWNER`.
    """

    def __init__(self, ledger: Ledger, spool: Spool, event: Event, number: int) -> None:
        self._ledger = ledger
        self._spool = spool
        self._association = event.assoc
        self._context = event.context
        self._number = number
        self._message_id = number % 65535 + 1

    def give(self) -> None:
        """Report as soon as the N-ACTION is answered. Call from its handler."""
        self._association.bind(evt.EVT_DIMSE_RECV, self._answered)
        self._association.bind(evt.EVT_CONN_CLOSE, self._hung_up)
        if isinstance(self._association, PumpedAssociation):
            self._association.afterwards.append(self._send)
        else:
            threading.Thread(target=self._send_when_answered, daemon=True).start()

    def _send_when_answered(self) -> None:
        # pynetdicom's own reactor is paused while it serves a request, until it is answered.
        while self._association._is_paused and self._association.is_established:
            time.sleep(_PAUSE_S)
        self._send()

    def _send(self) -> None:
        answers = self._association.dimse.msg_queue
        while isinstance(self._association, PumpedAssociation) and not answers.empty():
            answers.get_nowait()  # to earlier reports: `_answered` has seen them
        due = self._due()
        outcomes = self._verified(due) if due else None
        if due and outcomes and self._association.is_established:
            self._association.dimse.send_msg(self._message(due, outcomes), self._context.context_id)
        elif due:
            self._let_go()

    def _verified(self, due: Due) -> list[Outcome] | None:
        """Look at the objects again; None when that takes longer than the cart should wait."""
        end = time.monotonic() + _READING_S
        outcomes = []
        for item in commitment.items(self._ledger, due.id):
            outcomes.append(verify_one(self._ledger, self._spool, item))
            if time.monotonic() > end:
                return None
        commitment.verified(self._ledger, due, outcomes)
        return outcomes

    def _message(self, due: Due, outcomes: list[Outcome]) -> N_EVENT_REPORT:
        event_type, information = report(due.transaction_uid, outcomes)
        syntax = UID(self._context.transfer_syntax)
        message = N_EVENT_REPORT()
        message.MessageID = self._message_id
        message.AffectedSOPClassUID = UID(PUSH_MODEL)
        message.AffectedSOPInstanceUID = UID(PUSH_MODEL_INSTANCE)
        message.EventTypeID = event_type
        data = encode(information, syntax.is_implicit_VR, syntax.is_little_endian)
        message.EventInformation = BytesIO(data or b"")
        return message

    def _answered(self, event: Event) -> None:
        """Mark the report as taken. Handler of EVT_DIMSE_RECV."""
        command = event.message.command_set
        if command.CommandField != _RESPONSE:
            return
        if command.get("MessageIDBeingRespondedTo") != self._message_id:
            return
        if command.get("Status") == 0 and (due := self._due()):
            commitment.reported(self._ledger, due)
            log.info("request %d for commitment: reported where it was asked", due.id)
        else:
            self._let_go()

    def _hung_up(self, event: Event) -> None:
        """Leave it to a new association. Handler of EVT_CONN_CLOSE."""
        self._let_go()

    def _due(self) -> Due | None:
        return commitment.held(self._ledger, self._number, OWNER)

    def _let_go(self) -> None:
        try:
            if due := self._due():
                commitment.let_go(self._ledger, due)
        except (sqlite3.Error, LedgerError) as error:
            # The lease ends by itself.
            log.warning("a report was not handed over (%s)", type(error).__name__)
