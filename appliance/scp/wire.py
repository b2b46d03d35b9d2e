"""A connection's bytes as they come: read ahead, never past a deadline."""

import socket
import ssl
import struct
import time
from collections.abc import Iterator

_TICK_S = 1.0  # how often a silent connection is looked at; four of them cost nothing
_SEND_S = 30.0  # for a peer that doesn't take its answers


class Closed(Exception):
    """The peer, or the service that stops, has closed the connection."""


class Late(Exception):
    """A deadline has passed."""


def why_no_handshake(error: OSError) -> str:
    """Say in a few words why a TLS handshake failed; nothing the peer has sent is repeated."""
    if isinstance(error, TimeoutError):
        return "no TLS: it was silent in the handshake"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"no TLS: its certificate was refused ({error.verify_message})"
    reason = (error.reason if isinstance(error, ssl.SSLError) else None) or ""
    told = reason.replace("_", " ").lower()
    for kind, words in _HANDSHAKES.items():
        if kind in reason:
            return f"no TLS: {words} ({told})"
    return f"no TLS: {told or 'it hung up in the handshake'}"


# Parts of OpenSSL's reasons; an alert is what the peer says of us.
_HANDSHAKES = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "ALERT_UNKNOWN_CA": "it doesn't trust this box's certificate",
    "ALERT_BAD_CERTIFICATE": "it doesn't trust this box's certificate",
    "ALERT_CERTIFICATE": "it doesn't trust this box's certificate",
    "HTTP_REQUEST": "it speaks HTTP",
    "WRONG_VERSION_NUMBER": "it speaks something else, plain DICOM perhaps",
    "UNKNOWN_PROTOCOL": "it speaks something else, plain DICOM perhaps",
    "NOT_SSL": "it speaks something else, plain DICOM perhaps",
    "NO_SHARED_CIPHER": "no suite in common",
    "UNSUPPORTED_PROTOCOL": "no version in common",
    "PROTOCOL_VERSION": "no version in common",
}


class Wire:
    """One connection, read through a buffer.

    Parameters
    ----------
    connection
        Connected socket; plain or TLS.
    size
        Bytes of the buffer.
    """

    def __init__(self, connection: socket.socket, size: int) -> None:
        self._connection = connection
        self._view = memoryview(bytearray(size))
        self._at = self._end = 0
        self._deadline = 0.0
        # With a time-out a receive is a poll and a recv in C: the deadline is looked at after
        # each, also for a peer that sends one byte now and then.
        connection.settimeout(_TICK_S)

    def secure(self, seconds: float) -> None:
        """Do the handshake of a TLS connection; nothing on a plain one.

        Raises
        ------
        OSError
            When there is none in that time that both sides agree to.
        """
        if isinstance(self._connection, ssl.SSLSocket):
            self._connection.settimeout(seconds)
            self._connection.do_handshake()
            self._connection.settimeout(_TICK_S)

    def grow(self, size: int) -> None:
        """Take a larger buffer, for a peer that has shown what it is."""
        old, self._view = self._view[self._at : self._end], memoryview(bytearray(size))
        self._view[: len(old)] = old
        self._at, self._end = 0, len(old)

    def expect(self, seconds: float) -> None:
        """Set the deadline of all that is read from now on, however it comes in."""
        self._deadline = time.monotonic() + seconds

    def allow(self, seconds: float) -> None:
        """Put the deadline off by time that the peer has not taken."""
        self._deadline += seconds

    def need(self, count: int) -> None:
        """Wait until `count` bytes, at most the buffer's size, can be read at once.

        Raises
        ------
        Closed, Late, OSError
            When they don't come.
        """
        if self._at + count > len(self._view):
            waiting = self._end - self._at
            self._view[:waiting] = self._view[self._at : self._end]
            self._at, self._end = 0, waiting
        while self._end - self._at < count:
            self._receive()

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """Read a few fields."""
        self.need(layout.size)
        fields: tuple[int, ...] = layout.unpack_from(self._view, self._at)
        self._at += layout.size
        return fields

    def take(self, count: int) -> bytes:
        """Read `count` bytes, more than the buffer holds if need be."""
        return b"".join(map(bytes, self.pieces(count)))

    def pieces(self, count: int) -> Iterator[memoryview]:
        """Read `count` bytes in pieces as they come; each is valid until the next."""
        while count:
            if self._at == self._end:
                self._at = self._end = 0
                self._receive()
            size = min(count, self._end - self._at)
            start, self._at = self._at, self._at + size
            count -= size
            yield self._view[start : self._at]

    def send(self, data: bytes) -> None:
        """Write an answer at once.

        Raises
        ------
        OSError
            When the peer is gone, or has not taken its answers for a long time.
        """
        self._connection.settimeout(_SEND_S)
        try:
            self._connection.sendall(data)
        finally:
            self._connection.settimeout(_TICK_S)

    def wake(self) -> None:
        """End the wait of the thread that reads, from another one: it gets `Closed`."""
        try:
            # Not SSLSocket's, which forgets the session: the last words go by TLS, too.
            socket.socket.shutdown(self._connection, socket.SHUT_RD)
        except OSError:
            return  # it has ended by itself

    def hang_up(self, seconds: float) -> None:
        """Say that nothing more comes, and wait for the peer to close.

        Closed at once, what was not read yet would turn our last words into a reset.
        """
        try:
            socket.socket.shutdown(self._connection, socket.SHUT_WR)
            self.expect(seconds)
            while True:
                self._at = self._end = 0
                self._receive()
        except (Closed, Late, OSError):
            return

    def close(self) -> None:
        """Let the connection and the buffer go."""
        self._connection.close()
        self._view = memoryview(b"")

    def _receive(self) -> None:
        while True:
            try:
                count = self._connection.recv_into(self._view[self._end :])
            except TimeoutError:
                count = -1
            if time.monotonic() > self._deadline:
                raise Late
            if count >= 0:
                break
        if count == 0:
            raise Closed
        self._end += count
