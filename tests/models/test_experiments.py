"""The source paper's experiments, in small: what they write, and that a killed run goes on."""

import json
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from models import corrections
from models.metrics import dice
from models.simulate import ATRIUM, LV, MYOCARDIUM, Hand, corrected
from tests.box import REPOSITORY
from tests.models.drawings import drawn_frames
from tests.phantom import cine_loop


@pytest.fixture(scope="module")
def mask():
    return cine_loop(frames=1, rows=384, columns=512).labels[0]


def area(mask, label):
    return int(np.count_nonzero(mask == label))


def roundness(mask, label):
    """Of a circle 1, of anything else less."""
    region = (mask == label).astype(np.uint8)
    outline = max(
        cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=cv2.contourArea
    )
    return 4 * np.pi * cv2.contourArea(outline) / cv2.arcLength(outline, True) ** 2


def test_the_hand_draws_as_the_paper_says(mask):
    made = corrected(mask, np.random.default_rng(0))
    assert 1.03 < area(made, LV) / area(mask, LV) < 1.2, "slightly larger"
    assert area(made, MYOCARDIUM) < 0.95 * area(mask, MYOCARDIUM), "narrower"
    assert area(made, ATRIUM) > area(mask, ATRIUM), "larger"
    assert roundness(made, ATRIUM) < roundness(mask, ATRIUM), "less round"
    assert min(dice(made, mask, (1, 2, 3))) > 0.75, "still the same heart"


def test_each_structure_stays_in_one_piece_and_where_it_was(mask):
    made = corrected(mask, np.random.default_rng(0))
    assert set(np.unique(made)) == {0, 1, 2, 3}
    for label in (LV, ATRIUM):
        assert cv2.connectedComponents((made == label).astype(np.uint8))[0] == 2
    assert not ((mask == LV) & (made != LV)).any(), "the cavity only grows"
    assert not ((made == ATRIUM) & ((mask == LV) | (mask == MYOCARDIUM))).any()


def test_a_drawing_is_decided_by_its_seed_and_two_differ(mask):
    one, same, other = (corrected(mask, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_steady_hand_that_changes_nothing_changes_nothing(mask):
    nothing = Hand(ventricle=0, myocardium=0, atrium=0, oblong=0, uneven=0, unsteady=0)
    assert np.array_equal(corrected(mask, np.random.default_rng(0), nothing), mask)


def test_a_mask_without_atrium_or_heart_stays_without(mask):
    without = np.where(mask == ATRIUM, 0, mask).astype(np.uint8)
    assert not (corrected(without, np.random.default_rng(0)) == ATRIUM).any()
    assert not corrected(np.zeros_like(mask), np.random.default_rng(0)).any()


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    """Four phantoms to learn from and six to judge by, laid out as CAMUS is packed."""
    folder = tmp_path_factory.mktemp("hearts")
    frames = [
        replace(item, row=replace(item.row, split="train" if number < 8 else "validation"))
        for number, item in enumerate(drawn_frames(loops=10, frames=2))
    ]
    corrections.add(folder, frames)
    return folder


def experiments(*arguments):
    command = [sys.executable, "-m", "models.experiments", "--quick", "--threads", "1"]
    return subprocess.run(
        [*command, *map(str, arguments)], cwd=REPOSITORY, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def report(hearts, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    done = experiments("--camus", hearts, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.models
def test_the_report_has_figures_and_pictures_of_every_trial(report):
    results = json.loads((report / "results.json").read_text())
    found = {(trial["method"], trial["mix"]) for trial in results["trials"]}
    assert found == {("plain", 0), ("plain", 1), ("default", 0), ("default", 1)}
    text = (report / "report.md").read_text()
    for name in ("curves-good", "outlines-good", "forgetting"):
        assert f"{name}.png" in text
        assert (report / f"{name}.png").stat().st_size > 10_000
    assert text.count("| plain |") == 2
    for trial in results["trials"]:
        assert [seen["epoch"] for seen in trial["curve"]] == [1]
        assert set(trial["judged"]) == {"Left ventricle", "Myocardium", "Left atrium"}


@pytest.mark.models
def test_no_heart_that_was_corrected_judges(report, hearts):
    from models.experiments import QUICK, Laboratory, current_model

    laboratory = Laboratory(hearts, report, current_model(), QUICK)
    case = laboratory.cases["good"]
    assert case.frame.split == "validation"
    for image, _ in laboratory.judged:
        assert not np.array_equal(image, case.expert[0])


@pytest.mark.models
def test_what_ran_is_not_run_again_and_the_results_are_the_same(report, hearts):
    trials = {path: path.stat().st_mtime_ns for path in (report / "trials").glob("*.json")}
    results = (report / "results.json").read_bytes()
    lost = report / "trials" / "good-plain-1to1-batch2.json"
    lost.unlink()
    done = experiments("--camus", hearts, "--out", report)
    assert done.returncode == 0, done.stderr
    assert (report / "results.json").read_bytes() == results
    again = {path: path.stat().st_mtime_ns for path in trials}
    assert {path for path in trials if again[path] != trials[path]} == {lost}


@pytest.mark.models
def test_bad_data_is_one_line_before_anything_runs(hearts, tmp_path):
    done = experiments("--camus", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "is no data set" in done.stderr.splitlines()[-1]
