"""One writer for the rows of all associations: what waits together is committed together."""

from collections.abc import Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread

from appliance.ledger import Ledger, reception
from appliance.ledger.reception import Received, Recorded

_MOST = 32  # rows in one commit: no transaction over 50 ms

_Waiting = tuple[Received, "Future[Recorded]"]


class Recorder:
    """A thread that writes the rows of received objects.

    SQLite has one writer: senders that wait in line here don't wait in its busy handler, which
    sleeps up to 100 ms, and an association doesn't pay for opening the file.

    Parameters
    ----------
    ledger
        The box's ledger.
    originals
        Destinations that get every object as it came.
    """

    def __init__(self, ledger: Ledger, originals: Sequence[str]) -> None:
        self._ledger = ledger
        self._originals = originals
        self._queue: SimpleQueue[_Waiting] = SimpleQueue()
        Thread(target=self._work, name="ledger", daemon=True).start()

    def record(self, received: Received) -> Recorded:
        """Write a row and wait until it is on disk (see `reception.record`).

        Raises
        ------
        sqlite3.Error
            When the ledger didn't take it.
        """
        future: Future[Recorded] = Future()
        self._queue.put((received, future))
        return future.result()

    def _work(self) -> None:
        while True:
            batch = self._together()
            try:
                self._commit(batch)
            except Exception as error:  # noqa: BLE001
                # One that can't be recorded must not fail the others: each by itself.
                if len(batch) == 1:
                    batch[0][1].set_exception(error)
                    continue
                for one in batch:
                    self._alone(one)

    def _alone(self, one: _Waiting) -> None:
        try:
            self._commit([one])
        except Exception as error:  # noqa: BLE001
            # Whatever it was, the association that waits for it decides what to tell.
            one[1].set_exception(error)

    def _commit(self, batch: list[_Waiting]) -> None:
        rows = reception.record_all(self._ledger, [one[0] for one in batch], self._originals)
        for (_, future), recorded in zip(batch, rows, strict=True):
            future.set_result(recorded)

    def _together(self) -> list[_Waiting]:
        batch = [self._queue.get()]
        try:
            while len(batch) < _MOST:
                batch.append(self._queue.get_nowait())
        except Empty:
            pass  # nobody else waits: what is here is the batch
        return batch
