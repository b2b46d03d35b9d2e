"""What the page must never do: decide unseen, lose a decision, or do by key what it refuses."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from pydicom.uid import generate_uid

from appliance.ledger import worklist
from tests.box import Box
from tests.browser import hand
from tests.webui import reviewbox

Open = Callable[..., Page]
Arrive = Callable[..., dict[str, Any]]


def test_a_held_key_accepts_one_loop(box: Box, open_page: Open, arrive: Arrive) -> None:
    study = {"StudyInstanceUID": generate_uid()}
    rows = [arrive(elements=study) for _ in range(2)]
    tab = open_page(f"/loop/{rows[0]['seq']}")
    hand.open_loop(tab)
    tab.keyboard.down("a")
    tab.wait_for_url(f"**/loop/{rows[1]['seq']}")
    hand.open_loop(tab)
    for _ in range(5):
        tab.keyboard.down("a")
    assert worklist.reviews(box.ledger, rows[1]["seq"]) == []
    tab.keyboard.up("a")
    tab.keyboard.press("a")
    tab.wait_for_url("**/")


def test_without_pictures_nothing_is_decided_until_they_come(
    open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = open_page("/")
    tab.context.route("**/frames*", lambda route: route.abort("internetdisconnected"))
    tab.goto(f"/loop/{row['seq']}")
    expect(tab.locator("#blocked")).to_contain_text("pictures did not come")
    for name in ("accept", "reject", "correct"):
        expect(tab.locator(f"#{name}")).to_be_disabled()
    tab.context.unroute("**/frames*")
    expect(tab.locator("#accept")).to_be_enabled(timeout=10_000)
    expect(tab.locator("#blocked")).to_be_hidden()


def test_contours_that_fail_once_are_fetched_again(open_page: Open, arrive: Arrive) -> None:
    row = arrive()
    tab = open_page("/")
    failed: list[str] = []

    def fail_at_first(route: Route) -> None:
        if len(failed) < 2:
            failed.append(route.request.url)
            route.abort("internetdisconnected")
        else:
            route.continue_()

    tab.context.route(re.compile(r"/contours\?"), fail_at_first)
    tab.goto(f"/loop/{row['seq']}")
    expect(tab.locator("#accept")).to_be_enabled(timeout=10_000)
    assert failed


@pytest.mark.parametrize("place", ["/", "/loop/{seq}"])
def test_a_decision_made_offline_survives_leaving_the_page(
    box: Box, open_page: Open, arrive: Arrive, place: str
) -> None:
    row = arrive(PatientName="SURVIVOR^S")
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    tab.context.set_offline(True)
    tab.locator("#accept").tap()
    expect(tab.locator("#said")).to_contain_text("not yet on the box")
    tab.wait_for_timeout(2500)  # the page's own questions to the box fail meanwhile
    expect(tab.locator("#said")).to_contain_text("not yet on the box")
    expect(tab.locator("#correct")).to_be_disabled()
    assert "SURVIVOR" not in str(tab.evaluate("() => JSON.stringify(localStorage)"))
    tab.goto("about:blank")
    tab.context.set_offline(False)
    assert worklist.reviews(box.ledger, row["seq"]) == []
    tab.goto(place.format(seq=row["seq"]))
    expect(tab.locator("#said")).to_contain_text("accepted")
    assert len(worklist.reviews(box.ledger, row["seq"])) == 1


@pytest.mark.parametrize("place", ["/", "/loop/{seq}"])
def test_a_question_to_an_expert_asked_offline_survives_leaving_the_page(
    box: Box, open_page: Open, arrive: Arrive, place: str
) -> None:
    row = arrive()
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    tab.context.set_offline(True)
    tab.locator("#unsure").tap()
    expect(tab.locator("#said")).to_contain_text("not yet on the box")
    tab.goto("about:blank")
    tab.context.set_offline(False)
    tab.goto(place.format(seq=row["seq"]))
    expect(tab.locator("#said")).to_contain_text("for an expert")
    stored = worklist.loop(box.ledger, row["seq"])
    assert stored is not None
    assert stored["expert"]["by"] == "AK"
    assert waiting(tab) == []


@pytest.mark.parametrize("place", ["", "/", "/loop/{seq}"])
def test_a_decision_on_a_loop_that_was_replaced_meanwhile_is_told_and_ended(
    box: Box, open_page: Open, arrive: Arrive, place: str
) -> None:
    same = {"StudyInstanceUID": generate_uid(), "SOPInstanceUID": generate_uid()}
    row = arrive(elements=same)
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    tab.context.set_offline(True)
    tab.locator("#accept").tap()
    expect(tab.locator("#said")).to_contain_text("not yet on the box")
    arrive(elements=same)
    if place:
        tab.goto("about:blank")
    tab.context.set_offline(False)
    if place:
        tab.goto(place.format(seq=row["seq"]))
    expect(tab.locator("#problem")).to_contain_text("sent this loop again", timeout=10_000)
    if place == "/":
        assert tab.locator("#problem a").get_attribute("href") == f"/loop/{row['seq']}"
    assert waiting(tab) == []
    assert worklist.reviews(box.ledger, row["seq"]) == []


def waiting(tab: Page) -> list[str]:
    """Return what a tablet still has to send."""
    names: list[str] = tab.evaluate("() => Object.keys(localStorage)")
    return [name for name in names if name.startswith("echocart.pending.")]


def test_a_decision_on_another_tablet_is_told_and_the_drawing_kept(
    box: Box, page: reviewbox.Page, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    end_systole = row["analysis"]["measures"]["es_frame"]
    hand.go_to_frame(tab, end_systole - 2 if end_systole > 2 else end_systole + 2)
    tab.keyboard.press("Shift+D")
    tab.context.route("**/api/version", lambda route: route.abort("internetdisconnected"))
    page.review(row["seq"])
    tab.locator("#accept").tap()
    expect(tab.locator("#problem")).to_contain_text("omebody has decided")
    expect(tab.locator("#problem")).to_contain_text("correction is kept")
    assert hand.draft(tab) is not None
    assert len(worklist.reviews(box.ledger, row["seq"])) == 1


def test_keys_do_not_do_what_buttons_refuse(open_page: Open, arrive: Arrive) -> None:
    kept = arrive(frames=1)
    study = {"StudyInstanceUID": generate_uid()}
    arrive(elements=study, PatientID="ONE", frames=1)
    blocked = arrive(elements=study, PatientID="TWO")
    for row in (kept, blocked):
        tab = open_page(f"/loop/{row['seq']}")
        tab.wait_for_selector("body[data-ready=true]")
        for key in ("Shift+D", "c", "a"):
            tab.keyboard.press(key)
        expect(tab.locator("body")).not_to_have_class("viewer correcting")


def test_portrait_shows_whose_loop_it_is_and_every_tool(open_page: Open, arrive: Arrive) -> None:
    row = arrive(elements={"PatientBirthDate": "19600203", "ContentTime": "101500"})
    tab = open_page(f"/loop/{row['seq']}", 768, 1024)
    hand.open_loop(tab)
    for place in ("#speed", ".who .extra >> nth=0", ".who .extra >> nth=1"):
        expect(tab.locator(place)).to_be_visible()
    tab.keyboard.press("Shift+D")
    changed, actions = (tab.locator(it).bounding_box() for it in ("#changed", ".actions"))
    assert changed is not None
    assert actions is not None
    assert changed["y"] + changed["height"] <= actions["y"]
