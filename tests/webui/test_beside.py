"""Two planes and earlier studies on the page."""

from collections.abc import Callable
from json import dumps, loads
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from appliance.ledger import Ledger, worklist
from appliance.webui.beside import described
from tests.box import Box
from tests.ledger.test_beside import measured
from tests.webui.reviewbox import Page

Arrive = Callable[..., dict[str, Any]]


def say(page: Page, seq: int, name: str) -> None:
    view = page.get(f"/api/loops/{seq}")["view"]
    body = dumps({"view": name, "shown": view["id"]}).encode()
    headers = {"Content-Type": "application/json", "X-CSRFToken": page.token}
    status, _, text = page.ask(f"/api/loops/{seq}/view", body, headers)
    assert status == 201, loads(text)


@pytest.fixture
def study(page: Page, arrive: Arrive) -> tuple[dict[str, Any], dict[str, Any]]:
    """A four- and a two-chamber loop of one study, called so by a person."""
    same = {"StudyInstanceUID": generate_uid(), "PatientID": f"P-{generate_uid()[-12:]}"}
    rows = tuple(arrive(frames=40, elements=dict(same)) for _ in range(2))
    for row, name in zip(rows, ("A4C", "A2C"), strict=True):
        say(page, row["seq"], name)
    return rows


def beside(page: Page, row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = page.get(f"/api/loops/{row['seq']}")["beside"]
    return found


def test_two_views_of_a_study_give_a_biplane_ef_beside_each(
    page: Page, study: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    four, two = study
    shown = [beside(page, row)["biplane"] for row in study]
    assert shown[0]["ef"] == shown[1]["ef"] != ""
    assert [text.split("\u00a0")[0] for text in shown[0]["volumes"]][:3] == ["EDV", "ESV", "SV"]
    assert shown[0]["with"].endswith("not accepted yet")
    status, answer = page.review(two["seq"], view="A2C")
    assert status == 201, answer
    assert "not accepted" not in beside(page, four)["biplane"]["with"]
    assert page.review(two["seq"], decision="rejected", view="A2C")[0] == 201
    assert beside(page, four)["biplane"]["why"] == [
        "No biplane EF: no A2C loop of this study is measured."
    ]


def test_a_loop_called_another_view_is_no_plane(
    page: Page, study: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    four, two = study
    say(page, two["seq"], "other")
    assert beside(page, four)["biplane"]["ef"] == ""
    assert beside(page, two)["biplane"] is None


def test_a_loop_alone_says_which_view_is_missing(page: Page, arrive: Arrive) -> None:
    row = arrive()
    say(page, row["seq"], "A2C")
    shown = beside(page, row)["biplane"]
    assert (shown["ef"], shown["with"]) == ("", "")
    assert shown["why"] == ["No biplane EF: no A4C loop of this study is measured."]


def test_a_view_that_nobody_is_sure_of_is_no_plane(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    seq, _ = measured(ledger, "1.1", certainty=0.6)
    loop = worklist.loop(ledger, seq)
    assert loop is not None
    shown = described(ledger, loop, [loop])["biplane"]
    assert shown["why"] == ["No biplane EF: nobody is sure of this loop's view."]


def test_an_accepted_ef_stands_beside_the_patients_next_study_and_in_no_log(
    box: Box, page: Page, arrive: Arrive
) -> None:
    patient = f"SECRET-{generate_uid()[-10:]}"
    dates = {"ContentDate": "20251103", "ContentTime": "101500"}
    then = arrive(elements={"PatientID": patient, **dates})
    assert page.review(then["seq"])[0] == 201
    now = arrive(elements={"PatientID": patient, **dates, "ContentDate": "20261120"})
    ef = then["analysis"]["measures"]["ef_percent"]
    (line,) = beside(page, now)["earlier"]
    assert line.startswith(f"2025-11-03: EF {ef:.0f} % (AK")
    assert beside(page, then)["earlier"] == []
    page.ask(f"/loop/{now['seq']}")
    assert patient not in box.log("webui") + box.log("engine")
