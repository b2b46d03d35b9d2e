"""Who may have an association: asked at each request, remembered for a person to decide on."""

import logging
import sqlite3
import ssl
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from appliance import carts
from appliance.carts import Admission, Call
from appliance.config import Cart, Settings
from appliance.ledger import Ledger, caller, cart
from appliance.ledger.caller import MANY_TITLES, MOST_CALLERS, MOST_OF_AN_ADDRESS, Sighting
from appliance.scp.negotiation import accept_proposals
from appliance.scp.places import Places

log = logging.getLogger("echocart.scp")

_PERMANENT_BY_USER = (1, 1)  # result and source of an A-ASSOCIATE-RJ, PS3.8 9.3.4
_LOCAL_LIMIT_EXCEEDED = (2, 3, 2)  # transient, of the service provider's presentation part


class Door:
    """Lets carts in and others not.

    Parameters
    ----------
    settings
        The box's.
    ledger
        Where pairings are read, and callers written down.

    Attributes
    ----------
    places
        How many associations are open.
    """

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.places = Places(settings.scp)
        self._settings = settings
        self._ledger = ledger
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str, str], Sighting] = {}
        self._lines: Counter[str] = Counter()  # of each address in `_seen`
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
        if admission.why:
            if self._remember(call, admission.why):
                log.warning("%s from %s rejected: %s", call.calling_ae, call.peer, admission.why)
            _reject(event.assoc, *_PERMANENT_BY_USER, admission.diagnostic)
        elif full := self.places.take(event.assoc, call.peer, call.calling_ae):
            self._no_place(call, full, admission.cart)
            _reject(event.assoc, *_LOCAL_LIMIT_EXCEEDED)
        else:
            if not carts.is_the_box_itself(self._settings, call):
                self._remember(call, "", paired=admission.cart is not None)
            accept_proposals(event, reports_only=admission.reports_only)

    def admission(self, association: Association) -> Admission:
        """Return what the caller of an association may do by now."""
        return carts.admit(self._settings, self._known(), call_of(association))

    def turned_away(self, peer: str, why: str) -> None:
        """Remember a connection that never came to ask for an association."""
        call = Call("", "", carts.plain_address(peer), False)
        if self._remember(call, why):
            log.warning("a connection from %s ended: %s", call.peer, why)

    def hung_up(self, event: Event) -> None:
        """Remember a connection that ended without a request. Handler of EVT_CONN_CLOSE."""
        if event.assoc.requestor.primitive is None:
            self.turned_away(event.assoc.requestor.address, "it asked for no association")

    def write_down(self) -> None:
        """Write callers to the ledger. Call it now and then.

        Written by one thread and seldom: an association doesn't wait for the disk, and
        knocking at the door costs no row each time.
        """
        with self._lock:
            seen, self._seen = self._seen, {}
            self._lines.clear()
        if seen:
            caller.note(self._ledger, seen.values())

    def _no_place(self, call: Call, why: str, paired: Cart | None) -> None:
        # Only the titles of carts are listed: anybody could invent others.
        words = f"{call.calling_ae} was told to try again later: {why}" if paired else why
        if self._remember(replace(call, calling_ae=""), words):
            log.warning("%s from %s rejected for now: %s", call.calling_ae, call.peer, why)

    def _remember(self, call: Call, why: str, *, paired: bool = False) -> bool:
        """Count a caller; tell whether it is news since callers were last written down."""
        why = why if why or call.calling_ae else "it called itself nothing"
        seen = Sighting(call.calling_ae, call.called_ae, call.peer, call.tls, why, paired=paired)
        with self._lock:
            if self._is_one_too_many(seen):
                if not why:
                    return False
                seen = Sighting("", "", call.peer, call.tls, MANY_TITLES)
            known = self._seen.setdefault(_line(seen), seen)
            if known is seen:
                self._lines[call.peer] += 1
                return True
            known.count += 1
            known.why = seen.why
            return False

    def _is_one_too_many(self, seen: Sighting) -> bool:
        if seen.paired or not seen.calling_ae or _line(seen) in self._seen:
            return False
        crowded = self._lines[seen.peer] >= MOST_OF_AN_ADDRESS
        return crowded or len(self._seen) >= MOST_CALLERS

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


def _line(seen: Sighting) -> tuple[str, str, str]:
    """What is listed in one line: a title let in or refused, or a reason without a title."""
    refused = "refused" if seen.why else ""
    return seen.calling_ae, seen.peer, refused if seen.calling_ae else seen.why


def _reject(association: Association, result: int, source: int, diagnostic: int) -> None:
    association.acse.send_reject(result, source, diagnostic)
    evt.trigger(association, evt.EVT_REJECTED, {})
    association.kill()
