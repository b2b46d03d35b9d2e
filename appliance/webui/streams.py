"""Event streams: each open page hears of a change at once, and costs one sleeping thread."""

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from appliance.errors import LedgerError
from appliance.ledger import Ledger, worklist

log = logging.getLogger("echocart.webui")

MOST_OF_ONE = 8  # streams of one user: more are tabs that somebody forgot
MOST = 32  # of all; `server.THREADS` leaves as many threads for everything else
BEAT_S = 10.0  # the page takes a stream that is silent for three beats for dead
LONGEST_S = 300.0  # then the page opens it again, and is asked again who it is
_LOOK_S = 1.0
_CALM_S = 0.2  # between two tellings: a study that arrives is a hundred changes


class TooManyStreams(Exception):
    """This user, or all together, have as many streams open as the box has threads for."""


class Streams:
    """The streams of a process, and the one thread that watches the ledger for all of them.

    Parameters
    ----------
    state_dir
        The box's; the watching thread opens the ledger for itself, while a stream is open.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._turn = threading.Condition()
        self._users: Counter[str] = Counter()
        self._version = 0
        self._watching = False
        self._ended = False
        self._stopping: Callable[[], bool] = lambda: False

    def stop_when(self, stopping: Callable[[], bool]) -> None:
        """End every stream as soon as `stopping` says so; asked fifty times a second."""
        self._stopping = stopping

    def join(self, user: str, version: int) -> None:
        """Count a stream in; `leave` ends it.

        Parameters
        ----------
        user
            Whose it is.
        version
            `worklist.version` as it is now.

        Raises
        ------
        TooManyStreams
            When it would be one too many.
        """
        with self._turn:
            if self._users[user] >= MOST_OF_ONE or self._users.total() >= MOST:
                raise TooManyStreams
            self._users[user] += 1
            self._version = max(self._version, version)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="streams", daemon=True).start()

    def leave(self, user: str) -> None:
        """Count a stream out."""
        with self._turn:
            self._users[user] -= 1
            if not self._users[user]:
                del self._users[user]

    def events(
        self,
        news: Callable[[int], tuple[int, str]],
        over: Callable[[], bool],
        gone: Callable[[], bool] = lambda: False,
    ) -> Iterator[str]:
        """Give the text of a stream (HTML Living Standard 9.2): the version, at each change.

        A comment at once, so that the page knows of the connection; the version again at each
        beat, so that it knows of a dead one.

        Parameters
        ----------
        news
            Gives the present version, and the event that goes before it: what has changed since
            another one.
        over
            Whether the session it was opened in has ended, which ends the stream.
        gone
            Whether the page has left, which ends it too; asked each second. A stream learns of
            that only when it writes, and somebody who turns pages would soon have none left.
        """
        yield ": here\n\nretry: 2000\n\n"
        end = time.monotonic() + LONGEST_S
        told, text = self._version, ""
        while not self._ended and time.monotonic() < end and not over():
            yield f"{text}data: {told}\n\n"
            if self._is_left(told, gone):
                return
            told, text = news(told) if self._version > told else (told, "")

    def _is_left(self, told: int, gone: Callable[[], bool]) -> bool:
        """Wait for another version, or the beat."""
        beat = time.monotonic() + BEAT_S
        with self._turn:
            while not self._ended and self._version <= told and time.monotonic() < beat:
                self._turn.wait(_LOOK_S)
                if gone():
                    return True
        return False

    def _watch(self) -> None:
        ledger: Ledger | None = None
        while self._wanted():
            try:
                ledger = ledger or Ledger(self._state_dir)
                changed = ledger.wait_for_change(self._pause, _LOOK_S)
                if changed and self._tell(worklist.version(ledger)):
                    self._pause(_CALM_S)
            except (sqlite3.Error, LedgerError) as error:
                log.warning("the ledger can't be watched (%s)", type(error).__name__)
                self._pause(_LOOK_S)
        if ledger:
            ledger.close()

    def _wanted(self) -> bool:
        with self._turn:
            self._ended = self._ended or self._stopping()
            if self._ended:
                self._turn.notify_all()
            self._watching = self._users.total() > 0 and not self._ended
            return self._watching

    def _pause(self, seconds: float) -> bool:
        time.sleep(seconds)
        return self._stopping()

    def _tell(self, version: int) -> bool:
        with self._turn:
            if version == self._version:
                return False
            self._version = version
            self._turn.notify_all()
            return True
