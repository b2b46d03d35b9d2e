"""A real Debian with systemd as its first process, in a container of systemd-nspawn: no mocks.

Making the base needs root, the network and a minute, once; it stays below `artefacts/system`.
"""

import fcntl
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.dcmtk import dcmtk

REPOSITORY = Path(__file__).resolve().parents[2]
KEPT = REPOSITORY / "artefacts" / "system"
TARGET = "debian12"
SUITE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "python3", "python3-systemd", "iproute2"),
    *("linux-image-cloud-amd64", "initramfs-tools", "kmod", "e2fsprogs", "dmsetup"),
)
NOT_HERE = "a system can't be booted here"  # tests/allowed_skips.txt
SERVICES = ("scp", "engine", "webui", "sync")
LONG_S = 120.0  # a wait that long means broken, not slow


def must_be_possible(*also: str) -> None:
    """Skip with the reason where a system can't be made or booted."""
    if os.geteuid() != 0:
        pytest.skip(f"{NOT_HERE} (not root)")
    for tool in ("mmdebstrap", "systemd-nspawn", "nsenter", "dpkg-deb", *also):
        if shutil.which(tool) is None:
            pytest.skip(f"{NOT_HERE} ({tool} is not installed)")


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold a lock over what is made once: two test processes may want it."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def base() -> Path:
    """Return the bare system: Debian, systemd, Python; a kernel for virtual machines."""
    tree = KEPT / "base"
    with alone("base"):
        if not tree.exists():
            scratch = KEPT / "base.new"
            shutil.rmtree(scratch, ignore_errors=True)
            made = subprocess.run(
                [
                    *("nice", "mmdebstrap", "--quiet", "--variant=minbase"),
                    *(f"--include={','.join(PACKAGES)}", SUITE, scratch),
                ],
                capture_output=True,
                text=True,
            )
            if made.returncode:
                shutil.rmtree(scratch, ignore_errors=True)
                last = made.stderr.strip().splitlines()[-1:]
                pytest.skip(f"{NOT_HERE} (mmdebstrap: {' '.join(last)})")
            scratch.rename(tree)
    return tree


def package(version: str) -> Path:
    """Build the package as `make deb` does, of the present source."""
    out = KEPT / "deb"
    with alone("deb"):
        built = subprocess.run(
            [
                *("nice", sys.executable, "build/package.py", TARGET),
                *("--out", out, "--version", version),
            ],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
    if built.returncode and "No matching distribution" in built.stderr:
        pytest.skip(f"{NOT_HERE} (the wheels can't be downloaded)")
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip().splitlines()[-1])


