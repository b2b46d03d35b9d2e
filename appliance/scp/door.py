"""Who may have an association: asked at each request, remembered for a person to decide on."""

import logging
import sqlite3
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from appliance import carts
from appliance.carts import Admission, Call
from appliance.config import Settings
from appliance.ledger import Ledger, cart
from appliance.ledger.cart import MOST_CALLERS, Sighting
from appliance.scp.negotiation import accept_proposals

log = logging.getLogger("echocart.scp")

_PERMANENT, _SERVICE_USER = 1, 1  # result and source of an A-ASSOCIATE-RJ, PS3.8 9.3.4


class Door:
    """Lets carts in and others not.

    Parameters
    ----------
    settings
        The box's.
    ledger
        Where pairings are read, and callers written down.
    """

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str, str], Sighting] = {}
        # One thread with one connection: an association doesn't pay for opening the file.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="door")
        self._version = cart.version(ledger)
        self._carts = carts.known(settings, ledger)

    def handlers(self) -> list[evt.EventHandlerType]:
        """Return what a listener binds."""
        return [(evt.EVT_REQUESTED, self.requested)]

    def requested(self, event: Event) -> None:
        """Admit a caller and accept what it proposes, or reject it. Handler of EVT_REQUESTED."""
        call = call_of(event.assoc)
        admission = carts.admit(self._settings, self._known(), call)
        self._remember(call, admission.why)
        if admission.why:
            log.warning("%s from %s rejected: %s", call.calling_ae, call.peer, admission.why)
            _reject(event.assoc, admission.diagnostic)
        else:
            accept_proposals(event, reports_only=admission.reports_only)

    def admission(self, association: Association) -> Admission:
        """Return what the caller of an association may do by now."""
        return carts.admit(self._settings, self._known(), call_of(association))

    def turned_away(self, peer: str, why: str) -> None:
        """Remember a TLS connection that never came to ask for an association."""
        log.warning("a TLS connection from %s ended: %s", peer, why)
        self._remember(Call("", "", carts.plain_address(peer), True), why)

    def write_down(self) -> None:
        """Write callers to the ledger. Call it now and then.

        Written by one thread and seldom: an association doesn't wait for the disk, and
        knocking at the door costs no row each time.
        """
        with self._lock:
            seen, self._seen = self._seen, {}
        if seen:
            cart.note(self._ledger, seen.values())

    def _remember(self, call: Call, why: str) -> None:
        key = (call.calling_ae, call.peer, why)
        with self._lock:
            if key in self._seen:
                self._seen[key].count += 1
            elif len(self._seen) < MOST_CALLERS:
                self._seen[key] = Sighting(
                    call.calling_ae, call.called_ae, call.peer, call.tls, why
                )

    def _known(self) -> carts.Carts:
        return self._reader.submit(self._read).result()

    def _read(self) -> carts.Carts:
        try:
            version = cart.version(self._ledger)
            if version != self._version:
                self._carts = carts.known(self._settings, self._ledger)
                self._version = version
        except sqlite3.Error as error:
            log.error("pairings can't be read, the last ones hold (%s)", type(error).__name__)
        return self._carts


def call_of(association: Association) -> Call:
    """Return who calls whom; in EVT_REQUESTED only the request itself knows the title."""
    request, connection = association.requestor.primitive, association.dul.socket
    assert request is not None
    return Call(
        calling_ae=(request.calling_ae_title or "").strip(),
        called_ae=(request.called_ae_title or "").strip(),
        peer=carts.plain_address(association.requestor.address),
        tls=connection is not None and isinstance(connection.socket, ssl.SSLSocket),
    )


def _reject(association: Association, diagnostic: int) -> None:
    association.acse.send_reject(_PERMANENT, _SERVICE_USER, diagnostic)
    evt.trigger(association, evt.EVT_REJECTED, {})
    association.kill()
