import json
import math

import numpy as np
import pytest

from appliance.cine.timing import Timing
from appliance.measures import FrameMeasures, Measures, measure, summary
from appliance.measures.beats import find_beats, smooth
from appliance.measures.chambers import LA, LV, MYOCARDIUM, frame_measures, isotropic
from tests.phantom import cine_loop

WALL = 15


def half_ellipsoid(radius, length, tilt=0.0, atrium=60.0, size=384):
    """A ventricle that is half an ellipsoid in its wall, on an atrium that is another half."""
    y, x = np.mgrid[:size, :size].astype(float)
    down = np.array([math.sin(tilt), math.cos(tilt)])
    base = np.array([190.0, 60.0]) + length * down
    up = -((x - base[0]) * down[0] + (y - base[1]) * down[1])
    side = (x - base[0]) * down[1] - (y - base[1]) * down[0]
    labels = np.zeros((size, size), np.uint8)
    outer = (side / (radius + WALL)) ** 2 + (up / (length + WALL)) ** 2 <= 1
    labels[(up >= 0) & outer] = MYOCARDIUM
    labels[(up >= 0) & ((side / radius) ** 2 + (up / length) ** 2 <= 1)] = LV
    labels[(up < 0) & ((side / radius) ** 2 + (up / atrium) ** 2 <= 1)] = LA
    return labels


def timing(frames, rate_hz=30.0):
    return Timing(tuple(1000 * i / rate_hz for i in range(frames)), rate_hz, "FrameTime", "")


def beating(frames, *, rate=60.0, ef=0.6, start=0.0, rate_hz=30.0):
    """Frames of a heart whose volume follows a cosine, ED at phase 0."""
    made = []
    for index in range(frames):
        contraction = (1 - math.cos(2 * math.pi * (start + index * rate / 60 / rate_hz))) / 2
        volume = 800_000 * (1 - ef * contraction)
        scale = (volume / 800_000) ** (1 / 3)
        made.append(
            FrameMeasures(12_000 * scale**2, 6_000, 9_000, 160 * scale, volume, 90_000, False)
        )
    return made


@pytest.mark.parametrize("shape", [(40, 140, 0.0), (25, 110, -0.4), (55, 160, 0.2), (15, 60, 0.1)])
def test_simpsons_disks_give_the_volume_of_half_an_ellipsoid_within_2_percent(shape):
    radius, length, tilt = shape
    found = frame_measures(half_ellipsoid(radius, length, tilt))
    assert found.lv_volume == pytest.approx(2 / 3 * math.pi * radius**2 * length, rel=0.02)
    assert found.lv_length == pytest.approx(length, rel=0.02)
    assert found.lv_area == pytest.approx(math.pi * radius * length / 2, rel=0.01)
    assert not found.cut_at_edge


def test_area_and_length_give_the_atriums_volume_within_3_percent():
    found = frame_measures(half_ellipsoid(40, 140, 0.3))
    assert found.la_volume == pytest.approx(2 / 3 * math.pi * 40**2 * 60, rel=0.03)


def test_a_ventricle_without_an_atrium_is_measured_from_where_it_has_no_wall():
    with_atrium, without = half_ellipsoid(40, 140), half_ellipsoid(40, 140)
    without[without == LA] = 0
    expected = frame_measures(with_atrium).lv_volume
    found = frame_measures(without)
    assert found.lv_volume == pytest.approx(expected, rel=0.02)
    assert found.la_volume == 0


def test_a_ventricle_without_any_base_has_no_volume():
    labels = np.full((100, 100), MYOCARDIUM, np.uint8)
    labels[30:70, 40:60] = LV
    assert frame_measures(labels).lv_volume == 0
    assert frame_measures(np.zeros((50, 50), np.uint8)).lv_area == 0


def test_the_edge_of_the_fan_cuts_a_ventricle():
    labels = half_ellipsoid(40, 140)
    fan = np.ones(labels.shape, bool)
    assert not frame_measures(labels, fan).cut_at_edge
    fan[:, :170] = False
    assert frame_measures(np.where(fan, labels, 0).astype(np.uint8), fan).cut_at_edge


def test_pixels_that_are_not_square_are_evened_out():
    square = half_ellipsoid(40, 140)
    flat = square[::2]  # each pixel is now twice as high as wide
    found = frame_measures(isotropic(flat, 2.0))
    assert found.lv_volume == pytest.approx(frame_measures(square).lv_volume, rel=0.02)
    assert isotropic(square, 1.0) is square


