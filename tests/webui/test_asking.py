"""Before a decision: an expert asked, and whose study of two PatientIDs it is."""

from collections.abc import Callable
from http import HTTPStatus
from json import dumps, loads
from sqlite3 import IntegrityError
from typing import Any
from uuid import uuid4

import pytest
from pydicom.uid import generate_uid

from appliance.ledger import worklist
from tests.box import Box
from tests.webui.reviewbox import Page

Arrive = Callable[..., dict[str, Any]]


def post(page: Page, path: str, body: Any) -> tuple[int, Any]:
    """Post JSON as the page does; return status and JSON."""
    headers = {"Content-Type": "application/json", "X-CSRFToken": page.token}
    status, _, text = page.ask(path, dumps(body).encode(), headers)
    return status, loads(text)


def ask(page: Page, seq: int, **changes: Any) -> tuple[int, Any]:
    """Lay a loop before an expert as it is shown now, with changes."""
    shown = page.get(f"/api/loops/{seq}")
    body = {
        "analysis_sha256": shown["analysis"]["sha256"],
        "newest_review": shown["newest_review"],
        "key": str(uuid4()),
    }
    return post(page, f"/api/loops/{seq}/expert", {**body, **changes})


def whose(page: Page, seq: int, right: str | None, shown: list[str] | None = None) -> Any:
    """Say whose study it is, of those that are shown."""
    found = page.get(f"/api/loops/{seq}")["identities"]
    ids = [row["id"] for row in found] if shown is None else shown
    return post(page, f"/api/loops/{seq}/identity", {"patient_ids": ids, "right": right})


