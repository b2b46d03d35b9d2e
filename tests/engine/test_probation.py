"""A promoted model that does worse than the one before draws no more, and why is told."""

import random
import signal
from dataclasses import replace

import pytest

from appliance.engine import probation
from appliance.engine.probation import Probation
from appliance.errors import ManifestError
from appliance.ledger import analysis, reception, release, review, setting
from appliance.releases import model_store, promotion
from tests.box import LOADED_MACHINE_S, Box
from tests.engine import tiny_onnx
from tests.engine.clinic import ENGINE, IN_FORCE, arrived, glaring, rewrite
from tests.engine.conftest import Bench
from tests.ledger.test_states import OPENED, decision, received

NOTHING = "Nothing is drawn on this loop: the model finds its structures in too few frames."
TIMES = {"frames": 10, "total_ms": 200.0, "first_masks_ms": 10.0, "stages": {}}


class Written:
    """A ledger in which loops and decisions are written as the engine and the page do."""

    def __init__(self, box):
        self.box, self.ledger, self.count = box, box.ledger, 0
        self.state = box.settings.box.state_dir

    def loop(self, version, *, late=False, kept="", decided=""):
        self.count += 1
        what = received(f"1.2.{self.count}", f"{self.count:064d}")
        seq = reception.record(self.ledger, what).seq
        claim = analysis.claim(self.ledger, "engine", 60)
        if kept:
            analysis.keep(self.ledger, claim, kept)
            return
        opened = replace(
            OPENED, model_name="bright", model_version=version, timing={"rate_hz": 30.0}
        )
        number = analysis.open(self.ledger, claim, opened)
        timings = {**TIMES, "total_ms": 900.0} if late else TIMES
        account = {"measures": {}, "per_frame": [], "quality": {}, "timings": timings}
        sha256 = analysis.seal(self.ledger, claim, number, **account)
        if decided:
            made = decision(seq, sha256, decision=decided, key=f"k{self.count}")
            review.record(self.ledger, made, [])

    def look(self):
        Probation(self.ledger, self.box.settings).look()
        return release.history(self.ledger, "bright-1.1.0")[-1]

    def promote(self, name="bright-1.1.0", **about):
        folder = tiny_onnx.write(self.box.root / name, version=name.rpartition("-")[2])
        arrived(self.box, folder, self.box.root / f"{name}.tar", **about)
        promotion.promote(self.ledger, self.box.settings, name, "", "BM")

    def in_force(self):
        return model_store.chosen(self.ledger, self.box.settings)


@pytest.fixture
def written(tmp_path):
    with Box(tmp_path / "box", services=(), extra=ENGINE) as box:
        model_store.add(box.settings.box.state_dir, tiny_onnx.write(tmp_path / "first"))
        setting.choose_models(box.ledger, [IN_FORCE], "anna")
        yield Written(box)


@pytest.mark.parametrize(
    ("good", "bad", "why"),
    [
        ({}, {"late": True}, "6 of 6 loops slower than they play, 0 of 30 before"),
        ({}, {"kept": NOTHING}, "6 of 6 loops without anything recognised, 0 of 30 before"),
        (
            {"decided": "accepted"},
            {"decided": "corrected"},
            "6 of 6 loops not accepted, 0 of 30 before",
        ),
    ],
    ids=["late", "empty", "not accepted"],
)
def test_one_that_does_worse_is_taken_back_with_the_figures(written, good, bad, why):
    for _ in range(30):
        written.loop("1.0.0", **good)
    written.promote()
    for _ in range(4):
        written.loop("1.1.0", **good)
    assert written.look()["state"] == "promoted"
    for _ in range(6):
        written.loop("1.1.0", **bad)
    last = written.look()
    assert last["state"] == "taken back"
    assert why.replace("6 of 6", "6 of 10") in last["why"]
    assert f"{IN_FORCE} draws again" in last["why"]
    assert last["by"] == "box"
    assert written.in_force() == (IN_FORCE,)


def test_a_loop_of_another_kind_says_nothing_against_it(written):
    for _ in range(30):
        written.loop("1.0.0")
    written.promote()
    for _ in range(20):
        written.loop("1.1.0", kept="Colour Doppler.")
    assert written.look()["state"] == "promoted"