def test_measures_in_larger_pixels_scale_by_their_power():
    small = frame_measures(half_ellipsoid(20, 70))
    large = frame_measures(half_ellipsoid(40, 140))
    assert small.scaled(2).lv_volume == pytest.approx(large.lv_volume, rel=0.03)
    assert small.scaled(2).lv_area == pytest.approx(large.lv_area, rel=0.03)
    assert FrameMeasures.from_dict(json.loads(json.dumps(small.to_dict()))) == small


@pytest.mark.parametrize("rate", [45, 75, 120])
@pytest.mark.parametrize("start", [0.0, 0.3, 0.5, 0.8])
def test_every_whole_beat_is_found_wherever_the_loop_starts(rate, start):
    found = measure(beating(120, rate=rate, start=start), timing(120), None, "no")
    whole = 120 / 30 * rate / 60
    assert whole - 1.2 <= len(found.beats) <= whole + 1
    assert found.ef_percent == pytest.approx(60, abs=2.5)
    for beat in found.beats:
        assert beat.ed < beat.es


def test_one_beat_from_r_wave_to_r_wave_is_enough():
    found = measure(beating(31), timing(31), None, "no")
    assert (found.ed_frame, found.es_frame) in {(0, 15), (0, 14), (0, 16)}
    assert found.ef_percent == pytest.approx(60, abs=1.5)
    assert found.ef_spread is None


def test_a_systole_cut_off_by_the_end_of_the_loop_is_no_beat():
    found = measure(beating(42), timing(42), None, "no")
    assert [beat.ed for beat in found.beats] == [0]
    assert found.ef_percent == pytest.approx(60, abs=1.5)


def test_a_loop_shorter_than_a_beat_has_no_ef_and_says_so():
    found = measure(beating(15), timing(15), 0.5, "")
    assert found.ef_percent is None
    assert found.edv_ml is None
    assert found.withheld["ef_percent"] == summary.NO_WHOLE_BEAT


def test_a_heart_that_does_not_move_has_no_ef():
    found = measure(beating(60, ef=0.01), timing(60), None, "no")
    assert found.withheld["ef_percent"] == summary.NO_WHOLE_BEAT


def test_a_cut_ventricle_has_no_ef_and_says_so():
    frames = [
        FrameMeasures.from_dict({**frame.to_dict(), "cut_at_edge": True}) for frame in beating(60)
    ]
    found = measure(frames, timing(60), 0.5, "")
    assert found.ef_percent is None
    assert found.withheld["ef_percent"] == summary.CUT


def test_no_trusted_calibration_means_ef_without_volumes_and_the_reason():
    found = measure(beating(60), timing(60), None, "The calibration lies outside the image.")
    assert found.ef_percent is not None
    assert found.edv_ml is None
    assert found.withheld["edv_ml"] == "The calibration lies outside the image."
    assert found.area_unit == "px2"


def test_volumes_are_in_millilitres_by_the_calibration():
    found = measure(beating(60), timing(60), 0.5, "")
    assert found.edv_ml == pytest.approx(800_000 * 0.5**3 / 1000, rel=0.02)
    assert found.la_volume_ml == pytest.approx(90_000 * 0.5**3 / 1000, rel=0.01)
    assert found.lv_area_curve[0] == pytest.approx(12_000 * 0.05**2, rel=0.01)
    assert found.withheld == {}


def test_damaged_frames_are_left_out_and_a_few_do_not_matter():
    frames = [None if i in (0, 15, 16, 44) else frame for i, frame in enumerate(beating(60))]
    found = measure(frames, timing(60), None, "no")
    assert found.ef_percent == pytest.approx(60, abs=3)
    assert found.lv_area_curve[15] is None
    assert not {0, 15, 16, 44} & {f for beat in found.beats for f in (beat.ed, beat.es)}


def test_most_frames_without_a_ventricle_mean_no_ef():
    frames = [frame if i % 2 else None for i, frame in enumerate(beating(60))]
    found = measure(frames, timing(60), None, "no")
    assert found.withheld["ef_percent"] == summary.NOT_ENOUGH_MASKS


def test_no_frames_at_all_is_no_error():
    assert measure([None] * 10, timing(10), None, "no").ef_percent is None


