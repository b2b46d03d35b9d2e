"""Zoomed pages and small ones (WCAG 1.4.10): nothing lies aside, and whose loop it is stays in sight."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import hand
from tests.browser.test_legible import BORN, ID, NAME

Open = Callable[..., Page]
Arrive = Callable[..., dict[str, Any]]
# 200 % of 768x1024 and of 1280x800, 400 % of 1280x1024, and a phone.
SIZES = [(384, 512), (640, 400), (320, 256), (320, 640), (412, 520)]
_ASIDE = """() => [...document.querySelectorAll('body *')].filter((it) => it.checkVisibility())
  .map((it) => [it.getBoundingClientRect(), it.outerHTML.slice(0, 80)])
  .filter(([box]) => box.width > 1 && (box.right > innerWidth + 1 || box.left < -1))
  .map(([, html]) => html)"""
_WHOLE = """(it) => {
  const { left, right, top, bottom } = it.getBoundingClientRect();
  return it.scrollWidth <= it.clientWidth && left >= 0 && right <= innerWidth && top >= 0
    && bottom <= innerHeight && it.contains(document.elementFromPoint(left + 1, (top + bottom) / 2));
}"""


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    """The loop of these tests, sent once."""
    return {}


@pytest.mark.parametrize("size", SIZES)
def test_a_small_page_scrolls_downwards_alone_and_tells_whose_loop_it_is(
    open_page: Open,
    arrive: Arrive,
    rows: dict[str, dict[str, Any]],
    artefacts: Path,
    size: tuple[int, int],
) -> None:
    birth = {"PatientBirthDate": BORN.replace("-", "")}
    row = rows.setdefault("", {}) or arrive(PatientName=NAME, PatientID=ID, elements=birth)
    rows[""] = row
    tab = open_page(f"/loop/{row['seq']}", *size)
    hand.open_loop(tab)
    name = "x".join(map(str, size))
    tab.screenshot(path=artefacts / f"small-{name}.png", full_page=True)
    stage = tab.locator("#stage").bounding_box()
    assert stage is not None
    assert stage["height"] >= 200
    assert tab.evaluate(_ASIDE) == []
    for place in ("#accept", "#reject"):
        tab.locator(place).scroll_into_view_if_needed()
        expect(tab.locator(place)).to_be_in_viewport(ratio=1)
        assert [tab.locator(".who > *").nth(n).evaluate(_WHOLE) for n in range(3)] == [True] * 3
    tab.keyboard.press("c")
    expect(tab.locator("body")).to_have_class("viewer correcting")
    tab.screenshot(path=artefacts / f"small-{name}-correct.png", full_page=True)
    assert tab.evaluate(_ASIDE) == []
    tab.goto("/")
    tab.screenshot(path=artefacts / f"small-{name}-list.png")
    assert not tab.evaluate("() => document.documentElement.scrollWidth > innerWidth")


def test_what_was_decided_can_be_undone_without_a_search(
    open_page: Open, arrive: Arrive, artefacts: Path
) -> None:
    row = arrive()
    tab = open_page(f"/loop/{row['seq']}", 768, 1024)
    hand.open_loop(tab)
    tab.locator("#accept").tap()
    tab.wait_for_url("**/")
    tab.goto(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    tab.screenshot(path=artefacts / "undo-portrait.png")
    undo = tab.locator("#undo-decision")
    # Nothing lies over it, and nothing was scrolled to see it.
    assert undo.evaluate(_WHOLE)


def test_in_a_system_s_own_colours_what_is_chosen_differs(
    browser: Any, box: Any, signed_in: Any, arrive: Arrive, artefacts: Path
) -> None:
    row = arrive()
    with browser.new_context(
        base_url=box.url, storage_state=signed_in, forced_colors="active"
    ) as context:
        tab = context.new_page()
        tab.goto(f"/loop/{row['seq']}")
        hand.open_loop(tab)
        tab.click("#correct")
        colour = "(it) => getComputedStyle(it).backgroundColor"
        tools = tab.locator("[data-tool]")
        shown = [tools.nth(n).evaluate(colour) for n in range(6)]
        assert shown[0] != shown[1]
        assert len(set(shown[1:])) == 1
        swatches = tab.locator(".legend i")
        assert len({swatches.nth(n).evaluate(colour) for n in range(3)}) == 3
        dark = tab.locator("#scrubber").evaluate(colour)
        assert dark == "rgb(20, 24, 29)", "the white playhead stands on the page's own ground"
        tab.screenshot(path=artefacts / "forced-colours.png")
