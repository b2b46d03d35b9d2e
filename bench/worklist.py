"""How the worklist scrolls with 1,000 loops in it, and how soon it shows a change."""

import statistics
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from shutil import copyfile, which

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from appliance.ledger import event
from bench import figures
from bench.catalogue import fill
from bench.figures import Figure
from bench.review import real_loop
from tests.box import Box
from tests.browser import hand

_LOOPS = 1000
_LONG_MS = 50  # a frame that a person sees as a jerk
_SPEED = 2500  # pixels a second: somebody is looked for
_SHOWN_MS = 1000
_STREAMS = 8

# Notes how long each frame stood while the list was scrolled.
_WATCH = """() => {
  window.frames_ms = [];
  let before = performance.now();
  const note = (now) => {
    window.frames_ms.push(now - before);
    before = now;
    window.watching = requestAnimationFrame(note);
  };
  requestAnimationFrame((now) => { before = now; window.watching = requestAnimationFrame(note); });
}"""


def measure(quick: bool) -> list[Figure]:
    """Measure the list of a box with `_LOOPS` loops, each with a picture."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        box = Box(Path(folder), services=("webui",))
        _fill(box)
        with box:
            path = which("chromium")
            browser = playwright.chromium.launch(executable_path=path, args=hand.ARGUMENTS)
            tab = _opened(browser, box)
            found = _scrolling(tab, 1 if quick else 3)
            tab.context.close()  # its stream would be one too many
            found.append(_hearing(browser, box, 5 if quick else 20))
            browser.close()
    return found


def _fill(box: Box) -> None:
    loop = real_loop()
    name = sha256(loop.read_bytes()).hexdigest()
    path = box.spool.object_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    copyfile(loop, path)
    fill(box.settings.box.state_dir, _LOOPS, name)


def _opened(browser: Browser, box: Box) -> Page:
    context = browser.new_context(
        base_url=box.url, viewport={"width": 1280, "height": 800}, has_touch=True
    )
    tab = context.new_page()
    hand.sign_in(tab, "AK", "/")
    tab.wait_for_selector(".loop")
    return tab


def _scrolling(tab: Page, times: int) -> list[Figure]:
    """Scroll to the end, while pictures and further parts of the list are loading."""
    session = tab.context.new_cdp_session(tab)
    spent: list[float] = []
    for _ in range(times):
        tab.evaluate(_WATCH)
        _to_the_end(tab, session)
        loaded = tab.locator(".loop").count()
        spent += tab.evaluate("() => { cancelAnimationFrame(watching); return frames_ms; }")
        if loaded < _LOOPS:
            raise SystemExit(f"the list ended after {loaded} loops")
        tab.goto("/")
    jerks = sum(ms > _LONG_MS for ms in spent)
    what = f"frames over {_LONG_MS} ms while {_LOOPS:,} loops are scrolled, of {len(spent)}"
    return [
        figures.at_most(what, jerks, "frames", 0),
        figures.plain("a frame of that, p95", figures.percentile_95(spent), "ms"),
    ]


def _to_the_end(tab: Page, session: CDPSession) -> None:
    while not tab.locator("#end").is_visible():
        session.send(
            "Input.synthesizeScrollGesture",
            {
                "x": 640,
                "y": 400,
                "yDistance": -5000,
                "speed": _SPEED,
                "gestureSourceType": "mouse",  # by touch it does nothing without a screen
            },
        )


def _hearing(browser: Browser, box: Box, times: int) -> Figure:
    """A change of state in the ledger, until each of several open pages has its row anew."""
    tabs = [_opened(browser, box) for _ in range(_STREAMS)]
    ages = []
    for number in range(times):
        with box.ledger.transaction() as db:
            event.set_state(db, _LOOPS, "kept", f"Bench {number}.")
        began = time.perf_counter()
        for tab in tabs:
            tab.get_by_text(f"Bench {number}.").wait_for(state="attached")
        ages.append((time.perf_counter() - began) * 1e3)
    what = f"a change → shown by {_STREAMS} open pages, median"
    return figures.at_most(what, statistics.median(ages), "ms", _SHOWN_MS)


if __name__ == "__main__":
    figures.main(__doc__ or "", measure)
