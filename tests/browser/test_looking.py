"""Looking at a loop: zoom, two panes, a beat, distances, how sure the model is; by every hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import hand
from tests.webui import reviewbox

Open = Callable[..., Page]
Arrive = Callable[..., dict[str, Any]]


def _width(tab: Page) -> float:
    box = tab.locator("#image").bounding_box()
    assert box is not None
    return box["width"]


def _middle(tab: Page) -> tuple[float, float]:
    box = tab.locator("#pane").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.fixture
def tab(open_page: Open) -> Page:
    """The real loop, standing still."""
    tab = open_page("/loop/1")
    hand.open_loop(tab)
    hand.go_to_frame(tab, 10)
    return tab


def test_two_fingers_zoom_and_move_the_image_and_one_press_fits_it_again(tab: Page) -> None:
    fits, (x, y) = _width(tab), _middle(tab)
    hand.pinch(tab, (x, y), 60, 180)
    assert _width(tab) == pytest.approx(3 * fits, rel=0.05)
    before = tab.locator("#image").bounding_box()
    hand.drag_by_finger(tab, (x, y), 80, 40)
    after = tab.locator("#image").bounding_box()
    assert before is not None
    assert after is not None
    assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((80, 40), abs=2)
    expect(tab.locator("body")).to_have_attribute("data-frame", "10")
    expect(tab.locator("body")).to_have_attribute("data-playing", "false")
    tab.click("#fit")
    expect(tab.locator("#fit")).to_be_hidden()
    assert _width(tab) == pytest.approx(fits)


def test_the_wheel_zooms_where_the_pointer_is(tab: Page) -> None:
    fits, (x, y) = _width(tab), _middle(tab)
    tab.mouse.move(x + 100, y + 50)
    share = _share(tab, x + 100)
    tab.mouse.wheel(0, -400)
    tab.wait_for_function(_WIDER, arg=fits)
    assert _share(tab, x + 100) == pytest.approx(share, abs=0.01)
    tab.mouse.wheel(0, 4000)
    expect(tab.locator("#fit")).to_be_hidden()
    assert _width(tab) == pytest.approx(fits)


_WIDER = "(fits) => document.getElementById('image').getBoundingClientRect().width > 1.2 * fits"


def _share(tab: Page, x: float) -> float:
    """How far across the image a place on the page lies."""
    box = tab.locator("#image").bounding_box()
    assert box is not None
    return (x - box["x"]) / box["width"]


def test_keys_zoom_move_and_fit(tab: Page) -> None:
    fits = _width(tab)
    for _ in range(4):
        tab.keyboard.press("+")
    assert _width(tab) == pytest.approx(fits * 1.25**4, rel=0.01)
    before = tab.locator("#image").bounding_box()
    tab.keyboard.press("Shift+ArrowRight")
    after = tab.locator("#image").bounding_box()
    assert before is not None
    assert after is not None
    assert after["x"] < before["x"]
    tab.keyboard.press("-")
    tab.keyboard.press("0")
    assert _width(tab) == pytest.approx(fits)


def test_a_tap_plays_and_stops_and_buttons_step(tab: Page) -> None:
    body = tab.locator("body")
    tab.touchscreen.tap(*_middle(tab))
    expect(body).to_have_attribute("data-playing", "true")
    tab.touchscreen.tap(*_middle(tab))
    expect(body).to_have_attribute("data-playing", "false")
    frame = int(tab.get_attribute("body", "data-frame") or 0)
    tab.tap("#step-on")
    expect(body).to_have_attribute("data-frame", str(frame + 1))
    tab.tap("#step-back")
    tab.tap("#step-back")
    expect(body).to_have_attribute("data-frame", str(frame - 1))


@pytest.mark.parametrize("size", [(1280, 800), (768, 1024)])
def test_the_picture_stands_beside_the_contours_on_the_same_frame(
    open_page: Open, artefacts: Path, size: tuple[int, int]
) -> None:
    tab = open_page("/loop/1", *size)
    hand.open_loop(tab)
    hand.go_to_frame(tab, 10)
    tab.keyboard.press("o")
    same = (
        "() => { const [a, b] = ['image', 'original'].map((id) => {"
        " const canvas = document.getElementById(id);"
        " return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; });"
        " return a.some((value) => value > 80) && a.every((value, i) => value === b[i]); }"
    )
    assert tab.evaluate(same)
    boxes = [tab.locator(name).bounding_box() for name in ("#original", "#image")]
    assert all(box is not None for box in boxes)
    assert boxes[0]["width"] == pytest.approx(boxes[1]["width"])  # type: ignore[index]
    tab.tap("#step-on")
    expect(tab.locator("body")).to_have_attribute("data-frame", "11")
    assert tab.evaluate(same)
    tab.screenshot(path=artefacts / f"panes-{size[0]}.png")
    tab.tap("#panes")
    expect(tab.locator("#bare")).to_be_hidden()


def test_one_beat_plays_over_and_over(tab: Page, page: reviewbox.Page) -> None:
    beats = page.get("/api/loops/1")["annotations"][0]["beats"]
    starts = sorted(beat["ed"] for beat in beats)
    hand.go_to_frame(tab, starts[0])
    tab.evaluate(
        "() => { window.seen = new Set();"
        " new MutationObserver(() => window.seen.add(Number(document.body.dataset.frame)))"
        "  .observe(document.body, { attributes: true, attributeFilter: ['data-frame'] }); }"
    )
    tab.tap("#beat")
    tab.evaluate("() => window.seen.clear()")
    tab.wait_for_timeout(2500)
    seen = tab.evaluate("() => [...window.seen]")
    end = starts[1] - 1 if len(starts) > 1 else 119
    assert starts[0] in seen, "it begins again"
    assert all(starts[0] <= frame <= end for frame in seen)
    tab.keyboard.press("b")
    expect(tab.locator("#beat")).to_have_attribute("aria-pressed", "false")


def _blue(tab: Page) -> int:
    """The strongest opacity on the overlay."""
    found: int = tab.evaluate(
        "() => { const canvas = document.getElementById('overlay');"
        " const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        " let most = 0; for (let i = 3; i < data.length; i += 4) {"
        "  if (data[i - 1] > 200 && data[i - 3] < 120) most = Math.max(most, data[i]); }"
        " return most; }"
    )
    return found


def test_contours_are_drawn_weaker_and_stronger(tab: Page) -> None:
    full = _blue(tab)
    for _ in range(6):
        tab.keyboard.press("[")
    assert _blue(tab) < 0.7 * full
    expect(tab.locator("#strength")).to_have_value("40")
    tab.locator("#strength").fill("100")
    assert _blue(tab) == full


@pytest.mark.parametrize("drag", [hand.drag_by_mouse, hand.drag_by_finger])
def test_the_ruler_tells_millimetres_where_the_scale_is_trusted(
    open_page: Open,
    page: reviewbox.Page,
    arrive: Arrive,
    artefacts: Path,
    drag: Callable[..., None],
) -> None:
    row = arrive()
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    tab.keyboard.press("r")
    expect(tab.locator("#ruler")).to_have_attribute("aria-pressed", "true")
    shown = page.get(f"/api/loops/{row['seq']}")
    x, y = _middle(tab)
    drag(tab, (x, y), 120, 0)
    pixels = 120 * shown["columns"] / _width(tab)
    told = tab.get_attribute("#overlay", "data-mm")
    assert told is not None
    assert float(told) == pytest.approx(pixels * shown["analysis"]["mm_per_px"], abs=0.6)
    tab.screenshot(path=artefacts / "ruler.png")
    tab.click("#ruler")
    expect(tab.locator("#overlay:not([data-mm])")).to_be_visible()


def test_without_a_trusted_scale_there_is_no_ruler(open_page: Open, page: reviewbox.Page) -> None:
    shown = page.get("/api/loops/1")["analysis"]
    tab = open_page("/loop/1")
    hand.open_loop(tab)
    if shown["mm_per_px"] is None:
        expect(tab.locator("#ruler")).to_be_hidden()
        tab.keyboard.press("r")
        expect(tab.locator("body")).not_to_have_class("viewer measuring")
    else:
        expect(tab.locator("#ruler")).to_be_visible()


def test_each_frame_says_how_much_of_it_is_uncertain(tab: Page) -> None:
    yellow = (
        "() => { const canvas = document.getElementById('curve-lines');"
        " const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        " let count = 0; for (let i = 0; i < data.length; i += 4) {"
        "  if (data[i] > 220 && data[i + 1] > 200 && data[i + 2] < 110) count += 1; }"
        " return count; }"
    )
    tab.wait_for_selector("#scrubber[aria-valuetext*=uncertain]")
    assert tab.evaluate(yellow) > 5


@pytest.mark.parametrize("size", [(1280, 800), (768, 1024)])
def test_nothing_to_touch_is_smaller_than_a_gloved_finger_or_out_of_sight(
    open_page: Open, size: tuple[int, int]
) -> None:
    tab = open_page("/loop/1", *size)
    hand.open_loop(tab)
    for mode in ("looking", "correcting"):
        if mode == "correcting":
            tab.click("#correct")
            tab.click("[data-tool=brush]")
        small = tab.evaluate(
            "() => [...document.querySelectorAll('button, a, input')]"
            ".filter((it) => it.checkVisibility({ visibilityProperty: true }))"
            ".map((it) => [it.id || it.textContent, it.getBoundingClientRect()])"
            ".filter(([, box]) => box.width < 48 || box.height < 48).map(([name]) => name)"
        )
        assert small == [], mode
        for name in ("#accept", "#play", "#speed", "#beat"):
            expect(tab.locator(name)).to_be_in_viewport(ratio=1)
    for tool in ("#undo", "#spread", "#set-ed", "[data-tool=remove]"):
        tab.locator(tool).scroll_into_view_if_needed()
        expect(tab.locator(tool)).to_be_in_viewport(ratio=1)


def test_with_reduced_motion_nothing_moves_by_itself(open_page: Open) -> None:
    tab = open_page("/")
    tab.emulate_media(reduced_motion="reduce")
    tab.goto("/loop/1")
    hand.open_loop(tab)
    expect(tab.locator("body")).not_to_have_attribute("data-playing", "true")
    expect(tab.locator("body")).to_have_attribute("data-frame", "0")
