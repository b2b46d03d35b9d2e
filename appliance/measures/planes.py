"""The ventricle and the atrium from two planes at right angles: four- and two-chamber view.

Biplane disks and biplane area and length: Lang et al., ASE/EACVI 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from appliance.measures.chambers import FrameMeasures, area_length_volume, disks_volume

if TYPE_CHECKING:
    from appliance.measures.summary import Measures

EF_RANGE = (5.0, 90.0)  # percent: what lies outside is a mask's mistake, not a heart
# One ventricle has one length. Our own limit: the guideline asks for care and gives no number.
_LENGTHS_AGREE = 0.1
_ATRIAL_LENGTHS_MM = 5.0  # more apart, and one view misses the atrium's roof or mouth

_MM3 = 1000  # in a ml
_VENTRICLE = ("ef_percent", "edv_ml", "esv_ml", "stroke_volume_ml")

NO_EF = "No biplane EF: the {view} loop has none."
NO_SCALE = "No biplane EF: the {view} loop has no trusted calibration."
NO_DISKS = "No biplane EF: the {view} loop was measured by an earlier release."
UNEQUAL = (
    "No biplane EF: the ventricle is {difference:.0f} % shorter in the {view} loop;"
    " it looks foreshortened there."
)
IMPLAUSIBLE = "No biplane EF: the volumes found do not fit a beating heart."
NO_ATRIUM = "No biplane atrial volume: the {view} loop has none."
UNEQUAL_ATRIUM = "No biplane atrial volume: the atrium's lengths differ by {difference:.0f} mm between the views."


@dataclass(frozen=True)
class Plane:
    """What one view shows at ED and ES, in mm.

    Attributes
    ----------
    ed_length, es_length
        From the mitral midpoint to the apex.
    ed_diameters, es_diameters
        Of the 20 disks, from base to apex.
    la_area, la_length
        At ES, mm^2 and mm; 0 when the atrium is absent or cut off.
    """

    ed_length: float
    es_length: float
    ed_diameters: tuple[float, ...]
    es_diameters: tuple[float, ...]
    la_area: float
    la_length: float

    @classmethod
    def of(cls, diastole: FrameMeasures, systole: FrameMeasures, mm_per_px: float) -> Plane | None:
        """The plane of a beat; None where an earlier release measured no disks."""
        if not diastole.lv_diameters or not systole.lv_diameters:
            return None
        ed, es = diastole.scaled(mm_per_px), systole.scaled(mm_per_px)
        whole = es.la_length > 0 and not es.la_cut
        return cls(
            ed_length=round(ed.lv_length, 2),
            es_length=round(es.lv_length, 2),
            ed_diameters=tuple(round(diameter, 2) for diameter in ed.lv_diameters),
            es_diameters=tuple(round(diameter, 2) for diameter in es.lv_diameters),
            la_area=round(es.la_area, 1) if whole else 0.0,
            la_length=round(es.la_length, 2) if whole else 0.0,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plane:
        """The plane a row holds."""
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**known)


@dataclass(frozen=True)
class Biplane:
    """Measures of two planes. What is None has its reason in `withheld`, under its own name."""

    ef_percent: float | None = None
    edv_ml: float | None = None
    esv_ml: float | None = None
    stroke_volume_ml: float | None = None
    la_volume_ml: float | None = None
    withheld: dict[str, str] = field(default_factory=dict)


def biplane(four: Measures, two: Measures) -> Biplane:
    """Measure the ventricle and the atrium in both planes.

    Parameters
    ----------
    four, two
        Of a four- and of a two-chamber loop of one study, with ED and ES each.

    Notes
    -----
    V = pi/4 * L/20 * sum(a_i * b_i), with L the longer of the two lengths; the atrium by
    V = 8 * A1 * A2 / (3 * pi * L), with L the shorter.
    """
    values, withheld = _ventricle(four, two)
    atrium, why_not = _atrium(four.plane, two.plane)
    if why_not:
        withheld["la_volume_ml"] = why_not
    return Biplane(**values, la_volume_ml=atrium, withheld=withheld)


def _ventricle(four: Measures, two: Measures) -> tuple[dict[str, float], dict[str, str]]:
    reason = _doubt(four, two)
    if reason or four.plane is None or two.plane is None:
        return {}, dict.fromkeys(_VENTRICLE, reason)
    one, other = four.plane, two.plane
    edv, esv = (
        disks_volume(max(lengths), *diameters) / _MM3
        for lengths, diameters in (
            ((one.ed_length, other.ed_length), (one.ed_diameters, other.ed_diameters)),
            ((one.es_length, other.es_length), (one.es_diameters, other.es_diameters)),
        )
    )
    ef = 100 * (1 - esv / edv)
    if not EF_RANGE[0] <= ef <= EF_RANGE[1]:
        return {}, dict.fromkeys(_VENTRICLE, IMPLAUSIBLE)
    found = (ef, edv, esv, edv - esv)
    return {name: round(value, 1) for name, value in zip(_VENTRICLE, found, strict=True)}, {}


def _doubt(four: Measures, two: Measures) -> str:
    for view, measures in (("A4C", four), ("A2C", two)):
        if measures.ef_percent is None:
            return NO_EF.format(view=view)
        if measures.plane is None:
            missing = NO_SCALE if measures.edv_ml is None else NO_DISKS
            return missing.format(view=view)
    if four.plane is None or two.plane is None:
        return ""
    long, short = four.plane.ed_length, two.plane.ed_length
    difference = abs(long - short) / max(long, short)
    if difference > _LENGTHS_AGREE:
        view = "A4C" if long < short else "A2C"
        return UNEQUAL.format(difference=100 * difference, view=view)
    return ""


def _atrium(four: Plane | None, two: Plane | None) -> tuple[float | None, str]:
    for view, plane in (("A4C", four), ("A2C", two)):
        if plane is None or not plane.la_length:
            return None, NO_ATRIUM.format(view=view)
    assert four is not None
    assert two is not None
    difference = abs(four.la_length - two.la_length)
    if difference > _ATRIAL_LENGTHS_MM:
        return None, UNEQUAL_ATRIUM.format(difference=difference)
    shorter = min(four.la_length, two.la_length)
    return round(area_length_volume(four.la_area, two.la_area, shorter) / _MM3, 1), ""
