"""One object while it arrives: its bytes go to the disk as they come, its fate is told at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from appliance.part10.meta import file_meta
from appliance.scp.arriving import ArrivingFile

if TYPE_CHECKING:
    from appliance.ledger.reception import Recorded
    from appliance.scp.store import Announced, Store

_ROOM_STRIDE = 8 << 20  # bytes after which the free space is looked at again


class Incoming:
    """An object whose C-STORE command has come (see `Store.begin`). For one thread.

    Exactly one of `finish` and `drop` ends it. Until then a failure is only remembered: the
    sender's data set must be read to its end before it can be answered.
    """

    def __init__(self, store: Store, announced: Announced, TransferSyntaxUID: str) -> None:
        self._store = store
        self._announced = announced
        self._file: ArrivingFile | None = None
        self._failure: Exception | None = None
        self._room_known_until = _ROOM_STRIDE
        self._began = time.perf_counter()
        self._ended = False
        self._attempt(lambda: self._open(TransferSyntaxUID))

    def write(self, fragment: bytes | memoryview) -> None:
        """Take the next bytes of the data set; never raises.

        Parameters
        ----------
        fragment
            Its buffer may be used again once this returns.
        """
        if self._failure is None:
            self._attempt(lambda: self._append(fragment))

    def finish(self) -> tuple[int, str]:
        """Keep the object, or leave nothing of it; never raises.

        Returns
        -------
        status, comment
            Of the C-STORE response (PS3.4 B.2.3): 0x0000 only once file, folder and row are on
            disk.
        """
        self._ended = True
        self._store.metrics.took("receive", time.perf_counter() - self._began)
        try:
            return self._store.answer(self._keep)
        finally:
            self._discard()

    def drop(self) -> None:
        """Leave nothing of it: the association has ended. Nothing happens after `finish`."""
        if not self._ended:
            self._ended = True
            self._store.metrics.count("broken_off")
        self._discard()

    def _discard(self) -> None:
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _open(self, TransferSyntaxUID: str) -> None:
        self._store.require_room()
        self._file = self._store.arriving()
        said = self._announced
        self._file.write(file_meta(said.SOPClassUID, said.SOPInstanceUID, TransferSyntaxUID))

    def _append(self, fragment: bytes | memoryview) -> None:
        assert self._file is not None
        self._file.write(fragment)
        if self._file.size >= self._room_known_until:
            self._store.require_room()
            self._room_known_until = self._file.size + _ROOM_STRIDE

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001
            # Told at the end. What is written so far only takes room until then.
            self._failure = error
            self._discard()

    def _keep(self) -> Recorded:
        if self._failure is not None:
            raise self._failure
        assert self._file is not None
        return self._store.keep(self._file, self._announced)
