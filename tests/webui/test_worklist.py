"""The worklist: its order, its filters, its search, and its parts."""

from collections.abc import Callable
from http import HTTPStatus
from json import dumps
from typing import Any
from urllib.parse import quote

import pytest
from pydicom.uid import generate_uid

from appliance.ledger import event, identity, worklist
from appliance.webui import attention
from tests.box import Box
from tests.webui.reviewbox import Page

Arrive = Callable[..., dict[str, Any]]


def studies(page: Page, search: str = "", **wanted: str) -> list[dict[str, Any]]:
    """Return what the list holds, page after page."""
    found: list[dict[str, Any]] = []
    while True:
        query = "&".join(f"{name}={value}" for name, value in wanted.items())
        headers = {"Echocart-Search": quote(search)} if search else {}
        part = page.get(f"/api/studies?{query}", headers)
        found += part["studies"]
        if not part["after"]:
            return found
        wanted["after"] = part["after"]


def holds(found: list[dict[str, Any]], row: dict[str, Any]) -> bool:
    return any(row["seq"] in study["loops"] for study in found)


def test_a_loop_is_listed_until_decided_among_those_that_need_eyes(
    page: Page, arrive: Arrive
) -> None:
    row = arrive()
    assert holds(studies(page, show="needs"), row)
    assert not holds(studies(page, show="done"), row)
    assert page.review(row["seq"])[0] == HTTPStatus.CREATED
    assert not holds(studies(page, show="needs"), row)
    assert holds(studies(page, show="done"), row)


def test_a_kept_loop_is_listed_among_the_kept(page: Page, arrive: Arrive) -> None:
    kept, measured = arrive(frames=1), arrive()
    found = studies(page, show="kept")
    assert holds(found, kept)
    assert not holds(found, measured)
    assert holds(studies(page, show="today"), kept)


def test_those_that_need_eyes_come_first_then_the_newest(page: Page, arrive: Arrive) -> None:
    waiting, settled = arrive(), arrive(frames=1)
    found = studies(page)
    places = [
        next(place for place, study in enumerate(found) if row["seq"] in study["loops"])
        for row in (waiting, settled)
    ]
    assert places == sorted(places)
    assert [study["cursor"][0] for study in found] == sorted(s["cursor"][0] for s in found)


def test_what_stands_out_comes_before_what_only_waits(page: Page, arrive: Arrive) -> None:
    # Part of a beat has no EF, which is a reason to look; the other came later.
    odd, plain = arrive(frames=10), arrive()
    found = studies(page)
    places = {
        row["seq"]: next(i for i, study in enumerate(found) if row["seq"] in study["loops"])
        for row in (odd, plain)
    }
    assert "no EF" in found[places[odd["seq"]]]["html"]
    assert "no EF" not in found[places[plain["seq"]]]["html"]
    assert places[odd["seq"]] < places[plain["seq"]]


def test_the_parts_of_the_list_are_the_list(page: Page) -> None:
    whole = studies(page, until="2-0", rows="none")
    cursor = whole[0]["cursor"]
    first = page.get(f"/api/studies?until={cursor}&rows=none")
    rest = page.get(f"/api/studies?after={cursor}&until=2-0&rows=none")
    assert first["studies"] + rest["studies"] == whole
    assert first["after"] == cursor


def test_only_what_changed_has_another_digest(page: Page, arrive: Arrive) -> None:
    row = arrive()
    before = {study["key"]: study["digest"] for study in studies(page, rows="none")}
    page.review(row["seq"])
    after = {study["key"]: study for study in studies(page, rows="none")}
    changed = [key for key, study in after.items() if before.get(key) != study["digest"]]
    assert [after[key]["loops"] for key in changed] == [[row["seq"]]]
    fetched = page.get(f"/api/studies?keys={changed[0]}")["studies"]
    assert "accepted" in fetched[0]["html"]


