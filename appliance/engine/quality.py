"""The shape gate: no mask is better than a wrong one.

`implausible` judges a frame, `judge` a loop.

A network always draws something. What it drew on a loop counts as a heart only if it looks and
moves like one; otherwise the loop is kept without measures and the reason is shown.

The limits lie between what was seen on hearts (two SonoSite loops of one person, the phantom,
and for single frames the 200 CAMUS validation frames) and on what must be refused (one child's
heart in another view, drawn air and speckle, hearts turned by 90 and 180 degrees). That is few
people: a site's refused and accepted loops are what will move them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from appliance.masks import LabelMap, outline
from appliance.measures.chambers import LA, LV, MYOCARDIUM, Around

STRUCTURES = (LV, MYOCARDIUM, LA)

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
STEADINESS_ASKED = 0.7  # where a person says it is a heart: speckle 0.67, a heart on its head 0.95

GOOD_WALL, GOOD_STEADINESS = 0.925, 0.9  # from here on the word on the page is "good"

# Of one frame. Wider than a loop's: one frame is believed unless it can't be a heart's.
SPLIT = 0.05  # of a structure's pixels lie apart from its largest piece
JUMP = 0.7  # IoU of the cavity with the two frames before: the fastest systole leaves 0.8
# cm2, where the calibration is trusted: from a child's heart to a grossly dilated one.
AREA_CM2 = {LV: (2.0, 110.0), MYOCARDIUM: (3.0, 110.0), LA: (0.5, 90.0)}
_NAMES = {LV: "left ventricle", MYOCARDIUM: "myocardium", LA: "left atrium"}

_LEAD = "No apical heart could be recognised"
_VENTRICLE, _STEADY = "ventricle", "steadiness"


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
    overlap, overlap_two
        IoU of the cavity with that of the frame before, and of two before; None where there is
        none.
    split
        Share of the pixels of cavity, wall and atrium that lay apart from the largest piece of
        each, before the map was tidied.
    areas_cm2
        Of cavity, wall and atrium; None without a trusted calibration.
    certainty
        Mean certainty along the outline of cavity, wall and atrium, 0..1; 0 when absent.
    """

    lv_of_fan: float
    wall_of_fan: float
    wall_around: float
    atrium_at_base: float
    atrium_below: bool
    confidence: tuple[float, ...]
    overlap: float | None
    overlap_two: float | None = None
    split: tuple[float, ...] = (0.0, 0.0, 0.0)
    areas_cm2: tuple[float, ...] | None = None
    certainty: tuple[float, ...] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Quality:
    """The gate's verdict.

    Attributes
    ----------
    reason
        Why nothing is shown of the loop; "" when it passes.
    figures
        What the gate saw.
    doubt
        What would have been the reason, had no person asked for the loop.
    """

    reason: str
    figures: dict[str, float]
    doubt: str = ""

    @property
    def passed(self) -> bool:
        """Whether measures may be shown."""
        return not self.reason

    @property
    def word(self) -> str:
        """How the page calls it."""
        if self.doubt:
            return "doubtful"
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
    *,
    before_two: LabelMap | None = None,
    raw: LabelMap | None = None,
    certainty: npt.NDArray[np.uint8] | None = None,
    mm_per_px: float | None = None,
    outlines: Mapping[int, npt.NDArray[np.int32]] | None = None,
    around: Around | None = None,
) -> FrameShape:
    """Look at one tidied label map.

    Parameters
    ----------
    labels, before, before_two
        uint8 [rows, columns]; the frame before and the one before that, None where there is none.
    confidence
        float32 [classes], of the network.
    fan_area
        Pixels of the fan on the map.
    raw
        uint8 [rows, columns], the map before it was tidied.
    certainty
        uint8 [rows/4, columns/4], of the network.
    mm_per_px
        Side of a map pixel; None when the calibration isn't trusted.
    outlines, around
        `masks.outline` of each structure, and what lies around the cavity's, where the caller has
        them already.
    """
    cavity = labels == LV
    outlines = outlines or {label: outline(labels, label) for label in STRUCTURES}
    border = outlines[LV]
    pixels = {label: float(np.count_nonzero(labels == label)) for label in STRUCTURES}
    around = around or Around.of(labels, border)
    wall = float(around.wall.mean()) if len(border) else 0.0
    base = float(around.atrium.mean()) if len(border) else 0.0
    return FrameShape(
        lv_of_fan=pixels[LV] / max(1.0, fan_area),
        wall_of_fan=pixels[MYOCARDIUM] / max(1.0, fan_area),
        wall_around=wall,
        atrium_at_base=base,
        atrium_below=_height(labels, LA) > _height(labels, LV),
        confidence=tuple(float(value) for value in confidence),
        overlap=None if before is None else _overlap(cavity, before == LV),
        overlap_two=None if before_two is None else _overlap(cavity, before_two == LV),
        split=_split(labels, raw, pixels),
        areas_cm2=None
        if mm_per_px is None
        else tuple(pixels[label] * (mm_per_px / 10) ** 2 for label in STRUCTURES),
        certainty=tuple(along(certainty, outlines[label], labels.shape[0]) for label in STRUCTURES),
    )


