"""How a probe is run: one that fails or hangs is told, and the others go on."""

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from appliance.config import Settings
from appliance.config import examine as read_config
from appliance.errors import ApplianceError
from appliance.ledger import Ledger
from appliance.upkeep import damage

log = logging.getLogger("echocart")

PATIENCE_S = 10.0  # somebody waits at the keyboard; a cart's or PACS's answer takes up to 3 s
OK, ATTENTION, BROKEN = "ok", "attention", "broken"


class NotNow(Exception):
    """A probe can't look: what it needs is missing, which another finding tells."""


@dataclass(frozen=True)
class Finding:
    """What a probe found.

    Attributes
    ----------
    name
        Of what was looked at.
    word
        `ok`, `attention` (the box works; somebody should act) or `broken`.
    text
        How it stands. Never patient data.
    todo
        What to do; "" when nothing.
    facts
        Figures, for machines.
    """

    name: str
    word: str
    text: str
    todo: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def ok(name: str, text: str, **facts: Any) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(name, OK, text, "", facts)


def attention(name: str, text: str, todo: str, **facts: Any) -> Finding:
    """Return a finding that somebody should act on; the box works."""
    return Finding(name, ATTENTION, text, todo, facts)


def broken(name: str, text: str, todo: str, **facts: Any) -> Finding:
    """Return a finding that keeps the box, or a part of it, from its work."""
    return Finding(name, BROKEN, text, todo, facts)


class Asked:
    """What probes look at; each part is opened by the probe that needs it.

    Parameters
    ----------
    config
        The TOML file.
    settings
        What it says; None when it can't be used.
    """

    def __init__(self, config: Path, settings: Settings | None) -> None:
        self.config = config
        self._settings = settings
        self._lock = threading.Lock()

    @classmethod
    def of(cls, config: Path) -> "tuple[Asked, Finding]":
        """Read the configuration; tell what is wrong with it."""
        settings, mistakes = read_config(config)
        if settings is None:
            text = "; ".join(mistakes)
            return cls(config, None), broken("configuration", text, "Correct the file.")
        return cls(config, settings), ok("configuration", f"{config} is understood")

    @property
    def settings(self) -> Settings:
        """What the configuration says.

        Raises
        ------
        NotNow
            When it can't be used.
        """
        if self._settings is None:
            raise NotNow("the configuration can't be read")
        return self._settings

    @property
    def state_dir(self) -> Path:
        """The state directory, as `settings`."""
        return self.settings.box.state_dir

    @cached_property
    def _opened(self) -> "Ledger | str":
        path = self.state_dir / "ledger.db"
        if not path.exists():
            return "no box has run here yet"
        if damage.problem(path, whole=False):
            return "the ledger can't be read"
        try:
            return Ledger(self.state_dir)
        except ApplianceError:
            return "the ledger can't be opened"

    @property
    def ledger(self) -> Ledger:
        """The box's ledger.

        Raises
        ------
        NotNow
            When there is none, or it can't be read: that is the ledger's own finding.
        """
        with self._lock:
            opened = self._opened
        if isinstance(opened, str):
            raise NotNow(opened)
        return opened


@dataclass(frozen=True)
class Probe:
    """Something to look at: its name, and what looks."""

    name: str
    look: Callable[[Asked], "Finding | Sequence[Finding]"]


def examine(probes: Sequence[Probe], asked: Asked, patience_s: float) -> list[Finding]:
    """Run all probes at once; return what they found, in their order, within the patience."""
    answers: list[list[Finding]] = [[] for _ in probes]
    threads = [
        threading.Thread(target=_look, args=(probe, asked, answer), daemon=True)
        for probe, answer in zip(probes, answers, strict=True)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience_s
    found = []
    for probe, thread, answer in zip(probes, threads, answers, strict=True):
        thread.join(max(0.0, end - time.monotonic()))
        found += list(answer) or [_silent(probe, patience_s)]
    return found


def _look(probe: Probe, asked: Asked, answer: list[Finding]) -> None:
    try:
        found = probe.look(asked)
        answer += [found] if isinstance(found, Finding) else list(found)
    except NotNow as why:
        answer.append(attention(probe.name, f"can't be told: {why}", "See the other findings."))
    except ApplianceError as error:
        answer.append(broken(probe.name, error.subject, error.hint))
    except Exception as error:  # noqa: BLE001
        # Whatever a broken machine does to a probe; its text may hold anything.
        text = f"could not be looked at ({type(error).__name__})"
        answer.append(attention(probe.name, text, "If it stays, send the file of --bundle."))


def _silent(probe: Probe, patience_s: float) -> Finding:
    todo = "Something it asked hangs: a disk, a share, or the network."
    return attention(probe.name, f"gave no answer within {patience_s:g} s", todo)


def output(*command: str, timeout_s: float = 5.0) -> str | None:
    """Return what a program of the system prints; None when it isn't there, fails or hangs."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
