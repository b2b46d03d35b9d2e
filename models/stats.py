"""Figures with their uncertainty: bootstrap over patients, agreement of two methods, calibration.

A patient's frames are alike: what is drawn again by lot is the patient, never the frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Pairs = npt.NDArray[np.float64]

ROUNDS = 2000  # of the bootstrap: an end of an interval moves by less than it is shown with
LIMITS = 1.96  # standard deviations: the 95 % limits of agreement, Bland and Altman 1986
BINS = 20  # of certainty, 0..1
_ENDS = (2.5, 97.5)  # percentiles: a 95 % interval
_DIGITS = 5
_FEWEST = 3  # patients: below it there is no interval to speak of


@dataclass(frozen=True)
class Estimate:
    """A figure, the 95 % interval of the bootstrap, and how many values it is of."""

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values, rounded; None where there is none."""
        plain = asdict(self)
        return {
            name: (round(value, _DIGITS) if np.isfinite(value) else None)
            for name, value in plain.items()
        }


class Bootstrap:
    """Draws patients with replacement, the same draws for every figure of an evaluation.

    Parameters
    ----------
    patients
        Everybody who was looked at.
    seed
        Decides the draws.
    """

    def __init__(self, patients: Sequence[str], seed: int) -> None:
        self.patients = sorted(set(patients))
        count = len(self.patients)
        draws = np.random.default_rng(seed).integers(0, count, (ROUNDS, count))
        # How often each patient is in each round, [rounds, patients].
        self._times = np.stack([np.bincount(draw, minlength=count) for draw in draws])

    def ratio(self, over: Sequence[str], top: Sequence[float], bottom: Sequence[float]) -> Estimate:
        """Estimate sum(top) / sum(bottom); `over` tells whose each value is."""
        places = np.searchsorted(self.patients, np.asarray(over, dtype=str))
        count = len(self.patients)
        tops = np.bincount(places, np.asarray(top, np.float64), count)
        bottoms = np.bincount(places, np.asarray(bottom, np.float64), count)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = float(tops.sum() / bottoms.sum()) if len(places) else float("nan")
            drawn = (self._times @ tops) / (self._times @ bottoms)
        return _estimate(value, drawn, len(places), len(np.unique(places)))

    def mean(self, over: Sequence[str], values: Sequence[float]) -> Estimate:
        """Estimate a mean; `over` tells whose each value is."""
        return self.ratio(over, values, [1.0] * len(values))

    def of(
        self, over: Sequence[str], rows: npt.NDArray[Any], figure: Callable[[Any], float]
    ) -> Estimate:
        """Estimate any figure of rows [n, ...]; `over` tells whose each row is."""
        places = np.searchsorted(self.patients, np.asarray(over, dtype=str))
        if not len(places):
            return _estimate(float("nan"), np.empty(0), 0, 0)
        times = self._times[:, places]
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = [figure(np.repeat(rows, count, axis=0)) if count.any() else np.nan
                     for count in times]  # fmt: skip
            value = float(figure(rows))
        return _estimate(value, np.asarray(drawn), len(rows), len(np.unique(places)))


def bias(pairs: Pairs) -> float:
    """Mean of measured less reference, pairs [n, 2]."""
    return float((pairs[:, 0] - pairs[:, 1]).mean())


def limit_low(pairs: Pairs) -> float:
    """Lower limit of agreement: 95 % of the differences lie above, were they normal."""
    return bias(pairs) - LIMITS * _deviation(pairs)


def limit_high(pairs: Pairs) -> float:
    """Upper limit of agreement."""
    return bias(pairs) + LIMITS * _deviation(pairs)


def mae(pairs: Pairs) -> float:
    """Mean absolute difference."""
    return float(np.abs(pairs[:, 0] - pairs[:, 1]).mean())


def correlation(pairs: Pairs) -> float:
    """Pearson's r; NaN for fewer than three pairs or a constant column."""
    if len(pairs) < _FEWEST or not pairs.std(axis=0).all():
        return float("nan")
    return float(np.corrcoef(pairs.T)[0, 1])


def rank_correlation(pairs: Pairs) -> float:
    """Spearman's rho, ties by their mean rank."""
    return correlation(np.stack([_ranks(pairs[:, 0]), _ranks(pairs[:, 1])], axis=1))


AGREEMENT: dict[str, Callable[[Pairs], float]] = {
    "bias": bias,
    "limit_low": limit_low,
    "limit_high": limit_high,
    "mae": mae,
    "correlation": correlation,
}


@dataclass(frozen=True)
class Reliability:
    """Certainty against correctness in `BINS` equal bins of certainty.

    Attributes
    ----------
    weight
        float64 [BINS], cells in each bin.
    certainty, correct
        float64 [BINS], sums over the cells of a bin.
    """

    weight: Floats
    certainty: Floats
    correct: Floats

    @classmethod
    def of(cls, certainty: Floats, correct: Floats) -> "Reliability":
        """Sort cells, both float [n] in 0..1, into bins."""
        place = np.minimum((certainty * BINS).astype(np.intp), BINS - 1)
        return cls(
            np.bincount(place, minlength=BINS).astype(np.float64),
            np.bincount(place, certainty, BINS).astype(np.float64),
            np.bincount(place, correct, BINS).astype(np.float64),
        )

    @property
    def stacked(self) -> Floats:
        """float64 [3, BINS]: weight, certainty, correct."""
        return np.stack([self.weight, self.certainty, self.correct])


def calibration_error(stacks: Floats) -> float:
    """Return the expected calibration error of `Reliability.stacked`, [n, 3, BINS].

    The mean distance of certainty and correctness over bins, by their weight (Guo 2017).
    """
    weight, certainty, correct = stacks.sum(axis=0)
    total = float(weight.sum())
    return float(np.abs(certainty - correct).sum() / total) if total else float("nan")


def _deviation(pairs: Pairs) -> float:
    return float((pairs[:, 0] - pairs[:, 1]).std(ddof=1)) if len(pairs) > 1 else float("nan")


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[place]
    return ranks


def _estimate(value: float, drawn: Floats, n: int, patients: int) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if patients < _FEWEST or not len(drawn):
        return Estimate(value, float("nan"), float("nan"), n)
    low, high = np.percentile(drawn, _ENDS)
    return Estimate(value, float(low), float(high), n)
