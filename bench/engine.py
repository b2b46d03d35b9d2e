"""How fast a loop becomes masks and EF: the whole engine, its network alone, the straightforward way.

The loop is the 120-frame 640x480 four-chamber loop of pydicom-data where that is installed, else
the phantom of the tests. In turns, on two threads and on one: the network alone, in OpenVINO's own
benchmark_app as its file words it and as the engine runs it; the whole engine (claim to sealed
analysis, its ledger and spool on this disk); the straightforward way.

Then the engine and the page run as services of a box of their own, and loops are put into its
spool and ledger as the receiver does: seconds until the page's address gives the first masks, and
all of them with the EF. In full also a loop of 480 frames (is time linear in frames?), one of 600
frames of 1024x768 and every real file (peak memory), and a thousand short loops one after the
other (does memory grow, does the engine slow down with history?).

In full it takes ten to fifteen minutes on two quiet cores, half of them for the thousand loops;
`--quick` leaves out what "in full" says.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import psutil
import pydicom

from appliance.cine import open_cine
from appliance.config import Engine
from appliance.engine.backend import Backend, infer_all, open_backend
from appliance.engine.models import Models
from appliance.engine.worker import Worker
from appliance.ledger import Ledger, reception, worklist
from appliance.manifest import Manifest, current_model
from appliance.sector import find_sector
from appliance.sector.geometry import letterbox
from appliance.service import Stop
from appliance.spool import Spool
from bench import figures
from bench.figures import Figure

GOAL_S = 2.5  # from claim to sealed analysis on two cores
GOAL_RATIO = 0.9  # of the network's own rate that the whole engine keeps
THREADS = 2
QUICK_RUNS, RUNS = 3, 7
SHORT_LOOPS = 1000  # analysed one after the other
SHORT_FRAMES = 16
APP_S = 3  # s that benchmark_app measures, besides two for starting
REPOSITORY = Path(__file__).resolve().parents[1]
WITH_TORCH = REPOSITORY / ".venv-models" / "bin" / "python"  # as `make model` makes it


class Run(NamedTuple):
    """One analysis: seconds from claim to seal, of CPU, to the first masks; frames."""

    seconds: float
    cpu_s: float
    first_masks_s: float
    frames: int


def measure(quick: bool) -> list[Figure]:
    """Measure the three ways in turns and compare them."""
    cv2.setNumThreads(1)
    manifest = current_model()
    backend = open_backend(manifest, Engine(threads=THREADS))
    single = open_backend(manifest, Engine(threads=1))
    whole: list[Run] = []
    network: list[tuple[float, float]] = []
    plain: list[float] = []
    one: list[Run] = []
    one_alone: list[tuple[float, float]] = []
    app: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = _loop(Path(folder))
        straight = Straightforward(path, manifest)
        for _ in range(QUICK_RUNS if quick else RUNS):
            app += _benchmark_app(manifest, backend, Path(folder))
            network.append(_network(path, backend))
            whole.append(_analyse(path, manifest, backend))
            plain.append(straight.rate())
            one_alone.append(_network(path, single))
            one.append(_analyse(path, manifest, single))
        straight.close()
        served = _in_a_box(path, QUICK_RUNS if quick else RUNS, 0 if quick else SHORT_LOOPS)
    seconds = statistics.median(run.seconds for run in whole)
    rate = whole[0].frames / seconds
    alone, plain_rate = _rate(network), statistics.median(plain)
    cpu = statistics.median(run.cpu_s for run in whole) / whole[0].frames
    cpu_alone = statistics.median(spent for _, spent in network)
    how = f"{backend.name} {backend.precision}, {THREADS} threads"
    anchor = f"pydicom + {straight.name}: {plain_rate:.3g}/s, masks only"
    return [
        figures.at_most(
            f"claim to sealed analysis, {whole[0].frames} frames ({how})", seconds, "s", GOAL_S
        ),
        figures.at_least(f"whole engine ({how})", rate, "frames/s", 80.0, anchor),
        *_over_network(rate, alone, statistics.median(app) if app else alone, how),
        figures.plain(
            "whole engine over network as the engine runs it, in CPU time",
            cpu_alone / cpu,
            "",
            f"{1000 * cpu_alone:.1f} of {1000 * cpu:.1f} ms a frame",
        ),
        figures.at_least(
            "whole engine over the straightforward way", rate / plain_rate, "times", 5.0, anchor
        ),
        *_on_one_thread(one, one_alone, f"{single.name} {single.precision}, 1 thread"),
        figures.plain(
            "claim to the first masks on the page",
            statistics.median(run.first_masks_s for run in whole),
            "s",
        ),
        *served,
    ]


class Straightforward:
    """`bench.straightforward` in a process of its own, of a Python with PyTorch where there is one."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        python = WITH_TORCH if WITH_TORCH.exists() else sys.executable
        arguments = (path, manifest.folder, THREADS)
        self._process = subprocess.Popen(
            [python, "-m", "bench.straightforward", *map(str, arguments)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.name = self._line()

    def rate(self) -> float:
        """Frames a second of one more run."""
        assert self._process.stdin is not None
        self._process.stdin.write("again\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line.strip()
        raise SystemExit("the straightforward way doesn't run here")


def _over_network(rate: float, alone: float, app: float, how: str) -> list[Figure]:
    return [
        figures.plain(f"network alone, its file in benchmark_app ({how})", app, "frames/s"),
        figures.plain(f"network alone, as the engine runs it ({how})", alone, "frames/s"),
        figures.at_least("whole engine over benchmark_app", rate / app, "", GOAL_RATIO),
        figures.plain("whole engine over network as the engine runs it", rate / alone, ""),
    ]


def _benchmark_app(manifest: Manifest, backend: Backend, folder: Path) -> list[float]:
    """Frames a second that OpenVINO's own tool measures; none where another backend serves."""
    tool = Path(sys.executable).with_name("benchmark_app")
    if backend.name != "openvino" or not tool.exists():
        return []
    path = manifest.folder / manifest.variant(backend.name, backend.precision).file
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        path = folder / "network.xml"
    precision = "bf16" if backend.precision == "bf16" else "f32"
    said = (
        f"-d CPU -hint none -nstreams {THREADS} -nireq {THREADS + 1} -nthreads {THREADS} -t {APP_S}"
    )
    run = subprocess.run(
        [tool, "-m", path, *said.split(), "-infer_precision", precision],
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in run.stdout.splitlines() if "Throughput:" in line)
    return [float(line.split("Throughput:")[1].split()[0])]


def _rate(network: list[tuple[float, float]]) -> float:
    """Frames a second of runs of the network alone."""
    return 1 / statistics.median(seconds for seconds, _ in network)


def _on_one_thread(whole: list[Run], alone: list[tuple[float, float]], how: str) -> list[Figure]:
    rate = whole[0].frames / statistics.median(run.seconds for run in whole)
    network = _rate(alone)
    return [
        figures.at_least(f"whole engine ({how})", rate, "frames/s", 40.0),
        figures.plain(f"network alone ({how})", network, "frames/s"),
        figures.plain("whole engine over network alone, 1 thread", rate / network, ""),
    ]


def _in_a_box(path: Path, runs: int, short_loops: int) -> list[Figure]:
    """What somebody at the page sees of engine and page as services, and what the engine costs."""
    box_of = import_module("tests.box").Box
    phantom = import_module("tests.phantom")
    put = import_module("tests.faults.test_mutated_loops").put
    page_of = import_module("tests.webui.reviewbox").Page
    jpeg = pydicom.uid.JPEGBaseline8Bit
    with tempfile.TemporaryDirectory() as folder, box_of(Path(folder), ["engine", "webui"]) as box:
        site = Site(box, page_of(box), put)
        loop = path.read_bytes()
        served = [site.serve(loop) for _ in range(runs)]
        found = [
            figures.at_most(
                "last byte to the first masks at the page's address",
                statistics.median(first for first, _ in served),
                "s",
                0.15,
            ),
            figures.at_most(
                "last byte to all 120 masks and EF at the page's address",
                statistics.median(whole for _, whole in served),
                "s",
                1.8,
            ),
        ]
        if not short_loops:
            return found
        long = phantom.cine_loop(frames=480, rows=480, columns=640, transfer_syntax=jpeg).bytes()
        of_120 = site.timings(loop)["total_ms"] / 120
        of_480 = site.timings(long)["total_ms"] / 480
        found.append(
            figures.at_most("a frame's time, 480 frames over 120", of_480 / of_120, "", 1.2)
        )
        large = phantom.cine_loop(frames=600, rows=768, columns=1024, transfer_syntax=jpeg)
        site.timings(large.bytes())
        shared = import_module("tests.conftest").SHARED / "data"
        real = sorted(shared.rglob("*.dcm"))
        for other in real:
            site.settle(other.read_bytes())
        short = phantom.cine_loop(frames=SHORT_FRAMES, transfer_syntax=jpeg).bytes()
        spent, resident = zip(*(site.short(short) for _ in range(short_loops)), strict=True)
        tenth = max(1, short_loops // 10)
        growth = resident[-1] - resident[tenth]
        slower = statistics.median(spent[-tenth:]) / statistics.median(spent[:tenth])
        return [
            *found,
            figures.at_most(
                f"peak memory of the engine: 600 frames 1024x768, {len(real)} real files",
                *(site.peak(), "MB", 600),
            ),
            figures.at_most(f"memory gained over {short_loops} loops", growth, "MB", 20),
            figures.at_most(f"time of a loop, after {short_loops} over before", slower, "", 1.2),
        ]


class Site:
    """A running box that loops are put into, as the receiver does once their last byte is there."""

    def __init__(self, box: Any, page: Any, put: Any) -> None:
        self._box, self._page, self._put = box, page, put
        self._count = 0

    def give(self, data: bytes) -> int:
        """Put a loop into spool and ledger."""
        self._count += 1
        return int(self._put(self._box, data, f"1.2.3.{self._count}"))

    def serve(self, data: bytes) -> tuple[float, float]:
        """Return seconds until the page's address gives the first masks, and all with the EF."""
        start = time.perf_counter()
        seq = self.give(data)
        ledger = self._box.ledger
        chunk = "SELECT 1 FROM chunk JOIN analysis ON analysis.id = analysis_id WHERE seq = ?"
        self._until(lambda: ledger.read(chunk, [seq]))
        self._page.ask(f"/api/loops/{seq}/contours")
        first = time.perf_counter() - start
        self._until(lambda: self._settled(seq))
        self._page.ask(f"/api/loops/{seq}")
        self._page.ask(f"/api/loops/{seq}/contours")
        return first, time.perf_counter() - start

    def settle(self, data: bytes) -> None:
        """Have a file analysed or refused."""
        seq = self.give(data)
        self._until(lambda: self._settled(seq))

    def timings(self, data: bytes) -> dict[str, Any]:
        """Have a loop analysed and return how long its stages took."""
        seq = self.give(data)
        self._until(lambda: self._settled(seq))
        loop: dict[str, Any] = worklist.loop(self._box.ledger, seq) or {}
        if not loop.get("analysis"):
            raise SystemExit(f"the loop was not analysed: {loop.get('reason')}")
        timings: dict[str, Any] = loop["analysis"]["timings"]
        return timings

    def short(self, data: bytes) -> tuple[float, float]:
        """Have a loop analysed; return its ms and the engine's resident memory after it, in MB."""
        spent = float(self.timings(data)["total_ms"])
        return spent, self._process().memory_info().rss / 1e6

    def peak(self) -> float:
        """Return the most memory the engine has had, in MB."""
        lines = Path(f"/proc/{self._process().pid}/status").read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM:")) * 1024 / 1e6

    def _process(self) -> Any:
        return psutil.Process(self._box.processes["engine"].pid)

    def _settled(self, seq: int) -> bool:
        [row] = self._box.ledger.read("SELECT state FROM instance WHERE seq = ?", [seq])
        return row["state"] not in ("received", "analysing")

    def _until(self, there: Callable[[], Any]) -> None:
        end = time.monotonic() + 300
        while not there():
            if time.monotonic() > end:
                raise SystemExit("the engine gave no answer in 300 s")
            # Asked after commits only: a query every 2 ms would take a tenth of the engine's core.
            self._box.ledger.wait_for_change(_slept, 1.0, 0.002)


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return False


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
        start, cpu = time.perf_counter(), time.process_time()
        Worker(ledger, spool, Models.only(manifest, backend), Stop()).work_once()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        loop: dict[str, Any] = worklist.loop(ledger, seq) or {}
        timings = (loop.get("analysis") or {}).get("timings")
        if timings is None:
            raise SystemExit(f"the loop was not analysed: {loop.get('reason')}")
        ledger.close()
    return Run(seconds, cpu, timings["first_masks_ms"] / 1000, timings["frames"])


def _network(path: Path, backend: Backend) -> tuple[float, float]:
    """Seconds a frame, and of CPU, that the compiled network takes, its input ready in memory."""
    with open_cine(path) as cine:
        geometry = find_sector(cine).geometry
        pictures = [letterbox(cine.grey(i), geometry) for i in range(cine.frames)]
    start, cpu = time.perf_counter(), time.process_time()
    for _ in infer_all(backend, pictures):
        pass
    spent = time.perf_counter() - start, time.process_time() - cpu
    return spent[0] / len(pictures), spent[1] / len(pictures)


if __name__ == "__main__":
    figures.main(__doc__.splitlines()[0], measure)
