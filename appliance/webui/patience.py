"""TLS connections that give up on a silent client: each holds one of the page's threads meanwhile."""

import errno
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE_S = 10.0  # without a byte in the middle of a handshake, a request or an answer


class PatientSocket(ssl.SSLSocket):
    """What `ssl.SSLContext.sslsocket_class` is set to; otherwise gunicorn waits for ever."""

    def setblocking(self, flag: bool) -> None:
        """Block for `PATIENCE_S` at most."""
        self.settimeout(PATIENCE_S if flag else 0.0)

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands, or give up."""
        self.settimeout(PATIENCE_S)
        with _given_up():
            super().do_handshake(block)

    def recv(self, *arguments: Any) -> bytes:
        """Receive, or give up."""
        with _given_up():
            return super().recv(*arguments)

    def send(self, *arguments: Any) -> int:
        """Send, or give up."""
        with _given_up():
            return super().send(*arguments)


@contextmanager
def _given_up() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        # gunicorn knows this one, and closes without a word.
        raise ConnectionResetError(errno.ECONNRESET, "the client has gone silent") from error
