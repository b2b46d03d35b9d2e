"""What stands behind a network's last layer, as OpenVINO computes it fastest: the same answers.

A released graph says it in the words that every runtime knows: upsampling, softmax, ArgMax, OneHot,
sums over the picture. Run like that by OpenVINO, it takes a fifth of an int8 network's time, for
its tensors are large and their layout changes in between. Here one plane is made for each class
and each place within the upsampling's square, so that all is arithmetic between whole planes;
upsampling shuffles labels, one byte a pixel, instead of logits.

The place in a graph is found by its softmax; a graph that ends in another way is left as it is.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from appliance.engine.backend import Inference

_CELL = 4  # pixels of a certainty cell, each way
_TWICE = 2  # the upsampling known here, each way
# Where a halved pixel lies, linear interpolation takes 3/4 of the near one and 1/4 of the next.
_NEAR, _NEXT = 0.75, 0.25
_PLANES, _SUMS, _CERTAINTY = "planes", "sums", "certainty"


def quicker(network: Any) -> Any | None:
    """Return a network with other outputs, which `read` understands; None for an unknown ending.

    Parameters
    ----------
    network
        openvino.Model with the outputs of the box's interface and a softmax over the classes before
        them. It isn't to be used any more afterwards.
    """
    import openvino
    from openvino import opset8 as op

    logits = _logits(network)
    if logits is None:
        return None
    groups = _groups(op, logits)
    phases = sum(group[0].get_output_shape(0)[0] for group in groups)
    chosen = [_chosen(op, group) for group in groups]
    planes = _joined(op, [op.convert(label, "u8") for _, label in chosen])
    outputs = {
        _PLANES: planes,
        _SUMS: _sums(op, chosen, len(groups[0])),
        _CERTAINTY: _certainty(op, [probability for probability, _ in chosen], phases),
    }
    results = []
    for name, node in outputs.items():
        node.output(0).set_names({name})
        results.append(op.result(node))
    return openvino.Model(results, network.get_parameters(), "quicker")


def read(outputs: Mapping[str, npt.NDArray[Any]]) -> Inference:
    """Make of the outputs of a `quicker` network, by name, what the interface promises."""
    sums = outputs[_SUMS]
    total, pixels = sums[: len(sums) // 2], sums[len(sums) // 2 :]
    return Inference(
        _unshuffled(outputs[_PLANES]), total / np.maximum(pixels, 1), outputs[_CERTAINTY][0].copy()
    )


def agree(one: Inference, other: Inference) -> bool:
    """Tell whether two answers to a frame are the same but for the rounding of sums."""
    differ = np.count_nonzero(one.labels != other.labels)
    apart = np.abs(one.certainty.astype(np.int16) - other.certainty).max()
    return bool(
        differ <= one.labels.size // 1000
        and np.abs(one.confidence - other.confidence).max() <= 0.005
        and apart <= 4
    )


def _logits(network: Any) -> Any | None:
    """What the only softmax of a graph takes, [1, classes, rows, columns]."""
    found = [node for node in network.get_ordered_ops() if node.get_type_name() == "Softmax"]
    if len(found) != 1 or found[0].get_attributes()["axis"] not in (1, -3):
        return None
    source = found[0].input_value(0)
    shape = source.get_partial_shape()
    if shape.is_dynamic or len(shape) != 4 or shape[0].get_length() != 1:
        return None
    sides = (shape[2].get_length(), shape[3].get_length())
    return None if any(side % _CELL for side in sides) else source.get_node()


def _groups(op: Any, logits: Any) -> list[list[Any]]:
    """Logits as planes: of each group one tensor a class, float32 [phases, rows, columns].

    A phase is a place within the square that a pixel becomes: row by row. What isn't upsampled has
    one.
    """
    kind = logits.get_type_name()
    classes = logits.get_output_shape(0)[1]
    if kind == "Interpolate" and _is_bilinear(logits):
        source = logits.input_value(0)
        small = op.reshape(source, _whole(op, source.get_shape()[1:]), special_zero=False)
        return [_split(op, phase, classes) for phase in _upsampled(op, small)]
    if kind == "DepthToSpace" and _is_subpixel(logits):
        source = logits.input_value(0)
        # While the channels are split in the layout of the convolution, no slow reordering comes.
        parts = op.split(source, _whole(op, 1), classes)
        shape = _whole(op, [_TWICE**2, *source.get_shape()[2:]])
        return [[op.reshape(parts.output(i), shape, special_zero=False) for i in range(classes)]]
    shape = _whole(op, logits.get_output_shape(0)[1:])
    return [_split(op, op.reshape(logits, shape, special_zero=False), classes)]


def _is_bilinear(node: Any) -> bool:
    said = node.get_attributes()
    inside, outside = node.get_input_shape(0), node.get_output_shape(0)
    return (
        said["mode"] in ("linear", "linear_onnx")
        and said["coordinate_transformation_mode"] == "half_pixel"
        and not said["antialias"]
        and [_TWICE * side for side in inside[2:]] == list(outside[2:])
        and inside[1] == outside[1]
        and not any((*said["pads_begin"], *said["pads_end"]))
    )


def _is_subpixel(node: Any) -> bool:
    said = node.get_attributes()
    return bool(said["mode"] == "depth_first" and said["block_size"] == _TWICE)


def _upsampled(op: Any, small: Any) -> list[Any]:
    """The four phases of [classes, rows, columns] upsampled twofold, each of the same shape."""
    rows = [_between(op, small, 1, last) for last in (False, True)]
    return [_between(op, half, 2, last) for half in rows for last in (False, True)]


def _between(op: Any, values: Any, axis: int, last: bool) -> Any:
    """A quarter of the way to the next value along an axis, or to the one before; the edge stays."""
    count = values.get_output_shape(0)[axis]

    def cut(start: int, stop: int) -> Any:
        ends = (_whole(op, [start]), _whole(op, [stop]), _whole(op, [1]), _whole(op, [axis]))
        return op.slice(values, *ends)

    moved = (cut(1, count), cut(count - 1, count)) if last else (cut(0, 1), cut(0, count - 1))
    near = op.multiply(values, _number(op, _NEAR))
    return op.add(op.multiply(op.concat(list(moved), axis), _number(op, _NEXT)), near)


def _split(op: Any, values: Any, parts: int) -> list[Any]:
    made = op.split(values, _whole(op, 0), parts)
    shape = _whole(op, [1, *values.get_output_shape(0)[1:]])
    return [op.reshape(made.output(i), shape, special_zero=False) for i in range(parts)]


def _chosen(op: Any, logits: Sequence[Any]) -> tuple[Any, Any]:
    """Probability of the winning class and its number, float32 both; the first of equals wins."""
    most = reduce(op.maximum, logits)
    total = reduce(op.add, [op.exp(op.subtract(one, most)) for one in logits])
    label = _number(op, len(logits) - 1)
    for number in reversed(range(len(logits) - 1)):
        label = op.select(op.equal(logits[number], most), _number(op, number), label)
    return op.divide(_number(op, 1), total), label


def _sums(op: Any, chosen: Sequence[tuple[Any, Any]], classes: int) -> Any:
    """float32 [2 * classes]: the sum of each class's probabilities, then the number of its pixels."""
    zero, one = _number(op, 0), _number(op, 1)
    planes = []
    for counted in (False, True):
        for number in range(classes):
            value = _number(op, number)
            own = [
                op.select(op.equal(label, value), one if counted else probability, zero)
                for probability, label in chosen
            ]
            planes.append(reduce(op.add, own))
    count = int(np.prod(planes[0].get_output_shape(0)))
    flat = op.reshape(_joined(op, planes), _whole(op, [len(planes), count]), special_zero=False)
    return op.reduce_sum(flat, _whole(op, 1), False)


