"""Two planes of bodies whose volumes are known; beats that differ; what is cut or foreshortened."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from appliance.measures import Measures, biplane, frame_measures, measure, summary
from appliance.measures.chambers import LA, LV, FrameMeasures
from tests.measures.test_measures import beating, half_ellipsoid, timing

MM = 0.5  # per px of every map here
ML = MM**3 / 1000


def loop_of(radius, length, ef, atrium=60.0, mm_per_px=MM):
    """Measures of 40 frames, one beat, of half an ellipsoid that shrinks alike in all directions."""
    frames = []
    for index in range(40):
        contraction = (1 - math.cos(2 * math.pi * index / 39)) / 2
        scale = (1 - ef * contraction) ** (1 / 3)
        labels = half_ellipsoid(radius * scale, length * scale, atrium=atrium)
        frames.append(frame_measures(labels))
    return measure(frames, timing(40), mm_per_px, "" if mm_per_px else "No scale.")


@pytest.fixture(scope="module")
def four():
    return loop_of(45, 150, 0.6)


@pytest.fixture(scope="module")
def two():
    return loop_of(35, 150, 0.6)


def test_a_ventricle_with_three_different_axes_has_its_exact_volume(four, two):
    found = biplane(four, two)
    truth = 2 / 3 * math.pi * 45 * 35 * 150 * ML
    assert found.edv_ml == pytest.approx(truth, rel=0.03)
    assert found.esv_ml == pytest.approx(0.4 * truth, rel=0.04)
    assert found.ef_percent == pytest.approx(60, abs=1.5)
    assert found.stroke_volume_ml == pytest.approx(found.edv_ml - found.esv_ml, abs=0.11)
    assert found.withheld == {}
    assert four.edv_ml == pytest.approx(truth * 45 / 35, rel=0.03), "one plane takes it for round"
    assert four.stroke_volume_ml == pytest.approx(four.edv_ml - four.esv_ml, abs=0.11)


def test_an_atrium_with_three_different_axes_has_its_exact_volume(four, two):
    # At ES the mouth is as wide as the smaller ventricle's base.
    scale = 0.4 ** (1 / 3)
    truth = 2 / 3 * math.pi * (45 * scale) * (35 * scale) * 60 * ML
    assert biplane(four, two).la_volume_ml == pytest.approx(truth, rel=0.05)


def test_the_longer_length_counts_for_the_ventricle_and_the_shorter_for_the_atrium(four):
    shorter = loop_of(45, 140, 0.6, atrium=55.0)
    both, same = biplane(four, shorter), biplane(four, four)
    area_ratio = shorter.plane.la_area / four.plane.la_area
    length_ratio = four.plane.la_length / shorter.plane.la_length
    assert both.edv_ml == pytest.approx(same.edv_ml, rel=0.02)
    assert both.la_volume_ml == pytest.approx(
        same.la_volume_ml * area_ratio * length_ratio, rel=0.01
    )


def test_a_view_whose_ventricle_is_much_shorter_is_named_and_nothing_is_told(four):
    found = biplane(four, loop_of(45, 120, 0.6))
    assert found.ef_percent is None
    assert found.edv_ml is None
    assert "20 % shorter in the A2C loop" in found.withheld["ef_percent"]


def test_atria_of_different_lengths_give_no_atrial_volume_but_an_ef(four):
    found = biplane(four, loop_of(35, 150, 0.6, atrium=40.0))
    assert found.ef_percent is not None
    assert found.la_volume_ml is None
    assert "10 mm" in found.withheld["la_volume_ml"]


def test_without_a_trusted_calibration_of_both_there_is_no_biplane_ef(four):
    found = biplane(four, loop_of(35, 150, 0.6, mm_per_px=None))
    assert found.ef_percent is None
    assert found.withheld["ef_percent"] == (
        "No biplane EF: the A2C loop has no trusted calibration."
    )


def test_without_an_ef_of_both_there_is_no_biplane_ef(four):
    still = measure([frame_measures(half_ellipsoid(45, 150))] * 40, timing(40), MM, "")
    assert biplane(still, four).withheld["ef_percent"] == "No biplane EF: the A4C loop has none."


def test_measures_of_an_earlier_release_can_be_read_and_say_so(four):
    old = four.to_dict()
    for name in ("plane", "ef_mean", "stroke_volume_ml"):
        del old[name]
    read = Measures.from_dict(json.loads(json.dumps(old)))
    assert "earlier release" in biplane(read, four).withheld["ef_percent"]


def test_planes_survive_the_ledger(four):
    assert Measures.from_dict(json.loads(json.dumps(four.to_dict()))) == four


def test_each_beat_has_its_ef_and_their_mean_and_range_are_told():
    found = measure(beating(120), timing(120), None, "no")
    values = [beat.ef for beat in found.beats]
    assert len(values) >= 3
    assert found.ef_mean == pytest.approx(np.mean(values), abs=0.06)
    assert found.ef_spread == pytest.approx(max(values) - min(values), abs=0.06)
    assert all(beat.agrees for beat in found.beats)


def test_a_beat_that_disagrees_with_the_others_is_flagged_and_not_shown():
    frames = beating(120)
    weak = beating(120, ef=0.3)
    found = measure([*frames[:60], *weak[60:90], *frames[90:]], timing(120), None, "no")
    odd = [beat for beat in found.beats if not beat.agrees]
    assert [beat.ef for beat in odd] == pytest.approx([30], abs=3)
    assert found.ef_percent == pytest.approx(60, abs=2)


def test_of_two_beats_that_differ_neither_is_believed():
    found = measure([*beating(30), *beating(31, ef=0.3)], timing(61), None, "no")
    assert [beat.agrees for beat in found.beats] == [False, False]


def test_a_ventricle_as_round_as_a_ball_is_taken_for_foreshortened():
    found = loop_of(75, 150, 0.6)
    assert found.ef_percent is None
    assert found.withheld["edv_ml"] == summary.FORESHORTENED


def test_a_ventricle_that_grows_longer_as_it_contracts_is_taken_for_foreshortened():
    frames = [
        replace(frame, lv_length=160 + (160 - frame.lv_length) * 0.4) for frame in beating(60)
    ]
    found = measure(frames, timing(60), None, "no")
    assert found.withheld["ef_percent"] == summary.FORESHORTENED


def test_an_atrium_cut_by_the_sectors_edge_has_no_volume_and_the_ventricle_has():
    labels = half_ellipsoid(45, 150)
    fan = np.ones(labels.shape, bool)
    fan[235:] = False
    cut = np.where(fan, labels, 0).astype(np.uint8)
    found = frame_measures(cut, fan)
    assert (cut == LA).any()
    assert found.la_cut
    assert not found.cut_at_edge
    frames = [replace(frame, la_cut=True) for frame in beating(60)]
    told = measure(frames, timing(60), MM, "")
    assert told.edv_ml is not None
    assert told.la_volume_ml is None
    assert told.withheld == {"la_volume_ml": summary.LA_CUT}


def test_a_ventricle_cut_by_the_sectors_side_is_no_plane():
    labels = half_ellipsoid(45, 150)
    fan = np.ones(labels.shape, bool)
    fan[:, 215:] = False
    assert (labels[:, 216:] == LV).any()
    assert frame_measures(np.where(fan, labels, 0).astype(np.uint8), fan).cut_at_edge


def test_disks_scale_with_the_pixels_and_survive_the_ledger():
    found = frame_measures(half_ellipsoid(45, 150))
    assert len(found.lv_diameters) == 20
    assert found.scaled(2).lv_diameters[3] == 2 * found.lv_diameters[3]
    assert FrameMeasures.from_dict(json.loads(json.dumps(found.to_dict()))) == found
