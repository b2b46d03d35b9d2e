"""The receivers that are compared: how each is started, loaded with objects, and measured."""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

START_S = 60.0
SAMPLE_S = 0.02
TITLE = "BENCH"
# DCMTK and Orthanc leave Nagle on: an object would wait 45 ms for a delayed ACK.
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Receiver:
    """A program to measure: how to start it on a port with an empty folder."""

    name: str
    command: Callable[[Path, int], list[str]]

    @property
    def is_here(self) -> bool:
        """Whether it is installed."""
        return self.name == "echocart" or Path(_tool(self.name)).is_absolute()


def _tool(name: str) -> str:
    """DCMTK's own program: in an active environment the PATH gives pynetdicom's first."""
    return shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin") or name


def _storescp(folder: Path, port: int) -> list[str]:
    return [_tool("storescp"), "+xa", "-od", str(folder), str(port)]


def _orthanc(folder: Path, port: int) -> list[str]:
    settings = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "DicomPort": port,
        "DicomAet": TITLE,
        "HttpServerEnabled": False,
        "Plugins": [],
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings))
    return [_tool("Orthanc"), str(path)]


def _ours(folder: Path, port: int) -> list[str]:
    path = folder / "echocart.toml"
    path.write_text(
        f'[box]\nae_title = "{TITLE}"\nstate_dir = "{folder}"\n'
        f'[scp]\nhost = "127.0.0.1"\nport = {port}\nspace_floor_mb = 10\n'
    )
    return [sys.executable, "-m", "appliance.scp", "--config", str(path)]


OURS = Receiver("echocart", _ours)
STORESCP = Receiver("storescp", _storescp)
ORTHANC = Receiver("Orthanc", _orthanc)


class Running:
    """A receiver process; gone at the end, and its folder with it unless that was given.

    Parameters
    ----------
    receiver
        Which one.
    folder
        Where it keeps everything; without one an empty folder.
    """

    def __init__(self, receiver: Receiver, folder: Path | None = None) -> None:
        self._is_ours = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="echocart-bench-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._popen = subprocess.Popen(
            receiver.command(self.folder, self.port),
            cwd=REPOSITORY,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.process = psutil.Process(self._popen.pid)

    def __enter__(self) -> "Running":
        end = time.monotonic() + START_S
        while not self._answers():
            if time.monotonic() > end or self._popen.poll() is not None:
                raise RuntimeError(f"{self._popen.args!r} does not answer")
            time.sleep(0.02)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._popen.terminate()
        self._popen.wait(30)
        if self._is_ours:
            shutil.rmtree(self.folder)

    def _answers(self) -> bool:
        echo = [_tool("echoscu"), "-v", "-to", "2", "-aec", TITLE, "127.0.0.1", str(self.port)]
        done = subprocess.run(echo, capture_output=True, check=False)
        return b"Response (Success)" in done.stdout + done.stderr

    def cpu_seconds(self) -> float:
        """Return the processor time it has taken so far, children included."""
        times = self.process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)

    def pss(self) -> int:
        """Return the memory its processes hold now, in bytes, what they share counted once."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(member.memory_full_info().pss for member in family)


@dataclass(frozen=True)
class Load:
    """What a receiver did with objects.

    Attributes
    ----------
    megabytes_per_second
        From the senders' start to their end.
    cpu_seconds_per_gigabyte
        The receiver's.
    """

    megabytes_per_second: float
    cpu_seconds_per_gigabyte: float


def load(running: Running, senders: Sequence[Sequence[Path]]) -> Load:
    """Send files by DCMTK's dcmsend, one association for each list, all at the same time."""
    size = sum(path.stat().st_size for files in senders for path in files)
    target = ["-aec", TITLE, "127.0.0.1", str(running.port)]
    commands = [
        [_tool("dcmsend"), "--decompress-never", *target, *map(str, files)] for files in senders
    ]
    os.sync()  # what an earlier round left to write is not this one's
    before = running.cpu_seconds()
    started = time.perf_counter()
    sending = [
        subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        for command in commands
    ]
    if max(process.wait() for process in sending):
        raise RuntimeError("dcmsend could not deliver everything")
    took = time.perf_counter() - started
    cpu = running.cpu_seconds() - before
    return Load(size / 1e6 / took, cpu / size * 1e9)


class Peak:
    """The largest memory of a receiver while the context is open; looking costs it time."""

    def __init__(self, running: Running) -> None:
        self.bytes = 0
        self._running = running
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, self._running.pss())
            if self._stop.wait(SAMPLE_S):
                return


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def associate(port: int, SOPClassUID: str, TransferSyntaxUID: str) -> socket.socket:
    """Open an association as a cart with one image does (PS3.8 9.3.2).

    Raises
    ------
    RuntimeError
        When it isn't accepted.
    """
    syntaxes = _item(0x30, SOPClassUID.encode()) + _item(0x40, TransferSyntaxUID.encode())
    body = struct.pack(">HH", 1, 0) + TITLE.encode().ljust(16) * 2 + bytes(32)
    body += _item(0x10, b"1.2.840.10008.3.1.1.1") + _item(0x20, b"\1\0\0\0" + syntaxes)
    body += _item(0x50, _item(0x51, struct.pack(">L", 16384)) + _item(0x52, b"1.2.3.4"))
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.sendall(struct.pack(">BxL", 1, len(body)) + body)
    if connection.recv(4096)[:1] != b"\2":
        connection.close()
        raise RuntimeError("the association was not accepted")
    return connection


def abort(connection: socket.socket) -> None:
    """End an association without ceremony."""
    connection.sendall(bytes([7, 0, 0, 0, 0, 4, 0, 0, 0, 0]))
    connection.close()
