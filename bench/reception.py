"""Reception beside the anchors: how fast objects are taken, and how fast an association.

DCMTK's storescp and Orthanc are the anchors. Every receiver is started fresh in interleaved
rounds of one run and gets the same objects from the same sender (DCMTK's dcmsend), with
TCP_NODELAY=1 in everyone's environment; medians are reported. Ours is durable: file, directory
and row are on disk before each success. storescp's is not.
"""

import json
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, UltrasoundMultiFrameImageStorage, generate_uid

from bench.figures import Figure, at_least, at_most, main, plain

FRAMES, FRAME_BYTES = 60, 60_000  # 3.6 MB: a two-second loop as carts compress it
ROUNDS, LOOPS, ASSOCIATIONS = 5, 40, 30
QUICK_ROUNDS, QUICK_LOOPS = 3, 20
START_S = 30.0
GOALS = {"storescp": 0.8, "Orthanc": 2.2}
ACCEPT_MS = 3.0
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Receiver:
    """A program to measure: how to start it on a port with an empty folder."""

    name: str
    command: Callable[[Path, int], list[str]]


def _tool(name: str) -> str:
    """DCMTK's own program: in an active environment the PATH gives pynetdicom's first."""
    return shutil.which(name, path="/usr/local/bin:/usr/bin:/bin") or name


def _storescp(folder: Path, port: int) -> list[str]:
    return [_tool("storescp"), "+xa", "-od", str(folder), str(port)]


def _orthanc(folder: Path, port: int) -> list[str]:
    settings = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "DicomPort": port,
        "DicomAet": "BENCH",
        "HttpServerEnabled": False,
        "Plugins": [],
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings))
    return ["Orthanc", str(path)]


def _ours(folder: Path, port: int) -> list[str]:
    path = folder / "echocart.toml"
    path.write_text(
        f'[box]\nae_title = "BENCH"\nstate_dir = "{folder}"\n'
        f'[scp]\nhost = "127.0.0.1"\nport = {port}\nspace_floor_mb = 10\n'
    )
    return [sys.executable, "-m", "appliance.scp", "--config", str(path)]


RECEIVERS = (
    Receiver("echocart", _ours),
    Receiver("storescp", _storescp),
    Receiver("Orthanc", _orthanc),
)


def write_loops(folder: Path, count: int) -> list[Path]:
    """Write loops whose frames have the size, not the content, of compressed echo."""
    folder.mkdir()
    noise = random.Random(7)
    study = generate_uid()
    paths = []
    for number in range(count):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        data.SOPClassUID = UltrasoundMultiFrameImageStorage
        data.SOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = study, generate_uid()
        data.PatientName, data.PatientID = "BENCH^SYNTHETIC", "BENCH"
        data.Modality, data.InstanceNumber, data.NumberOfFrames = "US", number, FRAMES
        data.Rows, data.Columns, data.SamplesPerPixel = 600, 800, 3
        data.PhotometricInterpretation, data.PlanarConfiguration = "YBR_FULL_422", 0
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit, data.PixelRepresentation = 7, 0
        data.PixelData = encapsulate([noise.randbytes(FRAME_BYTES) for _ in range(FRAMES)])
        path = folder / f"{number:03d}.dcm"
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


class Running:
    """A receiver process with an empty folder; gone, folder included, at the end."""

    def __init__(self, receiver: Receiver, root: Path) -> None:
        self.folder = root / "out"
        self.folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process = subprocess.Popen(
            receiver.command(self.folder, self.port),
            cwd=REPOSITORY,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> "Running":
        end = time.monotonic() + START_S
        echo = [_tool("echoscu"), "-to", "2", "127.0.0.1", str(self.port)]
        while subprocess.run(echo, capture_output=True, check=False).returncode:
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"{self.process.args!r} does not answer")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder)


