"""What a sonographer reads: ED and ES, EF, volumes; and for each that is missing, why.

Lang et al., Recommendations for cardiac chamber quantification by echocardiography in adults,
ASE/EACVI 2015: Simpson's disks for the ventricle, area and length for the atrium, one plane.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from appliance.measures.beats import Curve, find_beats, smooth
from appliance.measures.chambers import FrameMeasures, frame_measures, isotropic
from appliance.measures.planes import EF_RANGE, Plane
from appliance.views import NO_VIEW

if TYPE_CHECKING:
    from appliance.cine import Timing

__all__ = ["Beat", "FrameMeasures", "Measures", "frame_measures", "isotropic", "measure"]

_MIN_SHARE_MEASURED = 0.8  # of the frames: below it the area curve has too many guesses
_NEIGHBOURS = 3  # frames before and after: about 0.1 s each way, less than a systole
_JUMP = 0.2  # of its neighbours' median length: no ventricle shortens so within a frame or two
_AGREES = 0.1  # of the smoothed area: a mask further off isn't taken for ED or ES
# Length over width at ED, and length at ES over that at ED: on 799 apical views that experts drew
# (CAMUS, 400 patients) 1.22 or more, and 1.00 or less. The long axis of a foreshortened ventricle
# is an oblique cut: too short, and it may grow while the ventricle contracts.
_SLENDER, _LENGTHENS = 1.2, 1.03
_BEATS_AGREE = 10.0  # points of EF: a beat further from the median rests on other masks or rhythm

NOT_ENOUGH_MASKS = "No EF: the left ventricle was found in too few frames."
NO_WHOLE_BEAT = "No EF: no whole heartbeat could be recognised in this loop."
NO_LENGTH = "No EF: the mitral valve plane could not be found at end diastole or end systole."
CUT = "No EF: the left ventricle is cut off at the edge of the image."
FORESHORTENED = "No EF: the ventricle looks foreshortened; record the loop from the true apex."
IMPLAUSIBLE = "No EF: the volumes found do not fit a beating heart."
DOUBTFUL = "No EF: the outlines around end diastole or end systole are doubtful."
NO_LA = "No atrial volume: the left atrium was not found at end systole."
NOT_THE_HEART = "No EF: the model draws other structures than the apical heart."
LA_CUT = "No atrial volume: the left atrium is cut off at the edge of the image."


@dataclass(frozen=True)
class Beat:
    """One heartbeat: its frames (from 0) and EF in percent.

    `agrees` is False where EF lies far from the other beats'.
    """

    ed: int
    es: int
    ef: float
    agrees: bool = True


@dataclass(frozen=True)
class Measures:
    """The measures of a loop. What is None has its reason in `withheld`, under its own name.

    Attributes
    ----------
    ed_frame, es_frame
        Frames (from 0) of the beat shown: the one of median EF.
    beats
        Every beat that could be measured.
    ef_percent
        EF of the beat shown.
    ef_spread
        Largest minus smallest EF of the beats, in points; None for one beat.
    edv_ml, esv_ml, la_volume_ml
        Single-plane volumes; the atrium's at end systole. Only with a trusted calibration.
    stroke_volume_ml
        EDV less ESV.
    ef_mean
        Mean EF of the beats in percent; None for one beat.
    plane
        What this view adds to a biplane volume; only with a trusted calibration.
    lv_area_curve
        Area of the cavity per frame in `area_unit` ("cm2" or "px2"); None without a mask.
    withheld
        Name of a missing measure to its reason, in a sonographer's words.
    """

    ed_frame: int | None
    es_frame: int | None
    beats: tuple[Beat, ...]
    ef_percent: float | None
    ef_spread: float | None
    edv_ml: float | None
    esv_ml: float | None
    la_volume_ml: float | None
    lv_area_curve: tuple[float | None, ...]
    area_unit: str
    withheld: dict[str, str]
    stroke_volume_ml: float | None = None
    ef_mean: float | None = None
    plane: Plane | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a ledger row; `from_dict` reads them back."""
        values = asdict(self)
        values["beats"] = list(values["beats"])
        values["lv_area_curve"] = list(values["lv_area_curve"])
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measures:
        """The measures a row holds; one of an earlier release holds fewer."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        known["beats"] = tuple(Beat(**beat) for beat in values["beats"])
        known["lv_area_curve"] = tuple(values["lv_area_curve"])
        plane = known.get("plane")
        return cls(**{**known, "plane": Plane.from_dict(plane) if plane else None})


def measure(
    per_frame: Sequence[FrameMeasures | None],
    timing: Timing,
    mm_per_px: float | None,
    calibration_reason: str,
    *,
    ed: int | None = None,
    es: int | None = None,
    doubtful: Collection[int] = (),
) -> Measures:
    """Find the heartbeats and measure them.

    Parameters
    ----------
    per_frame
        In pixels of one size for all frames; None for a corrupt frame.
    timing
        Gives the frame rate.
    mm_per_px
        Side of such a pixel in mm; None when the calibration isn't trusted.
    calibration_reason
        Why there are no volumes then, in a sonographer's words.
    ed, es
        Frames (from 0) a person chose. Both are taken as they are; to one alone belongs the
        beat found nearest to it.
    doubtful
        Frames (from 0) whose masks can't be a heart's: never taken for ED or ES but by a person.
    """
    found, reason = _found(per_frame, timing.rate_hz, doubtful)
    pairs = _pairs(found, ed, es)
    beats, why_not = _measured(per_frame, pairs)
    shown = sorted(beats, key=lambda beat: beat.ef)[(len(beats) - 1) // 2] if beats else None
    frames = (shown.ed, shown.es) if shown else (pairs[0] if pairs else (None, None))
    volumes, withheld = _volumes(per_frame, shown, mm_per_px, calibration_reason)
    if shown is None:
        withheld.update(dict.fromkeys(("ef_percent", *_VOLUMES), why_not or reason))
    scale = 1.0 if mm_per_px is None else (mm_per_px / 10) ** 2
    return Measures(
        ed_frame=frames[0],
        es_frame=frames[1],
        beats=tuple(beats),
        ef_percent=shown.ef if shown else None,
        ef_spread=_spread(beats),
        **volumes,
        lv_area_curve=tuple(
            None if frame is None else round(frame.lv_area * scale, 3) for frame in per_frame
        ),
        area_unit="px2" if mm_per_px is None else "cm2",
        withheld=withheld,
        ef_mean=round(float(np.mean([beat.ef for beat in beats])), 1) if len(beats) > 1 else None,
        plane=_plane(per_frame, shown, mm_per_px),
    )


def unmeasured(frames: int, reason: str = NOT_THE_HEART) -> Measures:
    """Return the measures of a loop of which nothing is measured.

    Parameters
    ----------
    frames
        Of the loop.
    reason
        Why, in a sonographer's words.
    """
    withheld = dict.fromkeys(("ef_percent", *_VOLUMES), reason)
    curve = (None,) * frames
    numbers: dict[str, Any] = dict.fromkeys(_NUMBERS)
    return Measures(
        None, None, (), lv_area_curve=curve, area_unit="px2", withheld=withheld, **numbers
    )


def unviewed(measures: Measures) -> Measures:
    """Withhold EF and volumes: of a loop that may show anything, only times and areas are told."""
    withheld = dict.fromkeys(("ef_percent", *_VOLUMES), NO_VIEW)
    numbers: dict[str, Any] = dict.fromkeys(_NUMBERS)
    return replace(measures, beats=(), withheld=withheld, **numbers)


def steady(per_frame: Sequence[FrameMeasures | None]) -> list[int]:
    """Return the frames with a whole ventricle whose length doesn't jump out of its neighbours'."""
    length = [frame.lv_length if frame else 0.0 for frame in per_frame]
    return [
        i
        for i, own in enumerate(length)
        if own and abs(own / _median_around(length, i) - 1) <= _JUMP
    ]


def _median_around(length: Sequence[float], index: int) -> float:
    near = length[max(0, index - _NEIGHBOURS) : index + _NEIGHBOURS + 1]
    return median(one for one in near if one)


def _found(
    per_frame: Sequence[FrameMeasures | None], rate_hz: float, doubtful: Collection[int]
) -> tuple[list[tuple[int, int]], str]:
    """Frames (ED, ES) of each beat; and why there is none, were it so."""
    usable = steady(per_frame)
    if len(usable) < max(2, _MIN_SHARE_MEASURED * len(per_frame)):
        return [], NOT_ENOUGH_MASKS
    found = _find(per_frame, usable, rate_hz, doubtful)
    if not found and doubtful and _find(per_frame, usable, rate_hz, ()):
        return [], DOUBTFUL
    return found, NO_WHOLE_BEAT


def _measured(
    per_frame: Sequence[FrameMeasures | None], pairs: Sequence[tuple[int, int]]
) -> tuple[list[Beat], str]:
    """The beats that have an EF; and why the last of the others has none."""
    beats: list[Beat] = []
    reason = ""
    for pair in pairs:
        ef, why_not = _ejection(per_frame, *pair)
        if ef is None:
            reason = why_not
        else:
            beats.append(Beat(*pair, ef))
    return _judged(beats), reason


def _pairs(found: list[tuple[int, int]], ed: int | None, es: int | None) -> list[tuple[int, int]]:
    if ed is not None and es is not None:
        return [(ed, es)]
    if ed is not None and found:
        return [(ed, min(found, key=lambda pair: abs(pair[0] - ed))[1])]
    if es is not None and found:
        return [(min(found, key=lambda pair: abs(pair[1] - es))[0], es)]
    return found


def _find(
    per_frame: Sequence[FrameMeasures | None],
    usable: Sequence[int],
    rate_hz: float,
    doubtful: Collection[int],
) -> list[tuple[int, int]]:
    area: Curve = np.full(len(per_frame), np.nan)
    area[usable] = [frame.lv_area if (frame := per_frame[i]) else np.nan for i in usable]
    curve = smooth(area, rate_hz)

    def near(turn: int) -> list[int]:
        """Frames around a turn that agree with the smoothed curve; [] when all are doubtful."""
        agreeing = [i for i in usable if abs(area[i] - curve[i]) <= _AGREES * curve[i]]
        nearest = sorted(agreeing or usable, key=lambda i: abs(i - turn))
        if doubtful:
            nearest = [i for i in nearest if i not in doubtful and abs(i - turn) <= _NEIGHBOURS]
        return [i for i in nearest if abs(i - turn) <= 1] or nearest[:1]

    return [
        (max(near(ed), key=lambda i: area[i]), min(near(es), key=lambda i: area[i]))
        for ed, es in find_beats(curve, rate_hz)
        if near(ed) and near(es)
    ]


def _ejection(
    per_frame: Sequence[FrameMeasures | None], ed: int, es: int
) -> tuple[float | None, str]:
    """EF in percent of one beat, or None and the reason."""
    diastole, systole = per_frame[ed], per_frame[es]
    if diastole is None or systole is None or not diastole.lv_volume or not systole.lv_volume:
        return None, NO_LENGTH
    if diastole.cut_at_edge or systole.cut_at_edge:
        return None, CUT
    ef = 100 * (1 - systole.lv_volume / diastole.lv_volume)
    if not EF_RANGE[0] <= ef <= EF_RANGE[1]:
        return None, IMPLAUSIBLE
    if _foreshortened(diastole, systole):
        return None, FORESHORTENED
    return round(ef, 1), ""


def _foreshortened(diastole: FrameMeasures, systole: FrameMeasures) -> bool:
    width = max(diastole.lv_diameters, default=0.0)
    round_as_a_ball = bool(width) and diastole.lv_length < _SLENDER * width
    return round_as_a_ball or systole.lv_length > _LENGTHENS * diastole.lv_length


def _judged(beats: list[Beat]) -> list[Beat]:
    """Mark the beats that don't agree; of two that differ nobody knows which is right."""
    middle = float(np.median([beat.ef for beat in beats])) if beats else 0.0
    limit = _BEATS_AGREE / 2 if len(beats) == 2 else _BEATS_AGREE
    return [replace(beat, agrees=abs(beat.ef - middle) <= limit) for beat in beats]


