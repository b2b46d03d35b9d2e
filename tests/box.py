"""A real box for tests: its services as processes, on free ports, in a directory of their own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from appliance import pins
from appliance.config import Settings, load
from appliance.demo.ports import free_port
from appliance.ledger import Ledger, user, worklist
from appliance.spool import Spool

REPOSITORY = Path(__file__).resolve().parents[1]
SERVICES = ("scp", "engine", "webui", "sync")
PIN = "246810"  # of everybody on a test's box
PEOPLE = ("AK", "BM", "KL")  # sonographers that every test's box knows
LOADED_MACHINE_S = 120.0  # a wait that long means broken, not slow


@cache
def hashed_pin() -> str:
    """Return what a ledger keeps of `PIN`."""
    return pins.hashed(PIN)


class Box:
    """Context manager around the services of one box.

    Parameters
    ----------
    root
        Directory for configuration, state, logs and the folder destination `usb`.
    services
        Which of the four to start.
    extra
        More TOML, appended to the file.
    closes_after_s
        Quiet seconds after which a reviewed study is closed.
    scp, webui
        More lines of these sections.
    people
        Initials of the sonographers it knows; all have `PIN`. None of them is admin.
    """

    def __init__(
        self,
        root: Path,
        services: Sequence[str] = SERVICES,
        extra: str = "",
        closes_after_s: float = 0.0,
        scp: str = "",
        webui: str = "lock_after_s = 7200",
        people: Sequence[str] = PEOPLE,
    ) -> None:
        self.root = root
        self.services = tuple(services)
        self.usb = root / "usb"
        self.usb.mkdir(parents=True, exist_ok=True)
        self.dicom_port, self.http_port = free_port(), free_port()
        self.config = root / "echocart.toml"
        self.config.write_text(
            f'[box]\nae_title = "ECHOCART"\nstate_dir = "{root / "state"}"\n'
            f'[scp]\nhost = "127.0.0.1"\nport = {self.dicom_port}\nspace_floor_mb = 10\n{scp}\n'
            f"[webui]\nport = {self.http_port}\n{webui}\n"
            f"[sync]\nstudy_closes_after_s = {closes_after_s}\n"
            f'[[destination]]\nname = "usb"\nkind = "folder"\npath = "{self.usb}"\n{extra}'
        )
        self.settings: Settings = load(self.config)
        self.ledger = Ledger(self.settings.box.state_dir)
        for initials in people:
            if user.find(self.ledger, initials) is None:  # a box is also started on a kept state
                user.add(self.ledger, initials, ["sonographer"], hashed_pin(), "test")
        self.spool = Spool(self.settings.box.state_dir)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._starts: dict[str, int] = {}

    @property
    def url(self) -> str:
        """Address of the review page."""
        return self.settings.webui.url

    def __enter__(self) -> "Box":
        try:
            for name in self.services:
                self.start(name, wait=False)
            for name in self.services:
                self.wait_ready(name)
        except BaseException:
            self.__exit__(None, None, None)  # what runs already must not outlive the test
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes.values():
            process.terminate()  # all at once: each takes a second or two
        for name in list(self.processes):
            self.stop(name)
        self.ledger.close()

    def log(self, name: str) -> str:
        """Return what a service has written to stderr so far."""
        path = self.root / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, name: str, wait: bool = True) -> None:
        """Start a service as systemd would."""
        self._starts[name] = self.log(name).count(" ready: ")
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.command(name),
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_ready(name)

    def command(self, name: str) -> list[str]:
        """Return how a service is started."""
        return [sys.executable, "-m", f"appliance.{name}", "--config", str(self.config)]

    def wait_ready(self, name: str) -> None:
        """Wait until a service has said that it does its work."""

        def is_ready() -> bool:
            if self.processes[name].poll() is not None:
                raise AssertionError(f"{name} ended:\n{self.log(name)}")
            return self.log(name).count(" ready: ") > self._starts[name]

        self.wait_for(is_ready, f"{name} to be ready")

    def stop(self, name: str) -> int:
        """Stop a service by SIGTERM and return its exit status."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{name} did not stop:\n{self.log(name)}") from None

    def kill(self, name: str) -> None:
        """Kill a service as a crash would."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def wait_for(
        self,
        condition: Callable[[], Any],
        what: str,
        timeout: float = LOADED_MACHINE_S,
    ) -> Any:
        """Wait until a condition gives something true, and return that."""
        end = time.monotonic() + timeout
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                logs = "\n".join(self.log(name)[-2000:] for name in self.services)
                raise AssertionError(f"waited {timeout} s for {what}\n{logs}")
            time.sleep(0.05)

    def loops(self) -> list[dict[str, Any]]:
        """Return every instance of the ledger, newest first."""
        return worklist.loops(self.ledger)

    def wait_settled(self, count: int) -> list[dict[str, Any]]:
        """Wait until `count` instances are here and none is waiting for the engine."""

        def settled() -> list[dict[str, Any]] | None:
            rows = self.loops()
            pending = [row for row in rows if row["state"] in ("received", "analysing")]
            return rows if len(rows) >= count and not pending else None

        rows: list[dict[str, Any]] = self.wait_for(settled, f"{count} instances to be settled")
        return rows
