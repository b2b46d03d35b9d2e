"""A cart asks whether it may delete its own copies (PS3.4 Annex J): recorded, then answered.

What takes long, reading the objects again, is done for the report, which `sync` delivers. Where
a cart is configured so, the report is tried on the association that asked, first.
"""

import logging
import sqlite3
from typing import cast

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.events import Event

from appliance.commitment import PUSH_MODEL_INSTANCE, outcomes, plain_uid
from appliance.config import DicomPeer, Settings
from appliance.errors import LedgerError
from appliance.ledger import Ledger, commitment, reported
from appliance.ledger.commitment import Request
from appliance.scp.door import Door, call_of
from appliance.scp.reply import LEASE_S, OWNER, Reply
from appliance.spool import Spool

log = logging.getLogger("echocart.scp")

SUCCESS = 0x0000  # PS3.7 10.1.4.1.10 and annex C
PROCESSING_FAILURE = 0x0110
NO_SUCH_SOP_INSTANCE = 0x0112
INVALID_ARGUMENT_VALUE = 0x0115
NO_SUCH_ACTION = 0x0123
NOT_AUTHORIZED = 0x0124
RESOURCE_LIMITATION = 0x0213
MOST_ITEMS = 10_000  # a long stress echo has some hundred
_REQUEST_STORAGE_COMMITMENT = 1  # the only action type, PS3.4 J.3.2


class Commitments:
    """Answers N-ACTION and N-EVENT-REPORT of the Storage Commitment Push Model.

    Parameters
    ----------
    settings, ledger, spool
        The box's.
    door
        Knows what the caller may do.
    """

    def __init__(self, settings: Settings, ledger: Ledger, spool: Spool, door: Door) -> None:
        self._settings = settings
        self._ledger = ledger
        self._spool = spool
        self._door = door
        commitment.recover(ledger, OWNER)

    def handlers(self) -> list[evt.EventHandlerType]:
        """Return what a listener binds."""
        return [(evt.EVT_N_ACTION, self.asked), (evt.EVT_N_EVENT_REPORT, self.reported)]

    def asked(self, event: Event) -> tuple[int, Dataset | None]:
        """Record a request durably, then answer success. Handler of EVT_N_ACTION."""
        request = cast(N_ACTION, event.request)
        call = call_of(event.assoc)
        status = self._refusal(event, request)
        if status == SUCCESS:
            status = self._record(event)
        if status != SUCCESS:
            log.warning(
                "%s from %s asked for storage commitment: refused (status 0x%04X)",
                *(call.calling_ae, call.peer, status),
            )
        return status, None

    def reported(self, event: Event) -> tuple[int, Dataset | None]:
        """Write an archive's report down, then answer it. Handler of EVT_N_EVENT_REPORT.

        `sync`, which asked, decides what it means.
        """
        try:
            transaction, found = outcomes(event.event_information)
        except Exception:  # noqa: BLE001
            return INVALID_ARGUMENT_VALUE, None
        if len(found) > MOST_ITEMS:
            return RESOURCE_LIMITATION, None
        try:
            status = self._keep(call_of(event.assoc).calling_ae, transaction, found)
        except (sqlite3.Error, LedgerError) as error:
            log.error("a report of commitment was not recorded (%s)", type(error).__name__)
            status = PROCESSING_FAILURE
        return status, None

    def _keep(self, calling_ae: str, transaction: str, found: list[tuple[str, str, int]]) -> int:
        destination = reported.destination_of(self._ledger, transaction)
        if destination is None:
            return INVALID_ARGUMENT_VALUE  # nothing of ours waits for it
        if not self._is_of(destination, calling_ae):
            log.warning("%s reports on what %s was asked: refused", calling_ae, destination)
            return NOT_AUTHORIZED
        reported.report(self._ledger, transaction, found)
        return SUCCESS

    def _is_of(self, destination: str, calling_ae: str) -> bool:
        return any(
            item.name == destination
            and isinstance(item, DicomPeer)
            and calling_ae in (item.called_ae, item.commit_ae)
            for item in self._settings.destination
        )

    def _refusal(self, event: Event, request: N_ACTION) -> int:
        if not self._settings.commits or self._door.admission(event.assoc).reports_only:
            return NOT_AUTHORIZED
        if request.RequestedSOPInstanceUID != UID(PUSH_MODEL_INSTANCE):
            return NO_SUCH_SOP_INSTANCE
        if request.ActionTypeID != _REQUEST_STORAGE_COMMITMENT:
            return NO_SUCH_ACTION
        return SUCCESS

    def _record(self, event: Event) -> int:
        call = call_of(event.assoc)
        try:
            information = event.action_information
            transaction, items = _wanted(information)
        except Exception:  # noqa: BLE001
            # pydicom fails in many ways on bytes that are no data set; each means the same.
            return INVALID_ARGUMENT_VALUE
        if len(items) > MOST_ITEMS:
            return RESOURCE_LIMITATION
        asked = Request(transaction, call.calling_ae, call.called_ae, call.peer, call.tls, items)
        cart = self._door.admission(event.assoc).cart
        here = cart is not None and cart.same_association
        try:
            number = commitment.request(self._ledger, asked, OWNER if here else "", LEASE_S)
        except sqlite3.Error as error:
            log.error("a request for commitment was not recorded (%s)", type(error).__name__)
            return PROCESSING_FAILURE
        log.info("request %d for commitment: %d objects", number, len(items))
        if here:
            Reply(self._ledger, self._spool, event, number).give()
        return SUCCESS


def _wanted(information: Dataset) -> tuple[str, list[tuple[str, str]]]:
    """Read the action information (PS3.4 table J.3-1).

    Raises
    ------
    ValueError, AttributeError, TypeError
        When something is missing, or is no UID.
    """
    items = [
        (plain_uid(item.ReferencedSOPClassUID), plain_uid(item.ReferencedSOPInstanceUID))
        for item in information.ReferencedSOPSequence
    ]
    if not items:
        raise ValueError("the request names no object")
    return plain_uid(information.TransactionUID), items
