"""What a person drew, made into label maps in the spool and into measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance import labels, masks
from appliance.cine import Timing
from appliance.ledger import Ledger, worklist
from appliance.measures import (
    FrameMeasures,
    draws_heart,
    frame_measures,
    isotropic,
    measure,
    unviewed,
)
from appliance.sector import Geometry
from appliance.spool import Spool
from appliance.views import NO_VIEW

_CHUNK_FRAMES = 8  # label maps of so many frames in one file
_LOBE_PX = 16.0  # square source pixels: a smaller loop is a hand that trembled (`shape.js`)

Polygon = npt.NDArray[np.float64]
Drawn = Mapping[int, Mapping[int, Polygon]]  # frame, label value: float64 [n, 2] (x, y)


@dataclass(frozen=True)
class Correction:
    """A correction ready for the ledger.

    Attributes
    ----------
    chunks
        First frame, frame count and SHA-256 of each chunk of corrected label maps.
    geometry
        `Geometry.to_dict()` of those: the whole source frame.
    measures
        `Measures.to_dict()` of the loop with the correction in it.
    """

    chunks: list[tuple[int, int, str]]
    geometry: dict[str, Any]
    measures: dict[str, Any]


def crosses_itself(line: Polygon) -> bool:
    """Tell whether a closed line cuts a loop off itself that is large enough to be seen.

    Parameters
    ----------
    line
        float64 [n, 2] (x, y) in source pixels.
    """
    steps = np.roll(line, -1, axis=0) - line
    to = line[None] - line[:, None]  # from each point to each
    side = steps[:, None, 0] * to[..., 1] - steps[:, None, 1] * to[..., 0]
    # Whether each point and the one behind it lie on different sides of each segment.
    parted = side * np.roll(side, -1, axis=1) < 0
    for i, j in np.argwhere(np.triu(parted & parted.T, 2)):
        at = side[i, j] / (side[i, j] - side[i, (j + 1) % len(line)])
        cut = line[j] + at * steps[j]
        inner = np.vstack([cut, line[i + 1 : j + 1]])
        outer = np.vstack([cut, line[j + 1 :], line[: i + 1]])
        if min(_area(inner), _area(outer)) > _LOBE_PX:
            return True
    return False


def _area(line: Polygon) -> float:
    x, y = line.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def correct(
    ledger: Ledger,
    spool: Spool,
    analysis: Mapping[str, Any],
    drawn: Drawn,
    base_review: int | None,
    marks: tuple[int | None, int | None],
) -> Correction:
    """Make a correction durable and measure the loop with it.

    Parameters
    ----------
    ledger, spool
        The box's.
    analysis
        Row of the analysis that is corrected.
    drawn
        The contours a person changed, in source pixels.
    base_review
        An earlier correction that this one goes on from; None begins at the model's.
    marks
        Frames (from 0) of ED and ES that a person saw and kept or chose; None where none.

    Raises
    ------
    SpoolError
        When label maps can't be read or written.
    """
    kept = worklist.review_chunks(ledger, base_review) if base_review else []
    maps = (
        labels.of_review(ledger, spool, base_review)
        if base_review
        else labels.of_analysis(ledger, spool, analysis["id"])
    )
    geometry = Geometry.from_dict(analysis["geometry"])
    changed = {frame for row in kept for frame in _frames(row)} | set(drawn)
    chunks, corrected = [], {}
    for run in _runs(sorted(changed)):
        drawn_maps = [_apply(maps.frame(index), drawn.get(index, {})) for index in run]
        chunks.append((run[0], len(run), spool.put_chunk(masks.encode_chunk(np.stack(drawn_maps)))))
        for index, label_map in zip(run, drawn_maps, strict=True):
            corrected[index] = _measure(label_map, geometry, analysis["calibration"])
    whole = Geometry.identity(geometry.rows, geometry.columns)
    measures = _measures(analysis, corrected, geometry, marks)
    return Correction(chunks, whole.to_dict(), measures)


def _runs(frames: Sequence[int]) -> list[list[int]]:
    """Neighbouring frames together: what is carried to many is a few durable writes."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][-1] + 1 and len(runs[-1]) < _CHUNK_FRAMES:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    return runs


def _frames(row: Mapping[str, int]) -> range:
    return range(row["first_frame"], row["first_frame"] + row["frame_count"])


def _apply(label_map: masks.LabelMap, contours: Mapping[int, Polygon]) -> masks.LabelMap:
    """Draw in the order of rising labels: where two were drawn over each other, the outer wins."""
    for label in sorted(contours):
        label_map = masks.apply_contour(label_map, label, contours[label])
    return label_map


def _measure(
    label_map: masks.LabelMap, geometry: Geometry, calibration: Mapping[str, Any]
) -> FrameMeasures:
    """Measure a source map in the model's own pixels, so that it stands beside the other frames."""
    found = frame_measures(isotropic(label_map, calibration["aspect"]))
    return found.scaled(geometry.scale_x)


def _measures(
    analysis: Mapping[str, Any],
    corrected: Mapping[int, FrameMeasures],
    geometry: Geometry,
    marks: tuple[int | None, int | None],
) -> dict[str, Any]:
    if not draws_heart(analysis["labels"]):
        return dict(analysis["measures"])  # nothing is measured, and why
    per_frame = [FrameMeasures.from_dict(row) if row else None for row in analysis["per_frame"]]
    for index, found in corrected.items():
        per_frame[index] = found
    calibration = analysis["calibration"]
    side = calibration["mm_per_px_x"] / geometry.scale_x if calibration["trusted"] else None
    stored = analysis["timing"]
    timing = Timing(**{**stored, "frame_times_ms": tuple(stored["frame_times_ms"])})
    reason = calibration["reason"]
    ed, es = marks
    doubtful = {
        index
        for index, row in enumerate(analysis["per_frame"])
        if row and row.get("doubt") and index not in corrected
    }
    measured = measure(per_frame, timing, side, reason, ed=ed, es=es, doubtful=doubtful)
    told = analysis["measures"].get("withheld", {}).get("ef_percent") != NO_VIEW
    return (measured if told else unviewed(measured)).to_dict()
