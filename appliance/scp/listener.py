"""The ports: connections accepted, silent ones limited, each handed to an association of its own."""

import logging
import socket
import socketserver
import ssl
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import AssociationServer, RequestHandler, ThreadedAssociationServer

from appliance import inherited
from appliance.scp import mishap
from appliance.scp.places import is_open
from appliance.scp.pump import SILENCE_S, Keeper, PumpedAssociation
from appliance.scp.wire import why_no_handshake

log = logging.getLogger("echocart.scp")

UNASSOCIATED = 200  # connections without an association; each costs a thread or two
UNASSOCIATED_OF_ADDRESS = 100  # of them, from one address: it can't keep all others out
# A peer that lost its power says nothing: its places are free again after this many seconds.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}


class Listener(ThreadedAssociationServer):
    """pynetdicom's server with the socket options echo machines need.

    Attributes
    ----------
    turned_away
        Called with a peer's address and why, when a connection ends before any association.
    """

    request_queue_size = 128  # many carts after a network outage; the default is 5
    daemon_threads = True
    turned_away: Callable[[str, str], None] = staticmethod(lambda peer, why: None)

    def server_bind(self) -> None:
        """Bind, or take the socket that systemd listens with; accepted ones inherit the options."""
        host, port = self.server_address[:2]
        self._is_systemds = False
        if given := inherited.take(host, port):
            self._listening.close()
            self.socket, self._is_systemds = given, True
            given.settimeout(self.ae.network_timeout)
        else:
            super().server_bind()
        # Without it each status waits about 45 ms for a delayed ACK.
        self._listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            self._listening.setsockopt(socket.IPPROTO_TCP, option, value)

    def server_activate(self) -> None:
        """Listen; systemd does already, with a longer queue."""
        if not self._is_systemds:
            super().server_activate()

    def server_close(self) -> None:
        """Close the port; one that systemd holds stays open, and callers wait in its queue."""
        if self._is_systemds:
            self._listening.close()
        else:
            super().server_close()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection whose silent peer can't hold its thread for ever.

        The handshake of a TLS one is left to its own thread: here it would keep others waiting.
        """
        connection, address = self._listening.accept()
        connection.settimeout(SILENCE_S)
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def verify_request(self, request: object, client_address: Any) -> bool:
        """Turn a connection away when too many are open that have no association."""
        peers = [
            one.requestor.address
            for one in self.active_associations
            if is_open(one) and not one.is_established
        ]
        peer = client_address[0]
        for count, most in (
            (peers.count(peer), UNASSOCIATED_OF_ADDRESS),
            (len(peers), UNASSOCIATED),
        ):
            if count >= most:
                self.turned_away(peer, f"{most} connections without an association were open")
                return False
        return True

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Start the association, after the handshake of a TLS connection."""
        if isinstance(request, ssl.SSLSocket):
            try:
                request.do_handshake()
            except OSError as error:
                self.turned_away(client_address[0], why_no_handshake(error))
                self.shutdown_request(request)
                return
        super().finish_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what kind of failure it was; its text may repeat what the peer sent."""
        kind, _, trace = sys.exc_info()
        log.error("a connection was not served: %s", mishap.of(kind, trace))

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


class PumpListener(Listener):
    """The listener of pumped associations: no thread of its own for a connection's beginning."""

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the association's thread; its handshake and all that can wait is done there."""
        AssociationServer.process_request(self, request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Start the association."""
        AssociationServer.finish_request(self, request, client_address)

    def service_actions(self) -> None:
        """Do without pynetdicom's garbage collection: pumped associations leave little."""


class PumpHandler(RequestHandler):
    """Starts the association of an accepted connection."""

    def __init__(self, keeper: Keeper, request: Any, client_address: Any, server: Any) -> None:
        self._keeper = keeper
        super().__init__(request, client_address, server)

    def _create_association(self) -> Association:
        association = PumpedAssociation(self, self._keeper)
        association._server = self.server
        started = datetime.now(timezone.utc).strftime("%Y%m%d%H%M%S")
        association.name = f"AcceptorThread@{started}"  # by which pynetdicom finds them
        association.acceptor.maximum_length = self.ae.maximum_pdu_size
        association.acceptor.ae_title = self.server.ae_title
        association.acceptor.address_info = self.local
        association.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        association.acceptor.implementation_version_name = self.ae.implementation_version_name
        association.requestor.address_info = self.remote
        for event, bound in self.server._handlers.items():
            association._handlers[event] = bound.copy() if isinstance(bound, list) else bound
        return association


def pumped(keeper: Keeper) -> dict[str, Any]:
    """Return what `AE.make_server` needs for associations that are pumped to `keeper`."""
    return {"server_class": PumpListener, "request_handler": partial(PumpHandler, keeper)}
