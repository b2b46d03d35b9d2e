"""A backend in a process of its own, with a deadline for each frame: it may hang, die or lie.

A GPU's driver can do all three. The process is killed then, started again, and held against the
reference before it serves; after three failures it is given up.
"""

import contextlib
import json
import logging
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.engine.backend import Inference
from appliance.engine.isolated_child import MESSAGE_BYTES, REQUEST
from appliance.engine.isolated_slots import SLOTS, SPOILED, Slot, create, slots
from appliance.engine.tensorrt_build import end
from appliance.errors import BackendError
from appliance.manifest import Manifest, Precision

log = logging.getLogger("echocart.engine")

CHILD = "appliance.engine.isolated_child"
FAILURES = 3  # then it is given up
FORGIVEN = 10_000  # good frames, some eighty loops, after which a failure no longer counts

Frame = npt.NDArray[np.uint8]
Infer = Callable[[Frame], Inference]


@dataclass(frozen=True)
class Deadlines:
    """How long the process may take before it counts as hung, in s.

    Attributes
    ----------
    start
        From the start of the process until it is ready; CUDA's first start on a Jetson takes 20 s.
    frame
        For one frame; the slowest GPU this is for needs 30 ms.
    """

    start: float = 120.0
    frame: float = 2.0


class _Failed(Exception):
    """The process hung, died or gave garbage; the text says which."""


