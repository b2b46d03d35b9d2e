"""Whether a candidate may take the place of the model in use: paired, patient by patient.

Non-inferiority by bootstrap: a group of frames passes when the worse end of the 95 % interval of
the difference keeps the margin, so that what too few patients tell about doesn't pass.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.ejection import SINGLE
from models.stats import Bootstrap, Estimate

Report = dict[str, Any]

MARGIN_DICE = 0.5  # points of 100
MARGIN_EF = 1.0  # points of EF, of the mean absolute error
MARGIN_TIME = 1.1  # times the time of the model in use
FRAME_MS = 1000 / 30  # what keeps up with a loop of 30 frames a second is quick enough
_POINTS = 100
ALL = "all"


@dataclass(frozen=True)
class Verdict:
    """One comparison.

    Attributes
    ----------
    data, precision
        Which frames, and at which precision the candidate saw them.
    what, group
        What was compared (a structure's Dice, EF, the frame time), on which of the frames.
    candidate, current
        What each reached: Dice in points of 100, EF in points of error, time in ms.
    low, high
        The 95 % interval of candidate less current, same unit; None for a time.
    margin
        How much worse it might be.
    patients
        Whose frames it was found on.
    passed
        Whether it keeps the margin.
    """

    data: str
    precision: str
    what: str
    group: str
    candidate: float
    current: float
    low: float | None
    high: float | None
    margin: float
    patients: int
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare(candidate: Report, current: Report, *, data: str, seed: int = 0) -> list[Verdict]:
    """Hold one evaluation against another of the same frames.

    Parameters
    ----------
    candidate, current
        Reports of `models.evaluate`.
    data
        What the frames are called.
    seed
        Of the bootstrap.

    Raises
    ------
    ValueError
        When they are not of the same frames.
    """
    mine, theirs = _by_key(candidate["frames"]), _by_key(current["frames"])
    if set(mine) != set(theirs):
        raise ValueError("the two evaluations are not of the same frames")
    keys = sorted(mine)
    bootstrap = Bootstrap([key[0] for key in keys], seed)
    precision = str(candidate["precision"])
    found = []
    for structure in next(iter(mine.values()))["tidied"]:
        for group, members in _groups(keys, mine).items():
            pairs = [
                [_POINTS * frames[key]["tidied"][structure]["dice"] for frames in (mine, theirs)]
                for key in members
            ]
            less = bootstrap.mean([key[0] for key in members], [a - b for a, b in pairs])
            found.append(
                _verdict(
                    *(data, precision, f"{structure}, Dice", group, pairs, less, MARGIN_DICE),
                    patients=len({key[0] for key in members}),
                )
            )
    return [*found, *_ejection(candidate, current, bootstrap, data)]


def of_time(candidate_ms: float, current_ms: float, precision: str) -> Verdict:
    """Judge the network's time of a frame, measured in turns on one machine."""
    passed = candidate_ms <= max(FRAME_MS, MARGIN_TIME * current_ms)
    margin = (MARGIN_TIME - 1) * current_ms
    times = (candidate_ms, current_ms, None, None, margin)
    return Verdict("this machine", precision, "frame time, ms", ALL, *times, 0, passed)


def _verdict(
    data: str,
    precision: str,
    what: str,
    group: str,
    pairs: Sequence[Sequence[float]],
    less: Estimate,
    margin: float,
    *,
    patients: int,
    most: bool = False,
) -> Verdict:
    """Pass when the worse end keeps the margin; where there is no interval, nothing passes."""
    worst = -less.high if most else less.low
    mine, theirs = np.mean(np.asarray(pairs, np.float64), axis=0)
    ends = [float(end) if np.isfinite(end) else None for end in (less.low, less.high)]
    figures = (float(mine), float(theirs), ends[0], ends[1], margin)
    # A comparison with NaN is False: a group of too few patients is refused, never waved through.
    return Verdict(data, precision, what, group, *figures, patients, bool(worst >= -margin))


def _ejection(
    candidate: Report, current: Report, bootstrap: Bootstrap, data: str
) -> Iterator[Verdict]:
    """The error of single-plane EF; corrections have no ED and ES pairs, so none of it."""
    errors = []
    for report in (candidate, current):
        has = [line for line in report["patients"] if line.get(SINGLE)]
        errors.append({line["patient"]: abs(line[SINGLE][0] - line[SINGLE][1]) for line in has})
    both = sorted(set(errors[0]) & set(errors[1]))
    if both:
        pairs = [[errors[0][patient], errors[1][patient]] for patient in both]
        less = bootstrap.mean(both, [mine - theirs for mine, theirs in pairs])
        what = ("EF, mean absolute error", ALL)
        yield _verdict(
            *(data, candidate["precision"], *what, pairs, less, MARGIN_EF),
            patients=len(both),
            most=True,
        )
    elif any(errors):
        raise ValueError("the two evaluations measured no EF of the same patients")


Key = tuple[str, str, str]


def _by_key(lines: Iterable[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    return {(line["patient"], line["view"], line["phase"]): line for line in lines}


def _groups(keys: Sequence[Key], lines: dict[Key, dict[str, Any]]) -> dict[str, list[Key]]:
    """All, each view, and each scanner where more than one is known."""
    groups: dict[str, list[Key]] = {ALL: list(keys)}
    for key in keys:
        groups.setdefault(key[1], []).append(key)
    scanners: dict[str, list[Key]] = {}
    for key in keys:
        if scanner := lines[key].get("scanner"):
            scanners.setdefault(f"scanner {scanner}", []).append(key)
    return {**groups, **(scanners if len(scanners) > 1 else {})}
