"""The label maps in force for a loop: the model's, with a person's corrections on top.

The page draws from here and the SEG is written from here, so that what was seen is what is sent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance import masks
from appliance.errors import LedgerError
from appliance.ledger import Ledger, worklist
from appliance.sector import Geometry
from appliance.spool import Spool

LabelMap = NDArray[np.uint8]


@dataclass(frozen=True)
class _Chunk:
    first_frame: int
    frame_count: int
    sha256: str
    geometry: Geometry


class LoopLabels:
    """The label maps of one loop, read chunk by chunk.

    Parameters
    ----------
    spool
        Where the chunks are.
    frames
        Number of frames of the loop.
    chunks
        The chunks in force; a later one hides an earlier one for the frames both hold.
    like
        Label maps of the same loop: what they have decoded isn't decoded again.
    """

    def __init__(
        self, spool: Spool, frames: int, chunks: list[_Chunk], like: "LoopLabels | None" = None
    ) -> None:
        self.frames = frames
        self._of_frame = {
            index: chunk
            for chunk in chunks
            for index in range(chunk.first_frame, chunk.first_frame + chunk.frame_count)
        }
        # The frames of a chunk are asked for one after the other: hold the last chunks only. Not by
        # a method of this object: a cycle would keep megabytes until a collector looks for it.
        self._decode: Callable[[_Chunk], LabelMap] = (
            like._decode if like else lru_cache(maxsize=4)(partial(_read, spool))
        )

    @property
    def available(self) -> int:
        """Frames that have a label map, counted from the first without a gap."""
        return next((i for i in range(self.frames) if i not in self._of_frame), self.frames)

    def has(self, index: int) -> bool:
        """Tell whether frame `index` (from 0) has a label map yet."""
        return index in self._of_frame

    def frame(self, index: int) -> LabelMap:
        """Return the label map of frame `index` (from 0) in source pixels.

        Returns
        -------
        ndarray of uint8, shape (Rows, Columns)

        Raises
        ------
        IndexError
            When that frame has no label map (yet).
        SpoolError
            When its chunk is missing or damaged.
        """
        labels, geometry = self.stored(index)
        return masks.labels_in_source(labels, geometry)

    def stored(self, index: int) -> tuple[LabelMap, Geometry]:
        """Return the label map of a frame as it is stored, and where its pixels lie."""
        if index not in self._of_frame:
            raise IndexError(f"frame {index} has no label map")
        chunk = self._of_frame[index]
        return self._decode(chunk)[index - chunk.first_frame], chunk.geometry


def _read(spool: Spool, chunk: _Chunk) -> LabelMap:
    return masks.decode_chunk(spool.read_chunk(chunk.sha256), chunk.frame_count)


def of_analysis(ledger: Ledger, spool: Spool, analysis_id: int) -> LoopLabels:
    """Return the model's label maps of an analysis, as many as there are yet.

    Raises
    ------
    LedgerError
        When there is no such analysis.
    """
    analysis = worklist.analysis(ledger, analysis_id)
    if analysis is None:
        raise LedgerError("read label maps", f"there is no analysis {analysis_id}", "Reload.")
    chunks = _chunks(worklist.chunks(ledger, analysis_id), analysis["geometry"])
    return LoopLabels(spool, analysis["frames"], chunks)


def of_review(
    ledger: Ledger, spool: Spool, review_id: int, drawn: LoopLabels | None = None
) -> LoopLabels:
    """Return the label maps a review stands for: the analysis it names, with its corrections.

    `drawn` are that analysis's own, where they are at hand.

    Raises
    ------
    LedgerError
        When there is no such review.
    """
    review = worklist.review(ledger, review_id)
    if review is None:
        raise LedgerError("read label maps", f"there is no review {review_id}", "Reload.")
    model = drawn or of_analysis(ledger, spool, review["analysis_id"])
    corrected = worklist.review_chunks(ledger, review_id)
    changed = _chunks(corrected, review["geometry"]) if corrected else []
    return LoopLabels(spool, model.frames, [*_in_force(model), *changed], model)


def _in_force(labels: LoopLabels) -> list[_Chunk]:
    return list(dict.fromkeys(labels._of_frame.values()))


def _chunks(rows: list[dict[str, Any]], geometry: dict[str, Any]) -> list[_Chunk]:
    where = Geometry.from_dict(geometry)
    return [_Chunk(r["first_frame"], r["frame_count"], r["sha256"], where) for r in rows]
