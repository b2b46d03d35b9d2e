"""How fast a loop becomes masks and EF: the whole engine, its network alone, the straightforward way.

The loop is the 120-frame 640x480 four-chamber loop of pydicom-data where that is installed, else
the phantom of the tests. All three run in turns in one process.
"""

import shutil
import statistics
import tempfile
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pydicom

from appliance.cine import open_cine
from appliance.config import Engine
from appliance.engine.backend import Backend, open_backend
from appliance.engine.worker import Worker
from appliance.ledger import Ledger, reception, worklist
from appliance.manifest import Manifest, current_model
from appliance.sector import find_sector
from appliance.sector.geometry import Geometry, letterbox
from appliance.service import Stop
from appliance.spool import Spool
from bench import figures
from bench.figures import Figure

GOAL_S = 2.5  # from claim to sealed analysis on two cores
GOAL_RATIO = 0.9  # of the network's own rate that the whole engine keeps
THREADS = 2
QUICK_RUNS, RUNS = 3, 9
PLAIN_FRAMES = 24  # the straightforward way is timed on some frames only: it is slow


class Run(NamedTuple):
    """One analysis: seconds from claim to seal, seconds to the first masks, frames."""

    seconds: float
    first_masks_s: float
    frames: int


def measure(quick: bool) -> list[Figure]:
    """Measure the three ways in turns and compare them."""
    cv2.setNumThreads(1)
    manifest = current_model()
    backend = open_backend(manifest, Engine(threads=THREADS))
    reference = open_backend(manifest, Engine(backend="onnxruntime", threads=THREADS))
    whole: list[Run] = []
    network: list[float] = []
    plain: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = _loop(Path(folder))
        for _ in range(QUICK_RUNS if quick else RUNS):
            network.append(_network_rate(path, backend))
            whole.append(_analyse(path, manifest, backend))
            plain.append(_plain_rate(path, reference))
    seconds = statistics.median(run.seconds for run in whole)
    rate = whole[0].frames / seconds
    alone, plain_rate = statistics.median(network), statistics.median(plain)
    how = f"{backend.name} {backend.precision}, {THREADS} threads"
    anchor = f"pydicom + NumPy + ONNX Runtime f32: {plain_rate:.0f}/s, masks only"
    return [
        figures.at_most(
            f"claim to sealed analysis, {whole[0].frames} frames ({how})", seconds, "s", GOAL_S
        ),
        figures.at_least(f"whole engine ({how})", rate, "frames/s", 80.0, anchor),
        figures.plain(f"network alone ({how})", alone, "frames/s"),
        figures.at_least("whole engine over network alone", rate / alone, "", GOAL_RATIO),
        figures.at_least(
            "whole engine over the straightforward way", rate / plain_rate, "times", 1.0, anchor
        ),
        figures.plain(
            "claim to the first masks on the page",
            statistics.median(run.first_masks_s for run in whole),
            "s",
        ),
    ]


def _loop(folder: Path) -> Path:
    spec = find_spec("data_store")
    if spec is not None and spec.submodule_search_locations:
        path = Path(spec.submodule_search_locations[0]) / "data" / "color3d_jpeg_baseline.dcm"
        if path.is_file():
            return path
    phantom = import_module("tests.phantom")  # not part of the package: there in a checkout only
    loop = phantom.cine_loop(
        frames=120, rows=480, columns=640, transfer_syntax=pydicom.uid.JPEGBaseline8Bit
    )
    return Path(loop.write(folder / "phantom.dcm"))


def _analyse(path: Path, manifest: Manifest, backend: Backend) -> Run:
    """Take one loop through the real worker, ledger and spool, on a box of its own."""
    with tempfile.TemporaryDirectory() as state:
        ledger, spool = Ledger(Path(state)), Spool(Path(state))
        adopted = spool.adopt(Path(shutil.copy(path, spool.incoming / "loop")))
        received = reception.Received("1.2.3", "", "", adopted.sha256, adopted.size, "BENCH", "")
        seq = reception.record(ledger, received).seq
        start = time.perf_counter()
        Worker(ledger, spool, manifest, backend, Stop()).work_once()
        seconds = time.perf_counter() - start
        loop: dict[str, Any] = worklist.loop(ledger, seq) or {}
        timings = (loop.get("analysis") or {}).get("timings")
        if timings is None:
            raise SystemExit(f"the loop was not analysed: {loop.get('reason')}")
        ledger.close()
    return Run(seconds, timings["first_masks_ms"] / 1000, timings["frames"])


def _network_rate(path: Path, backend: Backend) -> float:
    """Frames a second of the compiled network, its input ready in memory."""
    with open_cine(path) as cine:
        geometry = find_sector(cine).geometry
        pictures = [letterbox(cine.grey(i), geometry) for i in range(cine.frames)]
    start = time.perf_counter()
    for picture in pictures:
        backend.infer(picture)
    return len(pictures) / (time.perf_counter() - start)


def _plain_rate(path: Path, reference: Backend) -> float:
    """Frames a second of what one would write first: decode all, shrink, infer, one by one."""
    start = time.perf_counter()
    dataset = pydicom.dcmread(path)
    rgb = dataset.pixel_array
    decoded = time.perf_counter() - start
    start = time.perf_counter()
    for picture in rgb[:PLAIN_FRAMES]:
        grey = picture if picture.ndim == 2 else picture.mean(axis=-1).astype(np.uint8)
        reference.infer(_shrink(grey))
    inferred = (time.perf_counter() - start) / min(PLAIN_FRAMES, len(rgb))
    return 1 / (decoded / len(rgb) + inferred)


def _shrink(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    rows, columns = grey.shape
    geometry = Geometry.fit(rows, columns, (0, 0, columns, rows))
    width, height = geometry.inner
    picked = np.ix_(
        np.arange(height) * rows // height,
        np.arange(width) * columns // width,
    )
    canvas = np.zeros((geometry.map_rows, geometry.map_columns), np.uint8)
    top, left = geometry.pad_y, geometry.pad_x
    canvas[top : top + height, left : left + width] = grey[picked]
    return canvas


if __name__ == "__main__":
    figures.main(__doc__.splitlines()[0], measure)
