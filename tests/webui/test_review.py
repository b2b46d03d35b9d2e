"""Accept, correct, reject: what is stored, and what is refused with which words."""

import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from pydicom.uid import generate_uid

from appliance import labels, masks
from appliance.ledger import delivery, worklist
from tests.box import Box
from tests.webui.reviewbox import Page

Arrive = Callable[..., dict[str, Any]]
LV, MYOCARDIUM = "1", "2"


def _wider(box: Box, row: dict[str, Any], frame: int, label: int = 1) -> list[list[float]]:
    """The model's contour of a frame, moved 6 pixels to the right."""
    maps = labels.of_analysis(box.ledger, box.spool, row["analysis"]["id"])
    points = masks.contours(maps.frame(frame))[label] + np.array([6.0, 0.0])
    return [[float(x), float(y)] for x, y in points]


def test_an_accept_is_stored_with_who_and_queued_for_delivery(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    status, answer = page.review(row["seq"])
    assert status == HTTPStatus.CREATED
    stored = worklist.loop(box.ledger, row["seq"])
    assert stored is not None
    assert stored["review"]["reviewer"] == "AK"
    assert stored["review"]["decision"] == "accepted"
    assert stored["review"]["analysis_sha256"] == row["analysis"]["sha256"]
    sent = [(item["destination"], item["kind"]) for item in stored["deliveries"]]
    assert sent == [("usb", "seg"), ("usb", "sr")]
    assert answer["next"] == "/"


def test_the_same_key_is_the_same_review(box: Box, page: Page, arrive: Arrive) -> None:
    row, key = arrive(), str(uuid4())
    first, again = (page.review(row["seq"], key=key)[1] for _ in range(2))
    assert first["id"] == again["id"]
    assert len(worklist.reviews(box.ledger, row["seq"])) == 1


def test_a_correction_changes_the_drawn_frame_to_the_pixel_and_no_other(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    points = _wider(box, row, 5)
    status, answer = page.review(
        row["seq"], decision="corrected", contours={"5": {LV: points}}, **_marks(row)
    )
    assert status == HTTPStatus.CREATED
    before = labels.of_analysis(box.ledger, box.spool, row["analysis"]["id"])
    after = labels.of_review(box.ledger, box.spool, answer["id"])
    expected = masks.apply_contour(before.frame(5), 1, np.array(points))
    assert np.array_equal(after.frame(5), expected)
    assert not np.array_equal(after.frame(5), before.frame(5))
    assert np.array_equal(after.frame(6), before.frame(6))
    changed = worklist.review_chunks(box.ledger, answer["id"])
    assert [(item["first_frame"], item["frame_count"]) for item in changed] == [(5, 1)]


def test_a_corrected_contour_comes_back_from_the_contours_address(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    points = _wider(box, row, 4)
    page.review(row["seq"], decision="corrected", contours={"4": {LV: points}}, **_marks(row))
    told = page.get(f"/api/loops/{row['seq']}")["annotations"]
    assert [item["title"] for item in told][1] == "AK corrected"
    assert told[1]["corrected"] == [4]
    shown = masks.unpack_contours(page.ask(told[1]["contours"])[2], [1, 2, 3])
    distance = np.linalg.norm(shown[4][1][:, None] - np.array(points)[None], axis=-1).min(axis=1)
    assert distance.max() < 3.0


def test_a_larger_end_diastole_gives_a_larger_ef(box: Box, page: Page, arrive: Arrive) -> None:
    row = arrive()
    measures = row["analysis"]["measures"]
    ed = measures["ed_frame"]
    points = np.array(_wider(box, row, ed))
    points = points.mean(axis=0) + 1.1 * (points - points.mean(axis=0))
    contours = {str(ed): {LV: points.tolist()}}
    page.review(row["seq"], decision="corrected", contours=contours, **_marks(row))
    stored = worklist.reviews(box.ledger, row["seq"])[0]
    assert stored["measures"]["ef_percent"] > measures["ef_percent"]
    assert stored["measures"]["edv_ml"] > measures["edv_ml"]
    assert stored["measures"]["esv_ml"] == pytest.approx(measures["esv_ml"], abs=0.2)


def test_a_correction_goes_on_from_an_earlier_one(box: Box, page: Page, arrive: Arrive) -> None:
    row = arrive()
    first = page.review(
        row["seq"],
        decision="corrected",
        contours={"3": {LV: _wider(box, row, 3)}},
        **_marks(row),
    )[1]
    second = page.review(
        row["seq"],
        decision="corrected",
        base_review=first["id"],
        contours={"8": {MYOCARDIUM: _wider(box, row, 8, 2)}},
        **_marks(row),
    )[1]
    maps = [labels.of_review(box.ledger, box.spool, item["id"]) for item in (first, second)]
    assert np.array_equal(maps[0].frame(3), maps[1].frame(3))
    assert not np.array_equal(maps[0].frame(8), maps[1].frame(8))
    confirmed = page.review(row["seq"], base_review=second["id"])[1]
    assert confirmed["decision"] == "corrected"
    third = labels.of_review(box.ledger, box.spool, confirmed["id"])
    assert np.array_equal(third.frame(8), maps[1].frame(8))


def test_a_rejection_keeps_its_reason_and_delivers_nothing(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    assert page.review(row["seq"], decision="rejected", reason="Poor image")[0] == 201
    stored = worklist.loop(box.ledger, row["seq"])
    assert stored is not None
    assert stored["review"]["reason"] == "Poor image"
    assert stored["deliveries"] == []


def test_an_undone_decision_sends_nothing_and_the_loop_needs_eyes_again(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    page.review(row["seq"])
    status, answer = page.review(row["seq"], decision="undone")
    assert status == HTTPStatus.CREATED
    assert answer["next"] == f"/loop/{row['seq']}"
    stored = worklist.loop(box.ledger, row["seq"])
    assert stored is not None
    assert stored["review"] is None
    assert {item["state"] for item in stored["deliveries"]} == {"withdrawn"}
    shown = page.get(f"/api/loops/{row['seq']}")
    assert shown["status"]["word"] == "needs eyes"
    assert not shown["undoable"]


def test_what_was_undone_or_replaced_stays_in_sight(page: Page, arrive: Arrive) -> None:
    row = arrive()
    page.review(row["seq"], decision="rejected", reason="Poor image")
    page.review(row["seq"], decision="undone")
    page.review(row["seq"])
    page.review(row["seq"], decision="rejected", reason="Wrong view")
    told = page.get(f"/api/loops/{row['seq']}")["annotations"]
    titles = [item["title"] for item in told[1:]]
    assert titles == ["AK rejected", "AK accepted", "AK rejected"]
    assert [item["stands"] for item in told] == [False, False, False, True]
    assert told[1]["note"].startswith("Poor image. Undone by AK ")
    assert [item["note"] for item in told[2:]] == ["Replaced.", "Wrong view"]
    page.review(row["seq"], decision="undone")
    told = page.get(f"/api/loops/{row['seq']}")["annotations"]
    assert [item["stands"] for item in told] == [False, False, True, False]
    assert told[2]["note"] == ""
    assert "Undone by AK" in told[3]["note"]


def test_a_mistaken_rejection_that_is_undone_leaves_the_correction_as_it_was(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    contours = {"4": {LV: _wider(box, row, 4)}}
    page.review(row["seq"], decision="corrected", contours=contours, **_marks(row))
    before = page.get(f"/api/loops/{row['seq']}")
    other = Page(box, "BB")
    other.review(row["seq"], decision="rejected", reason="Poor image")
    assert other.review(row["seq"], decision="undone")[0] == HTTPStatus.CREATED
    after = page.get(f"/api/loops/{row['seq']}")
    for same in ("status", "deliveries", "undoable", "loops"):
        assert after[same] == before[same], same
    assert after["status"]["word"] == "corrected AK"
    assert after["annotations"][:2] == before["annotations"]
    assert [item["stands"] for item in after["annotations"]] == [False, True, False]
    states = {item["state"] for item in worklist.deliveries(box.ledger, row["seq"])}
    assert states == {"queued"}


def test_a_decision_whose_result_has_left_can_not_be_undone_and_the_page_says_what_to_do(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    page.review(row["seq"])
    assert page.get(f"/api/loops/{row['seq']}")["undoable"]
    leased = delivery.claim(box.ledger, "test", 60, ["usb"])
    while leased is not None and leased.seq != row["seq"]:
        leased = delivery.claim(box.ledger, "test", 60, ["usb"])
    assert leased is not None
    delivery.sent(box.ledger, leased)
    assert not page.get(f"/api/loops/{row['seq']}")["undoable"]
    status, problem = page.review(row["seq"], decision="undone")
    assert status == HTTPStatus.CONFLICT
    assert problem["detail"].startswith("Its result has left the box. Decide anew")


@pytest.mark.parametrize("changed", [{"analysis_sha256": "0" * 64}, {"patient_id": "SOMEBODY"}])
def test_a_review_of_what_is_no_longer_shown_is_refused(
    box: Box, page: Page, arrive: Arrive, changed: dict[str, str]
) -> None:
    row = arrive()
    status, problem = page.review(row["seq"], **changed)
    assert status == HTTPStatus.CONFLICT
    assert problem["detail"].endswith(".")
    assert worklist.reviews(box.ledger, row["seq"]) == []


def test_a_study_of_two_patients_blocks_accept_and_says_so(page: Page, arrive: Arrive) -> None:
    study = {"StudyInstanceUID": generate_uid()}
    arrive(elements=study, PatientID="ONE", frames=1)
    row = arrive(elements=study, PatientID="TWO")
    assert "two patients" in page.get(f"/api/loops/{row['seq']}")["blocked"]
    assert "two patients" in page.ask("/")[2].decode()
    status, problem = page.review(row["seq"])
    assert status == HTTPStatus.CONFLICT
    assert "two patients" in problem["detail"]
    assert page.review(row["seq"], decision="rejected", reason="Wrong patient")[0] == 201


def test_after_an_accept_the_page_goes_on_inside_the_study_only(page: Page, arrive: Arrive) -> None:
    study = {"StudyInstanceUID": generate_uid()}
    first, second = arrive(elements=study), arrive(elements=study)
    arrive()
    assert page.review(first["seq"])[1]["next"] == f"/loop/{second['seq']}"
    assert page.review(second["seq"])[1]["next"] == "/"


_TRIANGLE = [[10.0, 10.0], [20.0, 10.0], [20.0, 20.0]]
_BAD_CONTOURS: dict[str, Any] = {
    "outside": {"0": {LV: [*_TRIANGLE, [1e6, 5.0]]}},
    "negative": {"0": {LV: [*_TRIANGLE, [-2.0, 5.0]]}},
    "not a number": {"0": {LV: [*_TRIANGLE, [float("nan"), 5.0]]}},
    "infinite": {"0": {LV: [*_TRIANGLE, [float("inf"), 5.0]]}},
    "three coordinates": {"0": {LV: [*_TRIANGLE, [1.0, 2.0, 3.0]]}},
    "words": {"0": {LV: [["a", "b"]] * 3}},
    "two points": {"0": {LV: _TRIANGLE[:2]}},
    "too many points": {"0": {LV: _TRIANGLE * 200}},
    "unknown structure": {"0": {"9": _TRIANGLE}},
    "background": {"0": {"0": _TRIANGLE}},
    "frame beyond the end": {"24": {LV: _TRIANGLE}},
    "negative frame": {"-1": {LV: _TRIANGLE}},
    "a bow tie": {"0": {LV: [[10.0, 10.0], [60.0, 60.0], [60.0, 10.0], [10.0, 60.0]]}},
    "nothing": {},
}


@pytest.fixture(scope="module")
def untouched(box: Box, page: Page) -> dict[str, Any]:
    """The real loop, which no test of this file changes."""
    row = worklist.loop(box.ledger, 1)
    assert row is not None
    return row


@pytest.mark.parametrize("name", _BAD_CONTOURS)
def test_a_contour_that_makes_no_sense_is_refused_with_a_sentence(
    box: Box, page: Page, untouched: dict[str, Any], name: str
) -> None:
    contours = _BAD_CONTOURS[name]
    if name == "frame beyond the end":
        contours = {str(untouched["analysis"]["frames"]): contours["24"]}
    marks = _marks(untouched)
    status, problem = page.review(1, decision="corrected", contours=contours, **marks)
    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert problem["detail"].endswith(".")
    assert worklist.reviews(box.ledger, 1) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"decision": "maybe"},
        {"key": "x"},
        {"surprise": 1},
        {"decision": "corrected", "ed_frame": 3, "es_frame": 3},
        {"decision": "corrected", "ed_frame": 3, "es_frame": 10_000},
        {"decision": "corrected", "ed_frame": -1, "es_frame": 3},
        {"decision": "corrected", "ed_frame": 3},
        {"decision": "corrected"},
        {"decision": "accepted", "base_review": 999_999},
        {"decision": "accepted", "contours": {"0": {LV: _TRIANGLE}}},
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(
    page: Page, untouched: dict[str, Any], wrong: dict[str, Any]
) -> None:
    status, problem = page.review(1, **wrong)
    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert "Traceback" not in problem["detail"]
    assert problem["detail"].endswith(".")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"text"'])
def test_a_body_that_is_no_review_is_refused(page: Page, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "X-CSRFToken": page.token}
    status, answer, _ = page.ask("/api/loops/1/reviews", body, headers)
    assert status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
    assert answer["Content-Type"] == "application/problem+json"


def _marks(row: dict[str, Any]) -> dict[str, int]:
    measures = row["analysis"]["measures"]
    return {"ed_frame": measures["ed_frame"], "es_frame": measures["es_frame"]}


def test_neighbouring_frames_of_a_correction_are_kept_together(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    frames = [*range(2, 12), 15]
    contours = {str(frame): {LV: _wider(box, row, frame)} for frame in frames}
    answer = page.review(row["seq"], decision="corrected", contours=contours, **_marks(row))[1]
    chunks = worklist.review_chunks(box.ledger, answer["id"])
    assert [(item["first_frame"], item["frame_count"]) for item in chunks] == [
        (2, 8),
        (10, 2),
        (15, 1),
    ]
    before = labels.of_analysis(box.ledger, box.spool, row["analysis"]["id"])
    after = labels.of_review(box.ledger, box.spool, answer["id"])
    for frame in frames:
        expected = masks.apply_contour(before.frame(frame), 1, np.array(contours[str(frame)][LV]))
        assert np.array_equal(after.frame(frame), expected)


def test_a_correction_cut_short_by_a_kill_is_there_whole_or_not_at_all(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()
    contours = {str(frame): {LV: _wider(box, row, frame)} for frame in range(24)}
    for attempt in range(4):
        before = len(worklist.reviews(box.ledger, row["seq"]))
        killer = threading.Timer(0.02 * 2.5**attempt, lambda: box.kill("webui"))
        killer.start()
        with suppress(OSError, HTTPException):  # cut in the middle
            page.review(row["seq"], decision="corrected", contours=contours, **_marks(row))
        killer.join()
        box.start("webui")
        after = worklist.reviews(box.ledger, row["seq"])
        assert len(after) in (before, before + 1)
        for review in after[before:]:
            stored = labels.of_review(box.ledger, box.spool, review["id"])
            kept = worklist.review_chunks(box.ledger, review["id"])
            assert sum(item["frame_count"] for item in kept) == 24
            for frame in (0, 11, 23):
                assert (stored.frame(frame) == 1).any()
            sent = worklist.deliveries(box.ledger, row["seq"])
            assert review["id"] in {item["review_id"] for item in sent}