def _plane(
    per_frame: Sequence[FrameMeasures | None], shown: Beat | None, mm_per_px: float | None
) -> Plane | None:
    if shown is None or mm_per_px is None:
        return None
    diastole, systole = per_frame[shown.ed], per_frame[shown.es]
    return Plane.of(diastole, systole, mm_per_px) if diastole and systole else None


_VOLUMES = ("edv_ml", "esv_ml", "stroke_volume_ml", "la_volume_ml")
_NUMBERS = ("ef_percent", "ef_spread", "ef_mean", *_VOLUMES, "plane")


def _volumes(
    per_frame: Sequence[FrameMeasures | None],
    shown: Beat | None,
    mm_per_px: float | None,
    calibration_reason: str,
) -> tuple[dict[str, float | None], dict[str, str]]:
    volumes: dict[str, float | None] = dict.fromkeys(_VOLUMES)
    if shown is None:
        return volumes, {}
    if mm_per_px is None:
        return volumes, dict.fromkeys(volumes, calibration_reason)
    diastole, systole = per_frame[shown.ed], per_frame[shown.es]
    if diastole is None or systole is None:  # a beat has both
        return volumes, {}
    ml = mm_per_px**3 / 1000
    volumes["edv_ml"] = round(diastole.lv_volume * ml, 1)
    volumes["esv_ml"] = round(systole.lv_volume * ml, 1)
    volumes["stroke_volume_ml"] = round((diastole.lv_volume - systole.lv_volume) * ml, 1)
    if not systole.la_volume:
        return volumes, {"la_volume_ml": NO_LA}
    if systole.la_cut:
        return volumes, {"la_volume_ml": LA_CUT}
    volumes["la_volume_ml"] = round(systole.la_volume * ml, 1)
    return volumes, {}


def _spread(beats: Sequence[Beat]) -> float | None:
    if len(beats) < 2:
        return None
    return round(max(beat.ef for beat in beats) - min(beat.ef for beat in beats), 1)
