"""One small interface for whatever runs the network, and the choice of it for this machine."""

import logging
import os
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from appliance.config import Engine
from appliance.errors import BackendError
from appliance.manifest import Manifest, Precision

log = logging.getLogger("echocart.engine")

WARM_UP = 2  # inferences before READY: the first one allocates and picks kernels, 3x slower


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

    name: str
    precision: Precision

    def infer(self, frame: npt.NDArray[np.uint8]) -> Inference:
        """Label one letterboxed frame, uint8 [rows, columns]; the result owns its memory."""
        ...


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
        OpenVINO where it loads, ONNX Runtime otherwise. A backend chosen by name is never
        exchanged for another one.

    Raises
    ------
    BackendError
        When none can run the model here.
    ManifestError
        When the model has no variant for the backend and precision asked for.
    """
    wanted = engine or Engine()
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
    for _ in range(WARM_UP):
        made = backend.infer(frame)
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
    full, lower = figures["f32"], figures[precision]
    return all(100 * (full[name] - lower[name]) <= manifest.gates.precision_loss for name in full)


def shaped(outputs: dict[str, npt.NDArray[Any]]) -> Inference:
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
