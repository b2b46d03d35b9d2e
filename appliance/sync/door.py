"""Whether a server listens at all: asked by a bare connection, and seldom."""

import socket
import time

_CONNECT_S = 10.0
_GLANCE_S = 3.0  # somebody waits for the answer
_PAUSE_S = 2.0  # between two glances: a server that is off for weeks isn't knocked at for weeks


class Door:
    """The TCP port of a destination.

    Parameters
    ----------
    host, port
        Where it listens.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.is_suspect = False  # the last delivery found it closed
        self.is_unknown = False  # the host's name meant nothing when it was last asked for
        self._seen = (float("-inf"), False)

    def answers(self) -> bool:
        """Tell whether it took a connection now or a few seconds ago."""
        at, was_open = self._seen
        if time.monotonic() - at > _PAUSE_S:
            was_open = self._opens(_GLANCE_S)
            self._seen = (time.monotonic(), was_open)
        return was_open

    def is_shut(self) -> bool:
        """Tell whether it doesn't open, if there is reason to ask.

        A bare connection is a line in the server's log: it is spared where all goes well.
        """
        if self.is_suspect:
            self.is_suspect = not self._opens(_CONNECT_S)
            self._seen = (time.monotonic(), not self.is_suspect)
        return self.is_suspect

    def found_shut(self) -> None:
        """Remember that a delivery could not enter."""
        self.is_suspect = True
        self._seen = (float("-inf"), False)

    def _opens(self, seconds: float) -> bool:
        self.is_unknown = False
        try:
            socket.create_connection((self.host, self.port), seconds).close()
        except (OSError, UnicodeError) as error:  # UnicodeError: a label nobody could look up
            self.is_unknown = isinstance(error, (socket.gaierror, UnicodeError))
            return False  # refused, unroutable, unknown, silent: nothing can be delivered
        return True
