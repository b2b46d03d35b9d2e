"""The review page beside Cornerstone3D: first frame with masks, and frames shown at 60 a second."""

import re
import statistics
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Browser, Page, Route

from appliance import labels
from bench import figures
from bench.anchors import cornerstone
from bench.figures import Figure
from tests.box import Box
from tests.browser import hand

_RATE = 60  # Hz: a display's own
_TIMES_FASTER, _TIMES_SHOWN = 4, 8
_NOT_MEASURED = f"Cornerstone3D not measured: name a directory in {cornerstone.ASKED}"

# Counts the frames that stood on the screen, without what was shown twice.
_SHOWN = """(seconds) => new Promise((resolve) => {
  let count = 0;
  const watch = new MutationObserver(() => (count += 1));
  watch.observe(document.body, { attributes: true, attributeFilter: ['data-frame'] });
  setTimeout(() => resolve(count / seconds), 1000 * seconds);
})"""


def measure(browser: Browser, box: Box, tab: Page, loop: Path, quick: bool) -> list[Figure]:
    """Measure both viewers on one loop; ours alone where the other wasn't asked for.

    Parameters
    ----------
    browser
        In which both run.
    box, tab
        Ours, signed in.
    loop
        The file that is the box's first loop.
    quick
        Fewer repetitions.
    """
    times, seconds = (2, 3) if quick else (10, 20)
    ours = (_opened(tab, times), _shown(tab, seconds))
    dist = cornerstone.built()
    if dist is None:
        what = f"frames shown a second, cine with contours at {_RATE} Hz"
        return [figures.plain(what, ours[1], "/s", _NOT_MEASURED)]
    with tempfile.TemporaryDirectory() as folder:
        masks = _masks(box)
        with cornerstone.served(dist, loop, masks.tobytes(), Path(folder)) as address:
            theirs = _theirs(browser, f"{address}?frames={len(masks)}", times, seconds)
    return [
        figures.at_least(
            "first frame with contours, times faster than Cornerstone3D",
            theirs[0] / ours[0],
            "×",
            _TIMES_FASTER,
            f"Cornerstone3D {theirs[0]:.0f} ms",
        ),
        figures.at_least(
            f"frames shown at {_RATE} Hz with contours, times Cornerstone3D's",
            ours[1] / max(theirs[1], 0.1),
            "×",
            _TIMES_SHOWN,
            f"ours {ours[1]:.1f}/s, Cornerstone3D {theirs[1]:.1f}/s",
        ),
    ]


def _opened(tab: Page, times: int) -> float:
    ages = []
    for _ in range(times):
        tab.context.new_cdp_session(tab).send("Network.clearBrowserCache")
        tab.goto("/loop/1")
        tab.wait_for_selector("body[data-first-ms]")
        ages.append(float(tab.get_attribute("body", "data-first-ms") or "inf"))
    return statistics.median(ages)


def _shown(tab: Page, seconds: int) -> float:
    """Ours, with the loop's own rate replaced."""

    def faster(route: Route) -> None:
        answer = route.fetch()
        text = re.sub(
            r'("durations": ?)\[[^\]]*\]',
            lambda found: found[1] + _evenly(found[0].count(",") + 1),
            answer.text(),
        )
        route.fulfill(response=answer, body=text)

    tab.route("**/loop/1", faster)
    tab.goto("/loop/1")
    hand.open_loop(tab)
    shown: float = tab.evaluate(_SHOWN, seconds)
    tab.unroute("**/loop/1")
    return shown


def _evenly(count: int) -> str:
    return str([1000 / _RATE] * count)


def _theirs(browser: Browser, address: str, times: int, seconds: int) -> tuple[float, float]:
    ages, shown = [], 0.0
    for _ in range(times):
        with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
            tab = context.new_page()
            tab.goto(address)
            tab.wait_for_selector("body[data-ready]", timeout=120_000)
            problem = tab.get_attribute("body", "data-problem")
            if problem:
                raise SystemExit(f"Cornerstone3D failed: {problem}")
            ages.append(float(tab.get_attribute("body", "data-first-ms") or "inf"))
            if len(ages) == times:
                shown = tab.evaluate(f"() => window.play({_RATE}, {seconds})")
    return statistics.median(ages), shown


def _masks(box: Box) -> npt.NDArray[np.uint8]:
    row = box.loops()[-1]
    maps = labels.of_analysis(box.ledger, box.spool, row["analysis"]["id"])
    return np.stack([maps.frame(index) for index in range(maps.frames)])
