"""What is drawn stays: no tap and no reload takes it unasked, and nothing moves under the hand."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pydicom.uid import generate_uid

from tests.box import Box
from tests.browser import hand

Open = Callable[..., Page]
Arrive = Callable[..., dict[str, Any]]
_OTHER = 12  # a frame that another tablet draws on
_PARTS = (
    *("#numbers", "#legend", "[data-tool=drag]", "#undo", "#set-ed", "#changed", "#stage"),
    *("#accept", "#back-out"),
)


@pytest.fixture
def row(arrive: Arrive) -> dict[str, Any]:
    """A fresh loop of 24 frames."""
    return arrive()


def test_drawings_on_many_frames_are_taken_back_only_after_a_question(
    box: Box, open_page: Open, row: dict[str, Any]
) -> None:
    tab = hand.correcting(open_page, row)
    hand.drag_by_mouse(tab, hand.grabbable(box, tab, row), -30, 0)
    tab.keyboard.press("n")
    frames = hand.drawn_frames(tab)
    assert len(frames) > 1
    tab.reload()  # what was drawn comes back without its steps
    expect(tab.locator("#back-out")).to_have_text("Take all back")
    hand.open_loop(tab)
    for _ in range(2):
        tab.keyboard.press("c")
        expect(tab.locator("#back-dialog")).to_contain_text(f"on {len(frames)} frames?")
    expect(tab.locator("#keep-drawn")).to_be_focused()
    tab.keyboard.press("Enter")
    expect(tab.locator("#back-dialog")).to_be_hidden()
    assert hand.drawn_frames(tab) == frames
    tab.locator("#back-out").tap()
    tab.locator("#take-back").tap()
    assert hand.drawn_frames(tab) == []
    tab.keyboard.press("z")
    assert hand.drawn_frames(tab) == frames


def test_the_steps_are_there_again_for_who_leaves_and_comes_back(
    box: Box, open_page: Open, row: dict[str, Any]
) -> None:
    tab = hand.correcting(open_page, row)
    for move in (-30, 15):
        hand.drag_by_mouse(tab, hand.grabbable(box, tab, row), move, 0)
    tab.keyboard.press("z")
    tab.keyboard.press("z")
    assert hand.drawn_frames(tab) == []
    tab.locator("#back-out").tap()
    expect(tab.locator("#deciding")).to_be_visible()
    tab.locator("#correct").tap()
    expect(tab.locator("#redo")).to_be_enabled()
    tab.keyboard.press("Shift+Z")
    assert hand.drawn_frames(tab) == [hand.FRAME]
    tab.keyboard.press("z")
    assert hand.drawn_frames(tab) == []


def test_a_stroke_cut_by_a_reload_is_kept_as_far_as_it_went(
    box: Box, open_page: Open, row: dict[str, Any]
) -> None:
    tab = hand.correcting(open_page, row)
    x, y = hand.grabbable(box, tab, row)
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x - 30, y, steps=hand.STEPS)
    assert hand.draft(tab) is None
    tab.reload()
    expect(tab.locator("#back-out")).to_have_text("Take all back")
    assert hand.drawn_frames(tab) == [hand.FRAME]


def test_two_tablets_of_one_person_lose_no_stroke_to_each_other(
    box: Box, open_page: Open, row: dict[str, Any]
) -> None:
    first = hand.correcting(open_page, row)
    hand.drag_by_mouse(first, hand.grabbable(box, first, row), -30, 0)
    expect(first.locator("#changed")).to_contain_text("Kept on the box")
    second = open_page(f"/loop/{row['seq']}")
    hand.open_loop(second)
    hand.go_to_frame(second, _OTHER)
    for key in (".", "Shift+ArrowRight"):
        second.keyboard.press(key)
    expect(second.locator("#changed")).to_contain_text("2 frames changed. Kept on the box")
    for key in (".", "Shift+ArrowLeft"):
        first.keyboard.press(key)
    expect(first.locator("#problem")).to_have_text(
        "What you drew on another tablet has been added."
    )
    expect(first.locator("#changed")).to_contain_text("2 frames changed. Kept on the box")
    drawn = hand.draft(first)
    assert drawn is not None
    assert hand.drawn_frames(first) == [hand.FRAME, _OTHER]
    second.reload()
    expect(second.locator("#changed")).to_contain_text("Kept on the box")
    stands = hand.draft(second)
    assert stands is not None
    assert sorted(stands["frames"]) == sorted(drawn["frames"])


def test_a_drawing_on_a_loop_that_is_sent_again_is_not_called_safe(
    open_page: Open, arrive: Arrive
) -> None:
    same = {"StudyInstanceUID": generate_uid(), "SOPInstanceUID": generate_uid()}
    tab = hand.correcting(open_page, arrive(elements=same))
    tab.keyboard.press("Shift+D")
    expect(tab.locator("#changed")).to_contain_text("Kept on the box until you save.")
    arrive(elements=same)
    expect(tab.locator("#blocked")).to_contain_text("look at the newer one")
    expect(tab.locator("#changed")).to_contain_text("Can’t be saved any more.")
    expect(tab.locator("#changed")).not_to_contain_text("Kept")


@pytest.mark.parametrize("size", [(1280, 800), (768, 1024)])
def test_nothing_moves_at_the_first_stroke(
    box: Box, open_page: Open, row: dict[str, Any], size: tuple[int, int]
) -> None:
    tab = hand.correcting(open_page, row, *size)
    before = {part: tab.locator(part).bounding_box() for part in _PARTS}
    hand.drag_by_mouse(tab, hand.grabbable(box, tab, row), -12, 0)
    expect(tab.locator("#numbers")).to_contain_text("As drawn.")
    expect(tab.locator("#changed")).to_contain_text("Kept on the box")
    assert {part: tab.locator(part).bounding_box() for part in _PARTS} == before
    side = tab.locator("#side")
    assert side.evaluate("(side) => side.scrollHeight <= side.clientHeight"), "all in sight"
    told, actions = (tab.locator(it).bounding_box() for it in ("#changed", ".actions"))
    assert told is not None
    assert actions is not None
    assert told["y"] + told["height"] <= actions["y"]
