"""A finger on the screen, and how long after each of its moves what it drew is painted and shown.

Times are the browser's own, from its trace. Moves are sent as the browser's touch emulation makes
them of a mouse's: `Input.dispatchTouchEvent` holds each back until the next frame, whatever the
page does.
"""

import asyncio
import bisect
import random
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from shutil import which
from typing import Any

from playwright.async_api import Browser, CDPSession, Page, StorageState, async_playwright

from bench.figures import percentile_95
from tests.browser import hand

Event = dict[str, Any]
Ready = Callable[[Page], Awaitable[tuple[float, float]]]

_PER_SECOND = 90  # moves: tablets report 60 to 120
_UNEVEN = 0.3  # no finger keeps step with a screen
_PX_PER_MOVE = 0.5
_TURN = 80  # moves one way and back, so that a contour stays one
_ANSWERED_S = 5
_CATEGORIES = "input,benchmark,viz,cc"
# Of a canvas that hands its pictures to the display by itself; pages count from 1.
_CANVAS_SINK = 1 << 31


@dataclass(frozen=True)
class Ages:
    """How old moves were, in ms, p95 each.

    Attributes
    ----------
    moves
        How many there were.
    handled
        When the page had done with them.
    painted
        When the display's compositor had the picture.
    shown
        When that stood on the screen, which a 60 Hz screen renews every 16.7 ms.
    """

    moves: int
    handled: float
    painted: float
    shown: float


def drag(url: str, state: StorageState | None, ready: Ready, moves: int) -> Ages:
    """Open a page in a browser of its own and draw on it.

    Parameters
    ----------
    url
        The page's address.
    state
        Cookies to open it with.
    ready
        Prepares the page; returns where on it the finger comes down.
    moves
        Of the finger.

    Raises
    ------
    SystemExit
        When the page handled less than a quarter of them.
    """
    found: list[Ages] = []
    work = threading.Thread(
        target=lambda: found.append(asyncio.run(_drag(url, state, ready, moves)))
    )
    work.start()  # the caller's thread has a loop of its own
    work.join()
    if not found or found[0].moves < moves / 4:
        raise SystemExit(f"the finger's moves did not arrive at {url}")
    return found[0]


async def _drag(url: str, state: StorageState | None, ready: Ready, moves: int) -> Ages:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=which("chromium"), args=hand.ARGUMENTS
        )
        context = await browser.new_context(
            viewport={"width": 1280, "height": 800}, has_touch=True, storage_state=state
        )
        page = await context.new_page()
        await page.goto(url)
        place = await ready(page)
        session = await context.new_cdp_session(page)
        emulated = {"enabled": True, "configuration": "mobile"}
        await session.send("Emulation.setEmitTouchEventsForMouse", emulated)
        events = await _traced(browser, _moved(session, place, moves))
        await browser.close()
    return _ages(events)


async def _moved(session: CDPSession, place: tuple[float, float], moves: int) -> None:
    def send(kind: str, x: float) -> asyncio.Future[Any]:
        mouse = {"button": "left", "buttons": 1, "clickCount": 1}
        event = {"type": kind, "x": x, "y": place[1], **mouse}
        return asyncio.ensure_future(session.send("Input.dispatchMouseEvent", event))

    sent = [send("mousePressed", place[0])]
    for move in range(moves):
        away = _PX_PER_MOVE * min(move % _TURN, _TURN - move % _TURN)
        sent.append(send("mouseMoved", place[0] - away))
        wait = random.uniform(1 - _UNEVEN, 1 + _UNEVEN) / _PER_SECOND
        await asyncio.sleep(wait)
    sent.append(send("mouseReleased", place[0]))
    # Moves that the browser joins into one are answered once.
    _, waiting = await asyncio.wait(sent, timeout=_ANSWERED_S)
    for answer in waiting:
        answer.cancel()


async def _traced(browser: Browser, work: Awaitable[None]) -> list[Event]:
    session = await browser.new_browser_cdp_session()
    events: list[Event] = []
    done = asyncio.Event()
    session.on("Tracing.dataCollected", lambda part: events.extend(part["value"]))
    session.on("Tracing.tracingComplete", lambda _: done.set())
    wanted = {"categories": _CATEGORIES, "transferMode": "ReportEvents"}
    await session.send("Tracing.start", wanted)
    await work
    await session.send("Tracing.end")
    await done.wait()
    return events


def _ages(events: list[Event]) -> Ages:
    canvas = sorted(e["ts"] for e in events if e["name"] == "Surface::CommitFrame" and _own(e))
    shown = sorted(e["ts"] for e in events if e["name"] == "Display::FrameDisplayed")
    rows = []
    for begun, handled, painted in _moves(events):
        at = _next(canvas, handled) if canvas else painted
        on = _next(shown, at) if at else None
        if at and on:
            rows.append([(time - begun) / 1e3 for time in (handled, at, on)])
    if len(rows) < 2:
        return Ages(0, 0, 0, 0)
    return Ages(len(rows), *(percentile_95(list(column)) for column in zip(*rows, strict=True)))


def _own(commit: Event) -> bool:
    """Whether a canvas handed this over by itself, without a frame of its page."""
    sink = str(commit["args"].get("SurfaceId", "")).partition("FrameSinkId(")[2].partition(")")[0]
    return bool(sink) and int(sink.split(",")[1]) >= _CANVAS_SINK


def _moves(events: Iterable[Event]) -> list[tuple[int, int, int | None]]:
    """Return when each move came, was handled, and arrived with a frame of its page, if it did.

    The browser writes down a move's stages once it is over, one after the other.
    """
    found: list[list[int | None]] = []
    under_way: dict[tuple[int, str], list[int | None]] = {}
    for event in events:
        key = (event["pid"], str(event.get("id2")))
        name, phase = event["name"], event["ph"]
        if name == "EventLatency" and phase == "b":
            under_way.pop(key, None)
            if event["args"].get("event_latency", {}).get("event_type") == "TOUCH_MOVED":
                under_way[key] = [event["ts"], None, None]
                found.append(under_way[key])
        elif phase == "e" and key in under_way:
            if name == "RendererMainProcessing":
                under_way[key][1] = event["ts"]
            elif name == "SubmitToReceiveCompositorFrame":
                under_way[key][2] = event["ts"]
    return [(row[0], row[1], row[2]) for row in found if row[0] and row[1]]


def _next(times: list[int], after: int) -> int | None:
    place = bisect.bisect_left(times, after)
    return times[place] if place < len(times) else None
