"""Two planes and earlier studies, as a reviewer sees them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page as Tab
from playwright.sync_api import expect
from pydicom.uid import generate_uid

from tests.browser import hand
from tests.webui.reviewbox import Page
from tests.webui.test_beside import say

Open = Callable[..., Tab]
Arrive = Callable[..., dict[str, Any]]


def test_biplane_and_earlier_ef_stand_below_the_loops_own_numbers(
    open_page: Open, page: Page, arrive: Arrive, artefacts: Path
) -> None:
    patient = f"P-{generate_uid()[-12:]}"
    then = {"PatientID": patient, "ContentDate": "20251103", "ContentTime": "101500"}
    assert page.review(arrive(elements=then)["seq"])[0] == 201
    study = {**then, "ContentDate": "20261120", "StudyInstanceUID": generate_uid()}
    four, two = (arrive(frames=40, elements=dict(study)) for _ in range(2))
    say(page, four["seq"], "A4C")
    say(page, two["seq"], "A2C")
    tab = open_page(f"/loop/{four['seq']}")
    hand.open_loop(tab)
    expect(tab.locator("#biplane")).to_contain_text("EDV")
    expect(tab.locator("#biplane")).to_contain_text("not accepted yet")
    expect(tab.locator("#beside .earlier")).to_contain_text("2025-11-03: EF")
    for place in ("#accept", "#annotations"):
        expect(tab.locator(place)).to_be_in_viewport()
    tab.screenshot(path=artefacts / "beside.png")
    # The page follows when the other loop is called something else.
    say(page, two["seq"], "other")
    expect(tab.locator("#biplane")).to_have_count(0)
    expect(tab.locator("#beside")).to_contain_text("no A2C loop of this study is measured")
