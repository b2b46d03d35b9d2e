"""One small interface for whatever runs the network, and the choice of it for this machine."""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from appliance.config import Engine
from appliance.errors import BackendError
from appliance.manifest import Manifest, Precision

log = logging.getLogger("echocart.engine")

# By the time of a frame, the shortest first; f32 always runs. Measured by models.export.
FASTEST: dict[str, tuple[Precision, ...]] = {
    "openvino": ("int8", "bf16"),
    "onnxruntime": ("int8",),
}
WARM_UP = 6  # inferences before READY: each stream's first one allocates, and is 3x slower


@dataclass(frozen=True)
class Inference:
    """What the network says about one frame.

    Attributes
    ----------
    labels
        uint8 [rows, columns], label values of the manifest.
    confidence
        float32 [classes], mean winning probability over the pixels of each class; 0 if none.
    certainty
        uint8 [rows/4, columns/4], winning probability x 255 over blocks of 4x4 pixels.
    """

    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    certainty: npt.NDArray[np.uint8]


class Backend(Protocol):
    """A compiled network. One thread uses it at a time."""

    @property
    def name(self) -> str:
        """As the manifest names it."""
        ...

    @property
    def precision(self) -> Precision:
        """That it computes in."""
        ...

    def infer(self, frame: npt.NDArray[np.uint8]) -> Inference:
        """Label one letterboxed frame, uint8 [rows, columns]; the result owns its memory."""
        ...


def infer_all(backend: Backend, frames: Iterable[npt.NDArray[np.uint8]]) -> Iterator[Inference]:
    """Label frames in order; several at a time on a backend that has a way of its own to.

    Parameters
    ----------
    backend
        One with a method `infer_all` takes a few frames before it gives the first answer.
    frames
        uint8 [rows, columns] each, letterboxed.
    """
    own = getattr(backend, "infer_all", None)
    return iter(own(frames)) if own else map(backend.infer, frames)


def open_backend(manifest: Manifest, engine: Engine | None = None) -> Backend:
    """Compile a model for this machine and warm it up.

    Parameters
    ----------
    manifest
        The model.
    engine
        Backend, precision and threads as the site wants them; all "auto" by default.

    Returns
    -------
    Backend
        On the CPU: OpenVINO where it loads, ONNX Runtime otherwise. One of these that is chosen by
        name is never exchanged for the other. "tensorrt" is what `tensorrt.with_gpu` puts in
        front of it.

    Raises
    ------
    BackendError
        When none can run the model here.
    ManifestError
        When the model has no variant for the backend and precision asked for.
    """
    wanted = engine or Engine()
    if wanted.backend == "tensorrt":
        wanted = wanted.model_copy(update={"backend": "auto", "precision": "auto"})
    if wanted.backend == "onnxruntime":
        return _open_onnxruntime(manifest, wanted)
    try:
        return _open_openvino(manifest, wanted)
    except BackendError as error:
        if wanted.backend == "openvino":
            raise
        log.warning("%s; ONNX Runtime at f32 is used instead: slower, as accurate", error)
    return _open_onnxruntime(manifest, wanted.model_copy(update={"precision": "f32"}))


def warm_up(backend: Backend, manifest: Manifest) -> None:
    """Run the network on an empty frame and check that it keeps the manifest's promises.

    Raises
    ------
    BackendError
        When an output hasn't the shape, or a label the value, that the manifest gives.
    """
    frame = np.zeros((manifest.input.rows, manifest.input.columns), np.uint8)
    *_, made = infer_all(backend, [frame] * WARM_UP)
    shapes = {
        "labels": made.labels.shape,
        "confidence": made.confidence.shape,
        "certainty": made.certainty.shape,
    }
    for output in manifest.outputs:
        if shapes[output.name] != output.shape[1:]:
            raise _broken(f"{output.name} is {shapes[output.name]}, not {output.shape[1:]}")
    if not set(np.unique(made.labels)) <= {0, *manifest.labels}:
        raise _broken("there are label values the manifest doesn't name")


def thread_count(threads: int) -> int:
    """Return the threads to use: those asked for, or for 0 every core this process may run on."""
    return threads or len(os.sched_getaffinity(0))


def may_use(manifest: Manifest, backend: str, precision: Precision) -> bool:
    """Tell whether a lower precision was measured, and loses no more Dice than the gate allows.

    Every structure counts for itself: a mean would hide a lost atrium.
    """
    figures = {
        variant.precision: accuracy.dice
        for variant in manifest.variants
        for accuracy in variant.accuracy
        if accuracy.backend == backend
    }
    if "f32" not in figures or precision not in figures:
        return False
    lost = loses(figures["f32"], figures[precision])
    return lost <= manifest.gates.precision_loss


def loses(full: dict[str, float], lower: dict[str, float]) -> float:
    """Return the most Dice that any structure loses, in points of 100."""
    # Figures have four decimals: what lies beyond is the representation's.
    return max(round(100 * (full[name] - lower[name]), 6) for name in full)


def choose(
    manifest: Manifest, backend: str, wanted: Precision | Literal["auto"], native: Collection[str]
) -> Precision:
    """Return the precision to run at: the one wanted, or the fastest that its gate allows here.

    Parameters
    ----------
    manifest
        The model.
    backend, wanted
        As configured.
    native
        Precisions that this CPU computes in; emulated, a lower one would be slower.
    """
    if wanted != "auto":
        return wanted
    for precision in FASTEST[backend]:
        if precision in native and may_use(manifest, backend, precision):
            return precision
    return "f32"


def computes_int8(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the CPU multiplies 8-bit integers without overflow in between.

    Without these instructions (VNNI on x86, dot product on Arm) int8 is no faster than float, and
    sums of products saturate at 16 bits.
    """
    try:
        words = set(cpuinfo.read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return False
    return not words.isdisjoint({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


def shaped(outputs: Mapping[str, npt.NDArray[Any]]) -> Inference:
    """Take the batch of one off the network's outputs, and copy them out of its buffers."""
    return Inference(
        outputs["labels"][0].copy(), outputs["confidence"][0].copy(), outputs["certainty"][0].copy()
    )


def _open_openvino(manifest: Manifest, wanted: Engine) -> Backend:
    from appliance.engine.openvino import OpenVino

    backend = OpenVino(manifest, wanted.precision, wanted.threads)
    warm_up(backend, manifest)
    return backend


def _open_onnxruntime(manifest: Manifest, wanted: Engine) -> Backend:
    from appliance.engine.onnxruntime import OnnxRuntime

    backend = OnnxRuntime(manifest, wanted.precision, wanted.threads)
    warm_up(backend, manifest)
    return backend


def _broken(what: str) -> BackendError:
    return BackendError(
        "warm up the network", what, "Install the model again, or set engine.backend to another."
    )