class Machine:
    """A booted system; its network is its own.

    Parameters
    ----------
    tree
        Its root directory.
    """

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.log = tree.parent / f"{tree.name}.boot.log"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0

    def boot(self) -> "Machine":
        """Boot, and wait until systemd says that it is up."""
        self.start()
        self.wait_for(self._is_up, "the system to be up")
        return self

    def start(self) -> None:
        """Boot, and wait for nothing but the first process."""
        with self.log.open("ab") as log:
            self._nspawn = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", f"--directory={self.tree}", "--boot"),
                    f"--machine=echocart-{secrets.token_hex(4)}",
                    *("--register=no", "--keep-unit", "--console=pipe", "--private-network"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.leader = self.wait_for(self._first_process, "the first process", poll=0.01)

    def _first_process(self) -> int:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self.log.read_text(errors="replace")
        pid = self._nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        # Before systemd, helpers of nspawn's come and go.
        return next((int(child) for child in children if _is_systemd(int(child))), 0)

    def _is_up(self) -> bool:
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def run(
        self, *command: str | Path, check: bool = True, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root."""
        done = subprocess.run(
            [*self.inside(), *map(str, command)], input=text, capture_output=True, text=True
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def inside(self) -> list[str]:
        """Return what goes before a command to run it inside."""
        return ["nsenter", "-t", str(self.leader), "-a", "-r", "-w", "--"]

    def on_its_network(self) -> list[str]:
        """Return what goes before a command of ours to run it with the machine's network."""
        return ["nsenter", "-t", str(self.leader), "-n", "--"]

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Return properties of a unit."""
        options = [f"--property={name}" for name in names]
        lines = self.run("systemctl", "show", unit, *options).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def is_ready(self, service: str) -> bool:
        """Tell whether a service has said that it works (Type=notify)."""
        return self.show(f"echocart-{service}", "SubState")["SubState"] == "running"

    def wait_ready(self, *services: str) -> None:
        """Wait until services work."""
        for service in services or SERVICES:
            self.wait_for(partial(self.is_ready, service), f"{service} to be ready")

    def main_pid(self, service: str) -> int:
        """Return the number of a service's main process, as the machine counts."""
        return int(self.show(f"echocart-{service}", "MainPID")["MainPID"])

    def journal(self, unit: str = "*") -> str:
        """Return what units have said."""
        return self.run("journalctl", "-b", "--no-pager", "-o", "cat", "-u", unit).stdout

    def wait_for(
        self,
        condition: Callable[[], Any],
        what: str,
        timeout: float = LONG_S,
        poll: float = 0.1,
    ) -> Any:
        """Wait until a condition gives something true, and return that."""
        end = time.monotonic() + timeout
        while not (value := condition()):
            if time.monotonic() > end:
                said = self.journal("echocart-*")[-3000:] if self.leader else ""
                raise AssertionError(f"waited {timeout} s for {what}\n{said}")
            time.sleep(poll)
        return value

    def status(self) -> dict[str, Any]:
        """Return what `echocart status --json` says."""
        import json

        status: dict[str, Any] = json.loads(self.run("echocart", "status", "--json").stdout)
        return status

    def send(self, *paths: Path, timeout: float = LONG_S) -> str:
        """Send objects with DCMTK, as a cart on the machine's network; return what it said."""
        command = [*self.on_its_network(), dcmtk("storescu"), "-v", "-aec", "ECHOCART", "127.0.0.1"]
        done = subprocess.run(
            [*command, "11112", *map(str, paths)], capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def echoes(self, patience_s: int = 5) -> bool:
        """Tell whether the receiver answers a C-ECHO of DCMTK's."""
        command = [*self.on_its_network(), dcmtk("echoscu"), "-to", str(patience_s)]
        command += ["-ta", str(patience_s), "-td", str(patience_s), "-aec", "ECHOCART"]
        return subprocess.run([*command, "127.0.0.1", "11112"], capture_output=True).returncode == 0

    def install(self, deb: Path) -> None:
        """Install a package with the one command that docs/install.md names, without network."""
        to = self.tree / "root" / deb.name
        shutil.copy(deb, to)
        self.run("dpkg", "-i", f"/root/{deb.name}")
        to.unlink()

    def power_off(self) -> None:
        """Shut down in an orderly way."""
        if self._nspawn is None:
            return
        os.kill(self.leader, signal.SIGRTMIN + 4)
        try:
            self._nspawn.wait(60)
        except subprocess.TimeoutExpired:
            self.cut()
        self._nspawn, self.leader = None, 0

    def cut(self) -> None:
        """Kill every process at once."""
        if self._nspawn is None:
            return
        os.kill(self.leader, signal.SIGKILL)
        self._nspawn.wait(60)
        self._nspawn, self.leader = None, 0


def copy_of(tree: Path, to: Path) -> Path:
    """Return a copy of a system's root directory."""
    subprocess.run(["cp", "-a", "--reflink=auto", tree, to], check=True)
    return to


def _is_systemd(pid: int) -> bool:
    try:
        numbers = re.search(r"(?m)^NSpid:.*\s1$", Path(f"/proc/{pid}/status").read_text())
        return bool(numbers) and Path(f"/proc/{pid}/comm").read_text().strip() == "systemd"
    except OSError:
        return False


def remove(tree: Path) -> None:
    """Remove a system's root directory, once nothing is mounted in it."""
    shutil.rmtree(tree, ignore_errors=True)
