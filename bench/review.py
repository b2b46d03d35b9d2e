"""How fast the review page is to a hand: a real box, a real browser, the real loop."""

import gzip
import statistics
import tempfile
import time
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import psutil
from playwright.async_api import Page as AsyncPage
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright
from pydicom import dcmread
from pydicom.uid import generate_uid

from appliance import labels, masks, scu
from appliance.webui.compact import compact
from bench import figures, finger
from bench.anchors import bare, beside
from bench.figures import Figure
from tests.box import Box
from tests.browser import hand
from tests.phantom import cine_loop
from tests.webui.reviewbox import reviewing, send

_3G = {"down": 200_000, "up": 96_000, "latency": 150}  # B/s, ms
_FIRST_3G_MS = 1000
_FIRST_MS, _DROPPED, _PAINT_MS, _CONFIRMED_MS, _KILOBYTES = 250, 0, 16, 100, 45
_MOST_STROKES, _MOST_CORRECTING_S, _MEMORY_MB = 6, 10, 50
_STROKES_AT = (1 / 3, 2 / 3)  # of the wall's height
_OPEN_LISTS, _ANALYSED_FRAMES, _FEW_LOOPS = 8, 600, 5
_ACCEPTED_LOOPS = 4  # in turns: nobody decides a hundred times on one loop
_SETTLED_MS = 300
_LOOK_S = 0.05
_THINKING_S = 0.4  # between two accepts of a person who is quick

