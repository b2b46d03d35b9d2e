"""While the box doesn't answer the page stays, and what was decided is told as it stands."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pydicom.uid import generate_uid

from appliance.ledger import draft, worklist
from tests.box import Box
from tests.browser import hand
from tests.webui import reviewbox

Open = Callable[..., Page]
Arrive = Callable[..., dict[str, Any]]
_GOES_ON = "The box does not answer. This page goes on when it does."


def test_a_correction_saved_offline_is_told_as_saved_once_it_is(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = hand.correcting(open_page, row)
    hand.drag_by_mouse(tab, hand.grabbable(box, tab, row), -30, 0)
    tab.context.set_offline(True)
    tab.locator("#accept").click()
    expect(tab.locator("#said")).to_contain_text("kept here, not yet on the box")
    tab.goto("about:blank")
    tab.context.set_offline(False)
    tab.goto(f"/loop/{row['seq']}")
    box.wait_for(lambda: worklist.reviews(box.ledger, row["seq"]), "the review")
    hand.open_loop(tab)
    expect(tab.locator("#accept")).to_have_text("✓ Accepted")
    tab.wait_for_timeout(1500)  # what would be kept on the box comes there a moment later
    expect(tab.locator("#said")).to_contain_text("corrected AK")
    expect(tab.locator("body")).not_to_have_class("viewer correcting")
    assert hand.draft(tab) is None
    assert draft.of(box.ledger, row["seq"], "AK") is None
    assert len(worklist.reviews(box.ledger, row["seq"])) == 1


@pytest.mark.parametrize("way", ["#back", "#rail a:not([aria-current])", "ArrowDown"])
def test_without_network_the_way_on_waits_for_the_box(
    box: Box, open_page: Open, arrive: Arrive, way: str
) -> None:
    study = {"StudyInstanceUID": generate_uid()}
    rows = [arrive(elements=study, frames=4) for _ in range(2)]
    tab = open_page(f"/loop/{rows[0]['seq']}")
    tab.wait_for_selector("body[data-ready=true]")
    tab.context.set_offline(True)
    if way.startswith("#"):
        tab.locator(way).first.click()
    else:
        tab.keyboard.press(way)
    expect(tab.locator("#problem")).to_have_text(_GOES_ON)
    assert tab.url.endswith(f"/loop/{rows[0]['seq']}")
    tab.context.set_offline(False)
    tab.wait_for_url("**/" if way == "#back" else f"**/loop/{rows[1]['seq']}")


def test_the_list_waits_for_the_box_and_a_touch_changes_ones_mind(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    row = arrive(frames=4)
    tab = open_page("/")
    tab.context.set_offline(True)
    tab.locator(f"[data-seq='{row['seq']}']").click()
    expect(tab.locator("#said")).to_have_text(_GOES_ON)
    tab.mouse.click(2, 700)
    expect(tab.locator("#said")).to_be_empty()
    tab.context.set_offline(False)
    tab.wait_for_timeout(3000)
    assert tab.url == f"{box.url}/"


def test_an_accept_goes_on_once_the_next_page_can_come(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    # The network is cut with the box's answer.
    tab.context.route("**/api/version", lambda route: route.abort("internetdisconnected"))
    tab.locator("#accept").click()
    expect(tab.locator("#problem")).to_have_text(_GOES_ON)
    expect(tab.locator("#accept")).to_be_disabled()
    tab.keyboard.press("ArrowLeft")
    assert len(worklist.reviews(box.ledger, row["seq"])) == 1
    tab.context.unroute("**/api/version")
    tab.wait_for_url("**/")


def test_nobody_s_decision_is_replaced_by_an_accept_that_does_not_say_so(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    assert reviewbox.Page(box, "BM").review(row["seq"])[0] == 201
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    accept = tab.locator("#accept")
    expect(accept).to_have_text("Replace BM’s decision")
    accept.click()
    tab.wait_for_url("**/")
    tab.goto(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    expect(accept).to_have_text("✓ Accepted")
    expect(accept).to_be_disabled()
    tab.locator("#undo-decision").click()
    expect(accept).to_have_text("Replace BM’s decision")
    expect(accept).to_be_enabled()


def test_who_was_not_sure_is_told_and_can_take_it_back(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    path = f"/loop/{row['seq']}"
    tab = open_page(path)
    for _ in range(2):
        hand.open_loop(tab)
        tab.locator("#unsure").click()
        tab.wait_for_url("**/")
        tab.goto(path)
        hand.open_loop(tab)
        expect(tab.locator("#annotations")).to_contain_text("AK was not sure")
        tab.locator("#undo-decision").click()
        expect(tab.locator("#unsure")).to_be_enabled()
        expect(tab.locator("#said")).to_contain_text("needs eyes")
        expect(tab.locator("#annotations")).to_contain_text("AK took the question back")
    tab.locator("#unsure").click()
    tab.wait_for_url("**/")
    assert reviewbox.Page(box, "BM").review(row["seq"])[0] == 201
    tab.goto(path)
    expect(tab.locator("#annotations")).to_contain_text("BM accepted")
    expect(tab.locator("#annotations")).to_contain_text("AK was not sure")


def test_a_contour_that_crosses_itself_is_not_saved(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = hand.correcting(open_page, row)
    tab.keyboard.press("2")
    x, y = hand.grabbable(box, tab, row)
    tab.mouse.move(x, y - 30)
    tab.mouse.down()
    for dx, dy in ((-60, 0), (60, 30), (-60, 40), (60, -20), (0, 50)):
        tab.mouse.move(x + dx, y + dy, steps=8)
    tab.mouse.up()
    tab.locator("#accept").click()
    expect(tab.locator("#problem")).to_contain_text("a contour crosses itself")
    assert worklist.reviews(box.ledger, row["seq"]) == []
    tab.keyboard.press("z")
    hand.drag_by_mouse(tab, hand.grabbable(box, tab, row), -30, 0)
    tab.locator("#accept").click()
    tab.wait_for_url("**/")


def test_a_name_that_turns_its_letters_around_is_shown_as_it_was_sent(
    open_page: Open, arrive: Arrive
) -> None:
    row = arrive(
        PatientName="DOE\u202e^JANE",
        PatientID="7\u2066RP",
        elements={"SpecificCharacterSet": "ISO_IR 192"},
    )
    tab = open_page(f"/loop/{row['seq']}")
    expect(tab.locator(".who b")).to_have_text("DOE⟨U+202E⟩, JANE")
    expect(tab.locator(".who span").first).to_have_text("7⟨U+2066⟩RP")
    tab.goto("/")
    study = tab.locator(".study").filter(has=tab.locator(f"[data-seq='{row['seq']}']"))
    expect(study.locator("h2")).to_have_text("DOE⟨U+202E⟩, JANE")
    expect(study.locator("header")).to_contain_text("7⟨U+2066⟩RP")
    assert not set("\u202e\u2066") & set(tab.content())


def test_a_file_that_waits_for_the_network_says_so(open_page: Open, tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    file.write_bytes(b"no DICOM")
    tab = open_page("/")
    tab.context.set_offline(True)
    tab.set_input_files("#files", file)
    expect(tab.locator("#imports-said")).to_contain_text("The box does not answer. Trying again.")
    tab.context.set_offline(False)
    expect(tab.locator("#imports-said")).to_contain_text("1 could not be imported", timeout=20_000)
