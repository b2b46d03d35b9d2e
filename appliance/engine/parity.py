"""Whether a backend draws what ONNX Runtime draws at f32, on frames that come with the box.

A GPU that gives NaN, zeros or noise is stopped here, before a loop sees it: after each build of a
plan, at each boot and after each restart of its process.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from appliance.config import Engine
from appliance.engine.backend import Inference, may_use
from appliance.errors import BackendError
from appliance.manifest import Manifest, Precision

Frame = npt.NDArray[np.uint8]

# Dice of each class against f32 on the golden frames. int8 moves the contours by a pixel here and
# there: how much Dice that costs against an expert is the manifest's gate, looked at as well.
LEAST: dict[Precision, float] = {"f32": 0.99, "bf16": 0.99, "f16": 0.99, "int8": 0.95}
_FOLDER = Path(__file__).with_name("golden")


@cache
def golden_frames() -> tuple[Frame, ...]:
    """Return the frames: a drawn heart, letterboxed, uint8 [384, 384]; every chamber is in each."""
    made = []
    for path in sorted(_FOLDER.glob("*.png")):
        frame = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if frame is None:
            raise _refused(f"{path} can't be read", "Install the package again.")
        made.append(np.asarray(frame, np.uint8))
    if not made:
        raise _refused(f"there are no frames in {_FOLDER}", "Install the package again.")
    return tuple(made)


def resized(manifest: Manifest) -> list[Frame]:
    """Return the golden frames at a model's input size."""
    size = (manifest.input.columns, manifest.input.rows)
    return [np.asarray(cv2.resize(frame, size), np.uint8) for frame in golden_frames()]


class Parity:
    """The gate of one model: the reference is computed once.

    Parameters
    ----------
    manifest
        The model.

    Raises
    ------
    BackendError
        When the reference can't be run, or doesn't show every structure on the golden frames:
        then nothing could be told.
    """

    def __init__(self, manifest: Manifest) -> None:
        from appliance.engine.onnxruntime import OnnxRuntime

        self._manifest = manifest
        self._frames = resized(manifest)
        reference = OnnxRuntime(manifest, "f32", Engine().threads)
        self._expected = [reference.infer(frame).labels for frame in self._frames]
        missing = _missing(manifest, self._expected)
        if missing:
            raise _refused(f"the model draws no {missing} on the golden frames", _CPU)

    def check(self, infer: Callable[[Frame], Inference], precision: Precision) -> dict[str, float]:
        """Hold a backend against the reference.

        Parameters
        ----------
        infer
            Labels one letterboxed frame.
        precision
            Of the backend.

        Returns
        -------
        dict
            Structure to Dice against f32, over all golden frames.

        Raises
        ------
        BackendError
            With what is wrong: a class that is missing, NaN, one class everywhere, too little
            overlap, or a precision that the model's own gate refuses.
        """
        manifest = self._manifest
        if precision == "int8" and not may_use(manifest, "onnxruntime", "int8"):
            raise _refused("the model's accuracy gate doesn't allow int8", _CPU)
        made = [infer(frame) for frame in self._frames]
        if not all(np.isfinite(item.confidence).all() for item in made):
            raise _refused("the confidence is NaN", _CPU)
        labels = [item.labels for item in made]
        if any((item == item.flat[0]).all() for item in labels):
            raise _refused("a mask is one class everywhere", _CPU)
        if missing := _missing(manifest, labels):
            raise _refused(f"it draws no {missing}", _CPU)
        figures = _dice(manifest, labels, self._expected)
        worst = min(figures, key=lambda name: figures[name])
        if figures[worst] < LEAST[precision]:
            what = f"{worst}: Dice {figures[worst]:.3f} against f32, {LEAST[precision]} is needed"
            raise _refused(what, _CPU)
        return figures


_CPU = "The CPU engine serves."


def _missing(manifest: Manifest, labels: Sequence[Frame]) -> str:
    """Name the first structure that a frame lacks."""
    for structure in manifest.structures:
        if not all((item == structure.label).any() for item in labels):
            return structure.name
    return ""


def _dice(manifest: Manifest, made: Sequence[Frame], expected: Sequence[Frame]) -> dict[str, float]:
    mine, theirs = np.stack(made), np.stack(expected)
    figures = {}
    for structure in manifest.structures:
        a, b = mine == structure.label, theirs == structure.label
        figures[structure.name] = float(2 * (a & b).sum() / (a.sum() + b.sum()))
    return figures


def _refused(what: str, hint: str) -> BackendError:
    return BackendError("compare with the reference", what, hint)
