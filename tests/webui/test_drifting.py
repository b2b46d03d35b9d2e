"""What the board and the figures say of drift."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from appliance.drift.features import FEATURES
from appliance.figures import Figures
from appliance.ledger import drift, engine_state
from appliance.ledger.drift import Found
from appliance.webui import drifting, standing
from appliance.webui.app import create_app
from tests.upkeep.material import Kept

MODEL = "first-network-1.0.0"
YESTERDAY = (date.today() - timedelta(days=1)).isoformat()


@pytest.fixture
def box(tmp_path: Path) -> Kept:
    kept = Kept(tmp_path / "box")
    state = engine_state.ModelState(MODEL, "A4C, A2C", "openvino", "int8")
    engine_state.put(kept.ledger, [state], "")
    return kept


def looked(box: Kept, feature: str, source: str, distance: float) -> None:
    found = Found(
        *(feature, "weeks", source, 60, 450, distance, 0.3, 31.0, 45.0), differs=distance >= 0.3
    )
    day = (date.fromisoformat(YESTERDAY) - timedelta(days=0)).isoformat()
    drift.looked(box.ledger, MODEL, day, [found])


def card(box: Kept) -> tuple[str, list[str]]:
    with create_app(box.settings).test_request_context("/box"):
        model = standing.parts(box.settings, box.ledger, box.spool)["model"]
    (only,) = model["cards"]
    return model["state"], only["drift"]


def test_every_feature_has_words_on_the_page():
    assert drifting.NAMES.keys() == {feature.name for feature in FEATURES}


def test_before_the_first_look_the_board_says_so(box):
    state, lines = card(box)
    assert state == "good"
    assert "no whole day" in lines[0]


def test_what_differs_is_named_with_since_when_and_asks_for_a_look(box):
    looked(box, "brightness", "box", 0.5)
    state, lines = card(box)
    assert state == "attention"
    assert (
        lines[0] == f"Not as in this box's first studies with it: brightness (since {YESTERDAY})."
    )
    assert "60 studies" in lines[1]


def test_where_nothing_differs_that_is_said(box):
    looked(box, "brightness", "model", 0.1)
    state, lines = card(box)
    assert state == "good"
    assert lines[0] == "Pictures, outlines and decisions are as they were."


def test_the_figures_name_features_and_nobody(box):
    looked(box, "brightness", "model", 0.45)
    text = Figures(box.settings, box.ledger).text().decode()
    labels = f'feature="brightness",model="{MODEL}",reference="model"'
    assert f"echocart_drift_differs{{{labels}}} 1.0" in text
    assert f"echocart_drift_distance_ratio{{{labels}}} 1.5" in text
