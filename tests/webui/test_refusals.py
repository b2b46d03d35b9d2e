"""What a second tablet, a loop without a study and malformed numbers are answered."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from pydicom.uid import generate_uid

from appliance.webui import words
from tests.webui.reviewbox import Page
from tests.webui.test_words import row, title

Arrive = Callable[..., dict[str, Any]]


def test_a_decision_made_on_another_tablet_meanwhile_is_not_covered(
    page: Page, arrive: Arrive
) -> None:
    seq = arrive()["seq"]
    assert page.get(f"/api/loops/{seq}")["newest_review"] == 0
    first = page.review(seq, newest_review=0)[1]
    status, problem = page.review(seq, decision="rejected", newest_review=0)
    assert status == HTTPStatus.CONFLICT
    assert "somebody has decided" in problem["detail"].lower()
    assert page.get(f"/api/loops/{seq}")["newest_review"] == first["id"]
    undone = page.review(seq, decision="undone", newest_review=first["id"])[1]
    assert page.get(f"/api/loops/{seq}")["newest_review"] == undone["id"]


def test_a_loop_without_a_study_can_not_be_accepted(page: Page, arrive: Arrive) -> None:
    seq = arrive(elements={"StudyInstanceUID": ""})["seq"]
    assert "sent no study" in page.get(f"/api/loops/{seq}")["blocked"]
    assert page.review(seq)[0] == HTTPStatus.CONFLICT


@pytest.mark.parametrize("what", ["", "/frames", "/contours", "/thumbnail/bare.jpg"])
def test_a_number_no_loop_can_have_is_not_found(page: Page, what: str) -> None:
    assert page.ask(f"/api/loops/{10**30}{what}")[0] == HTTPStatus.NOT_FOUND
    assert page.ask(f"/api/loops/1/contours?review={10**30}")[0] == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    "contours",
    [
        {"9" * 5000: {"1": [[1, 1], [9, 1], [9, 9]]}},
        {"3": {"1": [[50.0, 50.0]] * 3}},
        {"3": {"1": [[50.0, 50.0], [60.0, 60.0], [70.0, 70.0]]}},
    ],
)
def test_a_contour_of_nothing_is_refused(page: Page, contours: dict[str, Any]) -> None:
    status, problem = page.review(1, decision="corrected", contours=contours)
    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert problem["detail"].endswith(".")


@pytest.mark.parametrize("what", ["reviews", "view", "expert"])
@pytest.mark.parametrize("depth", [900, 100_000])
def test_json_that_nests_without_end_is_refused(page: Page, what: str, depth: int) -> None:
    headers = {"Content-Type": "application/json", "X-CSRFToken": page.token}
    sent = b'{"measures": ' * depth + b"1" + b"}" * depth
    status, told, text = page.ask(f"/api/loops/1/{what}", sent, headers)
    assert status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY), text
    assert told["Content-Type"] == "application/problem+json"


def test_each_loop_of_a_study_of_two_patients_says_whose_it_is(page: Page, arrive: Arrive) -> None:
    study = {"StudyInstanceUID": generate_uid()}
    arrive(elements=study, PatientID="FIRST-1", PatientName="ONE^A", frames=1)
    arrive(elements=study, PatientID="SECOND-2", PatientName="TWO^B", frames=1)
    text = page.ask("/")[2].decode()
    assert "Several patients" in text
    assert "ONE, A · FIRST-1" in text
    assert "TWO, B · SECOND-2" in text


def test_a_superseded_loop_needs_no_eyes() -> None:
    loop = {
        "state": "quarantined",
        "review": None,
        "analysis": None,
        "view": None,
        "current": False,
    }
    assert not words.needs_eyes(loop)
    assert "replaced" in words.status({**loop, "state": "analysed"})["word"]


def test_a_waiting_object_says_what_keeps_another_of_the_same_place() -> None:
    waiting = row("seg", "queued")
    assert title(waiting, row("sr", "sent", problem="no route")).startswith("Not delivered to pacs")
    told = title(waiting, row("sr", "refused", problem="no report"))
    assert told == "On its way to pacs. Not all of it: no report."
