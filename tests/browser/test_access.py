"""WCAG 2.2 AA on every page, as far as axe-core can tell."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.box import Box
from tests.browser import hand
from tests.browser.conftest import Open

Arrive = Callable[..., dict[str, Any]]

SIZES = [(1280, 800), (768, 1024)]
_AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
_RUN = """async () => {
  const found = await axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  });
  return found.violations.map((rule) => [rule.id, ...rule.nodes.map((node) => node.html)]);
}"""


def violations(tab: Page) -> list[list[str]]:
    """Return what axe-core objects to on a page as it stands."""
    # By the debugger's way into the page: its policy lets no other script in.
    tab.context.new_cdp_session(tab).send("Runtime.evaluate", {"expression": _AXE})
    found: list[list[str]] = tab.evaluate(_RUN)
    return found


@pytest.mark.parametrize("size", SIZES)
def test_the_list_has_no_violation(open_page: Open, arrive: Arrive, size: tuple[int, int]) -> None:
    arrive(frames=1)
    arrive()
    tab = open_page("/", *size)
    tab.wait_for_selector(".loop")
    assert violations(tab) == []
    tab.fill("#search", "nobody")
    expect(tab.locator("#none")).to_be_visible()
    tab.click("#import")
    assert violations(tab) == []


@pytest.mark.parametrize("size", SIZES)
def test_the_viewer_has_no_violation_in_any_state(
    open_page: Open, arrive: Arrive, size: tuple[int, int]
) -> None:
    row, kept = arrive(), arrive(frames=1)
    tab = open_page(f"/loop/{row['seq']}", *size)
    hand.open_loop(tab)
    assert violations(tab) == []
    for key in ("?", "x", "v"):
        tab.keyboard.press(key)
        assert violations(tab) == [], key
        tab.keyboard.press("Escape")
    tab.keyboard.press("c")
    tab.wait_for_selector("body.correcting")
    assert violations(tab) == []
    tab.goto(f"/loop/{kept['seq']}")
    tab.wait_for_selector("body[data-ready=true]")
    assert violations(tab) == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", ["/sign-in", "/loop/999999", "/me", "/box"])
def test_the_other_pages_have_no_violation(
    open_page: Open, path: str, size: tuple[int, int]
) -> None:
    # Beside the page that is watched: a browser calls an address that isn't there an error.
    tab = open_page("/", *size).context.new_page()
    tab.goto(path)
    assert violations(tab) == []


def test_a_violation_would_be_found(open_page: Open, box: Box) -> None:
    tab = open_page("/")
    tab.evaluate("() => document.getElementById('search').removeAttribute('aria-label')")
    tab.evaluate("() => document.getElementById('search').removeAttribute('placeholder')")
    assert [rule[0] for rule in violations(tab)] == ["label"]
