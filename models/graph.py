"""ONNX graphs of the box's interface: the `certainty` output, and precision as the file states it.

What TensorRT, OpenVINO and ONNX Runtime compute in is written into the graph (strongly typed):
normalisation at the beginning and the outputs' arithmetic at the end stay in float32, where sums
over 147456 pixels have room.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from appliance.errors import ManifestError

if TYPE_CHECKING:
    import onnx

BLOCK = 4  # pixels of a certainty cell, each way: contours are drawn dashed by the cell
INPUT, OUTPUTS = "frame", ("labels", "confidence", "certainty")

_CERTAINTY = "certainty"
_HALF = ".f16"  # ends the name of what is stored or computed in float16
_SMALL = 16  # values; fewer are not worth a Cast
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_FULL = frozenset({1, 6, 7, 9, 11})  # TensorProto's float32, int32, int64, bool, float64


def load(path: Path) -> "onnx.ModelProto":
    """Read a graph with its weights in float32, however they are stored.

    Raises
    ------
    ManifestError
        When the file can't be read or is no ONNX.
    """
    import onnx

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except OSError as error:
        what = f"{path} can't be read: {error.strerror}"
        raise ManifestError("read a network", what, "Name a .pt checkpoint or an .onnx.") from error
    # protobuf's and the checker's errors have no common base of their own.
    except Exception as error:
        hint = "Name a .pt checkpoint or an .onnx that holds a network."
        raise ManifestError("read a network", f"{path} is no ONNX", hint) from error
    return unpacked(model)


def add_certainty(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Add the `certainty` output to a graph that ends in a softmax over the classes.

    Parameters
    ----------
    model
        ONNX model whose winning probability is a ReduceMax of its only Softmax and reaches an
        Unsqueeze to float32 [1, 1, rows, columns].

    Returns
    -------
    onnx.ModelProto
        A checked copy with `certainty`, uint8 [1, rows/4, columns/4]: the winning probability
        averaged over blocks of 4x4 pixels, times 255. No node that the other outputs depend on
        is touched, so that they stay the same to the bit.

    Raises
    ------
    ManifestError
        When the graph has no such tensor, or the result isn't valid ONNX.
    """
    import onnx
    from onnx import TensorProto, helper

    made = _copy(model)
    winning = _winning_probability(made)
    block = [BLOCK, BLOCK]
    pool = helper.make_node(
        "AveragePool", [winning], ["certainty_mean"], kernel_shape=block, strides=block
    )
    made.graph.initializer.extend(
        [
            helper.make_tensor("certainty_scale", TensorProto.FLOAT, [], [255.0]),
            helper.make_tensor("certainty_axes", TensorProto.INT64, [1], [1]),
        ]
    )
    made.graph.node.extend(
        [
            pool,
            helper.make_node("Mul", ["certainty_mean", "certainty_scale"], ["certainty_255"]),
            helper.make_node("Squeeze", ["certainty_255", "certainty_axes"], ["certainty_map"]),
            helper.make_node("Cast", ["certainty_map"], [_CERTAINTY], to=TensorProto.UINT8),
        ]
    )
    rows, columns = (_input_side(made, axis) // BLOCK for axis in (2, 3))
    made.graph.output.append(
        helper.make_tensor_value_info(_CERTAINTY, TensorProto.UINT8, [1, rows, columns])
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def complete(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return the graph with every output of the box's interface.

    Raises
    ------
    ManifestError
        When it hasn't the interface and can't be brought to it.
    """
    outputs = {item.name for item in model.graph.output}
    inputs = [item.name for item in model.graph.input]
    if inputs != [INPUT] or not {"labels", "confidence"} <= outputs <= set(OUTPUTS):
        raise ManifestError(
            "read a network",
            f"the graph's input is {', '.join(inputs)}, its outputs {', '.join(sorted(outputs))}",
            f"An ONNX of the box has the input {INPUT} and the outputs {', '.join(OUTPUTS)}.",
        )
    lower = {item.data_type for item in model.graph.initializer} - _FULL
    if lower or any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        what = "the graph computes in less than float32"
        raise ManifestError("read a network", what, "Name the network.onnx of the same release.")
    return model if _CERTAINTY in outputs else add_certainty(model)


def tidied(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a copy without notes of where and how it was made: only what computes, and metadata."""
    made = _copy(model)
    made.doc_string = made.graph.doc_string = ""
    for node in made.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del made.graph.value_info[:]
    return made


def packed(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a copy that computes in float32 of weights stored in float16: half the size.

    `unpacked` undoes it but for the rounding.
    """
    from onnx import TensorProto, helper, numpy_helper

    made = _copy(model)
    casts = []
    for item in made.graph.initializer:
        if item.data_type == TensorProto.FLOAT and np.prod(item.dims) >= _SMALL:
            name = item.name
            array = numpy_helper.to_array(item).astype(np.float16)
            item.CopyFrom(numpy_helper.from_array(array, name + _HALF))
            casts.append(
                helper.make_node("Cast", [name + _HALF], [name], name, to=TensorProto.FLOAT)
            )
    _replace_nodes(made, [*casts, *made.graph.node])
    return made


def unpacked(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return the graph with every weight that `packed` stored in float16 in float32 again."""
    from onnx import numpy_helper

    stored = {item.name: item for item in model.graph.initializer if item.name.endswith(_HALF)}
    casts = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Cast" and node.input[0] in stored
    }
    if not casts:
        return model
    made = _copy(model)
    _replace_nodes(made, [node for node in made.graph.node if node.output[0] not in casts])
    values = {item.name: item for item in made.graph.initializer}
    for name, half in casts.items():
        array = numpy_helper.to_array(values[half]).astype(np.float32)
        values[half].CopyFrom(numpy_helper.from_array(array, name))
    return made


def half(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a copy that computes in float16 from the frame to the last convolution.

    Parameters
    ----------
    model
        float32, weights in initialisers; `frame` comes in by a Cast.

    Notes
    -----
    Softmax, the mean over each class and what else follows the last convolution stay in float32:
    a sum over a class's pixels would overflow 65504.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    made = _copy(model)
    body, out = _body(made)
    inside = [node for node in made.graph.node if node.output[0] in body]
    # A constant inside may be one of the outputs' arithmetic too: it gets a name of its own.
    shared = {name for node in made.graph.node if node not in inside for name in node.input}
    values = {
        item.name: item for item in made.graph.initializer if item.data_type == TensorProto.FLOAT
    }
    done: set[str] = set()
    for node in inside:
        for place, name in enumerate(node.input):
            if name not in values or _keeps_float(node, place):
                continue
            item = values[name]
            node.input[place] = name + _HALF
            if name in done:
                continue
            done.add(name)
            array = numpy_helper.to_array(item).astype(np.float16)
            if name in shared:
                made.graph.initializer.append(numpy_helper.from_array(array, name + _HALF))
            else:
                item.CopyFrom(numpy_helper.from_array(array, name + _HALF))
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    for node in inside:
        for place, name in enumerate(node.output):
            node.output[place] = name + _HALF if name == out else name
    back = helper.make_node("Cast", [out + _HALF], [out], "float32 again", to=TensorProto.FLOAT)
    nodes = list(made.graph.node)
    last = next(i for i, node in enumerate(nodes) if out + _HALF in node.output)
    _replace_nodes(made, [*nodes[: last + 1], back, *nodes[last + 1 :]])
    onnx.checker.check_model(made, full_check=True)
    return made


def constants_as_initialisers(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a copy whose constants are initialisers, each used directly: one place to look."""
    made = _copy(model)
    kept = []
    same: dict[str, str] = {}  # what an Identity made of an initialiser
    values = {item.name for item in made.graph.initializer}
    for node in made.graph.node:
        tensors = [item.t for item in node.attribute if item.name == "value"]
        if node.op_type == "Constant" and tensors:
            made.graph.initializer.append(tensors[0])
            made.graph.initializer[-1].name = node.output[0]
        elif node.op_type == "Identity" and node.input[0] in values:
            same[node.output[0]] = node.input[0]
        else:
            for place, name in enumerate(node.input):
                node.input[place] = same.get(name, name)
            kept.append(node)
    _replace_nodes(made, kept)
    return made


def convolutions(model: "onnx.ModelProto") -> list[str]:
    """Names of the convolutions in the order of the graph."""
    return [node.name for node in model.graph.node if node.op_type in _CONVOLUTIONS]


def behind(model: "onnx.ModelProto") -> list[str]:
    """Names of the nodes that the last convolution doesn't depend on: the outputs' arithmetic."""
    body, _ = _body(model)
    return [node.name for node in model.graph.node if node.output[0] not in body]


def _body(model: "onnx.ModelProto") -> tuple[set[str], str]:
    """Names of what the last convolution depends on, itself included, and of its output."""
    makers = {name: node for node in model.graph.node for name in node.output}
    last = [node for node in model.graph.node if node.op_type in _CONVOLUTIONS][-1]
    found: set[str] = set()
    todo = [last.output[0]]
    while todo:
        name = todo.pop()
        if name in makers and name not in found:
            found.add(name)
            todo += makers[name].input
    return found, last.output[0]


def _keeps_float(node: "onnx.NodeProto", place: int) -> bool:
    """Tell whether an input is float32 by the operator's definition, whatever the data's type."""
    return bool(node.op_type == "Resize" and place > 0)


def _winning_probability(model: "onnx.ModelProto") -> str:
    """Name of the float32 [1, 1, rows, columns] tensor of winning probabilities."""
    softmax = {
        name for node in model.graph.node if node.op_type == "Softmax" for name in node.output
    }
    winning = {
        name
        for node in model.graph.node
        if node.op_type == "ReduceMax" and node.input[0] in softmax
        for name in node.output
    }
    found = [
        str(node.output[0])
        for node in model.graph.node
        if node.op_type == "Unsqueeze" and node.input[0] in winning
    ]
    if len(softmax) != 1 or len(found) != 1 or _CERTAINTY in {o.name for o in model.graph.output}:
        raise ManifestError(
            "add the certainty output",
            "the graph isn't one softmax whose winning probability is unsqueezed once",
            "Export the network with its `labels` and `confidence` outputs alone.",
        )
    return found[0]


def _input_side(model: "onnx.ModelProto", axis: int) -> int:
    return int(model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value)


def _copy(model: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def _replace_nodes(model: "onnx.ModelProto", nodes: "list[onnx.NodeProto]") -> None:
    import onnx

    kept = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        kept.append(copy)
    del model.graph.node[:]
    model.graph.node.extend(kept)