def test_a_loop_laid_before_an_expert_says_so_and_sends_nothing(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    status, answer = ask(page, row["seq"])
    assert (status, answer["next"]) == (HTTPStatus.CREATED, "/")
    stored = worklist.loop(box.ledger, row["seq"])
    assert stored is not None
    assert stored["expert"]["by"] == "AK"
    assert (stored["review"], stored["deliveries"]) == (None, [])
    shown = page.get(f"/api/loops/{row['seq']}")
    assert shown["status"]["word"] == "for an expert, asks AK"
    assert not shown["askable"]
    with pytest.raises(IntegrityError, match="immutable"), box.ledger.transaction() as db:
        db.execute("UPDATE expert SET by = 'XX'")


def test_the_same_key_asks_once(box: Box, page: Page, arrive: Arrive) -> None:
    row, key = arrive(), str(uuid4())
    assert [ask(page, row["seq"], key=key)[0] for _ in "12"] == [HTTPStatus.CREATED] * 2
    asked = box.ledger.read("SELECT * FROM expert WHERE seq = ?", [row["seq"]])
    assert len(asked) == 1


def test_a_question_is_taken_back_by_who_asked_alone(box: Box, page: Page, arrive: Arrive) -> None:
    row = arrive()
    refused = (HTTPStatus.CONFLICT, "No question of yours waits here. Look at the loop first.")
    assert _refusal(ask(page, row["seq"], back=True)) == refused
    ask(page, row["seq"])
    assert _refusal(ask(Page(box, "BM"), row["seq"], back=True)) == refused
    key = str(uuid4())
    for _ in "12":
        status, answer = ask(page, row["seq"], back=True, key=key)
        assert (status, answer["next"]) == (HTTPStatus.CREATED, f"/loop/{row['seq']}")
    stored = worklist.loop(box.ledger, row["seq"])
    assert stored is not None
    assert stored["expert"] is None
    assert page.get(f"/api/loops/{row['seq']}")["askable"]
    assert len(box.ledger.read("SELECT * FROM expert WHERE seq = ?", [row["seq"]])) == 2
    ask(page, row["seq"])
    page.review(row["seq"])
    assert _refusal(ask(page, row["seq"], back=True)) == refused


def _refusal(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1].get("detail", "")


def test_the_next_decision_settles_the_question(box: Box, page: Page, arrive: Arrive) -> None:
    row = arrive()
    ask(page, row["seq"])
    assert page.review(row["seq"])[0] == HTTPStatus.CREATED
    stored = worklist.loop(box.ledger, row["seq"])
    assert stored is not None
    assert stored["expert"] is None
    status, problem = ask(page, row["seq"])
    assert status == HTTPStatus.CONFLICT
    assert "Undo the decision first" in problem["detail"]


@pytest.mark.parametrize("changed", [{"analysis_sha256": "0" * 64}, {"newest_review": 999_999}])
def test_what_is_no_longer_shown_is_not_asked_about(
    box: Box, page: Page, arrive: Arrive, changed: dict[str, Any]
) -> None:
    row = arrive()
    assert ask(page, row["seq"], **changed)[0] == HTTPStatus.CONFLICT
    assert box.ledger.read("SELECT * FROM expert WHERE seq = ?", [row["seq"]]) == []


def test_what_waits_for_an_expert_is_not_the_next_loop(page: Page, arrive: Arrive) -> None:
    study = {"StudyInstanceUID": generate_uid()}
    first, second, third = (arrive(elements=study)["seq"] for _ in "123")
    ask(page, second)
    assert page.review(first)[1]["next"] == f"/loop/{third}"


@pytest.fixture
def two_patients(arrive: Arrive) -> list[dict[str, Any]]:
    """Two loops of one study, each with another PatientID."""
    study = {"StudyInstanceUID": generate_uid()}
    return [arrive(elements=study, PatientID=name, PatientName=f"{name}^P") for name in "AB"]


def test_a_person_names_the_right_one_and_only_its_loops_can_be_accepted(
    box: Box, page: Page, two_patients: list[dict[str, Any]]
) -> None:
    one, two = (row["seq"] for row in two_patients)
    shown = page.get(f"/api/loops/{one}")
    assert [(row["id"], row["name"], row["loops"]) for row in shown["identities"]] == [
        ("A", "A, P", 1),
        ("B", "B, P", 1),
    ]
    status, answer = whose(page, one, "A")
    assert status == HTTPStatus.CREATED
    assert answer["blocked"] is None
    assert "another patient's" in page.get(f"/api/loops/{two}")["blocked"]
    assert page.review(one)[0] == HTTPStatus.CREATED
    status, problem = page.review(two)
    assert status == HTTPStatus.CONFLICT
    assert "another patient's ID" in problem["detail"]
    assert page.review(two, decision="rejected", reason="Wrong patient")[0] == HTTPStatus.CREATED
    said = box.ledger.read('SELECT by, "right", patient_ids FROM identity ORDER BY id DESC')[0]
    assert (said["by"], said["right"], said["patient_ids"]) == ("AK", "A", '["A", "B"]')
    with pytest.raises(IntegrityError, match="immutable"), box.ledger.transaction() as db:
        db.execute("DELETE FROM identity")


def test_one_and_the_same_person_unblocks_every_loop_until_a_third_id_comes(
    page: Page, two_patients: list[dict[str, Any]], arrive: Arrive
) -> None:
    one, two = (row["seq"] for row in two_patients)
    assert whose(page, two, None)[0] == HTTPStatus.CREATED
    assert page.review(one)[0] == HTTPStatus.CREATED
    study = {"StudyInstanceUID": two_patients[0]["study_instance_uid"]}
    arrive(elements=study, PatientID="C", frames=1)
    assert page.review(two)[0] == HTTPStatus.CONFLICT
    assert "three patients" in page.get(f"/api/loops/{two}")["blocked"]


def test_a_word_on_patients_who_are_not_in_the_study_is_refused(
    page: Page, two_patients: list[dict[str, Any]], arrive: Arrive
) -> None:
    seq = two_patients[0]["seq"]
    assert whose(page, seq, "A", ["A"])[0] == HTTPStatus.CONFLICT
    assert whose(page, seq, "C")[0] == HTTPStatus.CONFLICT
    assert whose(page, arrive()["seq"], None)[0] == HTTPStatus.CONFLICT
    assert page.get(f"/api/loops/{seq}")["blocked"]


def test_a_word_that_has_not_seen_the_newest_one_is_refused_with_a_sentence(
    box: Box, page: Page, two_patients: list[dict[str, Any]]
) -> None:
    one, two = (row["seq"] for row in two_patients)
    shown = page.get(f"/api/loops/{two}")
    assert shown["newest_identity"] == 0
    assert whose(Page(box, "BM"), one, "A")[0] == HTTPStatus.CREATED
    body = {"patient_ids": ["A", "B"], "right": "B"}
    for seen in ({}, {"newest_identity": 0}):
        status, problem = post(page, f"/api/loops/{two}/identity", {**body, **seen})
        assert status == HTTPStatus.CONFLICT
        assert problem["detail"] == "BM has said meanwhile whose study this is. Look at it first."
    newest = page.get(f"/api/loops/{two}")["newest_identity"]
    assert page.review(one)[0] == HTTPStatus.CREATED
    status, problem = post(page, f"/api/loops/{two}/identity", {**body, "newest_identity": newest})
    assert status == HTTPStatus.CONFLICT
    assert problem["detail"].endswith("Undo that first, or reject the loop.")
    assert page.review(one, decision="undone")[0] == HTTPStatus.CREATED
    answer = post(page, f"/api/loops/{two}/identity", {**body, "newest_identity": newest})
    assert answer[0] == HTTPStatus.CREATED


def test_one_id_with_two_names_is_settled_by_the_one_who_is_meant(
    page: Page, arrive: Arrive
) -> None:
    study = {"StudyInstanceUID": generate_uid()}
    one, two = (
        arrive(elements=study, PatientID="A", PatientName=name)["seq"]
        for name in ("ONE^P", "TWO^P")
    )
    shown = page.get(f"/api/loops/{two}")
    assert shown["blocked"].startswith("This study holds loops of two patients (name differs).")
    keys = [row["key"] for row in shown["identities"]]
    body = {"patient_ids": ["A"], "right": "A", "keys": keys, "right_key": keys[1]}
    for wrong in ({"keys": keys[:1]}, {"right_key": "[]"}, {"right_key": None}):
        status, _ = post(page, f"/api/loops/{two}/identity", {**body, **wrong})
        assert status == HTTPStatus.CONFLICT
    assert post(page, f"/api/loops/{two}/identity", body)[0] == HTTPStatus.CREATED
    assert page.review(two)[0] == HTTPStatus.CREATED
    assert page.review(one)[0] == HTTPStatus.CONFLICT


@pytest.mark.parametrize("path", ["expert", "identity"])
@pytest.mark.parametrize("body", [{}, [], None, {"surprise": 1}])
def test_what_makes_no_sense_is_refused_with_a_sentence(page: Page, path: str, body: Any) -> None:
    status, problem = post(page, f"/api/loops/1/{path}", body)
    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert problem["detail"].endswith(".")
