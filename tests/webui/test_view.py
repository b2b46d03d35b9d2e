"""The view's label over HTTP: shown, changed, refused, and what a change brings about."""

import struct
from collections.abc import Callable
from http import HTTPStatus
from json import dumps, loads
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance import masks
from appliance.ledger import view, worklist
from tests.box import Box
from tests.phantom import cine_loop, on_its_head
from tests.webui.reviewbox import Page, send

Arrive = Callable[..., dict[str, Any]]


def say(page: Page, seq: int, name: str, **changes: Any) -> tuple[int, Any]:
    """Change a view as the page does, with what it shows now."""
    shown = page.get(f"/api/loops/{seq}")["view"]
    body = {"view": name, "shown": shown["id"] if shown else 0, **changes}
    headers = {"Content-Type": "application/json", "X-CSRFToken": page.token}
    status, _, text = page.ask(f"/api/loops/{seq}/view", dumps(body).encode(), headers)
    return status, loads(text)


@pytest.fixture
def refused(box: Box, tmp_path: Path) -> dict[str, Any]:
    """A loop that the view network takes for no apical view: a heart on its head."""
    loop = on_its_head(cine_loop(frames=24, heart_rate=80, seed=8400 + len(box.loops())))
    return send(box, [loop.write(tmp_path / "turned.dcm")])[-1]


def test_the_models_view_is_shown_with_how_sure_it_is(box: Box, page: Page) -> None:
    shown = page.get("/api/loops/1")
    assert shown["view"]["view"] == "A4C"
    assert shown["view"]["word"].startswith("A4C")
    assert "The model says A4C" in shown["view"]["said"][0]
    assert shown["annotations"][0]["numbers"]["lines"][0] == "A4C"


def test_another_label_changes_what_the_numbers_are_called(page: Page, arrive: Arrive) -> None:
    row = arrive()
    status, answer = say(page, row["seq"], "A2C")
    assert (status, answer["word"]) == (HTTPStatus.CREATED, "A2C · AK")
    shown = page.get(f"/api/loops/{row['seq']}")
    assert shown["annotations"][0]["numbers"]["lines"][0] == "A2C"
    assert any("AK set it to A2C" in text for text in shown["view"]["said"])
    assert any("The model says" in text for text in shown["view"]["said"])


def test_a_decision_names_the_view_that_was_on_the_screen(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    before = page.get(f"/api/loops/{row['seq']}")["view"]["view"]
    say(page, row["seq"], "A2C")
    status, problem = page.review(row["seq"], view=before)
    assert status == HTTPStatus.CONFLICT
    assert "view was changed" in problem["detail"]
    assert page.review(row["seq"], view="A2C")[0] == HTTPStatus.CREATED
    stored = worklist.loop(box.ledger, row["seq"])
    assert stored is not None
    assert (stored["review"]["view"], stored["review"]["view_by"]) == ("A2C", "AK")


def test_a_view_changed_after_the_decision_needs_eyes_again(page: Page, arrive: Arrive) -> None:
    row = arrive()
    page.review(row["seq"])
    assert "accepted" in page.get(f"/api/loops/{row['seq']}")["status"]["word"]
    say(page, row["seq"], "A2C")
    assert page.get(f"/api/loops/{row['seq']}")["status"]["word"] == "needs eyes"
    page.review(row["seq"])
    assert "accepted" in page.get(f"/api/loops/{row['seq']}")["status"]["word"]


def test_what_a_person_calls_another_view_shows_no_mask_and_no_number(
    page: Page, arrive: Arrive
) -> None:
    row = arrive()
    say(page, row["seq"], "other")
    shown = page.get(f"/api/loops/{row['seq']}")
    assert shown["analysis"] is None
    assert shown["annotations"] == []
    assert shown["words"] == "Not measured: AK has said that this is another view."
    assert [card["ef"] for card in shown["loops"] if card["seq"] == row["seq"]] == [""]
    say(page, row["seq"], "A4C")
    assert page.get(f"/api/loops/{row['seq']}")["annotations"]


def test_a_refused_loop_is_measured_anyway_when_a_person_says_so(
    box: Box, page: Page, refused: dict[str, Any]
) -> None:
    seq = refused["seq"]
    assert refused["state"] == "kept"
    assert refused["reason"].startswith("No apical four- or two-chamber view")
    shown = page.get(f"/api/loops/{seq}")["view"]
    assert shown["choices"][0]["label"].startswith("Measure as A4C")
    assert say(page, seq, "A4C")[0] == HTTPStatus.CREATED

    def settled() -> bool:
        return page.get(f"/api/loops/{seq}")["state"] in ("analysed", "kept")

    box.wait_for(settled, "the loop to be measured")
    found = page.get(f"/api/loops/{seq}")
    assert found["state"] == "analysed"
    assert found["view"]["word"] == "A4C · AK"
    assert any("Doubtful" in text for text in found["annotations"][0]["numbers"]["why"])
    seen = view.by_model(box.ledger, seq)
    assert seen is not None
    assert seen["view"] == "other", "the model's own word stays"


def test_no_view_mends_a_still(page: Page, arrive: Arrive) -> None:
    row = arrive(frames=1)
    assert page.get(f"/api/loops/{row['seq']}")["view"] is None
    status, problem = say(page, row["seq"], "A4C")
    assert status == HTTPStatus.CONFLICT
    assert "can't be measured in any view" in problem["detail"]
    assert "still image" in problem["detail"]


@pytest.mark.parametrize("odd", [{"view": "PLAX"}, {"shown": "1"}, {"shown": -1}, {"by": "KL"}])
def test_what_no_page_sends_is_refused(page: Page, odd: dict[str, Any]) -> None:
    assert say(page, 1, "A4C", **odd)[0] == HTTPStatus.UNPROCESSABLE_ENTITY


def test_a_view_that_was_changed_meanwhile_is_refused(page: Page, arrive: Arrive) -> None:
    row = arrive()
    shown = page.get(f"/api/loops/{row['seq']}")["view"]["id"]
    say(page, row["seq"], "A2C")
    status, problem = say(page, row["seq"], "other", shown=shown)
    assert status == HTTPStatus.CONFLICT
    assert "changed meanwhile" in problem["detail"]


def test_each_contour_point_comes_with_its_certainty(box: Box, page: Page, arrive: Arrive) -> None:
    row = arrive()
    address = page.get(f"/api/loops/{row['seq']}")["annotations"][0]["certainty"]
    status, headers, data = page.ask(address)
    assert status == HTTPStatus.OK
    assert "immutable" in headers["Cache-Control"]
    magic, frames, structures, points = struct.unpack_from("<4sHBB", data)
    assert (magic, frames, structures, points) == (b"ECQ1", 24, 3, masks.CONTOUR_POINTS)
    values = np.frombuffer(data, np.uint8, offset=8).reshape(frames, structures, points)
    assert 120 < values.mean() < 250, "a contour runs where the network decides"
    assert page.ask(f"/api/loops/{row['seq']}/certainty?analysis=999999")[0] == HTTPStatus.NOT_FOUND
    assert page.ask(f"/api/loops/1/certainty?{address.split('?')[1]}")[0] == HTTPStatus.NOT_FOUND
