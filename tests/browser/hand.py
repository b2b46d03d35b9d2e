"""What a hand does on the page: sign in, drag by mouse, drag by finger."""

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from appliance import labels, masks
from tests.box import PIN, Box

ARGUMENTS = [
    "--no-sandbox",
    "--headless=new",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
STEPS = 8  # moves of one drag
LV = 1
FRAME = 6  # that is drawn on


def sign_in(tab: Page, initials: str, path: str) -> None:
    """Choose initials, type the PIN of every test's user, and arrive at a path."""
    tab.goto(path)
    enter_pin(tab, initials)
    tab.wait_for_url(f"**{path}")


def enter_pin(tab: Page, initials: str, pin: str = PIN) -> None:
    """Choose initials and type a PIN where the page asks for them."""
    tab.check(f"input[name=user][value={initials}]")
    tab.fill("#pin", pin)
    tab.click("#start")


def open_loop(tab: Page) -> None:
    """Wait until the loop is there with its contours and can be decided on."""
    tab.wait_for_selector("body[data-ready=true][data-loaded=true]")


def go_to_frame(tab: Page, frame: int) -> None:
    """Stop at a frame, by the keyboard of the scrubber's own arrow keys."""
    tab.wait_for_selector("body[data-ready=true]")
    box = tab.locator("#scrubber").bounding_box()
    assert box is not None
    count = int(tab.get_attribute("#scrubber", "aria-valuemax") or 1)
    # The curve keeps 12 pixels clear at both ends.
    x = box["x"] + 12 + (box["width"] - 24) * frame / max(1, count - 1)
    tab.mouse.click(x, box["y"] + box["height"] / 2)
    tab.wait_for_selector(f"body[data-frame='{frame}']")


def place(tab: Page, point: tuple[float, float]) -> tuple[float, float]:
    """Return where a point of the source frame lies on the page."""
    box = tab.locator("#image").bounding_box()
    assert box is not None
    columns = float(tab.get_attribute("#image", "width") or 1)
    rows = float(tab.get_attribute("#image", "height") or 1)
    x, y = point
    return (
        box["x"] + (x + 0.5) * box["width"] / columns,
        box["y"] + (y + 0.5) * box["height"] / rows,
    )


def drag_by_mouse(tab: Page, start: tuple[float, float], dx: float, dy: float) -> None:
    """Press, move in steps, let go; `dx` and `dy` in CSS pixels."""
    tab.mouse.move(*start)
    tab.mouse.down()
    tab.mouse.move(start[0] + dx, start[1] + dy, steps=STEPS)
    tab.mouse.up()


def drag_by_finger(tab: Page, start: tuple[float, float], dx: float, dy: float) -> None:
    """Touch, move in steps, lift, as the browser's own input would."""
    session = tab.context.new_cdp_session(tab)

    def touch(kind: str, points: list[dict[str, float]]) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", [{"x": start[0], "y": start[1]}])
    for step in range(1, STEPS + 1):
        x, y = start[0] + dx * step / STEPS, start[1] + dy * step / STEPS
        touch("touchMove", [{"x": x, "y": y}])
    touch("touchEnd", [])


def pinch(tab: Page, middle: tuple[float, float], apart: float, then: float) -> None:
    """Put two fingers down and move them from one distance to another, about a place."""
    session = tab.context.new_cdp_session(tab)
    x, y = middle

    def touch(kind: str, distance: float) -> None:
        points = [{"x": x + side * distance / 2, "y": y, "id": i} for i, side in enumerate((-1, 1))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", apart)
    for step in range(1, STEPS + 1):
        touch("touchMove", apart + (then - apart) * step / STEPS)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def draft(tab: Page) -> dict[str, Any] | None:
    """Return the correction kept on the tablet, if any."""
    found = tab.evaluate(
        "() => Object.entries(localStorage)"
        ".filter(([key]) => key.startsWith('echocart.draft.')).map(([, value]) => value)[0]"
    )
    return json.loads(found) if found else None


def drawn_frames(tab: Page) -> list[int]:
    """Return the frames that a kept correction holds."""
    kept = draft(tab)
    return sorted(int(frame) for frame, _ in kept["frames"]) if kept else []


def correcting(open_page: Callable[..., Page], row: dict[str, Any], *size: int) -> Page:
    """Open a loop, begin to correct it, and stop at `FRAME`."""
    tab = open_page(f"/loop/{row['seq']}", *size)
    open_loop(tab)
    tab.click("#correct")
    go_to_frame(tab, FRAME)
    return tab


def grabbable(box: Box, tab: Page, row: dict[str, Any]) -> tuple[float, float]:
    """Where on the page the ventricle's contour is farthest to the left on `FRAME`."""
    maps = labels.of_analysis(box.ledger, box.spool, row["analysis"]["id"])
    points = masks.contours(maps.frame(FRAME))[LV]
    x, y = points[points[:, 0].argmin()]
    return place(tab, (float(x), float(y)))
