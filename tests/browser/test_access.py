"""WCAG 2.2 AA, as far as axe-core can tell; `test_states.py` asks on every page in every state."""

from importlib.resources import files

from playwright.sync_api import Page

from tests.box import Box
from tests.browser.conftest import Open

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


def test_a_violation_would_be_found(open_page: Open, box: Box) -> None:
    tab = open_page("/")
    tab.evaluate("() => document.getElementById('search').removeAttribute('aria-label')")
    tab.evaluate("() => document.getElementById('search').removeAttribute('placeholder')")
    assert [rule[0] for rule in violations(tab)] == ["label"]
