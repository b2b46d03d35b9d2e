"""From judged frames, patients and loops to the figures of a report, each with its interval."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from models.ejection import BIPLANE, SQUASHED, UNITS, Ejection
from models.judging import Judged
from models.metrics import Score
from models.stats import AGREEMENT, Bootstrap, calibration_error, rank_correlation

Figures = dict[str, Any]

ALL = "all"
STRETCHED = "2CH stretched or not"
STAGES = ("network", "tidied")  # before and after the box's tidying


def segmentation(frames: Sequence[Judged], bootstrap: Bootstrap) -> Figures:
    """Dice and distances: stage, structure, group ("all", "4CH", "4CH ED", ...), metric.

    Notes
    -----
    Distances are in px of the 384 map, and also in mm where every frame of a group has a scale.
    A frame where either map lacks the structure has a Dice of 0 and no distance: `n` tells.
    """
    names = list(frames[0].network)
    return {
        stage: {
            name: {
                group: _scores(members, [getattr(f, stage)[name] for f in members], bootstrap)
                for group, members in _groups(frames).items()
            }
            for name in names
        }
        for stage in STAGES
    }


def ejection(patients: Sequence[Ejection], bootstrap: Bootstrap) -> Figures:
    """Bias, limits of agreement, mean absolute error and correlation of each measure."""
    found: Figures = {}
    for name, unit in UNITS.items():
        has = [patient for patient in patients if name in patient.pairs]
        if has:
            whose = [patient.patient for patient in has]
            pairs = np.array([patient.pairs[name] for patient in has])
            found[name] = {
                "unit": unit,
                "missing": len(patients) - len(has),
                **{
                    key: bootstrap.of(whose, pairs, figure).to_dict()
                    for key, figure in AGREEMENT.items()
                },
            }
    both = [p.pairs for p in patients if BIPLANE in p.pairs and SQUASHED in p.pairs]
    if both:
        moved = [abs(pairs[BIPLANE][1] - pairs[SQUASHED][1]) for pairs in both]
        found[STRETCHED] = {
            "unit": "%",
            "mean": round(float(np.mean(moved)), 2),
            "largest": round(float(np.max(moved)), 2),
        }
    return found


def outliers(frames: Sequence[Judged], bootstrap: Bootstrap) -> Figures:
    """Shares of frames with a structure missing or split before tidying, or no heart's shape after."""
    tests: dict[str, Callable[[Judged], bool]] = {
        "missing": lambda frame: 0 in frame.pieces.values(),
        "split": lambda frame: any(count > 1 for count in frame.pieces.values()),
        "missing or split": lambda frame: bool(frame.broken),
        "implausible after tidying": lambda frame: bool(frame.doubt),
    }
    whose = [frame.row.patient for frame in frames]
    return {
        name: {
            "share": bootstrap.mean(whose, [float(test(frame)) for frame in frames]).to_dict(),
            "frames": [frame.row.stem for frame in frames if test(frame)],
        }
        for name, test in tests.items()
    }


def calibration(frames: Sequence[Judged], bootstrap: Bootstrap) -> Figures:
    """Expected calibration error by region, reliability curves, and what confidence foretells."""
    whose = [frame.row.patient for frame in frames]
    regions = {}
    for name in frames[0].reliability:
        stacks = np.stack([frame.reliability[name].stacked for frame in frames])
        regions[name] = {
            "error": bootstrap.of(whose, stacks, calibration_error).to_dict(),
            **dict(
                zip(
                    ("blocks", "certainty", "correct"),
                    stacks.sum(axis=0).round(1).tolist(),
                    strict=True,
                )
            ),
        }
    confidence = {}
    for name in frames[0].confidence:
        pairs = np.array([(f.confidence[name], f.network[name].dice) for f in frames])
        gap = [frame.confidence[name] - frame.precision[name] for frame in frames]
        confidence[name] = {
            "over_precision": bootstrap.mean(whose, gap).to_dict(),
            "rank_correlation_with_dice": bootstrap.of(whose, pairs, rank_correlation).to_dict(),
        }
    return {"regions": regions, "confidence": confidence}


def _groups(frames: Sequence[Judged]) -> dict[str, list[Judged]]:
    """All frames, those of each view, of each view and phase."""
    groups: dict[str, list[Judged]] = {ALL: list(frames)}
    for name in _sorted(frame.row.view for frame in frames):
        groups[name] = [frame for frame in frames if frame.row.view == name]
    for name in _sorted(f"{frame.row.view} {frame.row.phase}" for frame in frames):
        groups[name] = [f for f in frames if f"{f.row.view} {f.row.phase}" == name]
    return groups


def _scores(members: Sequence[Judged], scores: Sequence[Score], bootstrap: Bootstrap) -> Figures:
    whose = [frame.row.patient for frame in members]
    found = {"dice": bootstrap.mean(whose, [score.dice for score in scores]).to_dict()}
    scales = {"px": [1.0] * len(members)}
    if all(frame.mm_per_px is not None for frame in members):
        scales["mm"] = [frame.mm_per_px or 0.0 for frame in members]
    for key in ("hd95", "msd"):
        for unit, scale in scales.items():
            known = [
                (patient, value * factor)
                for patient, score, factor in zip(whose, scores, scale, strict=True)
                if (value := getattr(score, key)) is not None
            ]
            found[f"{key}_{unit}"] = bootstrap.mean(
                [patient for patient, _ in known], [value for _, value in known]
            ).to_dict()
    return found


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(set(names))
