"""The viewer in a real browser, under the policy that a site gets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from appliance import labels, masks
from appliance.ledger import delivery, worklist
from tests.box import Box
from tests.browser import hand
from tests.webui import reviewbox

Open = Callable[..., Page]
Arrive = Callable[..., dict[str, Any]]


def test_a_loop_plays_with_contours_at_its_own_rate(open_page: Open) -> None:
    tab = open_page("/loop/1")
    hand.open_loop(tab)
    expect(tab.locator("body")).to_have_attribute("data-playing", "true")
    first = tab.get_attribute("body", "data-frame")
    tab.wait_for_selector(f"body:not([data-frame='{first}'])")
    seen = tab.evaluate(
        "() => ['image', 'overlay'].map((id) => {"
        " const canvas = document.getElementById(id);"
        " const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        " return data.some((value, i) => i % 4 !== 3 && value > 80); })"
    )
    assert seen == [True, True]


def test_numbers_stand_with_what_they_rest_on(open_page: Open) -> None:
    tab = open_page("/loop/1")
    expect(tab.locator("#numbers")).to_contain_text("%")
    expect(tab.locator("#numbers")).to_contain_text("beat")
    expect(tab.locator("#annotations")).to_contain_text("first-network")


@pytest.mark.parametrize("size", [(1280, 800), (768, 1024)])
@pytest.mark.parametrize("path", ["/", "/loop/1", "/sign-in"])
def test_research_use_is_always_in_sight(open_page: Open, size: tuple[int, int], path: str) -> None:
    tab = open_page("/", *size)
    tab.goto(path)
    expect(tab.locator(".ruo")).to_be_in_viewport()


@pytest.mark.parametrize("drag", [hand.drag_by_mouse, hand.drag_by_finger])
def test_a_contour_is_dragged_and_only_near_the_hand(
    box: Box, open_page: Open, arrive: Arrive, drag: Callable[..., None]
) -> None:
    row = arrive()
    tab = hand.correcting(open_page, row)
    drag(tab, hand.grabbable(box, tab, row), -30, 0)
    kept = hand.draft(tab)
    assert kept is not None
    assert hand.drawn_frames(tab) == [hand.FRAME]
    lines = {label: points for label, drawn, points in kept["frames"][0][1] if drawn}
    assert list(lines) == [hand.LV]
    maps = labels.of_analysis(box.ledger, box.spool, row["analysis"]["id"])
    before = masks.contours(maps.frame(hand.FRAME))[hand.LV]
    moved = np.linalg.norm(np.array(lines[hand.LV]).reshape(-1, 2) - before, axis=1)
    assert moved.max() > 10
    assert (moved < 1).sum() > len(moved) / 3
    assert (np.abs(np.diff(moved)) < moved.max() / 2).all(), "the falloff is soft"


def test_each_stroke_is_undone_and_done_again(box: Box, open_page: Open, arrive: Arrive) -> None:
    row = arrive()
    tab = hand.correcting(open_page, row)
    start = hand.grabbable(box, tab, row)
    hand.drag_by_mouse(tab, start, -25, 0)
    once = hand.draft(tab)
    hand.drag_by_finger(tab, (start[0] - 25, start[1]), 0, 25)
    twice = hand.draft(tab)
    assert once is not None
    assert twice is not None
    tab.click("#undo")
    assert _lines(hand.draft(tab)) == _lines(once)
    tab.keyboard.press("z")
    assert hand.draft(tab) is None
    expect(tab.locator("#undo")).to_be_disabled()
    tab.keyboard.press("Shift+Z")
    tab.click("#redo")
    assert _lines(hand.draft(tab)) == _lines(twice)
    tab.click("#reset")
    assert hand.draft(tab) is None
    tab.click("#undo")
    assert _lines(hand.draft(tab)) == _lines(twice)


def _lines(kept: dict[str, Any] | None) -> Any:
    return kept["frames"] if kept else None


def test_a_correction_is_saved_and_comes_back_as_drawn(
    box: Box, page: reviewbox.Page, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = hand.correcting(open_page, row)
    hand.drag_by_mouse(tab, hand.grabbable(box, tab, row), -30, 0)
    kept = hand.draft(tab)
    expect(tab.locator("#accept")).to_have_text("Save and accept")
    tab.locator("#accept").tap()
    tab.wait_for_url("**/")
    assert hand.draft(tab) is None
    assert kept is not None
    drawn = {label: points for label, by_hand, points in kept["frames"][0][1] if by_hand}[hand.LV]
    polygon = np.round(np.array(drawn).reshape(-1, 2) * 8) / 8
    review = worklist.reviews(box.ledger, row["seq"])[0]
    model = labels.of_analysis(box.ledger, box.spool, row["analysis"]["id"])
    stored = labels.of_review(box.ledger, box.spool, review["id"])
    expected = masks.apply_contour(model.frame(hand.FRAME), hand.LV, polygon)
    assert np.array_equal(stored.frame(hand.FRAME), expected)
    told = page.get(f"/api/loops/{row['seq']}")["annotations"][-1]
    shown = masks.unpack_contours(page.ask(told["contours"])[2], [1, 2, 3])[hand.FRAME][hand.LV]
    distance = np.linalg.norm(shown[:, None] - polygon[None], axis=-1).min(axis=1)
    assert np.median(distance) < 2.0


def test_an_accept_is_one_tap(box: Box, open_page: Open, arrive: Arrive) -> None:
    row = arrive()
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    accept = tab.locator("#accept")
    size = accept.bounding_box()
    assert size is not None
    assert size["height"] >= 76
    accept.tap()
    tab.wait_for_url("**/")
    # What needs eyes comes before it, and the list shows some at a time.
    tab.locator("button", has_text="Done").tap()
    expect(tab.locator(f"[data-seq='{row['seq']}']")).to_contain_text("accepted AK")
    assert [item["decision"] for item in worklist.reviews(box.ledger, row["seq"])] == ["accepted"]


def test_a_rejection_asks_for_its_reason(box: Box, open_page: Open, arrive: Arrive) -> None:
    row = arrive()
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    tab.keyboard.press("x")
    tab.click("text=Poor image")
    tab.wait_for_url("**/")
    assert worklist.reviews(box.ledger, row["seq"])[0]["reason"] == "Poor image"


def test_a_decision_is_undone_with_one_tap_and_the_model_s_answer_stands_again(
    box: Box, page: reviewbox.Page, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    page.review(row["seq"])
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    undo = tab.locator("#undo-decision")
    size = undo.bounding_box()
    assert size is not None
    assert min(size["width"], size["height"]) >= 48
    undo.tap()
    expect(undo).to_have_count(0)
    expect(tab.locator("#said")).to_contain_text("needs eyes")
    expect(tab.locator("#annotations")).to_contain_text("Undone by AK")
    expect(tab.locator("[data-annotation=model]")).to_have_attribute("aria-pressed", "true")
    decisions = [item["decision"] for item in worklist.reviews(box.ledger, row["seq"])]
    assert decisions == ["accepted", "undone"]
    tab.locator("#accept").tap()
    tab.wait_for_url("**/")


def test_an_undo_that_comes_too_late_says_what_to_do_instead(
    box: Box, page: reviewbox.Page, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    page.review(row["seq"])
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    # In a courier's hand: it may be there already, though nothing says so yet.
    while (leased := delivery.claim(box.ledger, "test", 60, ["usb"])) is not None:
        if leased.seq == row["seq"]:
            break
    tab.locator("#undo-decision").tap()
    expect(tab.locator("#problem")).to_contain_text("Decide anew")


def test_a_draft_survives_a_reload_and_holds_no_name(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    row = arrive(PatientName="SURVIVOR^S")
    tab = hand.correcting(open_page, row)
    hand.drag_by_mouse(tab, hand.grabbable(box, tab, row), -30, 0)
    before = hand.draft(tab)
    tab.reload()
    hand.open_loop(tab)
    expect(tab.locator("#accept")).to_have_text("Save and accept")
    expect(tab.locator("body")).to_have_attribute("data-frame", str(hand.FRAME))
    assert _lines(hand.draft(tab)) == _lines(before)
    assert "SURVIVOR" not in str(tab.evaluate("() => JSON.stringify(localStorage)"))


def test_everything_works_from_the_keyboard(open_page: Open, page: reviewbox.Page) -> None:
    tab = open_page("/loop/1")
    hand.open_loop(tab)
    body = tab.locator("body")
    tab.keyboard.press("Space")
    expect(body).to_have_attribute("data-playing", "false")
    marks = page.get("/api/loops/1")["annotations"][0]["marks"]
    for key, frame in (("d", marks["ed"]), ("ArrowRight", marks["ed"] + 1), ("s", marks["es"])):
        tab.keyboard.press(key)
        expect(body).to_have_attribute("data-frame", str(frame))
    tab.keyboard.press("ArrowLeft")
    expect(body).to_have_attribute("data-frame", str(marks["es"] - 1))
    tab.keyboard.press("h")
    expect(tab.locator("#hide")).to_have_attribute("aria-pressed", "true")
    tab.keyboard.press("?")
    expect(tab.locator("#keys-dialog")).to_be_visible()
    tab.keyboard.press("Escape")
    tab.keyboard.press("c")
    expect(tab.locator("#tools")).to_be_visible()
    tab.keyboard.press("m")
    expect(tab.locator("#hide-model")).to_have_attribute("aria-pressed", "false")
    tab.keyboard.press("Shift+D")
    expect(tab.locator("#accept")).to_have_text("Save and accept")
    tab.keyboard.press("z")
    expect(tab.locator("#accept")).to_have_text("Accept")
    tab.keyboard.press("c")
    expect(tab.locator("#tools")).to_be_hidden()


def test_without_the_network_it_plays_on_and_keeps_the_decision(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    tab.context.set_offline(True)
    frame = tab.get_attribute("body", "data-frame")
    tab.wait_for_selector(f"body:not([data-frame='{frame}'])")
    tab.locator("#accept").tap()
    expect(tab.locator("#said")).to_contain_text("not yet on the box")
    assert worklist.reviews(box.ledger, row["seq"]) == []
    tab.context.set_offline(False)
    tab.wait_for_url("**/")
    assert len(worklist.reviews(box.ledger, row["seq"])) == 1


def test_a_new_loop_appears_in_the_list_by_itself(open_page: Open, arrive: Arrive) -> None:
    tab = open_page("/")
    row = arrive(PatientName="NEWCOMER^N")
    expect(tab.locator(f"[data-seq='{row['seq']}']")).to_contain_text("EF", timeout=15_000)


def test_rows_stay_where_a_finger_is(open_page: Open, arrive: Arrive) -> None:
    tab = open_page("/")
    first = tab.locator(".loop").first
    first.focus()
    place = first.bounding_box()
    row = arrive()
    expect(tab.locator("#news button")).to_be_visible(timeout=15_000)
    assert first.bounding_box() == place
    tab.click("#news button")
    expect(tab.locator(f"[data-seq='{row['seq']}']")).to_be_visible()


@pytest.mark.parametrize("named", [True, False])
def test_structures_that_nobody_knows_by_colour_are_named(
    open_page: Open, arrive: Arrive, named: bool
) -> None:
    row = arrive()

    def answer(route: Route) -> None:
        response = route.fetch()  # as of a model of other structures
        body = response.text().replace('"legend": false', f'"legend": {str(named).lower()}')
        route.fulfill(response=response, body=body)

    tab = open_page("/")
    tab.context.route(f"**/loop/{row['seq']}", answer)
    tab.goto(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    expect(tab.locator("#legend")).to_be_visible(visible=named)
    tab.locator("#correct").tap()
    expect(tab.locator("#legend")).to_contain_text("Left ventricle")
    expect(tab.locator("#legend")).to_be_visible()
