"""Where label maps go as they come: held back until the loop looks like a heart, then shown."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from appliance.engine.pipeline import Chunk, Frame
from appliance.engine.quality import FrameShape, Quality, judge
from appliance.errors import LedgerError
from appliance.ledger import Ledger, analysis
from appliance.spool import Spool


class Interrupted(Exception):
    """The work on a loop must end now: its lease was lost, or the service is stopping."""


class Publisher:
    """Stores the chunks of one analysis and renews its lease with each.

    Parameters
    ----------
    ledger, spool
        Where to.
    claim
        The lease.
    opened
        What the analysis is made with.
    lease_s
        Seconds each renewal lasts.
    stopping
        Tells whether the service was asked to stop.
    looks_right
        Judges the shapes of the frames seen so far, of so many.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        claim: analysis.Claim,
        opened: analysis.Opened,
        lease_s: float,
        stopping: Callable[[], bool],
        looks_right: Callable[[Sequence[FrameShape], int], Quality] = judge,
    ) -> None:
        self._ledger, self._spool = ledger, spool
        self._claim, self._opened = claim, opened
        self._lease_s, self._stopping = lease_s, stopping
        self._looks_right = looks_right
        self._shapes: list[FrameShape] = []
        self._seen = 0
        self._held: list[Chunk] = []
        self.analysis_id: int | None = None
        self.first_masks_at: float | None = None  # time.perf_counter()

    def __call__(self, chunk: Chunk) -> None:
        """Store a chunk, or hold it back while what was seen so far doesn't pass the gate.

        Nobody is shown the outlines of something that isn't a heart.

        Raises
        ------
        Interrupted
            When the lease was lost or the service stops.
        SpoolError
            When the chunk can't be made durable.
        """
        if self._stopping():
            raise Interrupted
        self._held.append(chunk)
        if self.analysis_id is None and self._looks_like_a_heart(chunk):
            with _leased():
                self.analysis_id = analysis.open(self._ledger, self._claim, self._opened)
        if self.analysis_id is not None:
            self._flush(self.analysis_id)
        elif not analysis.renew(self._ledger, self._claim, self._lease_s):
            raise Interrupted

    def judged(self, frames: Sequence[Frame]) -> Quality:
        """Judge the whole loop."""
        shapes = [frame.shape for frame in frames if frame.shape is not None]
        return self._looks_right(shapes, len(frames))

    def finish(self) -> int:
        """Store what is still held back, for a loop that passed; returns the analysis' id."""
        if self.analysis_id is None:
            self.analysis_id = analysis.open(self._ledger, self._claim, self._opened)
        self._flush(self.analysis_id)
        return self.analysis_id

    def _looks_like_a_heart(self, chunk: Chunk) -> bool:
        """Judge what was seen so far; asked until it does, and no more then."""
        self._seen += len(chunk.frames)
        self._shapes += [frame.shape for frame in chunk.frames if frame.shape is not None]
        return self._looks_right(self._shapes, self._seen).passed

    def _flush(self, analysis_id: int) -> None:
        for chunk in self._held:
            sha256 = self._spool.put_chunk(chunk.data)
            certainty = self._spool.put_chunk(chunk.certainty)
            place = (chunk.first_frame, len(chunk.frames))
            with _leased():
                analysis.add_chunk(
                    *(self._ledger, self._claim, analysis_id, *place, sha256, certainty),
                    lease_s=self._lease_s,
                )
            self.first_masks_at = self.first_masks_at or time.perf_counter()
        self._held.clear()


@contextmanager
def _leased() -> Iterator[None]:
    try:
        yield
    except LedgerError as error:  # the ledger's word for a lease that somebody else has
        raise Interrupted from error
