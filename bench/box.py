"""The installed box: installing, booting, restarting, at rest, and how exposed its units are.

Needs root, mmdebstrap, systemd-nspawn and DCMTK; the machine is the one of tests/system.
"""

import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figure, at_most, main, plain
from tests.system import machine
from tests.system.machine import SERVICES, Machine

UNITS = machine.REPOSITORY / "systemd"
RESTARTS = 5
IDLE_S = 60.0
_LIMITS = {"engine": 3.0}
_TICKS_S = 100.0  # USER_HZ


def measure(quick: bool) -> list[Figure]:
    """Measure everything on one machine, from bare to at rest."""
    deb = machine.package("0.1.0")
    figures = []
    with _machine() as box:
        started = time.monotonic()
        box.install(deb)
        installed = time.monotonic() - started
        figures.append(at_most("install of the .deb, no network", installed, "s", 60))
        box.wait_ready()
        figures += _restarts(box, 1 if quick else RESTARTS)
        figures += _at_rest(box, 10.0 if quick else IDLE_S)
        box.power_off()
        started = time.monotonic()
        box.start()
        box.wait_for(box.echoes, "the first C-ECHO", poll=0.05)
        booted = time.monotonic() - started
        figures.append(at_most("boot → first C-ECHO answered (nspawn)", booted, "s", 15))
    return [*figures, *_exposure()]


@contextmanager
def _machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(dir=machine.KEPT) as folder:
        box = Machine(machine.copy_of(machine.base(), Path(folder) / "tree")).boot()
        try:
            yield box
        finally:
            box.power_off()


def _restarts(box: Machine, times: int) -> Iterator[Figure]:
    """Restart each service; a cart and a tablet knock meanwhile."""
    with _Knocking(box) as knocking:
        for name in SERVICES:
            seconds = []
            for _ in range(times):
                started = time.monotonic()
                box.run("systemctl", "restart", f"echocart-{name}")
                seconds.append(time.monotonic() - started)
            yield at_most(f"restart of {name} → ready, slowest", max(seconds), "s", 3)
    words = "associations and connections refused meanwhile"
    yield at_most(words, knocking.refused, "", 0, f"{knocking.asked} asked for")


class _Knocking:
    """C-ECHO after C-ECHO of DCMTK's, and connections to the page."""

    def __init__(self, box: Machine) -> None:
        self.asked = self.refused = 0
        self._box = box
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "_Knocking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        code = "import socket; socket.create_connection(('127.0.0.1', 8080), 60).close()"
        page = [*self._box.on_its_network(), "python3", "-c", code]
        while not self._over.is_set():
            self.asked += 2
            self.refused += not self._box.echoes(60)
            self.refused += bool(subprocess.run(page, capture_output=True).returncode)


def _at_rest(box: Machine, seconds: float) -> Iterator[Figure]:
    """Add up what the four cost while nothing happens."""
    time.sleep(10)
    before = _processor_s(box)
    time.sleep(seconds)
    share = 100 * (_processor_s(box) - before) / seconds
    memory = 0.0
    for name in SERVICES:
        one = sum(map(_pss_mb, _processes(box, name)))
        memory += one
        yield plain(f"at rest: memory of {name} (PSS)", one, "MB")
    yield at_most("at rest: memory of the four services (PSS)", memory, "MB", 450)
    yield at_most("at rest: processor time of the four", share, "% of a core", 2)


def _processes(box: Machine, name: str) -> list[int]:
    """Return the processes of a service, as this machine counts them."""
    inside = f"echocart-{name}.service"
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            groups = (folder / "cgroup").read_text()
            same = (folder / "ns/pid").readlink() == Path(f"/proc/{box.leader}/ns/pid").readlink()
        except OSError:
            continue  # it has ended
        if same and inside in groups:
            found.append(int(folder.name))
    return found


def _pss_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (kilobytes,) = re.findall(r"(?m)^Pss: +(\d+) kB", text)
    return int(kilobytes) / 1000


def _processor_s(box: Machine) -> float:
    total = 0
    for name in SERVICES:
        for pid in _processes(box, name):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])  # utime, stime: proc(5)
    return total / _TICKS_S


def _exposure() -> Iterator[Figure]:
    for name in SERVICES:
        unit = UNITS / f"echocart-{name}.service"
        command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (score,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
        bound = _LIMITS.get(name, 2.0)
        yield at_most(f"exposure of echocart-{name} (systemd-analyze)", float(score), "", bound)


if __name__ == "__main__":
    main(__doc__.splitlines()[0], measure)
