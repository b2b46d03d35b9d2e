"""Reception: rate, processor time, memory, and how it keeps up when the catalogue has grown.

The anchors run in interleaved rounds of the same run, and get the same objects from the same
sender. Ours is durable: file, directory and row are on disk before each success. DCMTK's
storescp syncs nothing; Orthanc syncs the file.
"""

import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from appliance.ledger import Ledger, worklist
from bench.catalogue import fill
from bench.figures import Figure, at_least, at_most, main, plain
from bench.receivers import (
    ORTHANC,
    OURS,
    STORESCP,
    Load,
    Peak,
    Receiver,
    Running,
    abort,
    associate,
    load,
)

SENDERS = 4
ASSOCIATIONS, OPEN = 30, 4
IDLE_S, QUICK_IDLE_S = 10.0, 3.0
CATALOGUE, QUICK_CATALOGUE = 1_000_000, 20_000
LISTED = 300  # loops on the page's worklist


@dataclass(frozen=True)
class Kind:
    """Objects of one kind.

    Attributes
    ----------
    name
        For the table.
    frames, frame_bytes
        Of each object; compressed ones have the size of echo, not its content.
    compressed
        JPEG Baseline, or RGB of 800 by 600.
    count, quick_count
        Objects in one run.
    goals
        Multiples of an anchor's rate to reach.
    """

    name: str
    frames: int
    frame_bytes: int
    compressed: bool
    count: int
    quick_count: int
    goals: dict[str, float] = field(hash=False)


CINE = Kind("cine loops of 3.6 MB", 60, 60_000, True, 40, 12, {"storescp": 0.8, "Orthanc": 2.2})
RAW = Kind("raw loops of 86 MB", 60, 1_440_000, False, SENDERS, SENDERS, {"storescp": 1.7})
STILL = Kind("stills of 0.5 MB", 1, 518_400, False, 200, 40, {"storescp": 0.38, "Orthanc": 1.2})
KINDS = (CINE, RAW, STILL)


def write_objects(folder: Path, kind: Kind, count: int) -> list[Path]:
    """Write `count` objects of a kind."""
    folder.mkdir()
    noise = random.Random(7)
    study, series = generate_uid(), generate_uid()
    paths = []
    for number in range(count):
        frames = [noise.randbytes(kind.frame_bytes) for _ in range(kind.frames)]
        syntax = JPEGBaseline8Bit if kind.compressed else ExplicitVRLittleEndian
        sop_class = UltrasoundMultiFrameImageStorage if kind.frames > 1 else UltrasoundImageStorage
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = syntax
        data.SOPClassUID, data.SOPInstanceUID = sop_class, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.PatientName, data.PatientID = "BENCH^SYNTHETIC", "BENCH"
        data.Modality, data.InstanceNumber, data.NumberOfFrames = "US", number, kind.frames
        data.Columns, data.SamplesPerPixel = 800, 3
        data.Rows = 600 if kind.frames > 1 else kind.frame_bytes // 2400
        data.PhotometricInterpretation = "YBR_FULL_422" if kind.compressed else "RGB"
        data.PlanarConfiguration, data.PixelRepresentation = 0, 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data.PixelData = encapsulate(frames) if kind.compressed else b"".join(frames)
        data["PixelData"].VR = "OB"
        paths.append(folder / f"{number:03d}.dcm")
        data.save_as(paths[-1], enforce_file_format=True)
    return paths


def measure(quick: bool) -> list[Figure]:
    """Run every receiver that is installed."""
    with tempfile.TemporaryDirectory(prefix="echocart-bench-") as folder:
        root = Path(folder)
        files = {
            kind: write_objects(root / str(number), kind, kind.quick_count if quick else kind.count)
            for number, kind in enumerate(KINDS)
        }
        rounds = 1 if quick else 5
        figures = _one_sender(files, rounds)
        figures += _four_senders(files[CINE], rounds)
        figures += _memory(files[RAW])
        figures += _associations(rounds, QUICK_IDLE_S if quick else IDLE_S)
        figures += _catalogue(files[STILL], QUICK_CATALOGUE if quick else CATALOGUE, rounds)
    return figures


def _compare(
    receivers: Sequence[Receiver], senders: Sequence[Sequence[Path]], rounds: int
) -> dict[str, list[Load]]:
    loads: dict[str, list[Load]] = {receiver.name: [] for receiver in receivers}
    for _ in range(rounds):
        for receiver in receivers:
            with Running(receiver) as running:
                loads[receiver.name].append(load(running, senders))
    return loads


def _rates(loads: dict[str, list[Load]]) -> dict[str, float]:
    return {
        name: statistics.median(one.megabytes_per_second for one in runs)
        for name, runs in loads.items()
    }


def _anchors(names: Sequence[str] = ("storescp", "Orthanc")) -> list[Receiver]:
    return [one for one in (STORESCP, ORTHANC) if one.name in names and one.is_here]


def _one_sender(files: dict[Kind, list[Path]], rounds: int) -> list[Figure]:
    figures = []
    for kind in KINDS:
        loads = _compare([OURS, *_anchors(list(kind.goals))], [files[kind]], rounds)
        rates = _rates(loads)
        figures.append(plain(f"{kind.name}, one sender", rates["echocart"], "MB/s"))
        for anchor, goal in kind.goals.items():
            if anchor in rates:
                said = f"{anchor}: {rates[anchor]:.0f} MB/s"
                ratio = rates["echocart"] / rates[anchor]
                figures.append(at_least(f"the same against {anchor}", ratio, "×", goal, said))
        if kind is CINE:
            figures.append(_cpu(loads))
    return figures


