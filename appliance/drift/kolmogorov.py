"""The two-sample Kolmogorov-Smirnov test, exact for small samples and far tails.

Whatever the common distribution is, the largest distance of two empirical distribution functions
has one law, which counting lattice paths gives exactly (J. L. Hodges, "The significance
probability of the Smirnov two-sample test", Arkiv för Matematik 3, 1958). Where values are tied
the test says less often that samples differ, never more often.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def distance(one: Values, other: Values) -> float:
    """Return the largest distance of two samples' distribution functions, 0..1."""
    every = np.concatenate([one, other])
    mine = np.searchsorted(np.sort(one), every, side="right") / len(one)
    theirs = np.searchsorted(np.sort(other), every, side="right") / len(other)
    return float(np.abs(mine - theirs).max())


def tail(steps: int, n: int, m: int) -> float:
    """Return the probability of a distance of `steps` / (n m) or more between like samples.

    Parameters
    ----------
    steps
        1 to n m.
    n, m
        Sizes of the samples.

    Returns
    -------
    float
        Exact to about 1e-11.
    """
    # A merged sample is a path from (0, 0) to (n, m): a step right for each value of the one, up
    # for each of the other. Those that stay nearer than `steps` to the diagonal are counted.
    column = np.zeros(m + 1)
    column[: min(m, (steps - 1) // n) + 1] = 1.0
    scale = 0.0
    for place in range(1, n + 1):
        low = max(0, -(-(place * m - steps + 1) // n))
        high = min(m, (place * m + steps - 1) // n)
        inside = np.cumsum(column[low : high + 1])
        column[:] = 0.0
        if not len(inside) or not inside[-1]:
            return 1.0
        scale += math.log(inside[-1])
        column[low : high + 1] = inside / inside[-1]
    paths = math.lgamma(n + m + 1) - math.lgamma(n + 1) - math.lgamma(m + 1)
    return min(1.0, max(0.0, -math.expm1(scale + math.log(column[m]) - paths)))


@lru_cache(maxsize=4096)
def limit(n: int, m: int, level: float) -> float:
    """Return the least distance that like samples reach with probability `level` at most.

    Above 1, which no samples reach, where they are too small to tell anything at that level.
    """
    low, high = 0, n * m + 1  # `low` is too likely, `high` is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tail(middle, n, m) <= level else (middle, high)
    # Half a step less: a distance that was computed otherwise is some 1e-16 off.
    return (high - 0.5) / (n * m)
