"""What the board tells of a model on trial, and its way back."""

import shutil

import pytest

from appliance.ledger import release, shadow
from appliance.manifest import current_model
from appliance.releases import model_store, promotion
from appliance.releases.shadowing import Thresholds
from tests.box import Box
from tests.webui.reviewbox import Page, enrol

NEXT = "first-network-1.1.0"
FIGURES = {
    "why": "",
    "frames": 30,
    "empty": 0,
    "dice": {"Left ventricle": 0.953},
    "ef_points": 2.5,
    "volume_percent": 4.0,
    "frame_ms": 21.0,
    "own_ms": 20.0,
    "shown_ms": 33.3,
    "same_engine": True,
}


@pytest.fixture
def box(tmp_path):
    with Box(tmp_path / "box", services=("webui",)) as made:
        enrol(made, "BT", "biomed")
        folder = tmp_path / "next"
        on_trial(made, folder)
        yield made


def on_trial(box, folder, state="staged"):
    """Put a candidate beside the model of a box."""
    shutil.copytree(current_model().folder, folder)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"version": "1.0.0"', '"version": "1.1.0"'))
    model_store.add(box.settings.box.state_dir, folder)
    release.step(box.ledger, NEXT, "e" * 64, state, "{}")


def analysed(box):
    """Write an analysis by hand; returns its number."""
    from tests.ledger.test_states import analysed as sealed

    seq, _ = sealed(box.ledger)
    row = box.ledger.read_one("SELECT id FROM analysis WHERE seq = ?", [seq])
    return row["id"]


def test_a_candidate_shows_its_figures_and_a_promoted_one_its_way_back(box):
    against = model_store.resolved([""])[0]
    shadow.drew(box.ledger, NEXT, "e" * 64, against, analysed(box), FIGURES)
    page = Page(box, "BT")
    page.learn_token("/box")

    def shown():
        return page.ask("/box")[2].decode()

    text = shown()
    assert f"{NEXT} draws in the shadow of {against}" in text
    assert f"Loops: 1 of {Thresholds().loops}" in text
    assert "Left ventricle: agrees with Dice 0.953" in text
    assert "21.0 ms a frame; the model in use 20.0 ms" in text
    promotion.promote(box.ledger, box.settings, NEXT, "", "BM")
    assert "draws in the shadow" not in shown()
    assert f"Go back to {against}" in shown()
    status, text = page.post("/box/model/back", model=against)
    assert status == 200, text
    last = release.history(box.ledger, NEXT)[-1]
    assert (last["state"], last["by"]) == ("taken back", "BT")
    assert f"{NEXT} was taken back: {against} draws again" in shown()
    # By no slip of the finger does it come again.
    assert f"Go back to {NEXT}" not in shown()
    assert page.post("/box/model/back", model=NEXT)[0] == 409


def test_one_that_was_refused_says_why(box):
    why = "in the shadow of 50 loops it would not have drawn 9: No apical heart"
    release.step(box.ledger, NEXT, "e" * 64, "refused", why)
    assert f"{NEXT} was refused: {why}" in Page(box, "BT").ask("/box")[2].decode()


def test_one_that_is_not_proven_yet_is_not_said_to_draw(box):
    release.step(box.ledger, NEXT, "e" * 64, "fetched", "")
    text = Page(box, "BT").ask("/box")[2].decode()
    assert f"{NEXT} was fetched; once it is proven" in text