def test_a_mask_that_fails_for_two_frames_is_not_taken_for_end_systole():
    frames = beating(60)
    half = frames[20].scaled(0.55)
    frames[20] = frames[21] = half
    found = measure(frames, timing(60), None, "no")
    assert found.ef_percent == pytest.approx(60, abs=3)
    assert not {20, 21} & {beat.es for beat in found.beats}


def test_frames_a_person_chose_are_taken_as_they_are():
    found = measure(beating(60), timing(60), None, "no", ed=3, es=12)
    assert (found.ed_frame, found.es_frame) == (3, 12)
    assert len(found.beats) == 1
    backwards = measure(beating(60), timing(60), None, "no", ed=15, es=0)
    assert backwards.withheld["ef_percent"] == summary.IMPLAUSIBLE


def test_one_chosen_frame_gets_the_other_of_the_nearest_beat():
    found = measure(beating(120), timing(120), None, "no", ed=62)
    assert found.ed_frame == 62
    assert abs(found.es_frame - 75) <= 1


def test_measures_survive_the_ledger():
    found = measure(beating(90), timing(90), 0.5, "")
    assert Measures.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_phantoms_ef_and_volume_come_out_of_its_own_masks():
    loop = cine_loop(frames=40, rows=480, columns=640, ejection_fraction=0.55)
    frames = [frame_measures(labels) for labels in loop.labels]
    found = measure(frames, timing(40), loop.mm_per_px[0], "")
    assert found.ef_percent == pytest.approx(55, abs=2)
    assert found.edv_ml == pytest.approx(max(loop.volumes_ml), rel=0.04)


def test_noise_on_the_area_makes_no_beats():
    noise = 10_000 + np.random.default_rng(1).normal(0, 120, 90)
    assert find_beats(smooth(noise, 30.0), 30.0) == []


def area(seconds, beat_s=0.93, rate=30.0, start_s=0.0):
    """A ventricle's area: a systole of 0.37 s, a filling of 0.3 s, and a rest."""
    times = (start_s + np.arange(round(seconds * rate)) / rate) % beat_s
    ejected = np.interp(times, [0, 0.37, 0.67, beat_s], [0, 1, 0.1, 0])
    return smooth(10_000 - 4_000 * np.sin(ejected * np.pi / 2) ** 2, rate)


@pytest.mark.parametrize("start_s", np.arange(0, 0.93, 0.1).tolist())
def test_a_third_of_a_second_holds_no_beat(start_s):
    assert find_beats(area(0.33, start_s=start_s), 30.0) == []


@pytest.mark.parametrize("start_s", [0.1, 0.15, 0.2])
def test_from_the_middle_of_a_systole_to_that_of_the_filling_is_no_beat(start_s):
    assert find_beats(area(0.53 - start_s, start_s=start_s), 30.0) == []


@pytest.mark.parametrize("beat_s", [0.67, 0.8, 1.0, 1.2])
def test_one_beat_from_ed_to_ed_is_measured(beat_s):
    (found,) = find_beats(area(beat_s, beat_s), 30.0)
    assert found == (pytest.approx(0, abs=1), pytest.approx(11, abs=1))


def test_ed_and_es_are_never_taken_from_doubtful_frames():
    plain = measure(beating(90), timing(90), None, "no")
    doubtful = {beat.ed for beat in plain.beats} | {beat.es for beat in plain.beats}
    found = measure(beating(90), timing(90), None, "no", doubtful=doubtful)
    taken = {frame for beat in found.beats for frame in (beat.ed, beat.es)}
    assert taken
    assert not taken & doubtful
    assert found.ef_percent == pytest.approx(plain.ef_percent, abs=2)


def test_where_every_frame_around_es_is_doubtful_there_is_no_ef_and_the_reason():
    frames = beating(40)
    (beat,) = measure(frames, timing(40), None, "no").beats
    around = set(range(beat.es - 5, beat.es + 6))
    found = measure(frames, timing(40), None, "no", doubtful=around)
    assert found.ef_percent is None
    assert found.withheld["ef_percent"] == summary.DOUBTFUL


def test_a_person_may_choose_a_doubtful_frame():
    found = measure(beating(60), timing(60), None, "no", ed=3, es=12, doubtful={3, 12})
    assert (found.ed_frame, found.es_frame) == (3, 12)
