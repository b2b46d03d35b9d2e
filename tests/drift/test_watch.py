"""The daily look: as few false alarms as it states, over all features and days; real shifts are found."""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pytest

from appliance.drift import reference
from appliance.drift.features import FEATURES, INPUT, OUTPUT
from appliance.drift.watch import Plan, of_day
from appliance.manifest import current_model

START = date(2026, 3, 2)
# What a model can bring is of pictures and outlines; the rest is the box's own.
BROUGHT = [f.name for f in FEATURES if f.kind in (INPUT, OUTPUT) and f.name != "unknown_scanner"]
SHARES = {"unknown_scanner": 0.03, "refused": 0.2, "accepted": 0.8, "doubtful": 0.1}


def drawn(random: np.random.Generator, studies: int) -> dict[str, list[float]]:
    """Values of every feature for some studies; most depend on each other, as real ones do."""
    common = random.normal(size=studies)
    made = {}
    for feature in FEATURES:
        if feature.name in SHARES:
            made[feature.name] = (random.random(studies) < SHARES[feature.name]).astype(float)
        else:
            made[feature.name] = 0.7 * common + 0.7 * random.normal(size=studies)
    return {name: list(values) for name, values in made.items()}


def dated(values: dict[str, list[float]], days: list[str], a_day: int):
    return {
        name: [(days[place // a_day], value) for place, value in enumerate(found)]
        for name, found in values.items()
    }


def alarmed(random: np.random.Generator, plan: Plan, days: int, a_day: int = 12) -> bool:
    """Whether a box on which nothing changes is told of anything in so many days."""
    before = (START - timedelta(days=1)).isoformat()
    every = [(START + timedelta(days=day)).isoformat() for day in range(days)]
    known = {name: np.array(v) for name, v in drawn(random, 50).items() if name in BROUGHT}
    own = {name: [(before, value) for value in v] for name, v in drawn(random, plan.own).items()}
    told = dated(drawn(random, days * a_day), every, a_day)
    series = {name: [*own[name], *told[name]] for name in told}
    return any(found.differs for day in every for found in of_day(series, known, day, plan))


def test_the_stated_rate_of_false_alarms_is_held_over_all_features_and_days():
    plan, boxes = Plan(rate=0.2, looks=10, own=40), 100
    random = np.random.default_rng(11)
    told = sum(alarmed(random, plan, plan.looks) for _box in range(boxes))
    # Three standard deviations above what is stated.
    assert told <= boxes * 0.2 + 3 * np.sqrt(boxes * 0.2 * 0.8)


def test_without_the_correction_nearly_every_box_would_be_told_of_something():
    # The simulation has what it takes to fail: each comparison at the whole rate.
    plan = Plan(rate=0.2 * 10 * 4 * len(FEATURES), looks=10, own=40)
    random = np.random.default_rng(12)
    assert sum(alarmed(random, plan, 10) for _box in range(15)) >= 13


@pytest.fixture(scope="module")
def shipped() -> dict[str, np.ndarray]:
    found = reference.samples(reference.read(current_model()))
    assert found, "the shipped model brings a reference"
    return found


def as_shipped(shipped: dict[str, np.ndarray], studies: int, seed: int) -> dict[str, np.ndarray]:
    """Studies as the model's makers had them, drawn by lot."""
    random = np.random.default_rng(seed)
    return {name: random.choice(values, studies) for name, values in shipped.items()}


SHIFTS: dict[str, Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]] = {
    "brightness": lambda v: {"brightness": v["brightness"] * 0.6},  # a gain turned down
    "fan_aspect": lambda v: {"fan_aspect": v["fan_aspect"] * 0.8},  # a narrower sector
    "lv_area": lambda v: {"lv_area": v["lv_area"] * 0.6},  # masks that shrink
    "confidence_wall": lambda v: {"confidence_wall": v["confidence_wall"] - 0.04},
}


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_of_pictures_or_outlines_is_found_in_four_weeks_and_nothing_else(shipped, name):
    plan, days, a_day = Plan(), 28, 7
    every = [(START + timedelta(days=day)).isoformat() for day in range(days)]
    values = as_shipped(shipped, days * a_day, seed=5)
    before = of_day(dated(values, every, a_day), shipped, every[-1], plan)
    assert not [found.feature for found in before if found.differs]
    shifted = {**values, **SHIFTS[name](values)}
    after = of_day(dated(shifted, every, a_day), shipped, every[-1], plan)
    assert {found.feature for found in after if found.differs} == {name}


def test_a_day_on_which_everything_is_another_is_found_on_that_day(shipped):
    days = [(START + timedelta(days=day)).isoformat() for day in range(28)]
    values = as_shipped(shipped, 28 * 20, seed=6)
    values["brightness"][-20:] *= 0.3
    found = of_day(dated(values, days, 20), shipped, days[-1])
    alarms = [item for item in found if item.differs]
    assert {(item.feature, item.span) for item in alarms} == {("brightness", "day")}
    assert {item.source for item in alarms} == {"model", "box"}
    assert all(item.mean < 0.5 * item.reference_mean for item in alarms)


def test_acceptance_that_falls_is_told_against_the_boxs_own_first_studies():
    random = np.random.default_rng(7)
    first = [("2026-02-01", float(value)) for value in random.random(100) < 0.9]
    days = [(START + timedelta(days=day)).isoformat() for day in range(28)]
    later = [
        (days[place // 7], float(value)) for place, value in enumerate(random.random(196) < 0.5)
    ]
    found = of_day({"accepted": [*first, *later]}, {}, days[-1])
    (alarm,) = [item for item in found if item.differs]
    assert (alarm.feature, alarm.span, alarm.source) == ("accepted", "weeks", "box")
    assert alarm.reference_mean > 0.8 > alarm.mean


def test_nothing_is_compared_before_the_boxs_first_studies_are_there():
    told = {"accepted": [("2026-03-02", 1.0)] * 60 + [("2026-03-03", 0.0)] * 39}
    found = of_day(told, {}, "2026-03-03")
    assert {(item.distance, item.reference) for item in found} == {(None, 99)}


def test_later_days_say_nothing_of_an_earlier_look(shipped):
    values = {"brightness": [("2026-03-02", float(v)) for v in shipped["brightness"][:30]]}
    later = [("2026-03-03", 0.0)] * 50
    with_later = {"brightness": [*values["brightness"], *later]}
    assert of_day(with_later, shipped, "2026-03-02") == of_day(values, shipped, "2026-03-02")
