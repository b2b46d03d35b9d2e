"""Distances, pieces and intervals: against figures known by hand, and against MONAI."""

import warnings

import numpy as np
import pytest

from models import stats
from models.metrics import border_distances, iou, overlap, pieces, score


def disc(x, y, radius, size=64):
    rows, columns = np.mgrid[:size, :size]
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.uint8)


def test_two_points_three_and_four_pixels_apart_are_five_apart():
    one, other = np.zeros((2, 20, 20), np.uint8)
    one[5, 5], other[8, 9] = 1, 1
    found = score(one, other, 1)
    assert (found.dice, found.hd95, found.msd) == (0.0, pytest.approx(5), pytest.approx(5))


def test_a_structure_one_map_lacks_has_no_distance_and_no_overlap():
    there, nowhere = disc(30, 30, 10), np.zeros((64, 64), np.uint8)
    for found in (score(there, nowhere, 1), score(nowhere, there, 1)):
        assert (found.dice, found.hd95, found.msd) == (0.0, None, None)
    assert score(nowhere, nowhere, 1).dice == 1.0


def test_the_same_map_is_not_away_from_itself():
    found = score(disc(30, 30, 10), disc(30, 30, 10), 1)
    assert (found.dice, found.hd95, found.msd) == (1.0, 0.0, 0.0)


def test_a_mask_cut_by_the_picture_has_its_border_there():
    whole = np.ones((8, 8), bool)
    to_itself, _ = border_distances(whole, whole)
    assert len(to_itself) == 28


def test_half_an_overlap():
    one, other = np.zeros((2, 4, 4), bool)
    one[:2], other[1:3] = True, True
    assert overlap(one, other) == 0.5
    assert iou(one, other) == pytest.approx(1 / 3)


def test_a_single_pixel_apart_is_a_piece_and_a_diagonal_neighbour_is_not():
    labels = np.zeros((10, 10), np.uint8)
    labels[2:5, 2:5] = 3
    labels[5, 5] = 3
    assert (pieces(labels, 3), pieces(labels, 1)) == (1, 0)
    labels[9, 9] = 3
    assert pieces(labels, 3) == 2


@pytest.mark.models
def test_monai_says_the_same():
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    random = np.random.default_rng(0)
    for _ in range(20):
        one = disc(*random.integers(10, 54, 2), random.integers(3, 25))
        other = disc(*random.integers(10, 54, 2), random.integers(3, 25))
        other[:, random.integers(64)] = 0
        one[random.integers(64), random.integers(64)] = 1
        pair = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (one, other)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hd95 = compute_hausdorff_distance(*pair, include_background=True, percentile=95)
            msd = compute_average_surface_distance(*pair, include_background=True, symmetric=True)
        found = score(one, other, 1)
        assert found.hd95 == pytest.approx(float(hd95), abs=1e-3)
        assert found.msd == pytest.approx(float(msd), abs=1e-3)


# Differences 1, -1, 3 and 1: mean 1, standard deviation sqrt(8/3).
PAIRS = np.array([[11.0, 10], [19, 20], [33, 30], [41, 40]])


def test_bland_and_altman_by_hand():
    limit = 1.96 * np.sqrt(8 / 3)
    assert stats.bias(PAIRS) == 1.0
    assert stats.mae(PAIRS) == 1.5
    assert stats.limit_low(PAIRS) == pytest.approx(1 - limit)
    assert stats.limit_high(PAIRS) == pytest.approx(1 + limit)


def test_correlation_of_ranks_takes_ties_by_their_mean():
    rising = np.array([[1.0, 1], [2, 8], [3, 27], [4, 64]])
    assert stats.rank_correlation(rising) == pytest.approx(1)
    tied = np.array([[1.0, 1], [2, 2], [2, 3], [4, 4]])
    assert stats.rank_correlation(tied) == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert np.isnan(stats.correlation(np.ones((4, 2))))


def test_patients_are_drawn_and_not_their_frames():
    """Ten frames of each of ten hearts tell no more than ten frames would."""
    hearts = np.random.default_rng(1).normal(0.9, 0.03, 10)
    names = [f"patient{number}" for number in range(10)]
    once = stats.Bootstrap(names, seed=0).mean(names, hearts.tolist())
    often = stats.Bootstrap(names, seed=0).mean(
        [name for name in names for _ in range(10)], np.repeat(hearts, 10).tolist()
    )
    assert (often.low, often.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert once.low < hearts.mean() < once.high
    assert (once.n, often.n) == (10, 100)


def test_the_same_seed_draws_the_same_and_both_ways_of_a_mean_agree():
    names = [f"patient{number}" for number in range(8)]
    values = np.random.default_rng(2).normal(size=8)
    bootstrap = stats.Bootstrap(names, seed=3)
    one = bootstrap.mean(names, values.tolist())
    assert one == stats.Bootstrap(names, seed=3).mean(names, values.tolist())
    assert one != stats.Bootstrap(names, seed=4).mean(names, values.tolist())
    other = bootstrap.of(names, values, lambda rows: float(rows.mean()))
    assert (other.low, other.high) == (pytest.approx(one.low), pytest.approx(one.high))


def test_two_patients_make_no_interval():
    found = stats.Bootstrap(["a", "b"], 0).mean(["a", "b"], [0.5, 0.7]).to_dict()
    assert found == {"value": 0.6, "low": None, "high": None, "n": 2}


def test_certainty_that_keeps_its_word_has_no_error_and_boasting_has():
    certainty = np.repeat([0.62, 0.97], 100)
    right = np.concatenate([np.repeat([1.0, 0.0], [62, 38]), np.repeat([1.0, 0.0], [97, 3])])
    honest = stats.Reliability.of(certainty, right).stacked[None]
    boasting = stats.Reliability.of(np.minimum(certainty + 0.2, 1.0), right).stacked[None]
    assert stats.calibration_error(honest) == pytest.approx(0, abs=1e-9)
    assert stats.calibration_error(boasting) == pytest.approx((0.2 + 0.03) / 2)