class Isolated:
    """A backend that runs elsewhere.

    Parameters
    ----------
    factory
        "module:function" that makes the backend in the process, of `argument`.
    argument
        Plain values; `model` is added, the folder of the model.
    manifest
        The model.
    name, precision
        Of the backend.
    check
        Gets a way to infer after each start, before a loop is served; raises BackendError.
    deadlines
        When it counts as hung.

    Raises
    ------
    BackendError
        When it can't be started, or `check` refuses it. Nothing runs on then.
    """

    def __init__(
        self,
        factory: str,
        argument: dict[str, Any],
        manifest: Manifest,
        *,
        name: str,
        precision: Precision,
        check: Callable[[Infer], object],
        deadlines: Deadlines | None = None,
    ) -> None:
        self.name, self.precision = name, precision
        self._manifest, self._check = manifest, check
        self._deadlines = deadlines or Deadlines()
        argument = {**argument, "model": str(manifest.folder)}
        self._command = [sys.executable, "-m", CHILD, factory, json.dumps(argument)]
        self._allowed = np.zeros(256, np.bool_)
        self._allowed[[0, *manifest.labels]] = True
        self._memory = create()
        self._slots = slots(manifest, self._memory)
        self._number = self._failures = self._good = 0
        self._waiting: deque[tuple[int, int, Frame]] = deque()
        self._child: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._life = -1
        try:
            self._start()
        except _Failed as error:
            self._again(str(error))
        except BaseException:
            self.close()
            raise

    def infer(self, frame: Frame) -> Inference:
        """Label one letterboxed frame, uint8 [rows, columns].

        Raises
        ------
        BackendError
            When it is given up. The loop can be tried again, elsewhere.
        """
        return next(self.infer_all((frame,)))

    def infer_all(self, frames: Iterable[Frame]) -> Iterator[Inference]:
        """Label frames in order, the next one handed over while one is computed.

        Raises
        ------
        BackendError
            As `infer`.
        """
        self._drain()
        try:
            for frame in frames:
                if len(self._waiting) == SLOTS:
                    yield self._answer()
                if self._memory < 0:
                    raise self._given_up("it was given up")
                self._number += 1
                self._waiting.append((self._number, self._number % SLOTS, frame))
                self._survive(self._hand_over, *self._waiting[-1])
            while self._waiting:
                yield self._answer()
        finally:
            self._drain()

    def close(self) -> bool:
        """End the process; False when it can't be ended."""
        self._waiting.clear()
        ended = self._stop()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
        return ended

    def _drain(self) -> None:
        """Take what an interrupted loop has left: it must not become another loop's answer."""
        with contextlib.suppress(BackendError):
            while self._waiting:
                self._answer()

    def _answer(self) -> Inference:
        made = self._survive(self._taken)
        assert made is not None
        self._waiting.popleft()
        self._good += 1
        if self._good % FORGIVEN == 0:
            self._failures = 0
        return made

    def _survive(self, work: Callable[..., Inference | None], *arguments: Any) -> Inference | None:
        """Do one thing with the process; where it fails, start it again and ask it all again."""
        while True:
            try:
                return work(*arguments)
            except _Failed as error:
                self._again(str(error))
                if work == self._hand_over:
                    return None  # it was handed over anew with the others

    def _again(self, why: str) -> None:
        """Start the process again after a failure, with every waiting frame handed over."""
        while True:
            self._failures += 1
            log.error("%s: %s (failure %d of %d)", self.name, why, self._failures, FAILURES)
            if not self._stop():
                why, self._failures = f"{why}; its process can't be ended", FAILURES
            if self._failures >= FAILURES:
                self.close()
                raise self._given_up(why)
            try:
                waiting = tuple(self._waiting)
                self._waiting.clear()
                self._start()
                self._waiting.extend(waiting)
                for item in waiting:
                    self._hand_over(*item)
                return
            except _Failed as error:
                self._waiting.extend(waiting[len(self._waiting) :])
                why = str(error)
            except BackendError as error:
                # What the check refuses now, it refuses the next time as well.
                self.close()
                raise self._given_up(error.subject) from error

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link = ours
        life, self._life = os.pipe()
        with theirs, os.fdopen(life):
            handles = (theirs.fileno(), self._memory, life)
            self._child = subprocess.Popen(
                [*self._command, *map(str, handles)],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library prints belongs to the log
                pass_fds=handles,
            )
        hello = self._received(time.monotonic() + self._deadlines.start, "to start")
        try:
            told = json.loads(hello)
        except ValueError as error:
            raise _Failed("its first word is not understood") from error
        if "problem" in told:
            raise self._given_up(str(told["problem"]))
        self._check(self._alone)

    def _stop(self) -> bool:
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
        child, self._child = self._child, None
        return child is None or end(child)

    def _alone(self, frame: Frame) -> Inference:
        """Infer with nothing waiting, for the check; a failure is the caller's."""
        self._number += 1
        item = (self._number, 0, frame)
        self._hand_over(*item)
        return self._read(*item)

    def _hand_over(self, number: int, place: int, frame: Frame) -> None:
        assert self._link is not None
        self._slots[place].ask(frame)
        try:
            self._link.send(REQUEST.pack(number, place))
        except OSError as error:
            raise _Failed(self._how_it_ended()) from error

    def _taken(self) -> Inference:
        return self._read(*self._waiting[0])

    def _read(self, number: int, place: int, frame: Frame) -> Inference:
        message = self._received(time.monotonic() + self._deadlines.frame, "for a frame")
        if message != REQUEST.pack(number, place):
            raise _Failed("it answered what wasn't asked")
        return self._sound(number, self._slots[place])

    def _received(self, until: float, what: str) -> bytes:
        assert self._link is not None
        ready, _, _ = select.select([self._link], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise _Failed(f"it hung: no answer in the time {what}")
        try:
            message = self._link.recv(MESSAGE_BYTES)
        except OSError as error:
            raise _Failed(self._how_it_ended()) from error
        if not message:
            raise _Failed(self._how_it_ended())
        return message

    def _sound(self, number: int, slot: Slot) -> Inference:
        """Copy an answer out; what can't be one is a failure."""
        if int(slot.number[0]) != number:
            raise _Failed("the answer belongs to another frame")
        made = slot.taken()
        if not self._allowed[made.labels].all():
            unwritten = bool((made.labels == SPOILED).any())
            raise _Failed("the answer is not whole" if unwritten else "it gave unknown labels")
        if not (
            np.isfinite(made.confidence).all() and (np.abs(made.confidence - 0.5) <= 0.51).all()
        ):
            raise _Failed("it gave a confidence that is none")
        first = made.labels.flat[0]
        if first and (made.labels == first).all():
            raise _Failed("it drew one structure everywhere")
        return made

    def _how_it_ended(self) -> str:
        child = self._child
        try:
            status = child.wait(1.0) if child else None
        except subprocess.TimeoutExpired:
            status = None
        if status is None:
            return "it stopped answering"
        return f"it died (signal {-status})" if status < 0 else f"it ended ({status})"

    def _given_up(self, why: str) -> BackendError:
        return BackendError(f"run {self.name}", why, _AGAIN, retry=True)


_AGAIN = "`echocart engine retry` tries it again, and so does a restart."
