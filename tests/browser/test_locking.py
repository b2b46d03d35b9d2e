"""Under the cover nothing is decided: from the touch that locks until the PIN, by nobody."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from appliance.ledger import worklist
from tests.box import Box
from tests.browser import hand

Arrive = Callable[..., dict[str, Any]]


def waiting(tab: Page) -> list[str]:
    """Return what decisions a tablet keeps to send."""
    kept = json.loads(tab.evaluate("() => JSON.stringify(Object.keys(localStorage))"))
    return [name for name in kept if name.startswith("echocart.pending.")]


def opened(tab: Page, row: dict[str, Any]) -> str:
    """Sign AK in on a loop, and wait until it can be decided on."""
    path = f"/loop/{row['seq']}"
    hand.sign_in(tab, "AK", path)
    hand.open_loop(tab)
    expect(tab.locator("#accept")).to_be_enabled()
    return path


@pytest.mark.parametrize("way", ["key", "tap"])
def test_a_key_behind_the_one_that_locks_decides_nothing(
    box: Box, tablet: Any, arrive: Arrive, way: str
) -> None:
    row = arrive()
    tab = tablet(box)
    path = opened(tab, row)
    # The box is slow to hear of it: the page stands under its cover meanwhile.
    held: list[Route] = []
    tab.context.route("**/lock", lambda route: held.append(route))
    if way == "key":
        tab.keyboard.press("l")
    else:
        tab.locator("#lock").tap()
    for key in ("a", "e", "x", "Shift+D", "a"):
        tab.keyboard.press(key)
    tab.locator("#accept").dispatch_event("click")
    expect(tab.locator("html.covered")).to_have_count(1)
    box.wait_for(lambda: held, "the lock on its way")
    assert waiting(tab) == []
    held[0].continue_()
    # The page's own question may meet the end of the session first, and reload the page.
    expect(tab.locator("#pin")).to_be_visible(timeout=20_000)
    tab.wait_for_load_state()
    hand.enter_pin(tab, "AK")
    tab.wait_for_url(f"**{path}")
    hand.open_loop(tab)
    expect(tab.locator("#said")).to_contain_text("needs eyes")
    assert worklist.reviews(box.ledger, row["seq"]) == []


@pytest.mark.parametrize("why", ["idle", "tap"])
def test_without_network_the_cover_takes_no_decision_and_sends_none_later(
    box: Box, tablet: Any, arrive: Arrive, why: str
) -> None:
    row = arrive()
    tab = tablet(box)
    tab.clock.install()
    opened(tab, row)
    tab.keyboard.press("c")
    marks = row["analysis"]["measures"]
    hand.go_to_frame(tab, next(n for n in range(2, 9) if n not in marks.values()))
    tab.keyboard.press("Shift+D")
    expect(tab.locator("#accept")).to_have_text("Save and accept")
    tab.context.set_offline(True)
    if why == "idle":
        after = float(tab.get_attribute("meta[name=lock-after]", "content") or 0)
        tab.clock.fast_forward(1000 * after + 2000)
    else:
        tab.locator("#lock").tap()
    expect(tab.locator("html.covered")).to_have_count(1)
    tab.keyboard.press("a")
    assert waiting(tab) == []
    assert hand.draft(tab) is not None
    tab.context.set_offline(False)
    expect(tab.locator("#pin")).to_be_visible(timeout=20_000)
    assert worklist.reviews(box.ledger, row["seq"]) == []


def test_a_page_beside_the_one_that_locks_is_covered_with_it(
    box: Box, tablet: Any, arrive: Arrive
) -> None:
    row = arrive()
    tab = tablet(box)
    path = opened(tab, row)
    other = tab.context.new_page()
    other.goto(path)
    hand.open_loop(other)
    tab.context.set_offline(True)
    tab.keyboard.press("l")
    expect(other.locator("html.covered")).to_have_count(1)
    other.keyboard.press("a")
    assert waiting(tab) == []
    tab.context.set_offline(False)
    for page in (tab, other):
        expect(page.locator("#pin")).to_be_visible(timeout=20_000)
    assert worklist.reviews(box.ledger, row["seq"]) == []


def test_a_decision_from_before_the_lock_is_still_its_author_s_to_send(
    box: Box, tablet: Any, arrive: Arrive
) -> None:
    row = arrive()
    tab = tablet(box)
    path = opened(tab, row)
    tab.context.route("**/reviews", lambda route: route.abort("internetdisconnected"))
    tab.locator("#accept").tap()
    expect(tab.locator("#said")).to_contain_text("not yet on the box")
    tab.keyboard.press("l")
    tab.wait_for_url("**/sign-in?**")
    assert len(waiting(tab)) == 1
    tab.context.unroute("**/reviews")
    hand.enter_pin(tab, "AK")
    tab.wait_for_url(f"**{path}")
    box.wait_for(lambda: worklist.reviews(box.ledger, row["seq"]), "the review")
