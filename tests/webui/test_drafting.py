"""Drawings kept on the box until they are decided on."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from appliance.ledger import draft
from tests.box import Box
from tests.webui.reviewbox import Page
from tests.webui.test_asking import post

Arrive = Callable[..., dict[str, Any]]
_LINE: list[Any] = [1, 1, [10.0, 10.0, 20.0, 10.0, 20.125, 20.0]]
_DRAFT: dict[str, Any] = {"base": "model", "frames": [[3, [_LINE]]], "marks": {"ed": 2}, "at": 1}


def keep(page: Page, seq: int, **changes: Any) -> tuple[int, Any]:
    """Post a drawing on a loop as it is shown now, with changes to the drawing."""
    shown = page.get(f"/api/loops/{seq}")
    body = {
        "analysis_sha256": shown["analysis"]["sha256"],
        "newest_review": changes.pop("newest_review", shown["newest_review"]),
        "on": changes.pop("on", ""),
        "draft": {**_DRAFT, **changes},
    }
    return post(page, f"/api/loops/{seq}/draft", body)


def moved(frame: int, by: float) -> list[Any]:
    """Return a frame of a drawing, with its line moved to the right."""
    number, how, (x, *rest) = _LINE
    return [frame, [[number, how, [x + by, *rest]]]]


def kept(page: Page, seq: int) -> dict[str, Any]:
    """Return the drawing on the box by frame, its name as `on`."""
    answer = page.get(f"/api/loops/{seq}/draft")
    frames = dict(answer["draft"]["frames"])
    return {"on": answer["on"], "frames": frames, "marks": answer["draft"]["marks"]}


def test_a_drawing_comes_back_as_it_was_kept_also_after_a_kill(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    keep(page, row["seq"])
    assert keep(page, row["seq"], at=2)[0] == HTTPStatus.CREATED
    box.kill("webui")
    box.start("webui")
    answer = page.get(f"/api/loops/{row['seq']}/draft")
    assert answer["analysis_sha256"] == row["analysis"]["sha256"]
    assert answer["draft"] == {**_DRAFT, "at": 2}


def test_two_tablets_of_one_person_lose_no_frame_to_each_other(page: Page, arrive: Arrive) -> None:
    seq = arrive()["seq"]
    first = keep(page, seq, frames=[moved(6, 1), moved(7, 1)], marks={})[1]
    assert "draft" not in first
    # The second tablet goes on from it: draws 20, takes 7 back, and names end diastole.
    second = keep(page, seq, on=first["on"], frames=[moved(6, 1), moved(20, 2)], marks={"ed": 2})[1]
    assert "draft" not in second
    # The first one has heard of none of that: it draws on 6 once more.
    third = keep(page, seq, on=first["on"], frames=[moved(6, 3), moved(7, 1)], marks={})[1]
    stands = kept(page, seq)
    assert stands["frames"] == dict([moved(6, 3), moved(20, 2)])
    assert stands["marks"] == {"ed": 2}
    assert dict(third["draft"]["frames"]) == stands["frames"]
    assert third["said"] == "What you drew on another tablet has been added."
    assert third["on"] == stands["on"]
    # Nor does the second one take anything back that it hasn't touched.
    fourth = keep(page, seq, on=second["on"], frames=[moved(6, 1), moved(20, 4)], marks={})[1]
    assert kept(page, seq)["frames"] == dict([moved(6, 3), moved(20, 4)])
    assert kept(page, seq)["marks"] == {}
    # One that goes on from what stands is taken as it is.
    fifth = keep(page, seq, on=fourth["on"], frames=[moved(9, 1)], marks={})[1]
    assert "draft" not in fifth
    assert kept(page, seq)["frames"] == dict([moved(9, 1)])


def test_a_tablet_that_knows_of_no_drawing_takes_none_away(page: Page, arrive: Arrive) -> None:
    seq = arrive()["seq"]
    keep(page, seq, frames=[moved(6, 1)], marks={})
    for name in ("", "0" * 16):
        keep(page, seq, on=name, frames=[moved(8, 1)], marks={})
        assert kept(page, seq)["frames"] == dict([moved(6, 1), moved(8, 1)])


def test_what_is_taken_back_is_forgotten_and_another_tablet_s_strokes_are_not(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    seq, path = row["seq"], f"/api/loops/{row['seq']}/draft"
    first = keep(page, seq, frames=[moved(6, 1)], marks={})[1]
    second = keep(page, seq, on=first["on"], frames=[moved(6, 1), moved(20, 1)], marks={})[1]
    body = {"analysis_sha256": row["analysis"]["sha256"], "newest_review": 0, "draft": None}
    answer = post(page, path, {**body, "on": first["on"]})[1]
    assert kept(page, seq)["frames"] == dict([moved(20, 1)])
    assert dict(answer["draft"]["frames"]) == dict([moved(20, 1)])
    assert second["on"] != answer["on"]
    assert post(page, path, {**body, "on": answer["on"]})[1] == {"kept": True, "on": ""}
    assert draft.of(box.ledger, seq, "AK") is None


def test_a_drawing_is_its_drawer_s_alone(box: Box, page: Page, arrive: Arrive) -> None:
    row = arrive()
    keep(page, row["seq"])
    assert Page(box, "BM").get(f"/api/loops/{row['seq']}/draft")["draft"] is None


def test_a_decision_takes_its_drawer_s_drawing_along_and_no_other(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row, other = arrive(), Page(box, "BM")
    for drawer in (page, other):
        keep(drawer, row["seq"])
    page.review(row["seq"])
    assert page.get(f"/api/loops/{row['seq']}/draft")["draft"] is None
    assert other.get(f"/api/loops/{row['seq']}/draft")["draft"] is not None


def test_a_drawing_overtaken_by_its_own_decision_does_not_rise_again(
    page: Page, arrive: Arrive
) -> None:
    row = arrive()
    page.review(row["seq"])
    assert keep(page, row["seq"], newest_review=0)[1] == {"kept": False, "on": ""}
    assert page.get(f"/api/loops/{row['seq']}/draft")["draft"] is None
    keep(page, row["seq"])  # drawn on what stands now
    assert page.get(f"/api/loops/{row['seq']}/draft")["draft"] is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "DOE^JANE"},
        {"base": "DOE^JANE"},
        {"marks": {"DOE^JANE": 1}},
        {"frames": [[3, [[1, 1, ["DOE"]]]]]},
        {"frames": [[3, [[1, 3, [1.0]]]]]},
        {"frames": [[-1, []]]},
        {"frames": [[3, [[1, 1, [float("nan"), 2.0]]]]]},
        {"frames": [[3, [[1, 1, [0.0] * 2000]]]]},
    ],
)
def test_nothing_but_a_drawing_is_kept(page: Page, wrong: dict[str, Any]) -> None:
    status, problem = keep(page, 1, **wrong)
    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert problem["detail"].endswith(".")
    assert page.get("/api/loops/1/draft")["draft"] is None