def megabytes_per_second(running: Running, loops: list[Path]) -> float:
    """Return the rate at which one sender delivers all loops over one association."""
    size = sum(path.stat().st_size for path in loops)
    os.sync()  # what an earlier round left to write is not this one's
    command = [
        _tool("dcmsend"),
        "--decompress-never",
        "127.0.0.1",
        str(running.port),
        *map(str, loops),
    ]
    started = time.perf_counter()
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    return size / 1e6 / (time.perf_counter() - started)


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def association_request(SOPClassUID: str, TransferSyntaxUID: str) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 9.3.2) as a cart with one image sends it."""
    syntaxes = _item(0x30, SOPClassUID.encode()) + _item(0x40, TransferSyntaxUID.encode())
    body = struct.pack(">HH", 1, 0) + b"BENCH".ljust(16) * 2 + bytes(32)
    body += _item(0x10, b"1.2.840.10008.3.1.1.1") + _item(0x20, b"\1\0\0\0" + syntaxes)
    body += _item(0x50, _item(0x51, struct.pack(">L", 16384)) + _item(0x52, b"1.2.3.4"))
    return struct.pack(">BxL", 1, len(body)) + body


def milliseconds_to_accept(running: Running) -> float:
    """Return the median time from connecting to the A-ASSOCIATE-AC."""
    request = association_request(UltrasoundMultiFrameImageStorage, JPEGBaseline8Bit)
    times = []
    for _ in range(ASSOCIATIONS):
        started = time.perf_counter()
        with socket.create_connection(("127.0.0.1", running.port), 10) as connection:
            connection.sendall(request)
            answer = connection.recv(4096)
            times.append(time.perf_counter() - started)
            if answer[:1] != b"\2":
                raise RuntimeError("the association was not accepted")
            connection.sendall(bytes([7, 0, 0, 0, 0, 4, 0, 0, 0, 0]))
    return statistics.median(times) * 1e3


def measure(quick: bool) -> list[Figure]:
    """Run every receiver that is installed, in interleaved rounds."""
    rounds, loops = (QUICK_ROUNDS, QUICK_LOOPS) if quick else (ROUNDS, LOOPS)
    receivers = [r for r in RECEIVERS if r.name == "echocart" or shutil.which(r.name)]
    rates: dict[str, list[float]] = {receiver.name: [] for receiver in receivers}
    accepts: dict[str, list[float]] = {receiver.name: [] for receiver in receivers}
    with tempfile.TemporaryDirectory(prefix="echocart-bench-") as folder:
        root = Path(folder)
        files = write_loops(root / "loops", loops)
        for _ in range(rounds):
            for receiver in receivers:
                with Running(receiver, root) as running:
                    rates[receiver.name].append(megabytes_per_second(running, files))
                    accepts[receiver.name].append(milliseconds_to_accept(running))
    rate = {name: statistics.median(values) for name, values in rates.items()}
    accept = {name: statistics.median(values) for name, values in accepts.items()}
    return [*_rate_figures(rate), _accept_figure(accept)]


def _rate_figures(rate: dict[str, float]) -> list[Figure]:
    ours = rate["echocart"]
    figures = [plain("cine loops of 3.6 MB, one sender", ours, "MB/s")]
    for anchor, goal in GOALS.items():
        if anchor in rate:
            said = f"{anchor}: {rate[anchor]:.0f} MB/s"
            figures.append(
                at_least(
                    f"the same, as a multiple of {anchor}", ours / rate[anchor], "×", goal, said
                )
            )
    return figures


def _accept_figure(accept: dict[str, float]) -> Figure:
    others = [f"{name}: {ms:.2g} ms" for name, ms in accept.items() if name != "echocart"]
    name = "accept an association"
    return at_most(name, accept["echocart"], "ms", ACCEPT_MS, ", ".join(others))


if __name__ == "__main__":
    if shutil.which("dcmsend") is None:
        sys.exit("bench.reception: DCMTK is not installed: apt install dcmtk")
    main(__doc__.splitlines()[0], measure)
