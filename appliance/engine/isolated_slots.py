"""Memory that a backend's process shares with the engine: two slots of a frame and its answer.

Each slot has a request's number beside the answer. The engine spoils the answer before it asks, so
that one which was not written, or belongs to another request, is never taken for a mask.
"""

import mmap
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.engine.backend import Inference
from appliance.manifest import Manifest

SLOTS = 2  # one is computed while the other is filled or read
SPOILED = 255  # hardly any model's label; where it is one, the request's number still tells
_ALIGN = 64


@dataclass(frozen=True)
class Slot:
    """Views of one slot: the request's number, the frame, the answer."""

    number: npt.NDArray[np.uint64]
    frame: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    certainty: npt.NDArray[np.uint8]

    def ask(self, frame: npt.NDArray[np.uint8]) -> None:
        """Put a frame in, and spoil what an earlier request left."""
        self.frame[:] = frame
        self.labels[:] = SPOILED
        self.confidence[:] = np.nan
        self.number[0] = 0

    def answer(self, number: int, inference: Inference) -> None:
        """Put an answer in, its number last."""
        self.labels[:] = inference.labels
        self.confidence[:] = inference.confidence
        self.certainty[:] = inference.certainty
        self.number[0] = number

    def taken(self) -> Inference:
        """Copy the answer out."""
        return Inference(self.labels.copy(), self.confidence.copy(), self.certainty.copy())


def create() -> int:
    """Return the descriptor of new shared memory; it has no name, and goes with its processes."""
    return os.memfd_create("echocart-frames")


def slots(manifest: Manifest, descriptor: int) -> tuple[Slot, ...]:
    """Map the slots for a model's frames; the memory is made large enough."""
    shapes = {output.name: output.shape[1:] for output in manifest.outputs}
    frame = (manifest.input.rows, manifest.input.columns)
    fields: list[tuple[np.dtype[Any], tuple[int, ...]]] = [
        (np.dtype(np.uint64), (1,)),
        (np.dtype(np.uint8), frame),
        (np.dtype(np.uint8), shapes["labels"]),
        (np.dtype(np.float32), shapes["confidence"]),
        (np.dtype(np.uint8), shapes["certainty"]),
    ]
    sizes = [-(-dtype.itemsize * int(np.prod(shape)) // _ALIGN) * _ALIGN for dtype, shape in fields]
    whole = SLOTS * sum(sizes)
    if os.fstat(descriptor).st_size < whole:
        os.ftruncate(descriptor, whole)
    memory = mmap.mmap(descriptor, whole)
    made, offset = [], 0
    for _ in range(SLOTS):
        views = []
        for (dtype, shape), size in zip(fields, sizes, strict=True):
            count = int(np.prod(shape))
            views.append(np.frombuffer(memory, dtype, count, offset).reshape(shape))
            offset += size
        made.append(Slot(*views))
    return tuple(made)
