"""A model of the box's interface, made here: ONNX is protobuf, and little of it is needed."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from appliance.manifest import current_model

FLOAT, UINT8, INT64 = 1, 2, 7  # TensorProto.DataType
_TYPES = {np.dtype("float32"): FLOAT, np.dtype("uint8"): UINT8, np.dtype("int64"): INT64}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | float | str | bytes) -> bytes:
    """One field of a protobuf message, of the wire type that its value has."""
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _tensor(name: str, array: np.ndarray) -> bytes:
    dims = b"".join(_field(1, size) for size in array.shape)
    return dims + _field(2, _TYPES[array.dtype]) + _field(8, name) + _field(9, array.tobytes())


def _value(name: str, kind: int, shape: list[int | str]) -> bytes:
    dims = b"".join(
        _field(1, _field(2, size) if isinstance(size, str) else _field(1, size)) for size in shape
    )
    tensor = _field(1, kind) + _field(2, dims)
    return _field(1, name) + _field(2, _field(1, tensor))


def _attribute(name: str, value: int | list[int] | str) -> bytes:
    if isinstance(value, str):
        return _field(1, name) + _field(4, value) + _field(20, 3)
    if isinstance(value, list):
        return _field(1, name) + b"".join(_field(8, item) for item in value) + _field(20, 7)
    return _field(1, name) + _field(3, value) + _field(20, 2)


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> bytes:
    made = b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(4, kind)
    return made + b"".join(_field(5, _attribute(*item)) for item in attributes.items())


def _model(
    nodes: list[bytes],
    constants: dict[str, np.ndarray],
    inputs: list[bytes],
    outputs: list[bytes],
) -> bytes:
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, "tiny")
    graph += b"".join(_field(5, _tensor(*item)) for item in constants.items())
    graph += b"".join(_field(11, each) for each in inputs)
    graph += b"".join(_field(12, each) for each in outputs)
    opset = _field(1, "") + _field(2, 13)
    return _field(1, 8) + _field(7, graph) + _field(8, opset)


HARMS = ("empties", "crashes", "fails", "slow")
GLARING = 60.0  # mean of a frame above which a harmful network does its harm: no golden frame is so


def bright_network(threshold: float, harm: str = "") -> bytes:
    """Return a network that gives label 5 to whatever is bright over 33 pixels around.

    Parameters
    ----------
    threshold
        What counts as bright.
    harm
        One of `HARMS`: on frames brighter than `GLARING` it draws nothing, ends its process (the
        least integer divided by -1), or can't be computed (an integer divided by 0). "slow" is
        slow on any frame.
    """
    harmful = _HARM[harm](harm)
    nodes = [
        _node("Cast", ["frame"], "grey", to=FLOAT),
        _node("AveragePool", ["grey"], "down", kernel_shape=[33, 1], pads=[16, 0, 16, 0]),
        _node("AveragePool", ["down"], "smooth", kernel_shape=[1, 33], pads=[0, 16, 0, 16]),
        _node("ReduceMean", ["grey"], "mean", keepdims=0),
        _node("Greater", ["mean", "glaring"], "glares"),
        *harmful,
        _node("Greater", ["smooth", "harmed"], "bright"),
        _node("Where", ["bright", "five", "none"], "chosen"),
        _node("Squeeze", ["chosen", "axis"], "labels"),
        _node("Identity", ["sure"], "confidence"),
        _node("Identity", ["certain"], "certainty"),
    ]
    constants = {
        "threshold": np.array(threshold, np.float32),
        "glaring": np.array(GLARING, np.float32),
        "beyond": np.array(1000, np.float32),
        "naught": np.array(0, np.float32),
        "one": np.array(1, np.int64),
        "minus": np.array(-1, np.int64),
        "zero": np.array(0, np.int64),
        "least": np.array(-(2**63), np.int64),
        "five": np.array([5], np.uint8),
        "none": np.array([0], np.uint8),
        "axis": np.array([1], np.int64),
        "sure": np.full((1, 2), 0.9, np.float32),
        "certain": np.full((1, 96, 96), 200, np.uint8),
    }
    outputs = [
        _value("labels", UINT8, [1, 384, 384]),
        _value("confidence", FLOAT, [1, 2]),
        _value("certainty", UINT8, [1, 96, 96]),
    ]
    written = b"".join(nodes)
    used = {name: array for name, array in constants.items() if name.encode() in written}
    return _model(nodes, used, [_value("frame", UINT8, [1, 1, 384, 384])], outputs)


def _none(_harm: str) -> list[bytes]:
    return [_node("Identity", ["threshold"], "harmed")]


def _empties(_harm: str) -> list[bytes]:
    return [_node("Where", ["glares", "beyond", "threshold"], "harmed")]


def _divides(harm: str) -> list[bytes]:
    by = "minus" if harm == "crashes" else "zero"
    return [
        _node("Where", ["glares", by, "one"], "divisor"),
        _node("Div", ["least", "divisor"], "quotient"),
        _node("Cast", ["quotient"], "ratio", to=FLOAT),
        _node("Mul", ["ratio", "naught"], "nothing"),
        _node("Add", ["threshold", "nothing"], "harmed"),
    ]


def _dawdles(_harm: str) -> list[bytes]:
    return [
        _node("AveragePool", ["grey"], "smoother", kernel_shape=[33, 33], pads=[16, 16, 16, 16]),
        _node("ReduceMean", ["smoother"], "level", keepdims=0),
        _node("Mul", ["level", "naught"], "nothing"),
        _node("Add", ["threshold", "nothing"], "harmed"),
    ]


_HARM = {"": _none, "empties": _empties, "crashes": _divides, "fails": _divides, "slow": _dawdles}


def view_network(probabilities: list[float]) -> bytes:
    """Return a view network that says the same of every frame."""
    nodes = [
        _node("Cast", ["frames"], "grey", to=FLOAT),
        _node("ReduceMean", ["grey"], "mean", axes=[1, 2, 3], keepdims=0),
        _node("Mul", ["mean", "zero"], "distance"),
        _node("Unsqueeze", ["distance", "axis"], "column"),
        _node("Add", ["column", "said"], "view"),
    ]
    constants = {
        "zero": np.array([0], np.float32),
        "axis": np.array([1], np.int64),
        "said": np.array([probabilities], np.float32),
    }
    outputs = [_value("view", FLOAT, ["n", len(probabilities)]), _value("distance", FLOAT, ["n"])]
    return _model(nodes, constants, [_value("frames", UINT8, ["n", 1, 96, 96])], outputs)


def write(
    folder: Path,
    name: str = "bright",
    *,
    threshold: float = 40.0,
    sure: float = 0.9,
    version: str = "1.0.0",
    harm: str = "",
) -> Path:
    """Write a model that draws one structure in a view of its own, "PSAX"; return its folder."""
    folder.mkdir(parents=True)
    files = {
        "network.onnx": bright_network(threshold, harm),
        "view.onnx": view_network([sure, 1 - sure]),
    }
    for file, data in files.items():
        (folder / file).write_bytes(data)
    digest = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    like = current_model().model_dump(mode="json")
    structure = {
        "name": "Bright tissue",
        "label": 5,
        "colour": "#00FF7F",
        "code": "85756007",
        "meaning": "Body tissue structure",
    }
    manifest = {
        **like,
        "name": name,
        "version": version,
        "structures": [structure],
        "outputs": [
            {"name": "labels", "type": "uint8", "shape": [1, 384, 384]},
            {"name": "confidence", "type": "float32", "shape": [1, 2]},
            {"name": "certainty", "type": "uint8", "shape": [1, 96, 96]},
        ],
        "variants": [
            {
                "file": "network.onnx",
                "sha256": digest["network.onnx"],
                "precision": "f32",
                "backends": ["openvino", "onnxruntime"],
                "accuracy": [],
            }
        ],
        "gates": {"views": ["PSAX"], "min_frames": 8, "precision_loss": 0.5},
        "view": {
            "file": "view.onnx",
            "sha256": digest["view.onnx"],
            "views": ["PSAX", "other"],
            "limit_apical": 0.7,
            "limit_distance": 10.0,
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
