"""The two-sample test: its law is exact, whatever the samples' sizes and ties."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from appliance.drift.kolmogorov import distance, limit, tail


@pytest.mark.parametrize(("n", "m"), [(3, 4), (5, 5), (2, 9)])
def test_the_law_is_what_counting_every_order_of_two_samples_gives(n, m):
    every = range(n + m)
    apart = [
        distance(np.array(mine, float), np.array(sorted(set(every) - set(mine)), float))
        for mine in combinations(every, n)
    ]
    for steps in range(1, n * m + 1):
        counted = np.mean([round(d * n * m) >= steps for d in apart])
        assert tail(steps, n, m) == pytest.approx(counted, abs=1e-12)


def test_samples_that_do_not_overlap_are_as_unlikely_as_they_are():
    # One order of C(210, 10) has all of one below all of the other, one has them above.
    assert tail(2000, 10, 200) == pytest.approx(2 / comb(210, 10), abs=1e-11)


def test_the_limit_is_the_least_distance_that_unlikely():
    n, m, level = 12, 37, 1e-4
    steps = round(limit(n, m, level) * n * m + 0.5)
    assert tail(steps, n, m) <= level < tail(steps - 1, n, m)


def test_samples_too_small_to_tell_anything_reach_no_limit():
    assert limit(3, 4, 1e-3) > 1


@pytest.mark.parametrize("values", [lambda r, n: r.normal(size=n), lambda r, n: r.poisson(1, n)])
def test_like_samples_pass_the_limit_as_seldom_as_it_says(values):
    random = np.random.default_rng(4)
    least = limit(15, 40, 0.05)
    passed = [
        distance(values(random, 15), values(random, 40)) >= least for _repetition in range(4000)
    ]
    # Three standard deviations above 0.05; ties make it rarer, never more frequent.
    assert np.mean(passed) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)
