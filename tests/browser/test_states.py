"""Every page and state: without a violation, nothing too small for a finger, each text translatable."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from playwright.sync_api import Browser, Page

from tests.box import REPOSITORY
from tests.browser import states
from tests.browser.test_access import violations

LOCALE = REPOSITORY / "appliance" / "webui" / "locale"
PSEUDO = "qps-ploc"  # a language that nobody speaks, made for this
_OPEN, _CLOSE = "⟦", "⟧"
_SMALL = """() => [...document.querySelectorAll('button, a, input, select, summary')]
  .map((it) => it.closest('label') ?? it)
  .filter((it) => it.checkVisibility({ visibilityProperty: true }) && it.getClientRects().length)
  .filter((it) => !it.closest('dialog:not([open])') && it.type !== 'hidden' && it.type !== 'file')
  .map((it) => [it.getBoundingClientRect(), it.outerHTML])
  .filter(([box]) => box.width && (box.width < 47.9 || box.height < 47.9))
  .map(([box, html]) => `${box.width}x${box.height} ${html}`)"""
_TEXTS = """() => {
  const walk = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walk.nextNode()) {
    const { parentElement: at, data } = walk.currentNode;
    if (!at.closest('script, style, [translate=no]')) found.push(data);
  }
  for (const it of document.querySelectorAll('*')) {
    for (const name of ['aria-label', 'title', 'placeholder', 'alt', 'aria-valuetext']) {
      if (it.hasAttribute(name) && !it.closest('[translate=no]')) found.push(it.getAttribute(name));
    }
  }
  return found.map((text) => text.trim()).filter(Boolean);
}"""
# What isn't a text of the page: people, machines, units, names of views, of models, of places.
_DATA = (
    r"\b(AK|BM|KL|AD|EX|QQ|A1|FIRST, F|SECOND, S|DOE, JANE|ONE|TWO)\b",
    r"\bPHANTOM-1\b|\bPhantom Heart\b|^test$|\b(Echocart|first-network \d\S*|echocart user (add|list|return)|usb|notes\.pdf)\b",
    r"\b(A4C|A2C|EF|PIN)\b(?=\?|$)|\b(ml|mm|cm²|Hz|MB)\b",
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[states.Stage]:
    """The boxes to look at, which know the pseudo-language too."""
    root = tmp_path_factory.mktemp("stage")
    with states.Stage(root, pseudo(root / "locale")).open() as stage:
        yield stage


@pytest.fixture
def artefacts(tmp_path: Path) -> Path:
    """Where screenshots go: $ECHOCART_ARTEFACTS/states, or the test's own directory."""
    folder = Path(os.environ.get("ECHOCART_ARTEFACTS", tmp_path)) / "states"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def pseudo(folder: Path) -> Path:
    """Make a catalogue in which every text of the templates stands in brackets."""
    home = folder / PSEUDO.replace("-", "_") / "LC_MESSAGES"
    home.mkdir(parents=True)
    for domain in ("echocart", "echocart-js"):
        with (LOCALE / f"{domain}.pot").open("rb") as file:
            template = read_po(file)
        catalogue = Catalog("en", charset="utf-8", fuzzy=False)
        for message in template:
            if message.id and isinstance(message.id, str):
                catalogue.add(message.id, f"{_OPEN}{message.id}{_CLOSE}")
            elif message.id:
                forms = tuple(f"{_OPEN}{form}{_CLOSE}" for form in message.id)
                catalogue.add(message.id, forms)
        with (home / f"{domain}.mo").open("wb") as file:
            write_mo(file, catalogue)
    return folder


def escaped(tab: Page) -> list[str]:
    """Return the texts of a page, seen, hidden or only said, that no catalogue has."""
    found = []
    for text in dict.fromkeys([*tab.evaluate(_TEXTS), tab.title()]):
        rest, before = text, ""
        while rest != before:
            # Markup in the middle of a text cuts it in two.
            before, rest = (
                rest,
                re.sub(f"{_OPEN}[^{_OPEN}{_CLOSE}]*({_CLOSE}|$)|^[^{_OPEN}]*{_CLOSE}", "", rest),
            )
        for data in _DATA:
            rest = re.sub(data, "", rest)
        if re.search(r"[^\W\d_]{2,}", rest):
            found.append(text)
    return found


@pytest.mark.parametrize("size", [(1280, 800), (768, 1024)])
def test_no_state_has_a_violation_or_a_target_too_small(
    stage: states.Stage, browser: Browser, artefacts: Path, size: states.Size
) -> None:
    wrong: dict[str, list[list[str]]] = {}
    small: dict[str, list[str]] = {}
    for name, tab in states.every(stage, browser, size, {}):
        path = artefacts / f"{name}-{size[0]}.png"
        tab.screenshot(path=path, full_page=True)
        assert path.stat().st_size > 5_000, name
        assert not tab.evaluate("() => document.documentElement.scrollWidth > innerWidth"), name
        assert tab.evaluate("() => document.documentElement.lang") == "en"
        wrong[name], small[name] = violations(tab), tab.evaluate(_SMALL)
    assert {name: found for name, found in wrong.items() if found} == {}
    assert {name: found for name, found in small.items() if found} == {}


def test_every_text_of_every_state_can_be_translated(stage: states.Stage, browser: Browser) -> None:
    left: dict[str, list[str]] = {}
    for name, tab in states.every(stage, browser, (1280, 800), {"Accept-Language": PSEUDO}):
        assert tab.evaluate("() => document.documentElement.lang") == PSEUDO
        left[name] = escaped(tab)
    assert {name: found for name, found in left.items() if found} == {}