def _certainty(op: Any, probabilities: Sequence[Any], phases: int) -> Any:
    """uint8 [1, rows/4, columns/4]: the winning probability over a cell, times 255."""
    summed = reduce(op.add, probabilities)
    if summed.get_output_shape(0)[0] > 1:
        summed = op.reduce_sum(summed, _whole(op, 0), True)
    rows, columns = summed.get_output_shape(0)[1:]
    cell = _CELL if phases == 1 else _CELL // _TWICE
    plane = op.reshape(summed, _whole(op, [1, 1, rows, columns]), special_zero=False)
    mean = op.avg_pool(plane, [cell, cell], [0, 0], [0, 0], [cell, cell], True)
    scaled = op.multiply(mean, _number(op, 255 / phases))
    return op.convert(op.squeeze(scaled, _whole(op, 1)), "u8")


def _joined(op: Any, planes: list[Any]) -> Any:
    return planes[0] if len(planes) == 1 else op.concat(planes, 0)


def _unshuffled(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A label map of its phases, uint8 [phases, rows, columns]; it owns its memory."""
    phases, rows, columns = planes.shape
    if phases == 1:
        return np.array(planes[0])
    made = np.empty((rows, _TWICE, columns * _TWICE), np.uint8)
    for row in range(_TWICE):
        pair = [planes[_TWICE * row + column] for column in range(_TWICE)]
        made[:, row] = cv2.merge(pair).reshape(rows, -1)
    return made.reshape(rows * _TWICE, -1)


def _number(op: Any, value: float) -> Any:
    return op.constant(np.float32(value))


def _whole(op: Any, value: Any) -> Any:
    return op.constant(np.asarray(list(value) if np.ndim(value) else value, np.int64))