def along(certainty: npt.NDArray[np.uint8] | None, line: npt.NDArray[np.int32], rows: int) -> float:
    """Mean certainty, 0..1, in the blocks that an outline, int32 [n, 2] (x, y), runs through."""
    if certainty is None or not len(line):
        return 0.0
    block = rows // certainty.shape[0]
    return float(certainty[line[:, 1] // block, line[:, 0] // block].mean()) / 255


def implausible(shape: FrameShape) -> str:
    """Return why one frame's outlines can't be a heart's, for a sonographer; "" when they can.

    One coherent piece each, the wall around the ventricle, the atrium below it, sizes of a heart,
    and no jump out of the two frames before: after a wrong frame the next right one agrees with
    the frame before that.
    """
    rules = (
        (not _within(shape.lv_of_fan, LV_OF_FAN), "The left ventricle has no plausible size."),
        (not _within(shape.wall_of_fan, WALL_OF_FAN), "The myocardium has no plausible size."),
        (shape.wall_around < WALL_AROUND, "The myocardium doesn't surround the left ventricle."),
        (shape.atrium_at_base < ATRIUM_AT_BASE, "No left atrium at the ventricle's base."),
        (not shape.atrium_below, "The left atrium doesn't lie below the ventricle."),
        (_jumps(shape), "The left ventricle jumps from the frame before."),
    )
    broken = next((words for wrong, words in rules if wrong), "")
    return broken or _in_pieces(shape) or _oversized(shape)


def _in_pieces(shape: FrameShape) -> str:
    for label, share in zip(STRUCTURES, shape.split, strict=True):
        if share > SPLIT:
            return f"The {_NAMES[label]} is in several pieces."
    return ""


def _oversized(shape: FrameShape) -> str:
    for label, area in zip(STRUCTURES, shape.areas_cm2 or (), strict=False):
        if not _within(area, AREA_CM2[label]):
            return f"The {_NAMES[label]} would be {area:.3g} cm² large."
    return ""


def _jumps(shape: FrameShape) -> bool:
    """Whether the cavity agrees with neither of the two frames before."""
    seen = [value for value in (shape.overlap, shape.overlap_two) if value is not None]
    return bool(seen) and max(seen) < JUMP


def judge(shapes: Sequence[FrameShape], frames: int, *, asked: bool = False) -> Quality:
    """Decide whether a loop shows an apical heart.

    Parameters
    ----------
    shapes
        Of every readable frame, in order.
    frames
        Frames of the loop, the damaged ones too.
    asked
        Whether a person has said which apical view this is: then only a ventricle that isn't
        found, or jumps, is a reason; anything else is a doubt that is shown with the result.
    """
    if not shapes or len(shapes) < SHARE_READABLE * frames:
        reason = "Most frames of this loop are damaged."
        return Quality(reason, {"readable": len(shapes) / max(1, frames)})
    figures = _figures(shapes) | {"readable": len(shapes) / max(1, frames)}
    rules = (
        (_VENTRICLE, SHARE_OF_FRAMES, "the left ventricle is not seen in most frames"),
        ("wall", SHARE_OF_FRAMES, "what looks like a ventricle has no wall around it"),
        ("atrium", SHARE_WITH_ATRIUM, "no left atrium is seen below the ventricle"),
        ("confidence_lv", CONFIDENCE_LV, "the picture is too unclear, or it is another view"),
        ("confidence_wall", CONFIDENCE_WALL, "the picture is too unclear, or it is another view"),
        (_STEADY, STEADINESS, "the outlines jump from frame to frame"),
    )
    failed = {name: why for name, limit, why in rules if figures[name] < limit}
    if not failed:
        return Quality("", figures)
    why = next(iter(failed.values()))
    if not asked:
        return Quality(f"{_LEAD}: {why}.", figures)
    if _VENTRICLE in failed or figures[_STEADY] < STEADINESS_ASKED:
        return Quality(f"{_LEAD}: {failed.get(_VENTRICLE) or failed[_STEADY]}.", figures)
    return Quality("", figures, f"Doubtful: {why}.")


def _figures(shapes: Sequence[FrameShape]) -> dict[str, float]:
    confidence = np.median([shape.confidence for shape in shapes], axis=0)
    overlaps = [shape.overlap for shape in shapes if shape.overlap is not None]
    return {
        _VENTRICLE: _share([_within(s.lv_of_fan, LV_OF_FAN) for s in shapes]),
        "wall": _share([_has_wall(s) for s in shapes]),
        "atrium": _share([s.atrium_at_base >= ATRIUM_AT_BASE and s.atrium_below for s in shapes]),
        "confidence_lv": float(confidence[LV]),
        "confidence_wall": float(confidence[MYOCARDIUM]),
        _STEADY: float(np.median(overlaps)) if overlaps else 0.0,
    }


def _has_wall(shape: FrameShape) -> bool:
    return _within(shape.wall_of_fan, WALL_OF_FAN) and shape.wall_around >= WALL_AROUND


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _height(labels: LabelMap, label: int) -> float:
    """Mean row of a structure, counted from the probe; -1 when it is absent."""
    found = (labels == label).view(np.uint8)
    rows = cv2.reduce(found, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
    total = int(rows.sum())
    return float((rows * np.arange(len(rows))).sum()) / total if total else -1.0


def _split(
    labels: LabelMap, raw: LabelMap | None, pixels: Mapping[int, float]
) -> tuple[float, ...]:
    """Share of each structure's raw pixels that tidying took away; `pixels` are those it has now."""
    if raw is None:
        return (0.0,) * len(STRUCTURES)
    changed = raw != labels
    before = np.bincount(raw[changed], minlength=max(STRUCTURES) + 1)
    after = np.bincount(labels[changed], minlength=max(STRUCTURES) + 1)
    shares = []
    for label in STRUCTURES:
        total = pixels[label] + before[label] - after[label]
        shares.append(float(before[label] / total) if total else 0.0)
    return tuple(shares)


def _overlap(cavity: npt.NDArray[np.bool_], before: npt.NDArray[np.bool_]) -> float:
    union = np.count_nonzero(cavity | before)
    return np.count_nonzero(cavity & before) / union if union else 0.0
