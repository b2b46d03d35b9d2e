"""Masks voted over neighbours: what changes, what must not, and where the setting takes effect."""

from itertools import pairwise

import numpy as np
import pytest

from appliance.engine.backend import Inference
from appliance.engine.smoothing import voted
from appliance.engine.worker import Worker
from appliance.labels import of_analysis
from tests.phantom import cine_loop


def inference(*labels):
    return Inference(
        np.array([labels], np.uint8), np.ones(4, np.float32), np.full((1, 1), 255, np.uint8)
    )


def rows(found):
    return [None if one is None else one.labels[0].tolist() for one in found]


def test_a_pixel_that_flickers_for_one_frame_is_outvoted():
    given = [inference(1, 0), inference(2, 1), inference(1, 1), inference(1, 1)]
    assert rows(voted(given)) == [[1, 0], [1, 1], [1, 1], [1, 1]]


def test_a_movement_that_goes_on_is_left_alone():
    moving = [inference(*(int(place >= step) for place in range(6))) for step in range(6)]
    assert rows(voted(moving)) == rows(moving)


def test_three_different_answers_leave_the_frames_own():
    assert rows(voted([inference(1), inference(2), inference(3)])) == [[1], [2], [3]]


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_a_short_loop_stays_as_it_is(frames):
    given = [inference(1), inference(2)][:frames]
    assert rows(voted(given)) == rows(given)


def test_a_damaged_frame_stays_damaged_and_its_neighbours_stay_as_they_are():
    given = [inference(1), inference(2), None, inference(2), inference(1), inference(2)]
    assert rows(voted(given)) == [[1], [2], None, [2], [2], [2]]


def test_nothing_is_read_more_than_one_frame_ahead():
    taken = []

    def coming():
        for number in range(5):
            taken.append(number)
            yield inference(1)

    stream = voted(coming())
    next(stream)
    assert taken == [0, 1]


def test_a_box_that_votes_says_so_and_its_masks_jump_less(bench, tmp_path):
    path = cine_loop(frames=24, heart_rate=80, seed=3).write(tmp_path / "loop.dcm")
    sent_anew = {"StudyID": "sent anew"}
    again = cine_loop(frames=24, heart_rate=80, seed=3, elements=sent_anew).write(
        tmp_path / "again.dcm"
    )
    plain = bench.analyse(path)
    bench.worker = Worker(
        *(bench.ledger, bench.spool, bench.worker._models, bench.stop), voting=True
    )
    smooth = bench.analyse(again)

    def changes(loop):
        maps = of_analysis(bench.ledger, bench.spool, loop["analysis"]["id"])
        frames = [maps.stored(index)[0] for index in range(24)]
        return sum(int((one != other).sum()) for one, other in pairwise(frames))

    assert changes(smooth) < changes(plain)
    notes = smooth["analysis"]["quality"]["notes"]
    assert "The outlines are voted over neighbouring frames." in notes
    assert not any("voted" in note for note in plain["analysis"]["quality"]["notes"])
