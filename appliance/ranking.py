"""Which undecided loops teach most when somebody looks at them: an order for experts.

Three things are asked of each loop: how unsure the network was, how far its beats are from each
other, how rare its scanner is. They have no common scale, so each gives an order, and a loop's
score is the mean of its places in the three (Borda's count). `models.ranking` tells what the
first of them is worth; the others can't be told from single frames of one scanner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.ledger import Ledger, drift

UNSURE, DISAGREE, RARE = "network unsure", "beats disagree", "rare scanner"

CONFIDENCES = ("confidence_lv", "confidence_wall", "confidence_la")
# Mean over the structures: 1 in 20 of the patients the first network comes from lies below.
UNSURE_BELOW = 0.947
_APART = 10.0  # points of EF from the other beats
_RARE_BELOW = 0.02  # of the newest loops
_FEWEST = 50  # loops; of fewer none is rare
_COUNTED = 1000  # newest loops whose scanners are counted


@dataclass(frozen=True)
class Facts:
    """What is known of an undecided loop.

    Attributes
    ----------
    seq
        Which one.
    unsureness
        1 less the network's mean confidence; None where it isn't known.
    apart
        Points of EF between the beat farthest from the median and the median; 0 for one beat.
    share
        Of the newest loops that its scanner made; None where it isn't known.
    """

    seq: int
    unsureness: float | None = None
    apart: float = 0.0
    share: float | None = None


@dataclass(frozen=True)
class Ranked:
    """A loop in order.

    Attributes
    ----------
    seq
        Which one.
    score
        0..1: the mean, over the three things, of the share of loops it comes before.
    reasons
        What stands out: any of `UNSURE`, `DISAGREE`, `RARE`; often nothing.
    """

    seq: int
    score: float
    reasons: tuple[str, ...]


def unsureness(figures: Mapping[str, float]) -> float | None:
    """Return 1 less the mean confidence over the structures; None where figures don't tell it."""
    told = [figures[name] for name in CONFIDENCES if name in figures]
    return 1 - sum(told) / len(told) if len(told) == len(CONFIDENCES) else None


def undecided(ledger: Ledger) -> list[Ranked]:
    """Return the undecided loops of the box, those that teach most first."""
    rows = drift.undecided(ledger)
    counts = drift.scanners(ledger, _COUNTED)
    total = sum(counts.values())
    facts = [
        Facts(
            seq=row["seq"],
            unsureness=unsureness(row["figures"]),
            apart=_apart(row["beats"]),
            share=counts.get(row["scanner"], 0) / total if total >= _FEWEST else None,
        )
        for row in rows
    ]
    return ranked(facts)


def ranked(loops: Sequence[Facts]) -> list[Ranked]:
    """Put loops into order: the highest score first, of equal ones the newest."""
    if not loops:
        return []
    unsure = _places([loop.unsureness or 0.0 for loop in loops])
    apart = _places([loop.apart for loop in loops])
    rare = _places([0.0 if loop.share is None else 1 - loop.share for loop in loops])
    scores = (unsure + apart + rare) / 3
    made = [
        Ranked(loop.seq, round(float(score), 4), tuple(_reasons(loop)))
        for loop, score in zip(loops, scores, strict=True)
    ]
    return sorted(made, key=lambda item: (-item.score, -item.seq))


def _reasons(loop: Facts) -> list[str]:
    said = {
        UNSURE: (loop.unsureness or 0.0) > 1 - UNSURE_BELOW,
        DISAGREE: loop.apart > _APART,
        RARE: loop.share is not None and loop.share < _RARE_BELOW,
    }
    return [word for word, holds in said.items() if holds]


def _places(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Share of the others that lie below each, 0..1; equal ones have the lowest place of theirs."""
    every = np.asarray(values, np.float64)
    below = np.searchsorted(np.sort(every), every, side="left")
    places: npt.NDArray[np.float64] = below / max(1, len(every) - 1)
    return places


def _apart(beats: Sequence[Mapping[str, float]]) -> float:
    found = [beat["ef"] for beat in beats]
    return float(np.abs(np.asarray(found) - np.median(found)).max()) if found else 0.0
