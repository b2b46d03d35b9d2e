"""The gate between a candidate and the model in use, on evaluations made by hand."""

import copy

import pytest

from models import gate
from models.gate import compare
from models.gate_report import page

STRUCTURES = ("Left ventricle", "Myocardium", "Left atrium")

pytestmark = pytest.mark.models


def report(patients=30, dice=0.93, ef_error=5.0, scanner=""):
    frames, people = [], []
    for number in range(patients):
        patient = f"patient{number:04}"
        # Hearts differ much more than two models on one heart do.
        own = dice + 0.03 * (number % 7 - 3) / 3
        for view in ("2CH", "4CH"):
            for phase in ("ED", "ES"):
                line = {"patient": patient, "view": view, "phase": phase}
                scores = {name: {"dice": own} for name in STRUCTURES}
                frames.append(
                    {**line, "tidied": scores, **({"scanner": scanner} if scanner else {})}
                )
        people.append({"patient": patient, "EF": [60.0 + ef_error, 60.0]})
    return {"precision": "f32", "frames": frames, "patients": people}


def lowered(found, points, chosen):
    made = copy.deepcopy(found)
    for line in made["frames"]:
        for name, value in line["tidied"].items():
            if chosen(line, name):
                value["dice"] -= points / 100
    return made


def failing(candidate, current):
    found = compare(candidate, current, data="hearts")
    return {(verdict.what, verdict.group) for verdict in found if not verdict.passed}


def test_the_same_model_passes_everywhere():
    assert failing(report(), report()) == set()


def test_a_little_worse_within_the_margin_passes():
    assert failing(lowered(report(), 0.3, lambda *_: True), report()) == set()


def test_one_structure_worse_in_one_view_fails_there_only():
    worse = lowered(report(), 0.8, lambda line, name: (line["view"], name) == ("2CH", "Myocardium"))
    assert failing(worse, report()) == {("Myocardium, Dice", "2CH")}


def test_a_scanner_that_fares_worse_is_found_behind_a_good_mean():
    def of(share):
        made = report()
        for line in made["frames"]:
            line["scanner"] = "Rare" if line["patient"] < f"patient{share:04}" else "Common"
        return made

    better = lowered(of(6), -0.5, lambda *_: True)
    worse = lowered(better, 2.0, lambda line, _: line["scanner"] == "Rare")
    assert {group for _, group in failing(worse, of(6))} == {"scanner Rare"}


def test_what_varies_too_much_to_tell_does_not_pass():
    noisy = lowered(report(8), 0, lambda *_: True)
    for number, line in enumerate(noisy["frames"]):
        line["tidied"]["Left atrium"]["dice"] += 0.05 * (-1) ** (number // 4)
    assert ("Left atrium, Dice", "all") in failing(noisy, report(8))


def test_two_patients_tell_nothing_and_do_not_pass():
    assert ("Left ventricle, Dice", "all") in failing(report(2), report(2))


def test_a_worse_ef_fails_although_every_outline_is_better():
    better = lowered(report(ef_error=7.0), -1.0, lambda *_: True)
    assert failing(better, report()) == {("EF, mean absolute error", "all")}
    assert failing(report(ef_error=-4.0), report()) == set()


def test_other_frames_are_no_comparison():
    with pytest.raises(ValueError, match="same frames"):
        compare(report(5), report(6), data="hearts")


def test_a_frame_time_passes_below_the_loops_own_or_near_the_model_in_use():
    assert gate.of_time(30.0, 10.0, "int8").passed
    assert gate.of_time(50.0, 48.0, "f32").passed
    assert not gate.of_time(60.0, 48.0, "f32").passed


def test_a_line_that_fails_for_want_of_patients_says_so():
    one = report(patients=1)
    found = [verdict.to_dict() for verdict in compare(one, one, data="hearts")]
    assert not any(item["passed"] for item in found)
    who = {"name": "a-1.0.0", "sha256": "0" * 64}
    text = page({"candidate": who, "current": who, "passed": False, "verdicts": found, "data": []})
    assert text.count("**fails** (too few patients: 1)") == len(found)
