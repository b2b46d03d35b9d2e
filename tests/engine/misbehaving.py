"""Backends that a test starts in a process of their own: one that works, and ones that do harm.

Each is asked for by `kind`; `after` good frames come first, `flag` is a file that exists once it
has done its harm, so that the next process behaves (without a flag, every one misbehaves).
"""

import os
import signal
import time
from pathlib import Path

import numpy as np

from appliance.config import Engine
from appliance.engine import isolated_slots
from appliance.engine.backend import Inference, open_backend
from appliance.errors import BackendError
from appliance.manifest import load_manifest

REFERENCE = Engine(backend="onnxruntime", precision="f32", threads=2)


def answer(frame, labels=(0, 1, 2, 3)):
    """What the working backend draws: stripes whose place depends on the frame."""
    drawn = np.zeros(frame.shape, np.uint8)
    shift = int(frame[0, 0])
    for place, label in enumerate(labels):
        drawn[shift + 20 * place : shift + 20 * place + 20] = label
    return Inference(
        drawn, np.full(len(labels), 0.9, np.float32), np.full((96, 96), frame[0, 0], np.uint8)
    )


class Misbehaving:
    name = "misbehaving"
    precision = "f16"

    def __init__(self, asked):
        load_manifest(Path(asked["model"]))
        self.kind, self.left = asked["kind"], asked.get("after", 0)
        self.flag = Path(asked["flag"]) if asked.get("flag") else None
        if self.flag and self.flag.exists():
            self.kind = "works"
        if self.kind == "hangs at start":
            self.harm()
            time.sleep(600)
        if self.kind == "refuses":
            raise BackendError("start a test", "the plan is refused", "")

    def harm(self):
        if self.flag:
            self.flag.touch()

    def infer(self, frame):
        good = answer(frame)
        if self.kind == "works" or self.left > 0:
            self.left -= 1
            return good
        self.harm()
        return getattr(self, self.kind.replace(" ", "_"))(good)

    def hangs(self, good):
        # As in a driver: the interpreter's lock is held, and SIGTERM does nothing.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(60)

    def is_killed(self, good):
        os.kill(os.getpid(), signal.SIGKILL)

    def crashes(self, good):
        import ctypes

        ctypes.string_at(0)

    def raises(self, good):
        raise RuntimeError("something the driver said")

    def unknown_labels(self, good):
        return Inference(good.labels + np.uint8(50), good.confidence, good.certainty)

    def not_a_number(self, good):
        return Inference(good.labels, good.confidence * np.float32("nan"), good.certainty)

    def one_class(self, good):
        return Inference(np.full_like(good.labels, 2), good.confidence, good.certainty)

    def background(self, good):
        return Inference(np.zeros_like(good.labels), good.confidence, good.certainty)


class Pipelined(Misbehaving):
    """Takes the next frame while one is computed."""

    step = 1

    def __init__(self, asked):
        super().__init__(asked)
        self.busy = []
        self.most = 0

    def submit(self, frame):
        self.busy.append(np.array(frame))
        self.most = max(self.most, len(self.busy))

    def collect(self):
        time.sleep(0.005)
        made = self.infer(self.busy.pop(0))
        made.certainty[0, 0] = self.most * self.step  # seen by the test
        return made


class Stale(Misbehaving):
    """Says that it has answered, and has written nothing (an execution that failed unnoticed)."""

    def infer(self, frame):
        made = answer(frame)
        self.left -= 1
        if self.kind != "works" and self.left == 0:
            self.harm()
            # What the protocol's own code would do from the next frame on, less the writing.
            isolated_slots.Slot.answer = lambda *_: None
        return made


class Network(Pipelined):
    """The model itself, by ONNX Runtime; takes the next frame while one is computed."""

    step = 16  # certainty is stored in steps of 8

    def __init__(self, asked):
        super().__init__(asked)
        self.network = open_backend(load_manifest(Path(asked["model"])), REFERENCE)

    def infer(self, frame):
        return self.network.infer(frame)


def made(asked):
    return {"network": Network, "pipelined": Pipelined, "stale": Stale}.get(
        asked.get("form"), Misbehaving
    )(asked)
