"""The view's label in a real browser: seen, touched, changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.box import Box
from tests.browser import hand
from tests.phantom import cine_loop, on_its_head
from tests.webui.reviewbox import send

Open = Callable[..., Page]
Arrive = Callable[..., dict[str, Any]]


def test_a_finger_changes_the_view_and_the_numbers_follow(
    open_page: Open, arrive: Arrive, artefacts: Path
) -> None:
    tab = open_page(f"/loop/{arrive()['seq']}")
    hand.open_loop(tab)
    tab.tap("#view")
    expect(tab.locator("#view-dialog")).to_be_visible()
    expect(tab.locator("#view-said")).to_contain_text("The model says")
    tab.screenshot(path=artefacts / "view-dialog.png")
    tab.tap("#view-choices [data-view=A2C]")
    expect(tab.locator("#view")).to_have_text("A2C · AK")
    expect(tab.locator("#numbers")).to_contain_text("A2C")
    tab.screenshot(path=artefacts / "view-changed.png")


def test_another_view_takes_masks_and_numbers_away_and_gives_them_back(
    open_page: Open, arrive: Arrive, artefacts: Path
) -> None:
    tab = open_page(f"/loop/{arrive()['seq']}")
    hand.open_loop(tab)
    tab.keyboard.press("v")
    tab.click("#view-choices [data-view=other]")
    expect(tab.locator("#numbers")).to_be_hidden()
    expect(tab.locator("#accept")).to_be_disabled()
    expect(tab.locator("#words")).to_contain_text("AK has said that this is another view")
    tab.screenshot(path=artefacts / "view-other.png")
    tab.click("#view")
    tab.click("#view-choices [data-view=A4C]")
    expect(tab.locator("#numbers")).to_contain_text("A4C")
    expect(tab.locator("#accept")).to_be_enabled()


def test_a_refused_loop_is_measured_when_a_person_names_its_view(
    box: Box, open_page: Open, tmp_path: Path, artefacts: Path
) -> None:
    loop = on_its_head(cine_loop(frames=24, heart_rate=80, seed=8900))
    row = send(box, [loop.write(tmp_path / "turned.dcm")])[-1]
    tab = open_page(f"/loop/{row['seq']}")
    expect(tab.locator("#words")).to_contain_text("No apical four- or two-chamber view")
    expect(tab.locator("#accept")).to_be_disabled()
    tab.click("#view")
    tab.screenshot(path=artefacts / "view-refused.png")
    tab.click("text=Measure as A4C")
    expect(tab.locator("#numbers")).to_contain_text("Doubtful", timeout=30_000)
    expect(tab.locator("#view")).to_have_text("A4C · AK")
    tab.screenshot(path=artefacts / "view-anyway.png")