def _cpu(loads: dict[str, list[Load]]) -> Figure:
    medians = {
        name: statistics.median(one.cpu_seconds_per_gigabyte for one in runs)
        for name, runs in loads.items()
    }
    others = [f"{name}: {value:.2g} s" for name, value in medians.items() if name != "echocart"]
    return at_most(
        "processor time for 1 GB of them", medians["echocart"], "s", 1.3, ", ".join(others)
    )


def _four_senders(files: list[Path], rounds: int) -> list[Figure]:
    """The same objects by one sender and by four, in the same rounds."""
    shares = [files[number::SENDERS] for number in range(SENDERS)]
    one: list[float] = []
    four: list[float] = []
    anchor: list[float] = []
    for _ in range(rounds):
        for receiver, senders, to in (
            (OURS, [files], one),
            (OURS, shares, four),
            *((each, shares, anchor) for each in _anchors(["Orthanc"])),
        ):
            with Running(receiver) as running:
                to.append(load(running, senders).megabytes_per_second)
    alone, together = statistics.median(one), statistics.median(four)
    said = f"one sender: {alone:.0f} MB/s"
    figures = [
        plain("cine loops, four senders", together, "MB/s"),
        at_least("the same against one sender", together / alone, "×", 0.75, said),
    ]
    if anchor:
        rate = statistics.median(anchor)
        said = f"Orthanc: {rate:.0f} MB/s"
        figures.append(at_least("the same against Orthanc", together / rate, "×", 1.0, said))
    return figures


def _memory(files: list[Path]) -> list[Figure]:
    with Running(OURS) as running:
        before = running.pss()
        with Peak(running) as peak:
            load(running, [[path] for path in files])
    said = f"before: {before / 1e6:.0f} MB"
    return [at_most("memory (PSS), four senders of 86 MB", peak.bytes / 1e6, "MB", 80, said)]


def _associations(rounds: int, idle_s: float) -> list[Figure]:
    receivers = [OURS, *_anchors()]
    times: dict[str, list[float]] = {receiver.name: [] for receiver in receivers}
    idle = []
    for _ in range(rounds):
        for receiver in receivers:
            with Running(receiver) as running:
                times[receiver.name] += [_accept_ms(running.port) for _ in range(ASSOCIATIONS)]
                if receiver is OURS:
                    idle.append(_idle_percent(running, idle_s))
    accept = {name: statistics.median(values) for name, values in times.items()}
    others = [f"{name}: {ms:.2g} ms" for name, ms in accept.items() if name != "echocart"]
    said = ", ".join(others)
    percent = statistics.median(idle)
    return [
        at_most("accept an association", accept["echocart"], "ms", 3.0, said),
        at_most("one core, idle with four associations open", percent, "%", 0.5),
    ]


def _accept_ms(port: int) -> float:
    started = time.perf_counter()
    connection = associate(port, UltrasoundMultiFrameImageStorage, JPEGBaseline8Bit)
    took = time.perf_counter() - started
    abort(connection)
    return took * 1e3


def _idle_percent(running: Running, seconds: float) -> float:
    connections = [
        associate(running.port, UltrasoundMultiFrameImageStorage, JPEGBaseline8Bit)
        for _ in range(OPEN)
    ]
    time.sleep(1.0)  # what the start and the last association left to do
    before = running.cpu_seconds()
    time.sleep(seconds)
    spent = running.cpu_seconds() - before
    for connection in connections:
        abort(connection)
    return spent / seconds * 100


def _catalogue(files: list[Path], count: int, rounds: int) -> list[Figure]:
    """Stills into a catalogue of many instances and into an empty one, and the page's worklist."""
    full, empty = [], []
    with tempfile.TemporaryDirectory(prefix="echocart-bench-") as folder:
        state = Path(folder)
        fill(state, count)
        for number in range(rounds):
            # New objects each time: the catalogue of an earlier round knows the others.
            share = files[number::rounds]
            with Running(OURS) as running:
                empty.append(load(running, [share]).megabytes_per_second)
            with Running(OURS, state) as running:
                full.append(load(running, [share]).megabytes_per_second)
        listed = _listing_ms(state)
    name = f"in a catalogue of {count:,} instances"
    slower = statistics.median(empty) / statistics.median(full)
    return [
        at_most(f"a still {name}, against an empty one", slower, "× as long", 1.2),
        at_most(f"the page's worklist {name}", listed, "ms", 20.0),
    ]


def _listing_ms(state: Path) -> float:
    ledger, times = Ledger(state), []
    for _ in range(20):
        started = time.perf_counter()
        worklist.loops(ledger, LISTED)
        times.append(time.perf_counter() - started)
    ledger.close()
    return statistics.median(times) * 1e3


if __name__ == "__main__":
    if shutil.which("dcmsend") is None:
        sys.exit("bench.reception: DCMTK is not installed: apt install dcmtk")
    main(__doc__.splitlines()[0], measure)
