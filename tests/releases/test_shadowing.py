"""When a candidate's figures let it draw, and what speaks against it."""

import pytest

from appliance.releases.shadowing import Thresholds, judge, summary

LOOP = {
    "why": "",
    "frames": 100,
    "empty": 0,
    "dice": {"Left ventricle": 0.95, "Left atrium": 0.92},
    "ef_points": 2.0,
    "volume_percent": 3.0,
    "frame_ms": 20.0,
    "own_ms": 15.0,
    "shown_ms": 33.0,
    "same_engine": True,
}
BETTER = {"frames": 1, "dice": {"Left ventricle": 0.94}, "own_dice": {"Left ventricle": 0.90}}
WORSE = {"frames": 1, "dice": {"Left ventricle": 0.85}, "own_dice": {"Left ventricle": 0.90}}
WANTED = Thresholds(loops=20, corrections=4)


def verdict(loops, corrections=(), wanted=WANTED):
    found = judge(wanted, summary(loops, corrections))
    return found.state, found.why


def test_it_waits_for_loops_and_then_for_corrections():
    assert verdict([LOOP] * 19) == ("waits", "19 of 20 loops are drawn")
    assert verdict([LOOP] * 20) == ("waits", "0 of 4 corrected loops are compared")
    assert verdict([LOOP] * 20, [BETTER] * 3)[0] == "waits"


def test_one_that_reaches_everything_passes_and_says_its_figures():
    state, why = verdict([LOOP] * 20, [BETTER] * 4)
    assert state == "passed"
    assert why == (
        "20 loops, Left ventricle 0.950, Left atrium 0.920, EF apart by 2.0 points,"
        " volumes by 3 %, 20.0 ms a frame (in force 15.0),"
        " Dice to 4 corrections 0.940 (in force 0.900)"
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"why": "No apical heart."}, "it would not have drawn 5: No apical heart"),
        ({"empty": 3}, "15 of 2000 frames lack a structure"),
        ({"dice": {"Left ventricle": 0.5, "Left atrium": 0.92}}, "Left ventricle agrees too"),
        ({"ef_points": 40.0}, "EF is apart by 11.5 points, 8 are allowed"),
    ],
)
def test_a_quarter_of_the_loops_that_goes_wrong_is_enough_against_it(change, why):
    state, told = verdict([LOOP] * 15 + [{**LOOP, **change}] * 5)
    assert state == "refused"
    assert why in told


def test_a_frame_may_take_as_long_as_it_is_shown_or_hardly_longer_than_now():
    def taking(own, candidate, **more):
        loop = {**LOOP, "own_ms": own, "frame_ms": candidate, **more}
        return verdict([loop] * 20, [BETTER] * 4)

    assert taking(15.0, 32.0)[0] == "passed"
    assert "a frame took 40.0 ms, 33.0 ms are there for it" in taking(15.0, 40.0)[1]
    assert taking(39.0, 40.0)[0] == "passed"
    assert taking(15.0, 400.0, same_engine=False)[0] == "passed"


def test_it_comes_as_near_to_corrections_as_the_model_in_force():
    state, why = verdict([LOOP] * 20, [WORSE] * 4)
    assert state == "refused"
    assert "Dice to 4 corrections 0.850, of the model in force 0.900" in why
    # As good on average, and too few to tell: neither let draw nor refused.
    assert verdict([LOOP] * 20, [BETTER, WORSE] * 2)[0] == "waits"


def test_a_loop_that_has_gone_meanwhile_counts_neither_way():
    assert verdict([LOOP] * 19 + [{"skipped": "open a cine loop"}] * 9)[0] == "waits"
