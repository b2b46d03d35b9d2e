"""Bring a network to the box's interface: add the `certainty` output to its ONNX.

    python -m models.export IN.onnx OUT.onnx

The input graph gives `labels` and `confidence` from a softmax; the output graph gives the very
same two and `certainty`, uint8 [1, 96, 96]: the winning probability averaged over blocks of
4x4 pixels, times 255. Needs the `onnx` package of the [train] extra; the box never does.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import ManifestError

if TYPE_CHECKING:
    import onnx

BLOCK = 4  # pixels of a certainty cell, each way: contours are drawn dashed by the cell
_OUTPUT = "certainty"


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
        A checked copy. No node that the other outputs depend on is touched, so that they stay
        the same to the bit.

    Raises
    ------
    ManifestError
        When the graph has no such tensor, or the result isn't valid ONNX.
    """
    import onnx
    from onnx import TensorProto, helper

    made = onnx.ModelProto()
    made.CopyFrom(model)
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
            helper.make_node("Cast", ["certainty_map"], [_OUTPUT], to=TensorProto.UINT8),
        ]
    )
    rows, columns = (_input_side(made, axis) // BLOCK for axis in (2, 3))
    made.graph.output.append(
        helper.make_tensor_value_info(_OUTPUT, TensorProto.UINT8, [1, rows, columns])
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    if len(arguments) != 2:
        print("usage: python -m models.export IN.onnx OUT.onnx", file=sys.stderr)
        return 2
    source, target = map(Path, arguments)
    try:
        import onnx
    except ImportError:
        print(
            "models.export needs the onnx package: pip install 'echocart[train]'", file=sys.stderr
        )
        return 1
    try:
        target.write_bytes(add_certainty(onnx.load(source)).SerializeToString(deterministic=True))
    except (ManifestError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{target}: {target.stat().st_size} bytes")
    return 0


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
    if len(softmax) != 1 or len(found) != 1 or _OUTPUT in {out.name for out in model.graph.output}:
        raise ManifestError(
            "add the certainty output",
            "the graph isn't one softmax whose winning probability is unsqueezed once",
            "Export the network with its `labels` and `confidence` outputs alone.",
        )
    return found[0]


def _input_side(model: "onnx.ModelProto", axis: int) -> int:
    return int(model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
