"""Correcting by every tool and every hand: what each does to a contour, and to its neighbours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Page, expect

from appliance import labels, masks
from appliance.ledger import upstream, worklist
from tests.box import Box
from tests.browser import hand

Open = Callable[..., Page]
Arrive = Callable[..., dict[str, Any]]
Points = npt.NDArray[np.float64]
LV = 1
_FRAME = 6
HANDS = pytest.mark.parametrize("drag", [hand.drag_by_mouse, hand.drag_by_finger])


@pytest.fixture
def row(arrive: Arrive) -> dict[str, Any]:
    """A fresh loop of 24 frames."""
    return arrive()


@pytest.fixture
def tab(open_page: Open, row: dict[str, Any]) -> Page:
    """That loop in Correct, at `_FRAME`."""
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    tab.click("#correct")
    hand.go_to_frame(tab, _FRAME)
    return tab


def _model(box: Box, row: dict[str, Any], frame: int = _FRAME, label: int = LV) -> Points:
    maps = labels.of_analysis(box.ledger, box.spool, row["analysis"]["id"])
    return np.asarray(masks.contours(maps.frame(frame))[label], np.float64)


def _drawn(tab: Page, frame: int = _FRAME, label: int = LV) -> Points:
    kept = hand.draft(tab)
    assert kept is not None
    lines = dict(kept["frames"])[frame]
    (points,) = (points for name, _, points in lines if name == label)
    return np.asarray(points, np.float64).reshape(-1, 2)


def _leftmost(points: Points) -> tuple[float, float]:
    x, y = points[points[:, 0].argmin()]
    return float(x), float(y)


def _area(points: Points) -> float:
    x, y = points.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


@HANDS
def test_move_takes_the_whole_contour_along(
    box: Box, tab: Page, row: dict[str, Any], drag: Callable[..., None]
) -> None:
    tab.keyboard.press("4")
    before = _model(box, row)
    drag(tab, hand.place(tab, _leftmost(before)), -20, 10)
    moved = _drawn(tab) - before
    assert np.ptp(moved, axis=0) == pytest.approx((0, 0), abs=0.3)
    assert moved[0, 0] < -5
    assert _area(_drawn(tab)) == pytest.approx(_area(before), rel=0.01)


@HANDS
def test_redraw_replaces_the_stretch_that_was_drawn_and_nothing_else(
    box: Box, tab: Page, row: dict[str, Any], drag: Callable[..., None]
) -> None:
    before = _model(box, row)
    left = int(before[:, 0].argmin())
    start, end = before[left - 6], before[(left + 6) % len(before)]
    tab.click("[data-tool=redraw]")
    (x, y), (to_x, to_y) = (hand.place(tab, (float(a), float(b))) for a, b in (start, end))
    drag(tab, (x, y), to_x - x, to_y - y)
    after = _drawn(tab)
    changed = np.linalg.norm(after - before, axis=1) > 0.2
    assert 3 <= changed.sum() <= 13
    assert _area(after) < _area(before), "a chord cuts the bulge off"
    # What was drawn lies on the straight line between the two ends.
    along = (end - start) / np.linalg.norm(end - start)
    across = np.abs((after[changed] - start) @ np.array([-along[1], along[0]]))
    assert across.max() < 1.5


@HANDS
def test_the_brush_pushes_the_line_before_it(
    box: Box, tab: Page, row: dict[str, Any], drag: Callable[..., None], artefacts: Path
) -> None:
    before = _model(box, row)
    tab.click("[data-tool=brush]")
    x, y = hand.place(tab, _leftmost(before))
    drag(tab, (x + 40, y), -50, 0)
    grown = _drawn(tab)
    assert _area(grown) > 1.01 * _area(before)
    tab.screenshot(path=artefacts / "brush.png")
    tab.keyboard.press("z")
    size = tab.locator("#brush").input_value()
    tab.keyboard.press("]")
    assert int(tab.locator("#brush").input_value()) > int(size)
    drag(tab, (x - 60, y), 40, 0)
    assert _area(_drawn(tab)) < _area(before), "from outside it pushes in"


def test_points_are_added_moved_alone_and_removed(box: Box, tab: Page, row: dict[str, Any]) -> None:
    before = _model(box, row)
    left = int(before[:, 0].argmin())
    x, y = hand.place(tab, tuple((before[left] + before[left + 1]) / 2))  # type: ignore[arg-type]
    tab.click("[data-tool=add]")
    hand.drag_by_finger(tab, (x, y), -25, 0)
    assert len(_drawn(tab)) == len(before) + 1
    moved = [point for point in _drawn(tab) if np.abs(before - point).sum(axis=1).min() > 0.3]
    assert len(moved) == 1
    tab.click("[data-tool=remove]")
    tab.mouse.click(*hand.place(tab, tuple(moved[0])))
    assert len(_drawn(tab)) == len(before)
    tab.click("#undo")
    assert len(_drawn(tab)) == len(before) + 1


def test_a_correction_is_carried_to_neighbours_on_their_own_motion_and_fades(
    box: Box, tab: Page, row: dict[str, Any]
) -> None:
    hand.drag_by_finger(tab, hand.place(tab, _leftmost(_model(box, row))), -30, 0)
    tab.click("#spread")
    frames = hand.drawn_frames(tab)
    assert _FRAME - 1 in frames
    assert _FRAME + 1 in frames
    assert len(frames) < 24
    pushed = []
    for frame in frames:
        model = _model(box, row, frame)
        moved = _drawn(tab, frame) - model
        pushed.append(-moved[:, 0].min())
        # Each keeps its own shape where nothing was drawn: the far wall stays where it beats.
        far = model[:, 0] > np.median(model[:, 0])
        assert np.abs(moved[far]).max() < 0.5 * pushed[-1] + 0.2
    peak = frames.index(_FRAME)
    assert pushed[peak] == max(pushed)
    assert pushed[peak - 1] == pytest.approx(pushed[peak + 1], rel=0.05)
    assert pushed[-1] < pushed[peak] / 2
    one = hand.draft(tab)
    tab.keyboard.press("z")
    assert hand.drawn_frames(tab) == [_FRAME], "one step"
    tab.keyboard.press("Shift+Z")
    again = hand.draft(tab)
    assert one is not None
    assert again is not None
    assert again["frames"] == one["frames"]


def test_frames_between_two_corrected_ones_are_interpolated(
    box: Box, tab: Page, row: dict[str, Any]
) -> None:
    expect(tab.locator("#between")).to_be_disabled()
    for frame, push in ((_FRAME, -15), (_FRAME + 8, -45)):
        hand.go_to_frame(tab, frame)
        hand.drag_by_mouse(tab, hand.place(tab, _leftmost(_model(box, row, frame))), push, 0)
    tab.keyboard.press("i")
    assert hand.drawn_frames(tab) == list(range(_FRAME, _FRAME + 9))
    pushed = [
        -(_drawn(tab, frame) - _model(box, row, frame))[:, 0].min()
        for frame in range(_FRAME, _FRAME + 9)
    ]
    assert pushed == sorted(pushed)
    middle = (pushed[0] + pushed[-1]) / 2
    assert pushed[4] == pytest.approx(middle, rel=0.15)


def test_a_spread_correction_is_stored_whole(box: Box, tab: Page, row: dict[str, Any]) -> None:
    hand.drag_by_finger(tab, hand.place(tab, _leftmost(_model(box, row))), -30, 0)
    tab.keyboard.press("n")
    frames = hand.drawn_frames(tab)
    drawn = {frame: _drawn(tab, frame) for frame in frames}
    tab.locator("#accept").click()
    tab.wait_for_url("**/")
    review = worklist.reviews(box.ledger, row["seq"])[0]
    told = upstream.facts(box.ledger, review["id"])
    assert (told.role, told.strokes) == ("sonographer", 2)
    assert told.seconds is not None
    assert 0 < told.seconds < 300
    model = labels.of_analysis(box.ledger, box.spool, row["analysis"]["id"])
    stored = labels.of_review(box.ledger, box.spool, review["id"])
    for frame in frames:
        expected = masks.apply_contour(model.frame(frame), LV, drawn[frame])
        assert np.array_equal(stored.frame(frame), expected)


def test_a_contour_is_drawn_by_the_keyboard_alone(box: Box, tab: Page, row: dict[str, Any]) -> None:
    tab.keyboard.press(".")
    for _ in range(6):
        tab.keyboard.press("Shift+ArrowUp")
    top = _model(box, row)[0]
    assert (_drawn(tab)[0] - top)[1] == pytest.approx(-6, abs=0.2)
    tab.keyboard.press(".")
    tab.keyboard.press("Shift+ArrowLeft")
    assert (_drawn(tab)[4] - _model(box, row)[4])[0] < -0.9
    for _ in range(7):
        tab.keyboard.press("z")
    assert hand.draft(tab) is None
    for _ in range(7):
        tab.keyboard.press("Shift+Z")
    tab.keyboard.press("Backspace")
    assert hand.draft(tab) is None


def _numbers(tab: Page) -> dict[str, float]:
    words = tab.locator("#numbers").inner_text().replace("\u00a0", " ").split()
    found = {name: float(words[words.index(name) + 1]) for name in ("EDV", "ESV", "LA")}
    return {"EF": float(tab.locator("#numbers .ef").inner_text().split()[0]), **found}


@pytest.mark.parametrize(
    ("mark", "tool", "push"),
    [
        ("ed", "drag", (-25, 0)),
        ("es", "drag", (12, 0)),
        ("es", "drag", (-18, 0)),
        ("es", "brush", (-30, 0)),
    ],
)
def test_volumes_and_ef_follow_the_finger_as_the_box_will_measure_them(
    box: Box, tab: Page, row: dict[str, Any], mark: str, tool: str, push: tuple[float, float]
) -> None:
    measures = row["analysis"]["measures"]
    frame = measures[f"{mark}_frame"]
    hand.go_to_frame(tab, frame)
    tab.click(f"[data-tool={tool}]")
    x, y = hand.place(tab, _leftmost(_model(box, row, frame)))
    before = _numbers(tab)
    tab.mouse.move(x + (20 if tool == "brush" else 0), y)
    tab.mouse.down()
    tab.mouse.move(x + push[0], y + push[1], steps=8)
    expect(tab.locator("#numbers")).to_contain_text("As drawn")
    tab.wait_for_timeout(200)
    held = _numbers(tab)
    assert held != before, "before the finger is lifted"
    tab.mouse.up()
    shown = _numbers(tab)
    assert shown == held
    tab.locator("#accept").click()
    tab.wait_for_url("**/")
    stored = worklist.reviews(box.ledger, row["seq"])[0]["measures"]
    for name, key in (("EDV", "edv_ml"), ("ESV", "esv_ml"), ("LA", "la_volume_ml")):
        assert shown[name] == pytest.approx(stored[key], abs=1, rel=0.015), name
    assert shown["EF"] == pytest.approx(stored["ef_percent"], abs=1.0)


_FIGURES = """async ({ frames, marks }) => {
  const { src } = document.querySelector('script[src$="start.js"]');
  const { Sizes } = await import(src.replace('start.js', 'sizes.js'));
  const sizes = [[10000, 0, 0, 0], [3852, 0, 0, 0], [5000, 0, 0, 0]];
  const slender = Array.from({ length: 64 }, (_, i) => {
    const turn = (Math.PI * i) / 32;
    return [100 + 20 * Math.cos(turn), 150 + 100 * Math.sin(turn)];
  });
  const at = () => new Map([[1, Float32Array.from(slender.flat())]]);
  const numbers = { ef: '62 %', spread: '±3', volumes: [], lines: ['A4C', '4 beats'], why: [] };
  const measured = { marks: { ed: 0, es: 1 }, numbers };
  return new Sizes({ sizes, mm_per_px: null }, 1, at).numbers({ frames, marks, at }, measured).ef;
}"""


@pytest.mark.parametrize(
    ("frames", "marks", "ef"),
    # 61.48 %, which the box keeps as 61.5 and tells as 62.
    [([2], {}, "62 %"), ([], {"ed": 0}, "62 %"), ([1, 2], {}, "61 %"), ([], {"es": 2}, "50 %")],
)
def test_ef_changes_with_its_own_frames_and_marks_alone(
    tab: Page, frames: list[int], marks: dict[str, int], ef: str
) -> None:
    assert tab.evaluate(_FIGURES, {"frames": frames, "marks": marks}) == ef


_PAINTED = """() => Object.fromEntries(['overlay', 'hand'].map((id) => {
  const canvas = document.getElementById(id);
  if (!canvas) return [id, null];
  const context = canvas.getContext('2d');
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return [id, [data.some((value) => value > 0), context.getContextAttributes().desynchronized]];
}))"""


def test_contours_under_a_finger_stand_on_a_canvas_that_waits_for_no_frame(tab: Page) -> None:
    assert tab.evaluate(_PAINTED) == {"overlay": [False, False], "hand": [True, True]}
    # Beside a picture that moves it would be ahead.
    tab.keyboard.press("Space")
    expect(tab.locator("body")).to_have_attribute("data-playing", "true")
    expect(tab.locator("#hand")).to_have_count(0)
    tab.keyboard.press("Space")
    expect(tab.locator("#hand")).to_have_count(1)
    tab.click("#back-out")
    expect(tab.locator("#hand")).to_have_count(0)
    assert tab.evaluate(_PAINTED) == {"overlay": [True, False], "hand": None}
