"""Volumes and EF of a patient, from the network's masks and from the expert's, one way for both."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from appliance.masks import LabelMap
from appliance.measures.chambers import Disks, disks, isotropic
from models.judging import Judged

Pair = tuple[float, float]  # network, expert
Maps = Callable[[Judged], LabelMap]  # the one or the other's

SINGLE, AREA_LENGTH = "EF", "EF by area and length"
BIPLANE, SQUASHED = "EF biplane", "EF biplane, 2CH as stored"
EDV, ESV = "EDV", "ESV"
UNITS = {EDV: "ml", ESV: "ml", SINGLE: "%", AREA_LENGTH: "%", BIPLANE: "%", SQUASHED: "%"}

_MM3 = 1000  # in a ml


@dataclass(frozen=True)
class Ejection:
    """What was measured of one patient: name of the measure to (network, expert)."""

    patient: str
    pairs: dict[str, Pair]

    def to_dict(self) -> dict[str, Any]:
        """Plain values of one line of a report."""
        return {
            "patient": self.patient,
            **{name: [round(value, 2) for value in pair] for name, pair in self.pairs.items()},
        }


def ejections(frames: Sequence[Judged]) -> list[Ejection]:
    """Measure every patient of whom there is a 4CH at ED and ES.

    Returns
    -------
    list of Ejection
        `EDV` and `ESV` in ml where the scale is known; `EF` of the single plane 4CH, as the box
        measures it, and by area and length, for comparison with others; `EF biplane`. What a missing frame or annulus prevents is missing.

    Notes
    -----
    Biplane: V = pi/4 * L/20 * sum(a_i * b_i), Lang 2015, with a_i of the 4CH, b_i of the 2CH and
    L of the 4CH alone. A 2CH without a scale may enter: the size of its pixels is the same at ED
    and ES and cancels in 1 - ESV/EDV. One without a shape too is stretched to the shape of the
    same patient's 4CH picture; the third EF leaves it as it is stored, and the difference of the
    two is what the guess is worth.
    """
    by_patient: dict[str, dict[str, Judged]] = {}
    for frame in frames:
        by_patient.setdefault(frame.row.patient, {})[frame.row.view + frame.row.phase] = frame
    return [
        Ejection(patient, _pairs(found))
        for patient, found in sorted(by_patient.items())
        if {"4CHED", "4CHES"} <= set(found)
    ]


def _pairs(found: dict[str, Judged]) -> dict[str, Pair]:
    four = found["4CHED"], found["4CHES"]
    measures: dict[str, Callable[[Maps], float]] = {
        EDV: lambda maps: _ml(disks(maps(four[0])), four[0].mm_per_px),
        ESV: lambda maps: _ml(disks(maps(four[1])), four[1].mm_per_px),
        SINGLE: lambda maps: _ef([_volume(disks(maps(frame))) for frame in four]),
        AREA_LENGTH: lambda maps: _ef([_by_area(disks(maps(frame))) for frame in four]),
    }
    if {"2CHED", "2CHES"} <= set(found):
        two = found["2CHED"], found["2CHES"]
        shape = two[0].width_over_height / four[0].width_over_height
        measures[BIPLANE] = lambda maps: _biplane(maps, four, two, shape)
        measures[SQUASHED] = lambda maps: _biplane(maps, four, two, 1.0)
        if two[0].mm_per_px is not None:  # nothing was lost, nothing is stretched
            measures[BIPLANE] = measures.pop(SQUASHED)
    pairs = {name: (measure(_network), measure(_expert)) for name, measure in measures.items()}
    return {name: pair for name, pair in pairs.items() if all(map(math.isfinite, pair))}


def _network(frame: Judged) -> LabelMap:
    return frame.labels


def _expert(frame: Judged) -> LabelMap:
    return frame.drawn


def _biplane(
    maps: Maps,
    four: tuple[Judged, Judged],
    two: tuple[Judged, Judged],
    height_over_width: float,
) -> float:
    volumes = []
    for wide, other in zip(four, two, strict=True):
        along = disks(maps(wide))
        across = disks(isotropic(maps(other), height_over_width))
        if along is None or across is None:
            return math.nan
        volumes.append(along.length * float(np.dot(along.diameters, across.diameters)))
    return _ef(volumes)


def _volume(found: Disks | None) -> float:
    return math.nan if found is None else found.volume


def _by_area(found: Disks | None) -> float:
    """V = 8 A^2 / (3 pi L), but for the factor, which cancels in EF."""
    if found is None:
        return math.nan
    area = found.length * float(found.diameters.mean())
    return area**2 / found.length


def _ml(found: Disks | None, mm_per_px: float | None) -> float:
    return math.nan if mm_per_px is None else _volume(found) * mm_per_px**3 / _MM3


def _ef(volumes: Sequence[float]) -> float:
    """EF in percent of the volumes at ED and ES, whatever their unit."""
    diastole, systole = volumes
    return 100 * (1 - systole / diastole) if diastole else math.nan
