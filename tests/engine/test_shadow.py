"""A candidate draws beside the model in force: nobody waits for it, and what it does wrong tells."""

import os
import shutil
import time

import numpy as np
import pytest

from appliance import labels, masks
from appliance.engine import shadow as shadowing
from appliance.engine.shadow import Shadow
from appliance.ledger import release, review, setting, shadow, trial, worklist
from appliance.ledger.review import Decision
from appliance.manifest import current_model
from appliance.releases import bundle, model_store, promotion
from tests.engine import tiny_onnx
from tests.engine.clinic import FEW, IN_FORCE, Clinic, rewrite
from tests.phantom import cine_loop

ONE = FEW.model_copy(update={"loops": 1})


@pytest.fixture
def new_clinic(tmp_path, monkeypatch):
    monkeypatch.setattr(shadowing, "LOOK_S", 0.0)
    made = []

    def new(extra=""):
        made.append(Clinic(tmp_path, extra))
        made[0].start()
        return made[0]

    yield new
    made[0].close()


@pytest.fixture
def clinic(new_clinic):
    return new_clinic()


@pytest.fixture
def by_hand(new_clinic):
    """A box that promotes nothing by itself."""
    return new_clinic('[updates]\npromote = "person"\n')


def test_an_engine_proves_what_was_fetched_draws_with_it_unseen_and_lets_it_draw(tmp_path):
    clinic = Clinic(tmp_path)
    with clinic.box as box:
        name = clinic.fetched()
        box.start("engine")
        clinic.wait(lambda: clinic.steps()[-1]["state"] == "staged", "the proof")
        before = [clinic.send() for _ in range(2)]
        clinic.wait(lambda: clinic.steps()[-1]["state"] == "promoted", "the promotion")
        box.wait_for(lambda: f"from now on: {name}" in box.log("engine"), "the switch")
        after = clinic.send()
        box.wait_settled(3)
        why = clinic.steps()[-1]["why"]
        assert f"in place of {IN_FORCE}: in the shadow 2 loops, Bright tissue 1.000" in why
        assert [row["by"] for row in clinic.steps()] == ["box"] * 3
        drawn = {row["seq"]: row["analysis"]["model_version"] for row in box.loops()}
        assert drawn == {**dict.fromkeys(before, "1.0.0"), after: "1.1.0"}
        assert len(clinic.beside()) == 2
        # Nothing of the shadow is an analysis, and the one before is kept.
        assert len(clinic.ledger.read("SELECT id FROM analysis")) == 3
        assert IN_FORCE in {item.name for item in model_store.listed(clinic.state, [name])}


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"harm": "empties"}, "it would not have drawn 1: Nothing is drawn on this loop"),
        ({"threshold": 200.0}, "Bright tissue agrees too little"),
        ({"harm": "slow", "thresholds": ONE.model_copy(update={"frame_time": 1.0})}, "ms a"),
        ({"harm": "crashes"}, "in the shadow, 2 times: it ended its process (signal 8)"),
        ({"harm": "fails"}, "in the shadow, 2 times: Fail in its network"),
    ],
    ids=["empties", "disagrees", "slow", "crashes", "fails"],
)
def test_what_does_harm_in_the_shadow_is_refused_and_the_box_draws_on(clinic, about, why):
    clinic.staged(**{"thresholds": ONE, **about})
    clinic.drawn()
    told = clinic.ended("refused")
    assert why.replace("ms a", "a frame took") in told
    assert model_store.chosen(clinic.ledger, clinic.box.settings) == (IN_FORCE,)
    assert clinic.drawn()["analysis"]["model_version"] == "1.0.0"


def test_one_that_crashes_on_its_golden_frames_is_refused_before_it_sees_a_loop(
    clinic, monkeypatch
):
    name = clinic.fetched()
    monkeypatch.setattr(tiny_onnx, "GLARING", -1.0)
    network = tiny_onnx.bright_network(40.0, "crashes")
    for home in (bundle.unpacked(clinic.state, name), model_store.added_dir(clinic.state) / name):
        rewrite(home, network)
    assert "it ended its process (signal 8)" in clinic.ended("refused")
    assert clinic.beside() == []


def test_one_that_gives_no_sign_of_life_is_refused(clinic, monkeypatch):
    for name in ("HUNG_S", "_AGAIN_S"):
        monkeypatch.setattr(shadowing, name, 0.01)  # its process takes longer to start
    clinic.staged()
    clinic.drawn()
    assert "in the shadow, 2 times: no answer in" in clinic.ended("refused")


