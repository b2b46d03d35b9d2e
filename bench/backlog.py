"""A backlog of corrections, really delivered to an Orthanc, with ten times as many rows beside it.

The anchor, a bare loop of STOW calls, has its turns after each fifth, while deliveries are paused:
one machine's pace changes within a minute by more than what is to be told apart.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pydicom
from pydicom.uid import generate_uid

from appliance.demo.orthanc import Orthanc
from appliance.dicomweb import Client
from appliance.ledger import destination
from appliance.ledger.clock import boot_id
from appliance.upkeep import records
from bench import figures
from bench.catalogue import fill
from bench.figures import Figure
from tests.box import Box
from tests.phantom import cine_loop
from tests.sync.material import label_maps, reviewed

CORRECTIONS, QUICK_CORRECTIONS = 1000, 24
BESIDE, QUICK_BESIDE = 9000, 900  # rows at the same destination that aren't due
FRAMES, ROWS, COLUMNS = 12, 240, 320
AT_ONCE = 4
OBJECTS = 4  # of a correction: the loop, the model's masks, the corrected ones, the record
_LONGEST_S = 3600.0
_UNDER_WAY = "SELECT 1 FROM outbox WHERE owner IS NOT NULL"
_WAITING = "SELECT 1 FROM outbox WHERE kind = 'correction' AND state = 'queued'"


def measure(quick: bool) -> list[Figure]:
    """Deliver a backlog once; with a decision, and a kill, in its middle."""
    count = QUICK_CORRECTIONS if quick else CORRECTIONS
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        return _measured(Path(name), count, QUICK_BESIDE if quick else BESIDE)


def _measured(root: Path, count: int, beside: int) -> list[Figure]:
    with Orthanc(root / "orthanc") as archive:
        extra = archive.toml("archive", "dicomweb", "corrections")
        box = Box(root / "box", ["sync"], f"{extra}at_once = {AT_ONCE}\n")
        _fill(box, beside)
        loops = _Loops(box, root)
        for _ in range(count):
            loops.correct()
        with box:
            found = _Run(box, loops, archive, count)
        return _figures(found, count)


class _Loops:
    """Makes loops with a correction that waits; all of them show the same heart."""

    def __init__(self, box: Box, root: Path) -> None:
        self._box = box
        self._path = root / "loop.dcm"
        cine_loop(frames=FRAMES, rows=ROWS, columns=COLUMNS).write(self._path)
        self._dataset = pydicom.dcmread(self._path)
        self._maps = label_maps(FRAMES, ROWS, COLUMNS)
        self._changed = np.full((ROWS, COLUMNS), 1, np.uint8)

    def correct(self) -> int:
        """Take a loop to a corrected review; return its number."""
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            setattr(self._dataset, keyword, generate_uid())
        self._dataset.PatientID = "P1"
        self._dataset.save_as(self._path)
        review = reviewed(
            *(self._box.ledger, self._box.spool, self._path, self._maps),
            wanted=[("archive", "correction")],
            corrected={2: self._changed},
        )
        return int(review["seq"])


class _Run:
    """One backlog delivered, and the anchor between its parts."""

    def __init__(self, box: Box, loops: _Loops, archive: Orthanc, count: int) -> None:
        self._box, self._archive, self._count = box, archive, count
        sql = "SELECT min(id) AS first FROM outbox WHERE kind = 'correction'"
        self._first = (box.ledger.read_one(sql) or {})["first"]
        self._started = time.monotonic()
        self.at: list[float] = []  # seconds, when each fifth was proven
        self.memory: list[float] = []  # MB of the service then
        self.bare: list[float] = []  # objects a second of the anchor after it
        self.overtook_s = self.again_s = self.working_s = 0.0
        for part in range(1, 6):
            self._until(count * part // 5)
            self.at.append(time.monotonic() - self._started)
            self.memory.append(self._megabytes())
            self._anchor()
            if part == 2:
                self.overtook_s = self._fresh(loops)
                count += 1
            if part == 3:
                self._kill(loops)
                count += 1

    def _anchor(self) -> None:
        ledger, began = self._box.ledger, time.monotonic()
        destination.pause(ledger, "archive", "bench")
        while ledger.read_one(_UNDER_WAY):  # what was begun is finished, and counts
            self._patience(began)
        paused = time.monotonic()
        self.bare.append(_bare(self._archive, min(self._count, 60) * OBJECTS))
        destination.resume(ledger, "archive", "bench")
        while ledger.read_one(_WAITING) and not ledger.read_one(_UNDER_WAY):
            self._patience(paused)
        self._started += time.monotonic() - paused

    def _fresh(self, loops: _Loops) -> float:
        seq, began = loops.correct(), time.monotonic()
        sql = "SELECT 1 FROM outbox WHERE seq = ? AND state = 'proven'"
        while self._box.ledger.read_one(sql, [seq]) is None:
            self._patience(began)
        return time.monotonic() - began

    def _kill(self, loops: _Loops) -> None:
        self._box.kill("sync")
        loops.correct()  # a short backlog may be delivered already
        before, began = self._proven(), time.monotonic()
        self._box.start("sync")
        ready = time.monotonic()
        self._until(before + 1)
        self.again_s, self.working_s = time.monotonic() - began, time.monotonic() - ready
        self._started += self.again_s  # the pause isn't part of the rate

    def _until(self, proven: int) -> None:
        began = time.monotonic()
        while self._proven() < proven:
            self._patience(began)

    def _patience(self, began: float) -> None:
        if time.monotonic() - began > _LONGEST_S:
            raise TimeoutError(self._box.log("sync")[-2000:])
        time.sleep(0.02)

    def _proven(self) -> int:
        # From the first correction on: to count the history before it, again and again, would
        # take a good part of a core from whoever delivers.
        sql = "SELECT count(*) AS n FROM outbox WHERE state = 'proven' AND id >= ?"
        row = self._box.ledger.read_one(sql, [self._first])
        assert row is not None
        return int(row["n"])

    def _megabytes(self) -> float:
        process = psutil.Process(self._box.processes["sync"].pid)
        return float(process.memory_info().rss) / 1e6


def _figures(run: _Run, count: int) -> list[Figure]:
    bare = statistics.mean(run.bare)
    spans = [later - earlier for earlier, later in zip([0.0, *run.at], run.at, strict=False)]
    rate = count * OBJECTS / run.at[-1]
    what = f"backlog of {count} corrections ({OBJECTS} objects each, {AT_ONCE} at once)"
    return [
        figures.plain(f"{what}: delivered, read back, proven", rate, "objects/s"),
        figures.at_least(
            "the same over a bare loop of dicomweb-client's STOW calls, which proves nothing",
            rate / bare,
            "×",
            0.8,
            f"bare loop: {bare:.3g}/s ({min(run.bare):.3g} to {max(run.bare):.3g})",
        ),
        figures.at_most(
            f"{what}: last fifth over second fifth, time", spans[4] / spans[1], "×", 1.2
        ),
        figures.plain(
            "the same of the archive alone: bare loop after the second fifth over after the last",
            run.bare[1] / run.bare[4],
            "×",
        ),
        figures.at_most(
            f"{what}: memory, end over first fifth", run.memory[4] / run.memory[0], "×", 1.2
        ),
        figures.at_most("a decision in the middle of it → proven", run.overtook_s, "s", 5),
        figures.at_most(
            "sync killed in the middle: ready → next one proven", run.working_s, "s", 1
        ),
        figures.plain("the same from the start of the process on", run.again_s, "s"),
    ]


def _fill(box: Box, count: int) -> None:
    """Put rows into the outbox that are older than all others, and not due."""
    fill(box.settings.box.state_dir, count)
    box.ledger.db.conn.execute(
        "UPDATE outbox SET state = 'queued', destination = 'archive', next_try_at = 1e12,"
        " next_try_boot_id = ? WHERE kind = 'seg'",
        [boot_id()],
    )
    box.ledger.db.conn.execute("UPDATE outbox SET state = 'proven' WHERE kind = 'sr'")
    box.ledger.db.conn.execute("UPDATE outbox SET destination = 'gone' WHERE state = 'proven'")
    records.write_missing(box.ledger, box.spool)  # as they are on a box that decided so often


def _bare(archive: Orthanc, count: int) -> float:
    """Return how many objects a second a plain loop stores: what is there, under new UIDs."""
    client = Client(archive.url, "box", archive.password_file)
    objects = list(_copies(archive, count))
    began = time.perf_counter()
    for dataset in objects:
        client.store_instances([dataset])
    return len(objects) / (time.perf_counter() - began)


def _copies(archive: Orthanc, count: int) -> Iterator[pydicom.Dataset]:
    """Yield what an archive holds, under new UIDs."""
    for uid in archive.instances()[:count]:
        dataset = pydicom.dcmread(BytesIO(archive.file(uid)))
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            setattr(dataset, keyword, generate_uid())
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        yield dataset


def is_here() -> bool:
    """Tell whether there is an Orthanc to deliver to."""
    return bool(shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin"))


if __name__ == "__main__":
    figures.main(__doc__ or "", measure)
