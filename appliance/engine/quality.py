"""The shape gate: no mask is better than a wrong one.

A network always draws something. What it drew on a loop counts as a heart only if it looks and
moves like one; otherwise the loop is kept without measures and the reason is shown.

The limits lie between what was seen on hearts (two SonoSite loops of one person, the phantom,
and for single frames the 200 CAMUS validation frames) and on what must be refused (one child's
heart in another view, drawn air and speckle, hearts turned by 90 and 180 degrees). That is few
people: a site's refused and accepted loops are what will move them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.masks import LabelMap, outline
from appliance.measures.chambers import LA, LV, MYOCARDIUM, touching

SHARE_OF_FRAMES = 0.8  # of the readable frames must show what a heart shows
SHARE_WITH_ATRIUM = 0.5  # of them: a short atrium is lost in some diastolic frames
SHARE_READABLE = 0.5  # of all frames must decode
LV_OF_FAN = (0.02, 0.5)  # cavity over fan, by area: hearts 0.04 to 0.43
WALL_OF_FAN = (0.03, 0.5)  # myocardium over fan: hearts 0.07 to 0.42
WALL_AROUND = 0.65  # of the cavity's outline lies on myocardium: hearts 0.73 to 0.91
ATRIUM_AT_BASE = 0.05  # of the cavity's outline lies on the atrium: hearts 0.11 to 0.25, rarely 0
CONFIDENCE_LV = 0.92  # median over frames: hearts 0.97, a non-standard view 0.92, speckle 0.83
CONFIDENCE_WALL = 0.87  # median over frames: hearts 0.90 to 0.94, everything else up to 0.84
STEADINESS = 0.8  # median overlap (IoU) of the cavity with the frame before: hearts 0.91 to 0.99

GOOD_WALL, GOOD_STEADINESS = 0.925, 0.9  # from here on the word on the page is "good"

_LEAD = "No apical heart could be recognised"


@dataclass(frozen=True)
class FrameShape:
    """What one tidied label map looks like.

    Attributes
    ----------
    lv_of_fan, wall_of_fan
        Areas over the fan's.
    wall_around, atrium_at_base
        Shares of the cavity's outline that lie on myocardium and on the atrium.
    atrium_below
        The atrium lies on the far side of the cavity from the probe.
    confidence
        Mean winning probability over background, cavity, wall and atrium.
    overlap
        IoU of the cavity with that of the frame before; None for the first.
    """

    lv_of_fan: float
    wall_of_fan: float
    wall_around: float
    atrium_at_base: float
    atrium_below: bool
    confidence: tuple[float, ...]
    overlap: float | None


@dataclass(frozen=True)
class Quality:
    """The gate's verdict: `reason` is empty when the loop passes; `figures` are what it saw."""

    reason: str
    figures: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether measures may be shown."""
        return not self.reason

    @property
    def word(self) -> str:
        """How the page calls it."""
        good = (
            self.figures.get("confidence_wall", 0.0) >= GOOD_WALL
            and self.figures.get("steadiness", 0.0) >= GOOD_STEADINESS
        )
        return "good picture" if good else "fair picture"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a ledger row."""
        return {"passed": self.passed, "word": self.word, **asdict(self)}


def frame_shape(
    labels: LabelMap,
    confidence: npt.NDArray[np.float32],
    fan_area: float,
    before: LabelMap | None,
) -> FrameShape:
    """Look at one tidied label map.

    Parameters
    ----------
    labels, before
        uint8 [rows, columns]; the frame before, None for the first.
    confidence
        float32 [classes], of the network.
    fan_area
        Pixels of the fan on the map.
    """
    cavity = labels == LV
    border = outline(labels, LV)
    wall = float(touching(labels, MYOCARDIUM, border).mean()) if len(border) else 0.0
    base = float(touching(labels, LA, border).mean()) if len(border) else 0.0
    return FrameShape(
        lv_of_fan=np.count_nonzero(cavity) / max(1.0, fan_area),
        wall_of_fan=np.count_nonzero(labels == MYOCARDIUM) / max(1.0, fan_area),
        wall_around=wall,
        atrium_at_base=base,
        atrium_below=_height(labels, LA) > _height(labels, LV),
        confidence=tuple(float(value) for value in confidence),
        overlap=None if before is None else _overlap(cavity, before == LV),
    )


def judge(shapes: Sequence[FrameShape], frames: int) -> Quality:
    """Decide whether a loop shows an apical heart.

    Parameters
    ----------
    shapes
        Of every readable frame, in order.
    frames
        Frames of the loop, the damaged ones too.
    """
    if not shapes or len(shapes) < SHARE_READABLE * frames:
        reason = "Most frames of this loop are damaged."
        return Quality(reason, {"readable": len(shapes) / max(1, frames)})
    figures = _figures(shapes) | {"readable": len(shapes) / max(1, frames)}
    rules = (
        ("ventricle", SHARE_OF_FRAMES, "the left ventricle is not seen in most frames"),
        ("wall", SHARE_OF_FRAMES, "what looks like a ventricle has no wall around it"),
        ("atrium", SHARE_WITH_ATRIUM, "no left atrium is seen below the ventricle"),
        ("confidence_lv", CONFIDENCE_LV, "the picture is too unclear, or it is another view"),
        ("confidence_wall", CONFIDENCE_WALL, "the picture is too unclear, or it is another view"),
        ("steadiness", STEADINESS, "the outlines jump from frame to frame"),
    )
    failed = next((why for name, limit, why in rules if figures[name] < limit), "")
    return Quality(f"{_LEAD}: {failed}." if failed else "", figures)


def _figures(shapes: Sequence[FrameShape]) -> dict[str, float]:
    confidence = np.median([shape.confidence for shape in shapes], axis=0)
    overlaps = [shape.overlap for shape in shapes if shape.overlap is not None]
    return {
        "ventricle": _share([_within(s.lv_of_fan, LV_OF_FAN) for s in shapes]),
        "wall": _share([_has_wall(s) for s in shapes]),
        "atrium": _share([s.atrium_at_base >= ATRIUM_AT_BASE and s.atrium_below for s in shapes]),
        "confidence_lv": float(confidence[LV]),
        "confidence_wall": float(confidence[MYOCARDIUM]),
        "steadiness": float(np.median(overlaps)) if overlaps else 0.0,
    }


def _has_wall(shape: FrameShape) -> bool:
    return _within(shape.wall_of_fan, WALL_OF_FAN) and shape.wall_around >= WALL_AROUND


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _height(labels: LabelMap, label: int) -> float:
    """Mean row of a structure, counted from the probe; -1 when it is absent."""
    rows = np.count_nonzero(labels == label, axis=1)
    total = int(rows.sum())
    return float((rows * np.arange(len(rows))).sum()) / total if total else -1.0


def _overlap(cavity: npt.NDArray[np.bool_], before: npt.NDArray[np.bool_]) -> float:
    union = np.count_nonzero(cavity | before)
    return np.count_nonzero(cavity & before) / union if union else 0.0
