"""The page for experts: undecided loops, those that teach most first; nobody else's list changes."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from appliance.ledger import drift
from appliance.ledger.connection import insert
from tests.box import Box
from tests.webui.reviewbox import Page, enrol

Arrive = Callable[..., dict[str, Any]]
SURE = {"confidence_lv": 0.98, "confidence_wall": 0.95, "confidence_la": 0.97}


@pytest.fixture(scope="module")
def expert(box: Box) -> Page:
    enrol(box, "EX", "expert")
    return Page(box, "EX")


def shown(page: Page) -> list[int]:
    """The loops of the page in its order."""
    status, _, text = page.ask("/learn")
    assert status == HTTPStatus.OK
    return [int(seq) for seq in re.findall(r'data-seq="(\d+)"', text.decode())]


def known_as(box: Box, seq: int, figures: dict[str, float], scanner: str) -> None:
    """Write down other figures of a loop than the engine has found."""
    drift.note(box.ledger, seq, "first-network-1.0.0", "drawn", "2026-11-20", scanner, figures)


def test_the_loop_that_teaches_most_comes_first_and_says_why(
    box: Box, expert: Page, arrive: Arrive
) -> None:
    plain, odd = arrive(), arrive(PatientName="TEACHING^LOOP")
    for row in box.loops():
        known_as(box, row["seq"], SURE, "GE · E95 · 204")
    with box.ledger.transaction() as db:
        about = {"model": "m", "outcome": "refused", "day": "2026-11-20", "figures": "{}"}
        for _other in range(100):
            insert(db, "drift_loop", {**about, "seq": plain["seq"], "scanner": "GE · E95 · 204"})
    known_as(box, plain["seq"], SURE, "GE · E95 · 204")
    known_as(box, odd["seq"], {**SURE, "confidence_wall": 0.85}, "SonoSite · M-Turbo · 1")
    assert shown(expert)[0] == odd["seq"]
    text = expert.ask("/learn")[2].decode()
    card = text[text.index(f'data-seq="{odd["seq"]}"') :].split("</li>")[0]
    assert "network unsure, rare scanner" in card
    assert "TEACHING, LOOP" in card


def test_a_decided_loop_is_not_there_any_more(expert: Page, arrive: Arrive) -> None:
    row = arrive()
    assert row["seq"] in shown(expert)
    assert expert.review(row["seq"])[0] == HTTPStatus.CREATED
    assert row["seq"] not in shown(expert)


def test_it_is_the_experts_and_the_sonographers_list_stays_in_its_order(
    box: Box, page: Page, expert: Page, arrive: Arrive
) -> None:
    seq = shown(expert)[-1]
    listed = [study["key"] for study in page.get("/api/studies")["studies"]]
    known_as(box, seq, {**SURE, "confidence_lv": 0.5}, "RARE · ONE · 1")
    arrive(frames=1)  # the list is read again
    after = [study["key"] for study in page.get("/api/studies")["studies"]]
    still = [key for key in after if key in listed]  # the new one may push the last off the page
    assert still == listed[: len(still)]
    assert len(still) >= len(listed) - 1
    assert page.ask("/learn")[0] == HTTPStatus.FORBIDDEN
    assert b'href="/learn"' not in page.ask("/")[2]
    assert b'href="/learn"' in expert.ask("/")[2]


def test_loops_of_an_earlier_release_have_no_figures_and_are_there(
    box: Box, expert: Page, arrive: Arrive
) -> None:
    seq = arrive()["seq"]
    with box.ledger.transaction() as db:
        db.conn.execute("DROP TRIGGER drift_loop_is_never_deleted")
        db.conn.execute("DELETE FROM drift_loop WHERE seq = ?", [seq])
    (found,) = [item for item in drift.undecided(box.ledger) if item["seq"] == seq]
    assert (found["figures"], found["scanner"]) == ({}, "")
    assert seq in shown(expert)
