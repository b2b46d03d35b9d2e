"""A candidate draws what the model in force has drawn, when nothing else is to be done.

In a process of its own, at idle priority, held while the engine has a loop in hand: what it does
wrong happens there. Only figures are kept. A box without a candidate starts neither thread nor
process.
"""

import contextlib
import json
import logging
import os
import select
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from appliance.config import Settings
from appliance.engine.tensorrt_build import end
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, release, shadow, trial, worklist
from appliance.releases import promotion
from appliance.releases.promotion import Candidate

log = logging.getLogger("echocart.engine")

CHILD = "appliance.engine.shadow_child"
LOOK_S = 10.0  # between two looks for a candidate
LINGER_S = 60.0  # its process stays so long without work: a start costs seconds of two cores
HUNG_S = 120.0  # without a sign of life, unless it is held: slowest CPUs need 4 s for a chunk
FAULTS = 2  # then it is refused: memory may run out once for another's sake
_AGAIN_S = 1.0
_MOST_FRAMES = 32  # of one correction, spread over it
_MOST_LOOPS = 1000  # of one candidate: more would tell no more


class _Failed(Exception):
    """It ended its process, hung, or can't be run; the text says which."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class _Process:
    """The candidate's process.

    Parameters
    ----------
    settings
        The box's.
    name
        Of the candidate's folder.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self.name = name
        about = {
            "state_dir": str(settings.box.state_dir),
            "name": name,
            "engine": settings.engine.model_dump(mode="json"),
        }
        theirs, self._life = os.pipe()
        with os.fdopen(theirs):
            self._child = subprocess.Popen(
                [sys.executable, "-m", CHILD, json.dumps(about), str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(theirs,),
                env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
                bufsize=0,
            )
        assert self._child.stdin is not None
        # The engine's own loop says "pause": it must never wait for one that doesn't read.
        os.set_blocking(self._child.stdin.fileno(), False)
        with contextlib.suppress(OSError):  # it runs at the engine's own priority then
            os.sched_setscheduler(self._child.pid, os.SCHED_IDLE, os.sched_param(0))
        self._lock = threading.Lock()
        self._rest = b""
        self.is_held = False

    def say(self, word: str) -> None:
        """Send a line, whole or not at all; that nobody reads it any more shows elsewhere."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            assert self._child.stdin is not None
            os.write(self._child.stdin.fileno(), f"{word}\n".encode())

    def hold(self, *, held: bool) -> None:
        """Hold it before its next frame, or let it go on."""
        self.is_held = held
        self.say("pause" if held else "go")

    def ask(self, job: dict[str, Any], stopped: threading.Event) -> dict[str, Any] | None:
        """Have a job done; None when the engine stops meanwhile.

        Raises
        ------
        _Failed
            When it dies, hangs, or says that it can't.
        """
        self.say(json.dumps(job))
        until = time.monotonic() + HUNG_S
        while not stopped.is_set():
            line = self._line()
            if line is None:
                if self.is_held:
                    until = time.monotonic() + HUNG_S
                if time.monotonic() > until:
                    raise _Failed(trial.CRASH, f"no answer in {HUNG_S:.0f} s")
                continue
            until = time.monotonic() + HUNG_S
            answer = _understood(line)
            if "problem" in answer:
                raise _Failed(trial.FAILED, answer["problem"])
            if "figures" in answer:
                found: dict[str, Any] = answer["figures"]
                return found
        return None

    def close(self) -> None:
        """End it."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
        with self._lock, contextlib.suppress(OSError):
            assert self._child.stdin is not None
            self._child.stdin.close()
        end(self._child)

    def _line(self) -> bytes | None:
        """Return the next whole line; None when none came for a while."""
        stdout: IO[bytes] | None = self._child.stdout
        assert stdout is not None
        if b"\n" not in self._rest:
            ready, _, _ = select.select([stdout], [], [], _AGAIN_S)
            if not ready:
                return None
            data = os.read(stdout.fileno(), 1 << 16)
            if not data:
                raise _Failed(trial.CRASH, self._how_it_ended())
            self._rest += data
        line, found, rest = self._rest.partition(b"\n")
        if not found:
            return None
        self._rest = rest
        return line

    def _how_it_ended(self) -> str:
        try:
            status = self._child.wait(5.0)
        except subprocess.TimeoutExpired:
            return "it stopped answering"
        if status < 0:
            return f"it ended its process (signal {-status})"
        return f"its process ended ({status})"


def _understood(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise _Failed(trial.CRASH, "its answer is not understood") from error
    if not isinstance(answer, dict):
        raise _Failed(trial.CRASH, "its answer is not understood")
    return answer


class Shadow:
    """Has a candidate draw between the engine's own loops, and decides what becomes of it.

    Parameters
    ----------
    ledger, settings
        The box's.
    """

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger, self._settings = ledger, settings
        self._process: _Process | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._is_busy = False
        self._looked = -LOOK_S

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the candidate while the engine looks for work, and does it."""
        if self._thread is None:
            yield
            return
        self._hold(held=True)
        try:
            yield
        finally:
            self._hold(held=False)

    def look(self) -> None:
        """Begin where there is a candidate and something for it to draw; returns at once."""
        now = time.monotonic()
        if now - self._looked < LOOK_S or (self._thread and self._thread.is_alive()):
            return
        self._looked = now
        self._thread = None
        found = promotion.candidate(self._ledger, self._settings)
        if found is not None and self._job(found) is not None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End what was begun."""
        self._stopped.set()
        if self._thread:
            self._thread.join(HUNG_S)
            self._thread = None

    def _hold(self, *, held: bool) -> None:
        with self._lock:
            self._is_busy = held
            if self._process:
                self._process.hold(held=held)

    def _work(self) -> None:
        """Draw until nothing is left to draw for a while."""
        idle_since = time.monotonic()
        try:
            while not self._stopped.is_set() and time.monotonic() - idle_since < LINGER_S:
                found = promotion.candidate(self._ledger, self._settings)
                job = self._job(found) if found else None
                if found is None:
                    break
                if job is None:
                    self._stopped.wait(_AGAIN_S)
                    continue
                self._do(found, job)
                idle_since = time.monotonic()
        except (sqlite3.Error, ApplianceError, OSError) as error:
            # A full disk, a model that was removed meanwhile: it is tried again at the next look.
            log.warning("the candidate waits (%s)", type(error).__name__)
        finally:
            self._end()
            self._ledger.close()  # this thread's connection

    def _do(self, found: Candidate, job: dict[str, Any]) -> None:
        if job["do"] == "prove":
            try:
                promotion.must_be_usable(self._ledger, self._settings, found.name)
            except ApplianceError as error:
                self._refuse(found, f"{error.subject}. {error.hint}")
                return
        process = self._started(found.name)
        try:
            figures = process.ask(job, self._stopped)
        except _Failed as error:
            self._end()
            self._failed(found, error)
            return
        if figures is None:
            return
        if job["do"] == "prove":
            text = json.dumps(figures)
            release.step(self._ledger, found.name, found.sha256, "staged", text)
            log.info("%s is proven and draws in the shadow", found.name)
            return
        if job["do"] == "draw":
            shadow.drew(*self._of(found), job["analysis_id"], figures)
        else:
            shadow.held_against(*self._of(found), job["review_id"], figures)
        self._decide(found)

    def _of(self, found: Candidate) -> tuple[Ledger, str, str, str]:
        return self._ledger, found.name, found.sha256, found.against

    def _job(self, found: Candidate) -> dict[str, Any] | None:
        """Return what comes next: the proof, corrections, then loops; None when nothing does."""
        if not found.staged:
            return {"do": "prove"}
        if row := shadow.next_review(self._ledger, found.sha256, found.against):
            return {"do": "compare", **row, "frames": self._corrected(row["review_id"])}
        if len(shadow.loops(self._ledger, found.sha256, found.against)) >= _MOST_LOOPS:
            return None
        row = shadow.next_loop(self._ledger, found.sha256, found.against, found.since.analysis)
        return {"do": "draw", **row} if row else None

    def _corrected(self, review_id: int) -> list[int]:
        every = [
            index
            for row in worklist.review_chunks(self._ledger, review_id)
            for index in range(row["first_frame"], row["first_frame"] + row["frame_count"])
        ]
        return every[:: -(-len(every) // _MOST_FRAMES)]

    def _failed(self, found: Candidate, error: _Failed) -> None:
        if not found.staged:
            self._refuse(found, str(error))
            return
        count = trial.fault(self._ledger, found.name, found.sha256, error.kind, str(error))
        log.warning("%s failed in the shadow: %s", found.name, error)
        if count >= FAULTS:
            self._refuse(found, f"in the shadow, {count} times: {error}")

    def _decide(self, found: Candidate) -> None:
        _, verdict = promotion.standing(self._ledger, self._settings, found)
        if verdict.state == "refused":
            self._refuse(found, verdict.why)
        elif verdict.state == "passed" and self._settings.updates.promote == "figures":
            try:
                before = promotion.promote(
                    self._ledger, self._settings, found.name, f"in the shadow {verdict.why}"
                )
            except ApplianceError as error:
                self._refuse(found, error.subject)
                return
            log.info("%s is promoted in place of %s", found.name, before)

    def _refuse(self, found: Candidate, why: str) -> None:
        release.step(self._ledger, found.name, found.sha256, "refused", why)
        log.warning("%s is refused: %s", found.name, why)

    def _started(self, name: str) -> _Process:
        process = self._process
        if process is not None and process.name == name:
            return process
        self._end()
        process = _Process(self._settings, name)
        with self._lock:
            self._process = process
            process.hold(held=self._is_busy)
        return process

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.close()