# Where the overlay is blue: the cavity's line, on its left, in the middle.
_FIND_LINE = """() => {
  const canvas = document.getElementById('hand');
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
_ACCEPT = """async ([seq, body]) => {
  const token = document.querySelector('meta[name=csrf-token]').content;
  const headers = { 'Content-Type': 'application/json', 'X-CSRFToken': token };
  const start = performance.now();
  const options = { method: 'POST', headers, body: JSON.stringify(body) };
  const response = await fetch(`/api/loops/${seq}/reviews`, options);
  await response.json();
  return [response.status, performance.now() - start];
}"""

_ASK = """async () => {
  const start = performance.now();
  await (await fetch('/api/version')).json();
  return performance.now() - start;
}"""


def measure(quick: bool) -> list[Figure]:
    """Measure opening, playing, dragging, accepting, and the size of what is sent."""
    with (
        tempfile.TemporaryDirectory() as folder,
        reviewing(Path(folder), [real_loop()]) as box,
        sync_playwright() as playwright,
    ):
        path = which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=hand.ARGUMENTS)
        tab = _signed_in(browser, box)
        found = [
            _opening(tab, 5 if quick else 20),
            *_opening_over_3g(tab, 3 if quick else 10),
            _playing(tab, 5 if quick else 30),
            *beside.measure(browser, box, tab, real_loop(), quick),
            *_dragging(tab, box, 100 if quick else 600),
            *_correcting(tab, box),
            _memory(tab, 10 if quick else 50),
            _size(),
        ]
        # At the end: what is decided here would be in the way of what is measured above.
        loops, times = _more_loops(box), 20 if quick else 100
        tab.goto("/")
        found.append(_accepting(tab, box, loops, times))
        found.append(_accepting_busy(browser, tab, box, loops, times))
        browser.close()
    return found


def real_loop() -> Path:
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


def _opening_over_3g(tab: Page, times: int) -> list[Figure]:
    """With nothing kept, as on the first visit, and with what the loop before has left."""
    session = tab.context.new_cdp_session(tab)
    session.send("Network.enable")
    found: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * times):
        cold = number < times
        _limit(session, -1, -1, 0)
        tab.goto("/")
        if cold:
            session.send("Network.clearBrowserCache")
        _limit(session, **_3G)
        tab.goto("/loop/1")
        tab.wait_for_selector("body[data-first-ms]")
        found[cold].append(float(tab.get_attribute("body", "data-first-ms") or "inf"))
    _limit(session, -1, -1, 0)
    what = "the same over 3G (1.6 Mbit/s, 150 ms)"
    return [
        figures.at_most(f"{what}, {when}, median", statistics.median(ages), "ms", _FIRST_3G_MS)
        for when, ages in (("empty cache", found[True]), ("opened again", found[False]))
    ]


def _limit(session: CDPSession, down: float, up: float, latency: float) -> None:
    """Slow the network down: bytes a second (-1: as it is), ms."""
    speed = {"downloadThroughput": down, "uploadThroughput": up, "latency": latency}
    session.send("Network.emulateNetworkConditions", {"offline": False, **speed})


def _playing(tab: Page, seconds: float) -> Figure:
    tab.goto("/loop/1")
    hand.open_loop(tab)
    before = int(tab.get_attribute("body", "data-dropped") or 0)
    time.sleep(seconds)
    dropped = int(tab.get_attribute("body", "data-dropped") or 0) - before
    what = f"frames dropped in {seconds:g} s of cine with contours at its own rate (30 Hz)"
    return figures.at_most(what, dropped, "frames", _DROPPED)


def _dragging(tab: Page, box: Box, moves: int) -> list[Figure]:
    """A contour under a finger, beside a page that paints nothing but a square under it."""
    ours = finger.drag(f"{box.url}/loop/1", tab.context.storage_state(), _ready_to_draw, moves)
    theirs = finger.drag(bare.ADDRESS, None, bare.ready, moves)
    what = f"finger → paint while dragging, p95 of {ours.moves}"
    handled = f"a bare page with a square under the finger {theirs.handled:.3g} ms"
    painted = f"the bare page {theirs.painted:.3g} ms"
    shown = f"the bare page {theirs.shown:.3g} ms"
    return [
        figures.at_most(what, ours.painted, "ms", _PAINT_MS, painted),
        figures.plain(
            "of that, until the page has moved the contour, p95", ours.handled, "ms", handled
        ),
        figures.plain("finger → on a screen of 60 Hz, p95", ours.shown, "ms", shown),
    ]


async def _ready_to_draw(page: AsyncPage) -> tuple[float, float]:
    await page.wait_for_selector("body[data-ready=true][data-loaded=true]")
    await page.click("#correct")
    await page.keyboard.press("s")
    await page.wait_for_selector("body.correcting")
    await page.wait_for_timeout(_SETTLED_MS)
    x, y = await page.evaluate(_FIND_LINE)
    if not x:
        raise SystemExit("the finger found no contour")
    return float(x), float(y)


def _more_loops(box: Box) -> list[int]:
    """Send the real loop again as others, each of a study of its own; their numbers."""
    before = {row["seq"] for row in box.loops()}
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for number in range(_ACCEPTED_LOOPS):
            data = dcmread(real_loop())
            for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
                setattr(data, name, generate_uid(prefix=None))
            data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
            copies.append(Path(folder) / f"{number}.dcm")
            data.save_as(copies[-1])
        return [row["seq"] for row in send(box, copies) if row["seq"] not in before]


def _accepting(tab: Page, box: Box, loops: list[int], times: int) -> Figure:
    ages = [_accept(tab, box, loops[number % len(loops)], number) for number in range(times)]
    what = f"accept → confirmed, p95 of {times}"
    return figures.at_most(what, figures.percentile_95(ages), "ms", _CONFIRMED_MS)


def _accept(tab: Page, box: Box, seq: int, number: int) -> float:
    """Accept a loop once more; how many ms until it was confirmed."""
    loop = next(row for row in box.loops() if row["seq"] == seq)
    body = {
        "decision": "accepted",
        "analysis_sha256": loop["analysis"]["sha256"],
        "patient_id": loop["patient_id"],
        "key": f"{number:032x}",
    }
    status, age = tab.evaluate(_ACCEPT, [seq, body])
    if status != 201:
        raise SystemExit(f"an accept was answered with {status}")
    return float(age)


def _correcting(tab: Page, box: Box) -> list[Figure]:
    """One wall moved 3 mm at ED and ES, by touch, until the box has confirmed it."""
    tab.goto("/loop/1")
    hand.open_loop(tab)
    loop = box.loops()[-1]
    mm_per_px = loop["analysis"]["calibration"]["mm_per_px_x"]
    image = tab.locator("#image").bounding_box()
    assert image is not None
    px_per_mm = image["width"] / loop["columns"] / mm_per_px
    maps = labels.of_analysis(box.ledger, box.spool, loop["analysis"]["id"])
    while tab.locator("#back-out").is_visible():  # what the drag before this has left
        tab.click("#back-out")
    start, strokes = time.perf_counter(), 0
    tab.click("#correct")
    for mark, key in (("ed_frame", "d"), ("es_frame", "s")):
        tab.keyboard.press(key)
        frame = loop["analysis"]["measures"][mark]
        tab.wait_for_selector(f"body[data-frame='{frame}']")
        points = masks.contours(maps.frame(frame))[1]
        top, bottom = points[:, 1].min(), points[:, 1].max()
        for share in _STROKES_AT:
            left = points[points[:, 0] < points[:, 0].mean()]
            x, y = left[abs(left[:, 1] - top - share * (bottom - top)).argmin()]
            hand.drag_by_finger(tab, hand.place(tab, (float(x), float(y))), -3 * px_per_mm, 0)
            strokes += 1
    tab.click("#accept")
    tab.wait_for_url("**/")  # there is no other loop to go on to
    seconds = time.perf_counter() - start
    what = "ED and ES corrected by touch, one wall 3 mm"
    return [
        figures.at_most(f"{what}: strokes", strokes, "strokes", _MOST_STROKES),
        figures.at_most(f"{what}: until confirmed", seconds, "s", _MOST_CORRECTING_S),
    ]


def _accepting_busy(browser: Browser, tab: Page, box: Box, loops: list[int], times: int) -> Figure:
    """The same while eight lists stand open, a loop plays and another is being analysed.

    All of it on this machine, ten pages of the browser too: beside it, what a question costs then
    that the box answers from memory.
    """
    contexts = []
    for initials in ("AK", "BM", "KL") * 3:
        context = browser.new_context(base_url=box.url)
        page = context.new_page()
        hand.sign_in(page, initials, "/")
        contexts.append(context)
        if len(contexts) == _OPEN_LISTS + 1:
            page.goto("/loop/1")
            hand.open_loop(page)
    ages, bare_ages = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(times):
            _keep_analysing(box, Path(folder), number)
            time.sleep(_THINKING_S)
            ages.append(_accept(tab, box, loops[number % len(loops)], times + number))
            time.sleep(_THINKING_S)
            bare_ages.append(float(tab.evaluate(_ASK)))
    for context in contexts:
        context.close()
    what = (
        f"the same with {_OPEN_LISTS} lists open, one loop playing and one being analysed,"
        f" p95 of {times}"
    )
    anchor = (
        f"median {statistics.median(ages):.0f}; a question that changes nothing: median"
        f" {statistics.median(bare_ages):.0f}, p95 {figures.percentile_95(bare_ages):.0f}"
    )
    return figures.at_most(what, figures.percentile_95(ages), "ms", _CONFIRMED_MS, anchor)


def _keep_analysing(box: Box, folder: Path, seed: int) -> None:
    """Send a long loop when none is being analysed, and wait until one is."""
    while not (states := {row["state"] for row in box.loops()}) & {"analysing"}:
        if "received" not in states:
            loop = cine_loop(seed=seed, frames=_ANALYSED_FRAMES).write(folder / f"{seed}.dcm")
            scu.send([loop], "127.0.0.1", box.dicom_port, called_ae="ECHOCART")
        time.sleep(_LOOK_S)


def _memory(tab: Page, times: int) -> Figure:
    """What the page's own process holds after many loops, less what it held after a few."""
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable")
    held = []
    for _ in range(times):
        tab.goto("/loop/1")
        hand.open_loop(tab)
        session.send("HeapProfiler.collectGarbage")
        held.append(sum(p.memory_info().rss for p in _renderers()) / 1e6)
    few = statistics.median(held[:_FEW_LOOPS])
    grown = statistics.median(held[-_FEW_LOOPS:]) - few
    what = f"browser memory after {times} loops viewed, over that after {_FEW_LOOPS}"
    return figures.at_most(what, grown, "MB", _MEMORY_MB)


def _renderers() -> list[psutil.Process]:
    """The browser's processes that show pages."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if any("--type=renderer" in part for part in process.cmdline())
    ]


def _size() -> Figure:
    folder = files("appliance.webui") / "static"
    sent = [
        len(gzip.compress(compact(item.read_text(), script=item.name.endswith(".js")).encode(), 9))
        for item in folder.iterdir()
        if item.name.endswith((".js", ".css"))
    ]
    return figures.at_most("JS and CSS, gzipped", sum(sent) / 1000, "kB", _KILOBYTES)


if __name__ == "__main__":
    figures.main(__doc__ or "", measure)