def test_what_failed_three_times_is_taken_back(written):
    written.promote()
    for number in range(3):
        what = received(f"1.9.{number}", f"{number + 900:064d}")
        reception.record(written.ledger, what)
        claim = analysis.claim(written.ledger, "engine", 60)
        analysis.fail(written.ledger, claim, "label a frame: it can't be run")
        analysis.keep(written.ledger, analysis.claim(written.ledger, "engine", 60), "x")
    assert "3 loops could not be drawn" in written.look()["why"]


def test_it_goes_back_to_none_that_was_taken_back_withdrawn_or_lies_below_the_floor(written):
    written.promote("bright-1.1.0")
    written.promote("bright-1.2.0")
    written.promote("bright-1.3.0", floor="1.1.0")
    settings, ledger = written.box.settings, written.ledger
    assert promotion.falls_back_to(ledger, settings, "bright-1.3.0") == "bright-1.2.0"
    sha256 = release.newest(ledger)["bright-1.2.0"]["sha256"]
    release.step(ledger, "bright-1.2.0", sha256, "withdrawn", "it misses small atria")
    assert promotion.falls_back_to(ledger, settings, "bright-1.3.0") == "bright-1.1.0"
    (model_store.added_dir(written.state) / "bright-1.1.0" / "network.onnx").unlink()
    # 1.0.0 is older than the floor: what came with the box draws.
    shipped = model_store.resolved([""])[0]
    assert promotion.take_back(ledger, settings, "bright-1.3.0", "") == shipped
    with pytest.raises(ManifestError, match=r"bright-1\.2\.0 is older than bright-1\.3\.0"):
        promotion.must_be_usable(ledger, settings, "bright-1.2.0")


def test_models_as_good_as_the_one_before_are_hardly_ever_taken_back():
    """Looked at after each loop of a whole probation, at the share of the model before."""
    chance, wrong, models = random.Random(7), 0, 400
    for share in (0.02, 0.1, 0.3, 0.5):
        for _ in range(models // 4):
            then = sum(chance.random() < share for _ in range(probation.LOOPS))
            bad = 0
            for count in range(1, probation.LOOPS + 1):
                bad += chance.random() < share
                if probation.is_worse((bad, count), (then, probation.LOOPS)):
                    wrong += 1
                    break
    assert wrong / models < 0.01


def test_a_share_that_doubles_is_seen_within_the_probation():
    chance, seen, models = random.Random(11), 0, 100
    for _ in range(models):
        bad = 0
        for count in range(1, probation.LOOPS + 1):
            bad += chance.random() < 0.4
            if probation.is_worse((bad, count), (40, probation.LOOPS)):
                seen += 1
                break
    assert seen / models > 0.9


@pytest.mark.parametrize(
    ("glaring_from", "why"),
    [(60.0, "while it drew a loop"), (-1.0, "while it loaded bright-1.1.0")],
    ids=["drawing", "loading"],
)
def test_an_engine_that_a_promoted_model_ends_draws_again_with_the_one_before(
    tmp_path, monkeypatch, glaring_from, why
):
    """The second time it is taken back, before the loop is given up."""
    with Box(tmp_path / "box", services=(), extra=ENGINE) as box:
        state = box.settings.box.state_dir
        model_store.add(state, tiny_onnx.write(tmp_path / "first"))
        setting.choose_models(box.ledger, [IN_FORCE], "anna")
        name = arrived(
            box, tiny_onnx.write(tmp_path / "next", version="1.1.0"), tmp_path / "next.tar"
        )
        monkeypatch.setattr(tiny_onnx, "GLARING", glaring_from)
        rewrite(model_store.added_dir(state) / name, tiny_onnx.bright_network(40.0, "crashes"))
        promotion.promote(box.ledger, box.settings, name, "", "BM")
        seq = Bench(state).receive(glaring().write(tmp_path / "loop.dcm"))
        for _ in range(2):
            box.start("engine", wait=False)
            assert box.processes.pop("engine").wait(LOADED_MACHINE_S) == -signal.SIGFPE
        box.start("engine")
        (row,) = box.wait_settled(1)
        assert (row["seq"], row["state"]) == (seq, "analysed")
        assert row["analysis"]["model_version"] == "1.0.0"
        last = release.history(box.ledger, name)[-1]
        assert last["state"] == "taken back"
        assert f"the engine ended {why}, 2 times" in last["why"]
