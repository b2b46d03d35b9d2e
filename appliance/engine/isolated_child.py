"""The process in which a backend runs that may hang or die: `appliance.engine.isolated` starts it.

    python -m appliance.engine.isolated_child MODULE:FACTORY JSON SOCKET MEMORY LIFE

FACTORY(JSON's value) returns the backend; SOCKET, MEMORY and LIFE are inherited descriptors, LIFE
a pipe that closes with the engine. First a JSON message tells that it is ready, or why not; then
each request (number, slot) gets one answer.
"""

import fcntl
import importlib
import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from appliance.engine.backend import Backend, Inference
from appliance.engine.isolated_slots import Slot, slots
from appliance.errors import ApplianceError, BackendError
from appliance.manifest import load_manifest

REQUEST = struct.Struct("<QB")  # number from 1 on, slot
MESSAGE_BYTES = 4096


@runtime_checkable
class Pipelined(Protocol):
    """A backend that takes the next frame while one is computed."""

    def submit(self, frame: Any) -> None:
        """Start on a frame, uint8 [rows, columns]."""
        ...

    def collect(self) -> Inference:
        """Wait for the oldest frame's answer."""
        ...


def _main() -> int:
    factory, argument, link, memory, life = sys.argv[1:]
    die_with(int(life))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the engine
    with socket.socket(fileno=int(link)) as parent:
        try:
            asked = json.loads(argument)
            backend = _made(factory, asked)
        except ApplianceError as error:
            parent.send(json.dumps({"problem": error.subject}).encode()[:MESSAGE_BYTES])
            return 1
        parent.send(json.dumps({"ready": True}).encode())
        _serve(parent, backend, slots(load_manifest(Path(asked["model"])), int(memory)))
    return 0


def die_with(life: int) -> None:
    """Have the kernel end this process when the engine's end of the pipe closes.

    Python can't: a thread that hangs in a driver may hold its lock. PR_SET_PDEATHSIG can't either:
    it goes with the thread that started the process, and that one only starts it.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)


def _made(factory: str, asked: dict[str, Any]) -> Backend:
    module, _, name = factory.partition(":")
    try:
        made: Backend = getattr(importlib.import_module(module), name)(asked)
    except (ImportError, OSError) as error:
        what = f"{type(error).__name__}: {getattr(error, 'name', '') or 'a library is missing'}"
        raise BackendError("start a backend", what, "Install the package again.") from error
    return made


def _serve(parent: socket.socket, backend: Backend, shared: tuple[Slot, ...]) -> None:
    if not isinstance(backend, Pipelined):
        while message := parent.recv(MESSAGE_BYTES):
            number, place = REQUEST.unpack(message)
            shared[place].answer(number, backend.infer(shared[place].frame))
            parent.send(message)
        return
    waiting: list[bytes] = []
    while message := _next(parent, wait=not waiting):
        if message == _NONE:
            oldest = waiting.pop(0)
            number, place = REQUEST.unpack(oldest)
            shared[place].answer(number, backend.collect())
            parent.send(oldest)
            continue
        _, place = REQUEST.unpack(message)
        backend.submit(shared[place].frame)
        waiting.append(message)


_NONE = b"none"


def _next(parent: socket.socket, *, wait: bool) -> bytes:
    """Next request; b"" when the engine is gone, `_NONE` when there is none and `wait` is False."""
    try:
        return parent.recv(MESSAGE_BYTES, 0 if wait else socket.MSG_DONTWAIT)
    except BlockingIOError:
        return _NONE


if __name__ == "__main__":
    sys.exit(_main())
