"""How fast the review page is to a hand: a real box, a real browser, the real loop."""

import gzip
import statistics
import tempfile
import time
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from bench import figures
from bench.figures import Figure
from tests.box import Box
from tests.browser import hand
from tests.webui.reviewbox import reviewing

_FIRST_MS, _DROPPED, _PAINT_MS, _CONFIRMED_MS, _KILOBYTES = 250, 0, 16, 100, 45
_MOVE_S = 0.012  # between two moves of a finger: tablets report 60 to 120 a second
_PX_PER_MOVE = 0.5

# Notes for each move when the page got it, and when it was on the screen: the task after the
# callbacks of its frame.
_WATCH_MOVES = """() => {
  window.moves = [];
  addEventListener('pointermove', (event) => {
    const got = performance.now();
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        const painted = performance.now();
        window.moves.push([painted - got, painted - event.timeStamp]);
      };
      port2.postMessage(null);
    });
  }, { capture: true });
}"""
_ACCEPT = """async (body) => {
  const token = document.querySelector('meta[name=csrf-token]').content;
  const headers = { 'Content-Type': 'application/json', 'X-CSRFToken': token };
  const start = performance.now();
  const options = { method: 'POST', headers, body: JSON.stringify(body) };
  const response = await fetch('/api/loops/1/reviews', options);
  await response.json();
  return [response.status, performance.now() - start];
}"""


def measure(quick: bool) -> list[Figure]:
    """Measure opening, playing, dragging, accepting, and the size of what is sent."""
    with (
        tempfile.TemporaryDirectory() as folder,
        reviewing(Path(folder), [_real_loop()]) as box,
        sync_playwright() as playwright,
    ):
        path = which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=hand.ARGUMENTS)
        tab = _signed_in(browser, box)
        found = [
            _opening(tab, 5 if quick else 20),
            _playing(tab, 5 if quick else 30),
            *_dragging(tab, 100 if quick else 600),
            _accepting(tab, box, 20 if quick else 100),
            _size(),
        ]
        browser.close()
    return found


def _real_loop() -> Path:
    spec = find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pydicom-data is not installed: pip install pydicom-data")
    return Path(spec.submodule_search_locations[0]) / "data" / "color3d_jpeg_baseline.dcm"


def _signed_in(browser: Browser, box: Box) -> Page:
    context = browser.new_context(
        base_url=box.url, viewport={"width": 1280, "height": 800}, has_touch=True
    )
    tab = context.new_page()
    hand.sign_in(tab, "BM", "/")
    return tab


def _opening(tab: Page, times: int) -> Figure:
    ages = []
    for _ in range(times):
        tab.goto("/")
        tab.context.new_cdp_session(tab).send("Network.clearBrowserCache")
        tab.goto("/loop/1")
        tab.wait_for_selector("body[data-first-ms]")
        ages.append(float(tab.get_attribute("body", "data-first-ms") or "inf"))
    what = "page opened, empty cache → first frame with contours, median"
    return figures.at_most(what, statistics.median(ages), "ms", _FIRST_MS)


def _playing(tab: Page, seconds: float) -> Figure:
    tab.goto("/loop/1")
    hand.open_loop(tab)
    before = int(tab.get_attribute("body", "data-dropped") or 0)
    time.sleep(seconds)
    dropped = int(tab.get_attribute("body", "data-dropped") or 0) - before
    what = f"frames dropped in {seconds:g} s of cine with contours at its own rate (30 Hz)"
    return figures.at_most(what, dropped, "frames", _DROPPED)


def _dragging(tab: Page, moves: int) -> list[Figure]:
    tab.click("#correct")
    hand.go_to_frame(tab, 20)
    tab.evaluate(_WATCH_MOVES)
    session = tab.context.new_cdp_session(tab)
    x, y = _on_a_contour(tab)
    session.send(
        "Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    )
    for move in range(moves):
        # Back and forth, so that the contour stays one.
        away = _PX_PER_MOVE * min(move % 80, 80 - move % 80)
        point: dict[str, Any] = {"x": x - away, "y": y}
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        time.sleep(_MOVE_S)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    if not hand.drawn_frames(tab):
        raise SystemExit("the finger took hold of no contour")
    ages = tab.evaluate("() => window.moves")
    ours, whole = (figures.percentile_95(list(column)) for column in zip(*ages, strict=True))
    return [
        figures.at_most(
            f"finger → paint while dragging, p95 of {len(ages)}", whole, "ms", _PAINT_MS
        ),
        # The rest is the browser's: it hands moves over once a frame of 16.7 ms.
        figures.plain("of that, from the page's getting the move, p95", ours, "ms"),
    ]


def _on_a_contour(tab: Page) -> tuple[float, float]:
    """A place where the overlay is blue: the cavity's line, on its left, in the middle."""
    found = tab.evaluate(
        """() => {
          const canvas = document.getElementById('overlay');
          const { width, height } = canvas;
          const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
          const row = Math.round(height * 0.4);
          for (let x = 0; x < width; x += 1) {
            const [red, green, blue, alpha] = data.subarray(4 * (row * width + x));
            if (alpha > 200 && blue > 200 && red < 120) {
              const box = canvas.getBoundingClientRect();
              return [box.left + x * box.width / width, box.top + row * box.height / height];
            }
          }
          return [0, 0];
        }"""
    )
    return float(found[0]), float(found[1])


def _accepting(tab: Page, box: Box, times: int) -> Figure:
    loop = box.loops()[-1]
    ages = []
    for number in range(times):
        body = {
            "decision": "accepted",
            "analysis_sha256": loop["analysis"]["sha256"],
            "patient_id": loop["patient_id"],
            "key": f"{number:032x}",
        }
        status, age = tab.evaluate(_ACCEPT, body)
        if status != 201:
            raise SystemExit(f"an accept was answered with {status}")
        ages.append(age)
    what = f"accept → confirmed, p95 of {times}"
    return figures.at_most(what, figures.percentile_95(ages), "ms", _CONFIRMED_MS)


def _size() -> Figure:
    folder = files("appliance.webui") / "static"
    sent = [
        len(gzip.compress(item.read_bytes(), 9))
        for item in folder.iterdir()
        if item.name.endswith((".js", ".css"))
    ]
    return figures.at_most("JS and CSS, gzipped", sum(sent) / 1000, "kB", _KILOBYTES)


if __name__ == "__main__":
    figures.main(__doc__ or "", measure)
