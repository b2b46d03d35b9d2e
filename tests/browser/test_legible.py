"""What must be read whole whatever else the page shows: who it is, and why nothing is to be seen."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser import hand

Open = Callable[..., Page]
Arrive = Callable[..., dict[str, Any]]
NAME = "OBERMAYERVONHOHENFELSUNDZUDENSIEBENBERGENIMTALEDERLANGENNAMENOBE"  # PS3.5 6.2: 64 at most
ID = "4711081519610402"
BORN = "1961-04-02"
SIZES = pytest.mark.parametrize("size", [(1280, 800), (768, 1024)])
# Inside its own box and the window, and nothing lies over either end.
_WHOLE = """(it) => {
  const { left, right, top, bottom } = it.getBoundingClientRect();
  const at = (x) => document.elementFromPoint(x, (top + bottom) / 2);
  return it.scrollWidth <= it.clientWidth && right <= innerWidth && at(left + 1) === it
    && at(right - 1) === it;
}"""
_WIDE = "() => document.documentElement.scrollWidth > innerWidth"


@pytest.fixture
def row(arrive: Arrive) -> dict[str, Any]:
    """A loop of somebody with a long name and a long ID."""
    assert (len(NAME), len(ID)) == (64, 16)
    return arrive(PatientName=NAME, PatientID=ID)


def told(place: Locator, *texts: str) -> Iterator[bool]:
    """Tell of each text whether a finger and an eye find it whole in a place."""
    for text in texts:
        # Not scrolled to: that would also bring what is cut off into sight.
        yield place.get_by_text(text, exact=True).evaluate(_WHOLE)


@SIZES
def test_the_list_tells_the_whole_id(
    open_page: Open, row: dict[str, Any], artefacts: Path, size: tuple[int, int]
) -> None:
    tab = open_page("/", *size)
    study = tab.locator(".study").filter(has=tab.locator(f"[data-seq='{row['seq']}']"))
    study.scroll_into_view_if_needed()
    assert list(told(study.locator("header"), ID)) == [True]
    assert study.evaluate("(it) => it.scrollWidth <= it.clientWidth")
    tab.screenshot(path=artefacts / f"long-name-list-{size[0]}.png")
    assert not tab.evaluate(_WIDE)


@SIZES
@pytest.mark.parametrize("drawn", [False, True])
def test_the_viewer_tells_the_whole_id_and_birth_date_while_correcting_too(
    open_page: Open, row: dict[str, Any], artefacts: Path, size: tuple[int, int], drawn: bool
) -> None:
    if drawn:
        tab = hand.correcting(open_page, row, *size)
        tab.keyboard.press("Shift+D")
        expect(tab.locator("#said")).to_contain_text("not saved yet")
    else:
        tab = open_page(f"/loop/{row['seq']}", *size)
        hand.open_loop(tab)
    tab.screenshot(path=artefacts / f"long-name-{'correct' if drawn else 'view'}-{size[0]}.png")
    assert list(told(tab.locator(".who"), ID, BORN)) == [True, True]
    name = tab.locator(".who b").bounding_box()
    assert name is not None
    assert name["width"] >= 80
    assert not tab.evaluate(_WIDE)


def test_a_page_locked_without_network_says_why_it_is_dark(
    open_page: Open, arrive: Arrive, artefacts: Path
) -> None:
    tab = open_page(f"/loop/{arrive()['seq']}")
    hand.open_loop(tab)
    tab.context.set_offline(True)
    tab.keyboard.press("l")
    expect(tab.locator("html.covered")).to_have_count(1)
    expect(tab.locator("body")).to_be_hidden()
    shot = tab.screenshot(path=artefacts / "locked-offline.png")
    bright = np.argwhere(np.asarray(Image.open(BytesIO(shot)).convert("L")) > 128)
    assert len(bright) > 200
    top, left = bright.min(axis=0)
    bottom, right = bright.max(axis=0)
    assert bottom - top < 30, "one line of words, and nothing else"
    assert left + right == pytest.approx(1280, abs=40)
    session = tab.context.new_cdp_session(tab)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    said = {node["name"]["value"] for node in nodes if node.get("name") and not node["ignored"]}
    assert "Locked. When the box answers, it asks for the PIN." in said