def test_a_study_tells_where_its_results_are_and_whether_that_is_proven(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()

    def shown() -> str:
        found = [study for study in studies(page) if row["seq"] in study["loops"]]
        return str(found[0]["html"])

    assert "Deliveries" not in shown()
    page.review(row["seq"])
    assert "On its way to usb." in shown()
    assert "0 of 2 objects" in shown()
    with box.ledger.transaction() as db:
        db.conn.execute("UPDATE outbox SET state = 'proven' WHERE seq = ?", [row["seq"]])
        event.record(db, row["seq"], "delivery:usb", "proven")
    assert "In usb, proven." in shown()
    assert "given back what it was sent" in shown()


def test_a_later_loop_of_a_study_joins_it(page: Page, arrive: Arrive) -> None:
    study = {"StudyInstanceUID": generate_uid()}
    first = arrive(elements=study, frames=1)
    assert holds(studies(page), first)
    second = arrive(elements=study, frames=1)
    found = [item for item in studies(page) if second["seq"] in item["loops"]]
    assert [item["loops"] for item in found] == [[first["seq"], second["seq"]]]


def test_a_patient_is_found_by_name_and_id(page: Page, arrive: Arrive) -> None:
    sought = arrive(PatientName="QUINCE^ANN", PatientID="ID-77%", frames=1)
    other = arrive(PatientName="APPLE^BEN", PatientID="ID-778", frames=1)
    for search in ("quince", "Quince, Ann", "ANN^QUINCE", "ID-77%", "quin", "  quince   77"):
        found = studies(page, search)
        assert holds(found, sought), search
        assert not holds(found, other), search


@pytest.mark.parametrize("search", ["_", "!", "nobody of that name", "'; DROP TABLE instance"])
def test_what_nobody_is_called_finds_nothing(page: Page, search: str) -> None:
    assert studies(page, search) == []
    assert studies(page)


def test_a_search_is_written_nowhere(box: Box, page: Page) -> None:
    studies(page, "SOUGHTAFTER")
    assert "SOUGHTAFTER" not in box.log("webui")


@pytest.mark.parametrize(
    "query", ["show=everything", "after=1", "until=3-2", "keys=", "keys=xyz", "rows=1", "name=DOE"]
)
def test_a_part_that_does_not_exist_is_refused_with_a_sentence(page: Page, query: str) -> None:
    status, headers, text = page.ask(f"/api/studies?{query}")
    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert headers["Content-Type"] == "application/problem+json"
    assert b"Reload" in text


def test_a_thumbnail_is_drawn_once_and_again_after_a_decision(
    box: Box, page: Page, arrive: Arrive
) -> None:
    row = arrive()

    def address() -> str:
        (card,) = page.get(f"/api/loops/{row['seq']}")["loops"]
        return str(card["thumbnail"])

    first = address()
    status, headers, picture = page.ask(first)
    assert (status, headers["Content-Type"]) == (HTTPStatus.OK, "image/jpeg")
    assert "immutable" in headers["Cache-Control"]
    (kept,) = box.spool.cache.glob(f"{row['sha256']}-*.thumbnail")
    assert kept.read_bytes() == picture
    kept.write_bytes(b"as it was kept")
    assert page.ask(first)[2] == b"as it was kept"
    page.review(row["seq"])
    assert address() != first
    assert page.ask(address())[2].startswith(b"\xff\xd8")


@pytest.mark.parametrize("drawn", ["a999", "..%2f..%2fledger", "r1", "x"])
def test_a_thumbnail_that_was_never_drawn_is_not_kept(box: Box, page: Page, drawn: str) -> None:
    status, headers, _ = page.ask(f"/api/loops/1/thumbnail/{drawn}.jpg")
    if status == HTTPStatus.OK:
        assert headers["Cache-Control"] == "no-store"
    assert not list(box.spool.cache.glob(f"*-{drawn}.thumbnail"))


def _loop(**changes: Any) -> dict[str, Any]:
    view = {"view": "A4C", "source": "model", "certainty": 0.95}
    analysis = {
        "id": 1,
        "frames": 30,
        "measures": {"ef_percent": 55.0, "beats": []},
        "quality": {"doubt": "", "doubtful": []},
    }
    loop = {"state": "analysed", "current": True, "purged_at": "", "expert": None}
    loop |= {"patients": 1, "identity": None, "patient_id": "P1"}
    loop |= {"patient_name": "DOE^JANE", "patient_birth_date": ""}
    return {**loop, "review": None, "view": view, "analysis": analysis, **changes}


def _said(name: str) -> dict[str, Any]:
    """A person's word that a study is this patient's."""
    return {"by": "BB", "right": "P1", "right_identity": dumps(["P1", name, ""])}


def _review(**changes: Any) -> dict[str, Any]:
    review = {"decision": "accepted", "analysis_id": 1, "view": "A4C", "reviewer": "AK"}
    return {**review, **changes}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"view": {"view": "A4C", "source": "model", "certainty": 0.5}}, ["view uncertain"]),
        ({"view": {"view": "A4C", "source": "person", "certainty": None}}, []),
        (
            {
                "analysis": {
                    **_loop()["analysis"],
                    "measures": {"ef_percent": 50.0, "beats": [{"agrees": False}]},
                }
            },
            ["beats disagree"],
        ),
        (
            {"analysis": {**_loop()["analysis"], "measures": {"ef_percent": None}}},
            ["no EF"],
        ),
        (
            {"analysis": {**_loop()["analysis"], "quality": {"doubtful": [1, 2, 3, 4]}}},
            ["contours uncertain"],
        ),
        (
            {"analysis": {**_loop()["analysis"], "quality": {"damaged": [3]}}},
            ["frames unreadable"],
        ),
        (
            {"state": "kept", "analysis": None},
            ["looks like A4C, but no heart was recognised"],
        ),
        ({"patients": 2, "identity": None}, []),
        ({"patients": 2, "identity": _said("other^b")}, ["another patient’s, says BB"]),
        ({"patients": 2, "identity": _said("doe^jane")}, []),
        ({"state": "kept", "analysis": None, "view": None}, []),
        ({"state": "kept", "current": False, "analysis": None}, []),
    ],
)
def test_what_needs_eyes_says_why(changes: dict[str, Any], said: list[str]) -> None:
    loop = _loop(**changes)
    assert attention.reasons(loop) == said
    if said:
        assert attention.needs_eyes(loop)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "not decided yet"),
        ({"review": _review(analysis_id=0)}, "analysed anew since AK decided"),
        ({"review": _review(view="A2C")}, "the view was changed since AK decided"),
        ({"review": _review()}, ""),
        ({"expert": {"by": "AK"}}, ""),
        ({"view": {"view": "A4C", "source": "model", "certainty": 0.5}}, ""),
        ({"state": "quarantined", "analysis": None}, ""),
    ],
)
def test_where_nothing_stands_out_it_is_said_that_nobody_has_decided(
    changes: dict[str, Any], said: str
) -> None:
    assert attention.undecided(_loop(**changes)) == said


