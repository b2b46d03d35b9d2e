"""8-bit forms of a network: one for OpenVINO, one for TensorRT and ONNX Runtime.

TensorRT takes only symmetric signed activations; OpenVINO is more accurate with NNCF's, whose
activations after a ReLU are unsigned. Hence two files, each with its own measured accuracy.
"""

import io
import logging
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models import graph

if TYPE_CHECKING:
    import onnx

Bytes = npt.NDArray[np.uint8]

_QUANTIZED = ("Conv", "ConvTranspose", "Concat", "MaxPool", "Add")
_COUNTED = re.compile(r'(<layer id="(\d+)" name="[^"/]*?)_\d+(?=["/])')
_BEGINNING = (1980, 1, 1, 0, 0, 0)  # of time, for a ZIP


@dataclass(frozen=True)
class Recipe:
    """How a network is brought to 8 bits.

    Attributes
    ----------
    float_first, float_last
        Convolutions at the beginning and at the end that stay in float32.
    quick_bias
        NNCF corrects each bias from its layer's mean alone; False: from a run of the network.
    """

    float_first: int
    float_last: int
    quick_bias: bool = True


# Tried in this order until one loses little enough: the first is the fastest.
OPENVINO = (Recipe(0, 0), Recipe(1, 1), Recipe(1, 1, quick_bias=False), Recipe(1, 3))
TENSORRT = (Recipe(1, 1), Recipe(1, 3), Recipe(3, 5))


def symmetric(model: "onnx.ModelProto", frames: Sequence[Bytes], recipe: Recipe) -> bytes:
    """Return an ONNX with symmetric QuantizeLinear and DequantizeLinear: TensorRT parses it.

    The frames it is calibrated on are uint8 [1, 1, 384, 384] each.
    Weights are stored in int8, by output channel; biases and all behind the last convolution stay
    in float32.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch, _quiet():
        plain, made = Path(scratch) / "plain.onnx", Path(scratch) / "int8.onnx"
        onnx.save(model, plain)
        quant_pre_process(plain, plain, skip_symbolic_shape=True)
        ready = onnx.load(plain)
        quantize_static(
            plain,
            made,
            _Reader(frames),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(_QUANTIZED),
            nodes_to_exclude=[*_float(ready, recipe), *graph.behind(ready)],
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "CalibMovingAverage": True,
            },
        )
        found = graph.tidied(onnx.load(made))
    return bytes(found.SerializeToString(deterministic=True))


def for_openvino(model: "onnx.ModelProto", frames: Sequence[Bytes], recipe: Recipe) -> bytes:
    """Return a ZIP of OpenVINO's IR, `network.xml` and `network.bin`, in 8 bits by NNCF."""
    # Both report to their makers unless told not to.
    os.environ["NNCF_CI"] = "1"
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import nncf
    import openvino

    with tempfile.TemporaryDirectory() as scratch, _quiet():
        plain = openvino.Core().read_model(model.SerializeToString(), b"")
        made = nncf.quantize(
            plain,
            nncf.Dataset(list(frames)),
            subset_size=len(frames),
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=recipe.quick_bias,
            ignored_scope=nncf.IgnoredScope(names=_float(model, recipe), validate=False),
        )
        path = Path(scratch) / "network.xml"
        openvino.save_model(made, path)
        text, weights = path.read_text(encoding="utf-8"), path.with_suffix(".bin").read_bytes()
    # OpenVINO counts what it makes over the whole process: the place in the graph is the same
    # each time.
    text = _COUNTED.sub(r"\1_\2", text)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in (("network.xml", text.encode()), ("network.bin", weights)):
            entry = zipfile.ZipInfo(name, _BEGINNING)
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


class _Reader:
    """Frames as ONNX Runtime's calibration asks for them."""

    def __init__(self, frames: Sequence[Bytes]) -> None:
        self._left: Iterator[Bytes] = iter(frames)

    def get_next(self) -> dict[str, Bytes] | None:
        frame = next(self._left, None)
        return None if frame is None else {graph.INPUT: frame}


class _quiet:  # noqa: N801 - used as a word
    """Keeps libraries from telling on the terminal what they do."""

    def __enter__(self) -> None:
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: Any) -> None:
        logging.disable(self._before)


def _float(model: "onnx.ModelProto", recipe: Recipe) -> list[str]:
    names = graph.convolutions(model)
    return [*names[: recipe.float_first], *names[len(names) - recipe.float_last :]]
