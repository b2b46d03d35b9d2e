"""The listening side: pynetdicom set up once, associations accepted, a start that recovers."""

import errno
import logging
import os
import sqlite3
import ssl
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from appliance import tls
from appliance.config import Settings
from appliance.errors import ApplianceError, LedgerError
from appliance.ledger import Ledger
from appliance.scp import mishap, pump
from appliance.scp.commitment import Commitments
from appliance.scp.door import Door
from appliance.scp.listener import Listener, pumped
from appliance.scp.negotiation import VERIFICATION, storage_services
from appliance.scp.proof import Proof
from appliance.scp.store import Store
from appliance.service import Stop, ready, watchdog
from appliance.spool import Spool

log = logging.getLogger("echocart.scp")

SWEEP_S = 1.0  # for files that pynetdicom left without closing its connection
GRACE_S = 5.0  # for objects that are still arriving when the service is told to stop
LAST_WORDS_S = 1.0  # for associations that are about to end, as a C-ECHO's
ABORT_S = 1.0  # for statuses and aborts on their way out
_NO_LIMIT = 1 << 16  # of pynetdicom's: the door counts, over both ports


class ListenError(ApplianceError):
    """The DICOM port can't be listened on."""


def run(settings: Settings, stop: Stop) -> None:
    """Receive objects until told to stop.

    Raises
    ------
    ListenError
        When the port is taken or not permitted.
    SpoolError, LedgerError
        When the state directory can't be used.
    """
    spool, ledger = Spool(settings.box.state_dir), Ledger(settings.box.state_dir)
    space_floor = settings.scp.space_floor_mb * 1_000_000
    store = Store(spool, ledger, space_floor, settings.originals)
    recorded, removed = store.recover()
    if recorded or removed:
        log.info("recovered: %d objects recorded, %d partial files removed", recorded, removed)
    configure(spool.incoming)
    door = Door(settings, ledger)
    listeners = listen_all(settings, store, door, Commitments(settings, ledger, spool, door))
    proof = Proof(settings, spool)
    try:
        proof.must_stand()
        ready(f"{settings.box.ae_title} listens on {settings.scp.host}:{settings.scp.port}")
        while not stop.wait(SWEEP_S):
            store.sweep()
            write_down(door)
            store.metrics.write(settings.box.state_dir, door.places.count(), spool.free_bytes())
            if proof.is_given():
                watchdog()
    finally:
        drain(listeners, spool.incoming)
        store.sweep()
        write_down(door)


def configure(incoming: Path) -> None:
    """Set pynetdicom's process-wide switches; the only place that does.

    Parameters
    ----------
    incoming
        Where objects are written while they arrive: on the spool's own file system.
    """
    tempfile.tempdir = str(incoming)
    _config.STORE_RECV_CHUNKED_DATASET = True
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    # Its error texts repeat what the peer sent.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    threading.excepthook = _log_thread_death


def write_down(door: Door) -> None:
    """Let the ledger know who called; while it can't be written, reception goes on."""
    try:
        door.write_down()
    except (sqlite3.Error, LedgerError) as error:
        log.warning("callers were not written down (%s)", type(error).__name__)


def listen_all(
    settings: Settings, store: Store, door: Door, commitments: Commitments
) -> list[Listener]:
    """Serve the plain port and, where certificates are set and can be used, the TLS port.

    Raises
    ------
    ListenError
        When a port is taken, not permitted, or the address isn't this machine's.
    """
    handlers = [*door.handlers(), *commitments.handlers(), *store.metrics.handlers()]
    kind = pumped(store)
    if not _is_pumped(settings):
        kind = {"server_class": Listener}
        handlers += [
            (evt.EVT_C_STORE, store.receive),
            (evt.EVT_CONN_CLOSE, _let_go, [store]),
            (evt.EVT_CONN_CLOSE, door.hung_up),
        ]
    listeners = [listen(settings, handlers, kind)]
    listeners[0].turned_away = door.turned_away
    if settings.scp.tls_port:
        try:
            context = tls.server_context(settings.scp)
        except tls.TlsError as error:
            # Carts on the plain port must not pay for it.
            log.error("no TLS port: %s", error)
            return listeners
        secure = listen(settings, handlers, kind, settings.scp.tls_port, context)
        secure.turned_away = door.turned_away
        listeners.append(secure)
    return listeners