def test_both_are_held_against_what_a_person_corrected(by_hand):
    """The candidate draws less than the model in force, and so comes nearer to a small truth."""
    by_hand.staged(threshold=70.0)
    found = by_hand.drawn()
    by_hand.until(lambda: len(by_hand.beside()) == 1)
    made = found["analysis"]
    geometry = labels.of_analysis(by_hand.ledger, by_hand.bench.spool, made["id"]).stored(3)[1]
    truth = np.zeros((1, 384, 384), np.uint8)
    truth[0, 100:300, 150:250] = 5
    chunk = by_hand.bench.spool.put_chunk(masks.encode_chunk(truth))
    decision = Decision(
        seq=found["seq"],
        analysis_sha256=made["sha256"],
        patient_id=found["patient_id"],
        decision="corrected",
        reviewer="AK",
        key="k1",
        chunks=[(3, 1, chunk)],
        geometry=geometry.to_dict(),
    )
    review.record(by_hand.ledger, decision, [])
    sha256 = by_hand.sha256("bright-1.1.0")
    (row,) = by_hand.until(lambda: shadow.reviews(by_hand.ledger, sha256, IN_FORCE))
    mine, own = row["dice"]["Bright tissue"], row["own_dice"]["Bright tissue"]
    assert 0 < own < mine < 1
    candidate = promotion.candidate(by_hand.ledger, by_hand.box.settings)
    figures, _ = promotion.standing(by_hand.ledger, by_hand.box.settings, candidate)
    assert (figures.corrections, figures.candidate_dice) == (1, mine)
    assert by_hand.steps()[-1]["state"] == "staged"


def test_of_a_heart_ef_and_volumes_are_compared_too(by_hand, tmp_path):
    folder = tmp_path / "heart"
    shutil.copytree(current_model().folder, folder)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"version": "1.0.0"', '"version": "1.1.0"'))
    name = model_store.name_of(model_store.add(by_hand.state, folder))
    setting.choose_models(by_hand.ledger, [""], "anna")
    by_hand.worker.use(by_hand.choice.newer())
    release.step(by_hand.ledger, name, "e" * 64, "staged", "{}")
    by_hand.drawn(cine_loop(frames=24, heart_rate=80.0))
    against = model_store.resolved([""])[0]
    (row,) = by_hand.until(lambda: by_hand.beside(name, against))
    assert row["ef_points"] == 0.0
    assert row["volume_percent"] == 0.0
    assert set(row["dice"]) == {item.name for item in current_model().structures}
    assert min(row["dice"].values()) == 1.0


def test_the_candidate_is_held_while_the_engine_works_and_goes_on_after_a_restart(by_hand):
    by_hand.staged()
    by_hand.drawn()
    by_hand.until(lambda: len(by_hand.beside()) == 1)
    assert os.sched_getscheduler(by_hand.shadow._process._child.pid) == os.SCHED_IDLE
    with by_hand.shadow.held():
        by_hand.send()
        assert by_hand.worker.work_once()
        time.sleep(2.0)  # a loop of nine frames takes less
        assert len(by_hand.beside()) == 1
    by_hand.until(lambda: len(by_hand.beside()) == 2)
    by_hand.shadow.close()
    by_hand.shadow = Shadow(by_hand.ledger, by_hand.box.settings)
    by_hand.drawn()
    by_hand.until(lambda: len(by_hand.beside()) == 3)
    kept = by_hand.ledger.read("SELECT analysis_id FROM shadow_loop")
    assert len({row["analysis_id"] for row in kept}) == len(kept) == 3
    candidate = promotion.candidate(by_hand.ledger, by_hand.box.settings)
    said = promotion.in_words(by_hand.ledger, by_hand.box.settings, candidate)
    assert "a person promotes it" in said[0]
    assert by_hand.steps()[-1]["state"] == "staged"


def test_rows_are_bounded(clinic, monkeypatch):
    name = clinic.staged()
    made = clinic.drawn()["analysis"]["id"]
    monkeypatch.setattr(shadow, "MOST", 3)
    monkeypatch.setattr(trial, "MOST", 3)
    for number in range(8):
        against = f"other-{number}.0.0"
        shadow.drew(clinic.ledger, name, clinic.sha256(name), against, made, {})
        trial.fault(clinic.ledger, name, clinic.sha256(name), trial.FAILED, "")
    for table in ("shadow_loop", "release_fault"):
        assert len(clinic.ledger.read(f"SELECT id FROM {table}")) == 3


def test_without_a_candidate_there_is_neither_thread_nor_process(clinic):
    clinic.drawn()
    clinic.shadow.look()
    assert clinic.shadow._thread is None
    assert clinic.shadow._process is None
    assert worklist.loops(clinic.ledger)[0]["state"] == "analysed"
