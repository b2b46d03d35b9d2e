"""Each frame's verdict: what can't be a heart's outline, and what only looks odd."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from appliance.engine.quality import frame_shape, implausible, judge
from tests.phantom import cine_loop

FAN = 90_000.0
SURE = np.array([0.99, 0.97, 0.92, 0.94], np.float32)
LV, WALL, LA = 1, 2, 3


def heart(dx=0, scale=1.0):
    """A drawn heart on the map: cavity, wall around it, atrium below."""
    labels = np.zeros((384, 384), np.uint8)
    centre = (190 + dx, 150)
    cv2.ellipse(labels, centre, (int(70 * scale), int(110 * scale)), 0, 0, 360, WALL, -1)
    cv2.ellipse(labels, (centre[0], 270), (50, 40), 0, 0, 360, LA, -1)
    cv2.ellipse(labels, centre, (int(52 * scale), int(92 * scale)), 0, 0, 360, LV, -1)
    labels[235:262, centre[0] - 25 : centre[0] + 26] = LA
    return labels


def verdict(labels, before=None, **more):
    return implausible(frame_shape(labels, SURE, FAN, before, **more))


def without(label):
    labels = heart()
    labels[labels == label] = 0
    return labels


def atrium_on_top():
    return np.ascontiguousarray(np.flipud(heart()))


def half_a_wall():
    labels = heart()
    labels[:, 190:][labels[:, 190:] == WALL] = 0
    return labels


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (heart(), ""),
        (without(LV), "The left ventricle has no plausible size."),
        (without(WALL), "The myocardium has no plausible size."),
        (without(LA), "No left atrium at the ventricle's base."),
        (half_a_wall(), "The myocardium doesn't surround the left ventricle."),
        (atrium_on_top(), "The left atrium doesn't lie below the ventricle."),
    ],
)
def test_a_frame_is_believed_unless_it_can_not_be_a_hearts(labels, words):
    assert verdict(labels) == words


def test_a_structure_in_pieces_is_named():
    raw = heart()
    raw[300:340, 20:80] = WALL
    assert verdict(heart(), raw=raw) == "The myocardium is in several pieces."
    crumb = heart()
    crumb[300:304, 20:24] = WALL  # what tidying is for
    assert verdict(heart(), raw=crumb) == ""


def test_a_jump_is_charged_to_the_frame_that_jumped_not_to_the_next():
    here, away = heart(), heart(dx=60)
    assert "jumps" in verdict(away, here, before_two=here)
    assert verdict(here, away, before_two=here) == ""
    assert "jumps" in verdict(away, here)  # the second frame of a loop


def test_sizes_count_only_where_the_scale_is_known():
    assert verdict(heart(), mm_per_px=None) == ""
    assert verdict(heart(), mm_per_px=0.4) == ""
    assert verdict(heart(), mm_per_px=1.2) == "The left ventricle would be 216 cm² large."
    assert "cm² large" in verdict(heart(), mm_per_px=0.05)


def test_every_frame_of_a_drawn_heart_is_plausible():
    loop = cine_loop(frames=30, heart_rate=110, ejection_fraction=0.7)
    x, y, width, height = loop.box
    before = two = None
    for labels in loop.labels:
        found = cv2.resize(
            labels[y : y + height, x : x + width], (384, 384), interpolation=cv2.INTER_NEAREST
        )
        shape = frame_shape(found, SURE, FAN, before, before_two=two)
        assert implausible(shape) == ""
        two, before = before, found


def test_certainty_is_read_along_the_outline_of_each_structure():
    certainty = np.full((96, 96), 255, np.uint8)
    certainty[:, 60:] = 0  # the right side is unclear: LV and wall cross it, more or less
    lv, wall, la = frame_shape(heart(), SURE, FAN, None, certainty=certainty).certainty
    assert 0 < wall < lv < 1
    assert la == pytest.approx(1.0, abs=0.2)
    assert frame_shape(without(LA), SURE, FAN, None, certainty=certainty).certainty[2] == 0


def test_what_a_person_asked_for_is_doubted_instead_of_refused():
    shapes = [frame_shape(atrium_on_top(), SURE, FAN, atrium_on_top()) for _ in range(10)]
    assert "no left atrium" in judge(shapes, 10).reason
    asked = judge(shapes, 10, asked=True)
    assert asked.passed
    assert asked.doubt.startswith("Doubtful: no left atrium")
    assert asked.word == "doubtful"


def test_where_no_ventricle_is_found_asking_does_not_help():
    shapes = [frame_shape(without(LV), SURE, FAN, None) for _ in range(10)]
    assert not judge(shapes, 10, asked=True).passed
    assert not judge([], 10, asked=True).passed


def test_a_ventricle_that_jumps_about_is_refused_though_a_person_asked():
    places = [frame_shape(heart(dx=60 * (i % 2)), SURE, FAN, heart(dx=60)) for i in range(10)]
    assert "jump" in judge([replace(s, overlap=0.3) for s in places], 10, asked=True).reason
