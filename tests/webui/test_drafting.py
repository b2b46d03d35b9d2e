"""Drawings kept on the box until they are decided on."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from tests.box import Box
from tests.webui.reviewbox import Page
from tests.webui.test_asking import post

Arrive = Callable[..., dict[str, Any]]
_LINE = [1, 1, [10.0, 10.0, 20.0, 10.0, 20.125, 20.0]]
_DRAFT = {"base": "model", "frames": [[3, [_LINE]]], "marks": {"ed": 2}, "at": 1}


def keep(page: Page, seq: int, **changes: Any) -> tuple[int, Any]:
    """Post a drawing on a loop as it is shown now, with changes to the drawing."""
    shown = page.get(f"/api/loops/{seq}")
    body = {
        "analysis_sha256": shown["analysis"]["sha256"],
        "newest_review": changes.pop("newest_review", shown["newest_review"]),
        "draft": {**_DRAFT, **changes},
    }
    return post(page, f"/api/loops/{seq}/draft", body)


def test_a_drawing_comes_back_as_it_was_kept_also_after_a_kill(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    keep(page, row["seq"])
    assert keep(page, row["seq"], at=2)[0] == HTTPStatus.CREATED
    box.kill("webui")
    box.start("webui")
    kept = page.get(f"/api/loops/{row['seq']}/draft")
    assert kept["analysis_sha256"] == row["analysis"]["sha256"]
    assert kept["draft"] == {**_DRAFT, "at": 2}


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
    assert keep(page, row["seq"], newest_review=0)[0] == HTTPStatus.CREATED
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
