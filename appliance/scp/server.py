"""The listening side: pynetdicom set up once, associations accepted, a start that recovers."""

import errno
import logging
import os
import socket
import socketserver
import tempfile
import threading
import time
from pathlib import Path
from typing import cast

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer

from appliance.config import Settings
from appliance.errors import ApplianceError
from appliance.ledger import Ledger
from appliance.scp.negotiation import VERIFICATION, accept_proposals, storage_services
from appliance.scp.store import Store
from appliance.service import Stop, ready, watchdog
from appliance.spool import Spool

log = logging.getLogger("echocart.scp")

SWEEP_S = 1.0  # for files that pynetdicom left without closing its connection
SILENCE_S = 30.0  # a peer silent inside a PDU is cut
REQUEST_S = 10.0  # from the connection to the A-ASSOCIATE-RQ: the ARTIM timer of PS3.8 9.1.5
UNASSOCIATED = 200  # connections that never asked for an association; each costs two threads
IDLE_S = 900.0  # between messages: a cart may keep one association through an exam
GRACE_S = 5.0  # for objects that are still arriving when the service is told to stop
ABORT_S = 1.0  # for statuses and aborts on their way out


class ListenError(ApplianceError):
    """The DICOM port can't be listened on."""


class Receiver(AE):
    """pynetdicom's application entity, for which silent connections are no associations."""

    @property
    def active_associations(self) -> list[Association]:
        """Associations requested and not yet ended: what `maximum_associations` limits."""
        return [
            association
            for association in super().active_associations
            if association.requestor.primitive is not None and _is_open(association)
        ]


class Listener(ThreadedAssociationServer):
    """pynetdicom's server with the socket options echo machines need."""

    request_queue_size = 128  # many carts after a network outage; the default is 5
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind; accepted sockets inherit TCP_NODELAY."""
        super().server_bind()
        # Without it each status waits about 45 ms for a delayed ACK.
        self._listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection whose silent peer can't hold its thread for ever."""
        connection, address = super().get_request()
        connection.settimeout(SILENCE_S)
        return connection, address

    def verify_request(self, request: object, client_address: object) -> bool:
        """Turn a connection away when too many wait that never asked for an association."""
        waiting = [one for one in self.active_associations if one.requestor.primitive is None]
        return sum(map(_is_open, waiting)) < UNASSOCIATED

    def stop_accepting(self) -> None:
        """Close the port; running associations go on."""
        # AE.start_server would have listed this server for pynetdicom's own shutdown; it can't
        # make a server of another class, so the steps are called here.
        socketserver.BaseServer.shutdown(self)
        self.server_close()

    @property
    def _listening(self) -> socket.socket:
        assert self.socket is not None
        return self.socket


def run(settings: Settings, stop: Stop) -> None:
    """Receive objects until told to stop.

    Raises
    ------
    ListenError
        When the port is taken or not permitted.
    SpoolError, LedgerError
        When the state directory can't be used.
    """
    spool = Spool(settings.box.state_dir)
    space_floor = settings.scp.space_floor_mb * 1_000_000
    store = Store(spool, Ledger(settings.box.state_dir), space_floor, settings.originals)
    recorded, removed = store.recover()
    if recorded or removed:
        log.info("recovered: %d objects recorded, %d partial files removed", recorded, removed)
    configure(spool.incoming)
    listener = listen(settings, store)
    try:
        ready(f"{settings.box.ae_title} listens on {settings.scp.host}:{settings.scp.port}")
        while not stop.wait(SWEEP_S):
            store.sweep()
            watchdog()
    finally:
        drain(listener, spool.incoming)
        store.sweep()


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


def listen(settings: Settings, store: Store) -> Listener:
    """Bind the port and serve it from a thread of its own.

    Raises
    ------
    ListenError
        When the port is taken, not permitted, or the address isn't this machine's.
    """
    ae = Receiver(settings.box.ae_title)
    ae.maximum_pdu_size = settings.scp.maximum_pdu
    ae.maximum_associations = settings.scp.maximum_associations
    ae.network_timeout = IDLE_S
    ae.acse_timeout = REQUEST_S
    ae.add_supported_context(VERIFICATION)
    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_REQUESTED, accept_proposals),
        (evt.EVT_SOP_COMMON, storage_services),
        (evt.EVT_C_ECHO, lambda event: 0x0000),
        (evt.EVT_C_STORE, store.receive),
        (evt.EVT_CONN_CLOSE, _let_go, [store]),
    ]
    address = (settings.scp.host, settings.scp.port)
    try:
        listener = cast(
            Listener, ae.make_server(address, evt_handlers=handlers, server_class=Listener)
        )
    except OSError as error:
        raise _listen_error(address, error) from error
    threading.Thread(target=listener.serve_forever, name="listener", daemon=True).start()
    return listener


def drain(listener: Listener, incoming: Path) -> None:
    """Stop accepting, let objects that are arriving finish for `GRACE_S`, then end everything."""
    listener.stop_accepting()
    deadline = time.monotonic() + GRACE_S
    while any(incoming.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    associations: list[Association] = listener.active_associations
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


def _is_open(association: Association) -> bool:
    """Whether its connection is; the thread of one that closed early lives until its time-out."""
    connection = association.dul.socket
    return connection is not None and connection.socket is not None


def _let_go(event: Event, store: Store) -> None:
    """Remove the half-received object of a connection that ended: dropped, its file is closed."""
    event.assoc.dimse.message = None
    store.sweep()


def _log_thread_death(death: threading.ExceptHookArgs) -> None:
    # A peer's malformed message can end a thread of pynetdicom; the text may repeat it.
    log.error("an association ended by %s", death.exc_type.__name__)


def _listen_error(address: tuple[str, int], error: OSError) -> ListenError:
    host, port = address
    hint = {
        errno.EADDRINUSE: "Stop the program that uses it (ss -ltnp), or set another scp.port.",
        errno.EACCES: "Ports below 1024 need CAP_NET_BIND_SERVICE; or set scp.port = 11112.",
        errno.EADDRNOTAVAIL: "Set scp.host to an address of this machine, or to 0.0.0.0.",
    }.get(error.errno or 0, "Set scp.host to an address of this machine, or to 0.0.0.0.")
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "unknown host"
    return ListenError("listen for echo machines", f"{host}:{port}: {reason}", hint)
