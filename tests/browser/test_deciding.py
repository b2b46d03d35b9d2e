"""What a tap on Accept takes, and what the page says it takes."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pydicom.uid import generate_uid

from appliance.ledger import worklist
from tests.box import Box
from tests.browser import hand
from tests.webui import reviewbox

Open = Callable[..., Page]
Arrive = Callable[..., dict[str, Any]]
# The button is disabled for a moment only: a look from here comes too late on a loaded machine.
_WATCH = """() => {
  const accept = document.querySelector('#accept');
  new MutationObserver(() => { window.wasDisabled ||= accept.disabled; })
    .observe(accept, { attributes: true });
}"""


def _marks(row: dict[str, Any], by: int = 0) -> dict[str, int]:
    measures = row["analysis"]["measures"]
    return {"ed_frame": measures["ed_frame"] + by, "es_frame": measures["es_frame"]}


@pytest.mark.parametrize("tap", [True, False])
def test_hidden_contours_are_shown_before_they_are_accepted(
    box: Box, open_page: Open, arrive: Arrive, tap: bool
) -> None:
    row = arrive()
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    accept = tab.locator("#accept")

    def press() -> None:
        if tap:
            accept.tap()
        else:
            tab.keyboard.press("a")

    tab.keyboard.press("h")
    expect(accept).to_have_text("Show contours")
    tab.evaluate(_WATCH)
    press()
    expect(tab.locator("#hide")).to_have_attribute("aria-pressed", "false")
    expect(accept).to_have_text("Accept")
    expect(accept).to_be_enabled()
    assert tab.evaluate("() => window.wasDisabled"), "the second half of a double tap accepts"
    assert worklist.reviews(box.ledger, row["seq"]) == []
    press()
    tab.wait_for_url("**/")
    assert len(worklist.reviews(box.ledger, row["seq"])) == 1


def test_contours_can_not_be_made_too_weak_to_see(open_page: Open, arrive: Arrive) -> None:
    tab = open_page(f"/loop/{arrive()['seq']}")
    hand.open_loop(tab)
    for _ in range(12):
        tab.keyboard.press("[")
    assert int(tab.locator("#strength").input_value()) >= 10


def test_accept_says_when_it_takes_the_model_s_answer_over_a_correction(
    page: reviewbox.Page, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    assert page.review(row["seq"], decision="corrected", **_marks(row, 1))[0] == 201
    assert page.review(row["seq"], decision="corrected", **_marks(row, 2))[0] == 201
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    accept = tab.locator("#accept")
    expect(accept).to_have_text("✓ Accepted")
    expect(accept).to_be_disabled()  # nothing is left to be done
    tab.keyboard.press("m")
    expect(accept).to_have_text("Accept the model’s")
    expect(accept).to_be_enabled()
    tab.keyboard.press("m")
    expect(accept).to_have_text("✓ Accepted")
    tab.locator("#annotations button[data-annotation^=review]").first.tap()
    expect(accept).to_have_text("Accept this one")


def test_a_replaced_loop_says_so_once_with_the_way_to_the_newer_one(
    open_page: Open, arrive: Arrive
) -> None:
    same = {"StudyInstanceUID": generate_uid(), "SOPInstanceUID": generate_uid()}
    old, new = arrive(elements=same), arrive(elements=same)
    assert old["seq"] != new["seq"]
    tab = open_page(f"/loop/{old['seq']}")
    expect(tab.locator("#blocked")).to_contain_text("newer one")
    tab.wait_for_selector("body[data-ready=true]")
    said = tab.locator("body").inner_text().lower()
    assert said.count("newer") == 1
    assert said.count("sent this loop again") == 1
    tab.locator("#blocked a").tap()
    tab.wait_for_url(f"**/loop/{new['seq']}")
    hand.open_loop(tab)
    expect(tab.locator("#accept")).to_be_enabled()


def test_the_keys_are_listed_from_the_first(open_page: Open) -> None:
    tab = open_page("/loop/1")
    tab.wait_for_selector("body[data-ready=true]")
    tab.keyboard.press("?")
    expect(tab.locator("#keys-dialog")).to_be_visible()
    assert tab.locator("#keys-dialog").evaluate("(dialog) => dialog.scrollTop") == 0
    expect(tab.locator("#keys-title")).to_be_in_viewport()
    tab.keyboard.press("Escape")
    expect(tab.locator("#keys-dialog")).to_be_hidden()


def test_who_would_replace_another_s_correction_is_told_so_and_sees_it(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = hand.correcting(open_page, row)
    accept = tab.locator("#accept")
    hand.drag_by_mouse(tab, hand.grabbable(box, tab, row), -30, 0)
    expect(accept).to_have_text("Save and accept")
    other = reviewbox.Page(box, "BM")
    assert other.review(row["seq"], decision="corrected", **_marks(row, 1))[0] == 201
    expect(tab.locator("#problem")).to_contain_text("corrected BM. Theirs is the dashed line.")
    expect(accept).to_have_text("Replace BM’s decision")
    expect(accept).to_be_enabled()
    # Without a drawing of one's own it would still take the other's place.
    tab.keyboard.press("z")
    expect(accept).to_have_text("Replace BM’s decision")
    tab.keyboard.press("c")
    expect(accept).to_have_text("Replace BM’s decision")


def test_a_save_that_met_another_s_decision_says_whose_before_it_replaces_it(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = hand.correcting(open_page, row)
    hand.drag_by_mouse(tab, hand.grabbable(box, tab, row), -30, 0)
    tab.context.set_offline(True)
    tab.locator("#accept").click()
    expect(tab.locator("#said")).to_contain_text("kept here")
    other = reviewbox.Page(box, "BM")
    assert other.review(row["seq"], decision="corrected", **_marks(row, 1))[0] == 201
    tab.context.set_offline(False)
    told = tab.locator("#problem")
    expect(told).to_contain_text("Decided meanwhile: corrected BM.", timeout=20_000)
    expect(told).to_contain_text("Your correction is kept.")
    assert hand.drawn_frames(tab) == [hand.FRAME]
    accept = tab.locator("#accept")
    expect(accept).to_have_text("Replace BM’s decision")
    accept.click()
    tab.wait_for_url("**/")
    made = [item["reviewer"] for item in worklist.reviews(box.ledger, row["seq"])]
    assert made == ["BM", "AK"]