def test_a_change_reads_the_studies_it_touches_and_no_others(box: Box, arrive: Arrive) -> None:
    study = {"StudyInstanceUID": generate_uid()}
    first = arrive(elements=study, frames=1)
    since = worklist.version(box.ledger)
    second = arrive(elements=study, frames=1)
    found = {row["seq"] for row in worklist.changed(box.ledger, since, 1000)}
    assert found == {first["seq"], second["seq"]}
    assert worklist.changed(box.ledger, worklist.version(box.ledger), 1000) == []
    newest_only = worklist.changed(box.ledger, since, 1)
    assert [row["seq"] for row in newest_only] == [second["seq"]]


def test_a_rejected_loop_s_ef_does_not_count_for_its_study(page: Page, arrive: Arrive) -> None:
    study = {"StudyInstanceUID": generate_uid()}
    kept, rejected = arrive(elements=study), arrive(elements=study, heart_rate=60)
    both = next(item for item in studies(page) if kept["seq"] in item["loops"])
    assert page.review(rejected["seq"], decision="rejected", reason="Poor image")[0] == 201
    one = next(item for item in studies(page) if kept["seq"] in item["loops"])
    ef = kept["analysis"]["measures"]["ef_percent"]
    assert f'<span class="number">EF {ef:.0f} %<' in one["html"]
    assert one["html"] != both["html"]
    assert page.review(kept["seq"], decision="rejected", reason="Poor image")[0] == 201
    none = next(item for item in studies(page) if kept["seq"] in item["loops"])
    assert '<span class="number">EF' not in none["html"]


def test_a_study_s_ef_counts_no_loop_that_may_be_another_patient_s(
    box: Box, page: Page, arrive: Arrive
) -> None:
    study = {"StudyInstanceUID": generate_uid()}
    doe = arrive(elements=study, PatientID="ONE", PatientName="DOE^JANE")
    arrive(elements=study, PatientID="TWO", PatientName="POE^P", heart_rate=60)

    def shown() -> str:
        return next(item["html"] for item in studies(page) if doe["seq"] in item["loops"])

    assert '<span class="number">EF' not in shown()
    people = frozenset({"ONE", "TWO"})
    identity.say(box.ledger, identity.Said(doe["seq"], "BB", people, "ONE"))
    ef = doe["analysis"]["measures"]["ef_percent"]
    assert f'<span class="number">EF {ef:.0f} %<' in shown()
    assert shown().count("another patient’s, says BB") == 1


def test_what_was_replaced_looks_neither_decided_nor_delivered(
    box: Box, page: Page, arrive: Arrive
) -> None:
    same = {"StudyInstanceUID": generate_uid(), "SOPInstanceUID": generate_uid()}
    old = arrive(elements=same)
    page.review(old["seq"])
    with box.ledger.transaction() as db:
        db.conn.execute("UPDATE outbox SET state = 'proven' WHERE seq = ?", [old["seq"]])
        event.record(db, old["seq"], "delivery:usb", "proven")
    new = arrive(elements=same)
    assert new["seq"] != old["seq"]
    shown = next(item["html"] for item in studies(page) if old["seq"] in item["loops"])
    assert "replaced by a newer one" in shown
    assert "accepted AK" not in shown
    assert "Deliveries" not in shown