def listen(
    settings: Settings,
    also: Sequence[evt.EventHandlerType],
    kind: dict[str, Any],
    port: int | None = None,
    secure: ssl.SSLContext | None = None,
) -> Listener:
    """Bind a port and serve it from a thread of its own.

    Parameters
    ----------
    settings
        The box's.
    also
        Handlers of what isn't C-ECHO: EVT_REQUESTED, above all.
    kind
        Classes of the server, for pynetdicom.
    port
        Another one than `scp.port`.
    secure
        For a port that speaks TLS only.

    Raises
    ------
    ListenError
        When the port is taken, not permitted, or the address isn't this machine's.
    """
    ae = AE(settings.box.ae_title)
    ae.maximum_pdu_size = settings.scp.maximum_pdu
    ae.maximum_associations = _NO_LIMIT
    ae.network_timeout = pump.IDLE_S
    ae.acse_timeout = pump.REQUEST_S
    ae.add_supported_context(VERIFICATION)
    handlers: list[evt.EventHandlerType] = [
        *also,
        (evt.EVT_SOP_COMMON, storage_services),
        (evt.EVT_C_ECHO, lambda event: 0x0000),
    ]
    address = (settings.scp.host, port or settings.scp.port)
    try:
        server = ae.make_server(address, ssl_context=secure, evt_handlers=handlers, **kind)
    except OSError as error:
        raise _listen_error(address, error) from error
    listener = cast(Listener, server)
    threading.Thread(target=listener.serve_forever, name="listener", daemon=True).start()
    return listener


def _is_pumped(settings: Settings) -> bool:
    if settings.scp.receive_path == "pump" and not pump.is_tested():
        log.warning(
            "receive_path is stock, slower: the pump was tested with pynetdicom %s only",
            pump.TESTED_VERSION,
        )
        return False
    return settings.scp.receive_path == "pump"


def drain(listeners: Sequence[Listener], incoming: Path) -> None:
    """Stop accepting, let objects that are arriving finish for `GRACE_S`, then end everything."""
    for listener in listeners:
        listener.stop_accepting()
    deadline = time.monotonic() + GRACE_S
    while any(incoming.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    # Its carts would take an abort for a refusal.
    deadline = min(deadline, time.monotonic() + LAST_WORDS_S)
    while _associations(listeners) and time.monotonic() < deadline:
        time.sleep(0.02)
    associations = _associations(listeners)
    for association in associations:
        association.abort(block=False)  # queued behind a status that is on its way out
    deadline = time.monotonic() + ABORT_S
    for association in associations:
        association.join(max(0.0, deadline - time.monotonic()))
    for association in associations:
        connection = association.dul.socket
        if connection and connection.socket:
            # A peer that went silent inside a PDU holds a reader that no abort reaches.
            connection.close()


def _associations(listeners: Sequence[Listener]) -> list[Association]:
    return [association for one in listeners for association in one.active_associations]


def _let_go(event: Event, store: Store) -> None:
    """Remove the half-received object of a connection that ended: dropped, its file is closed."""
    event.assoc.dimse.message = None
    store.sweep()


def _log_thread_death(death: threading.ExceptHookArgs) -> None:
    # A peer's malformed message can end a thread of pynetdicom; the text may repeat it.
    log.error("an association ended by %s", mishap.of(death.exc_type, death.exc_traceback))


def _listen_error(address: tuple[str, int], error: OSError) -> ListenError:
    host, port = address
    hint = {
        errno.EADDRINUSE: "Stop the program that uses it (ss -ltnp), or set another scp.port.",
        errno.EACCES: "Ports below 1024 need CAP_NET_BIND_SERVICE; or set scp.port = 11112.",
        errno.EADDRNOTAVAIL: "Set scp.host to an address of this machine, or to 0.0.0.0.",
    }.get(error.errno or 0, "Set scp.host to an address of this machine, or to 0.0.0.0.")
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "unknown host"
    return ListenError("listen for echo machines", f"{host}:{port}: {reason}", hint)
