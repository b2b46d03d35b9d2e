"""Waiting for somebody else's commit without asking again and again: inotify(7) on the WAL.

SQLite writes a commit's pages into the WAL, syncs it, and only then lets others see it, by memory
they share, of which the kernel tells nobody. So an event means: look closely, for a while.
"""

import ctypes
import os
import select
import time
from collections.abc import Callable
from pathlib import Path

# <sys/inotify.h>
_IN_MODIFY, _IN_CREATE, _IN_MOVED_TO = 0x2, 0x100, 0x80
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_CLOSELY_S = 1.0  # after an event; a disk that syncs for longer delays the news by `_CALM_S`
_CALM_S = 0.25  # between two looks while nothing happens: whoever stops is heard
_MOST_BYTES = 1 << 16


class News:
    """The events of one ledger, for one thread.

    Parameters
    ----------
    ledger
        Path of the database.
    """

    def __init__(self, ledger: Path) -> None:
        self._poll: select.poll | None = None
        self._descriptor = _watching(ledger.parent)
        self._name = os.fsencode(ledger.name) + b"-wal"
        self._closely_until = 0.0
        if self._descriptor >= 0:
            self._poll = select.poll()
            self._poll.register(self._descriptor, select.POLLIN)

    def sleep(self, wait: Callable[[float], bool], seconds: float, poll: float) -> bool:
        """Sleep until the next look at the ledger is due.

        Parameters
        ----------
        wait
            Sleeps for the seconds given and returns True when the caller must stop.
        seconds
            At most so long.
        poll
            Between two looks while somebody writes, and always where the kernel can't tell.

        Returns
        -------
        bool
            True when the caller must stop.
        """
        if self._poll is None or time.monotonic() < self._closely_until:
            self._heard()
            return wait(min(seconds, poll))
        if wait(0.0):
            return True
        if self._poll.poll(1000 * min(seconds, _CALM_S)):
            self._heard()
        return False

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._poll = -1, None

    def _heard(self) -> None:
        """Read what has happened; of the WAL, it is worth looking closely."""
        if self._poll is None:
            return
        try:
            if self._name in os.read(self._descriptor, _MOST_BYTES):
                self._closely_until = time.monotonic() + _CLOSELY_S
        except BlockingIOError:
            pass  # nothing has


def _watching(folder: Path) -> int:
    """Return a descriptor of inotify, or -1 where there is none, or none is left."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        descriptor: int = library.inotify_init1(_FLAGS)
        if descriptor < 0:
            return -1
        mask = _IN_MODIFY | _IN_CREATE | _IN_MOVED_TO
        if library.inotify_add_watch(descriptor, os.fsencode(folder), mask) < 0:
            os.close(descriptor)
            return -1
    except (OSError, AttributeError):  # another system than Linux
        return -1
    return descriptor
