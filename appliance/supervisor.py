"""The four services under one parent, for a laptop. On the box, systemd does this."""

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ApplianceError

SERVICES = ("scp", "engine", "webui", "sync")
STARTUP_S = 5.0  # a service that ends sooner than this was never working
RESTARTS = 3  # early ends of its own in a row before the whole is given up
LONGEST_WAIT_S = 30.0  # before a service that is killed again and again is started once more
STOP_S = 10.0  # longer than the receiver's own patience with a running transfer

_PR_SET_PDEATHSIG = 1


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    started: float
    early_deaths: int = 0
    start_at: float | None = None  # set once it has ended


class Supervisor:
    """Starts services as child processes and starts again what dies.

    Parameters
    ----------
    config
        The TOML file each service gets.
    services
        Names among `SERVICES`.
    logs
        Directory for one log file each; None leaves them on this process's stderr.
    on_restart
        Called with a sentence when a service is started again.

    Raises
    ------
    ApplianceError
        From `check`, when a service can't be kept alive.
    """

    def __init__(
        self,
        config: Path,
        services: Sequence[str] = SERVICES,
        logs: Path | None = None,
        on_restart: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._config = config
        self._services = tuple(services)
        self._logs = logs
        self._on_restart = on_restart
        self._children: dict[str, _Child] = {}

    def start(self) -> None:
        """Start every service."""
        for name in self._services:
            self._children[name] = _Child(self._spawn(name), time.monotonic())

    def check(self) -> None:
        """Start again every service that died since the last call."""
        for name, child in self._children.items():
            code = child.process.poll()
            if code is None:
                continue
            if child.start_at is None:
                self._ended(name, child, code)
            assert child.start_at is not None
            if time.monotonic() >= child.start_at:
                again = _Child(self._spawn(name), time.monotonic(), child.early_deaths)
                self._children[name] = again

    def _ended(self, name: str, child: _Child, code: int) -> None:
        """Decide when a service that has ended is started again, or give the whole up."""
        early = time.monotonic() - child.started < STARTUP_S
        child.early_deaths = child.early_deaths + 1 if early else 0
        # What ends by a signal was killed from outside and may well work; what ends by itself
        # at each start will not, and its message is there to be read.
        if code > 0 and early and (code == 1 or child.early_deaths >= RESTARTS):
            raise ApplianceError(
                f"run echocart-{name}",
                f"it ended with status {code} right after its start",
                f"Its own message says why: see {self.log_path(name) or 'above'}.",
            )
        wait = min(2.0 ** (child.early_deaths - 1) - 1, LONGEST_WAIT_S) if early else 0.0
        child.start_at = time.monotonic() + wait
        later = f" in {wait:.0f} s" if wait else ""
        self._on_restart(f"echocart-{name} ended ({code}); starting it again{later}")

    def log_path(self, name: str) -> Path | None:
        """Return the log file of a service, or None when it writes to stderr."""
        return self._logs / f"{name}.log" if self._logs else None

    def stop(self) -> None:
        """Ask every service to stop, wait, and kill what doesn't."""
        for child in self._children.values():
            child.process.terminate()
        end = time.monotonic() + STOP_S
        for child in self._children.values():
            try:
                child.process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        self._children.clear()

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"appliance.{name}", "--config", str(self._config)]
        path = self.log_path(name)
        log = path.open("ab") if path else None
        try:
            return subprocess.Popen(
                command,
                stderr=log,
                stdout=log,
                start_new_session=True,  # Ctrl-C reaches the parent, which stops them in order
                preexec_fn=_die_with_parent,
            )
        finally:
            if log:
                log.close()


def run(supervisor: Supervisor) -> None:
    """Run until SIGINT or SIGTERM, then stop every service.

    Raises
    ------
    ApplianceError
        When a service can't be kept alive; the others are stopped first.
    """
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: asked.append(received))
    supervisor.start()
    try:
        while not asked:
            supervisor.check()
            time.sleep(0.2)
    finally:
        supervisor.stop()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
