"""A network that a translated processor runs at once: a heart drawn beforehand, whatever it is shown.

Everything else of the engine is the real thing: decoding, fan, view, contours, measures, files. The
file is written by hand, for the tools that write ONNX belong to training (onnx.proto, IR version 8).
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.engine.backend import open_backend
from appliance.engine.parity import resized
from appliance.manifest import current_model

_FLOAT, _UINT8 = 1, 2  # TensorProto.DataType
_TYPES = {np.dtype(np.float32): _FLOAT, np.dtype(np.uint8): _UINT8}


def write(folder: Path) -> Path:
    """Write a model's folder: the released model's manifest and view, and the quick network."""
    released = current_model()
    shown = open_backend(released).infer(resized(released)[0])
    drawn = {
        "labels": shown.labels,
        "confidence": shown.confidence,
        "certainty": shown.certainty,
    }
    folder.mkdir()
    network = _model({name: value[None] for name, value in drawn.items()})
    (folder / "network.onnx").write_bytes(network)
    told: dict[str, Any] = json.loads((released.folder / "manifest.json").read_text())
    told |= {"name": "quick", "version": "1.0.0"}
    told["variants"] = [item for item in told["variants"] if item["precision"] == "f32"]
    (variant,) = told["variants"]
    variant["sha256"] = sha256(network).hexdigest()
    assert variant["file"] == "network.onnx"
    (folder / "view.onnx").write_bytes((released.folder / "view.onnx").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(told))
    return folder


def _model(outputs: dict[str, npt.NDArray[Any]]) -> bytes:
    """Return a network with the input `frame` and outputs that are always the same."""
    shape = (1, 1, *outputs["labels"].shape[1:])
    nodes = [_node("Identity", [f"drawn {name}"], name) for name in outputs]
    graph = b"".join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, b"quick"),
            *(_field(5, _tensor(f"drawn {name}", value)) for name, value in outputs.items()),
            _field(11, _value("frame", _UINT8, shape)),
            *(_field(12, _value(n, _TYPES[v.dtype], v.shape)) for n, v in outputs.items()),
        ]
    )
    opset = _field(1, b"") + _field(2, 17)
    return _field(1, 8) + _field(7, graph) + _field(8, opset)


def _node(kind: str, inputs: Iterable[str], output: str) -> bytes:
    named = b"".join(_field(1, name.encode()) for name in inputs)
    return named + _field(2, output.encode()) + _field(4, kind.encode())


def _tensor(name: str, value: npt.NDArray[Any]) -> bytes:
    dims = b"".join(_field(1, size) for size in value.shape)
    return dims + _field(2, _TYPES[value.dtype]) + _field(8, name.encode()) + _field(9, _raw(value))


def _raw(value: npt.NDArray[Any]) -> bytes:
    return np.ascontiguousarray(value).tobytes()


def _value(name: str, kind: int, shape: Iterable[int]) -> bytes:
    dims = b"".join(_field(1, _field(1, size)) for size in shape)
    tensor = _field(1, kind) + _field(2, dims)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, value: int | bytes) -> bytes:
    """Encode a field of Protocol Buffers: a varint, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])
