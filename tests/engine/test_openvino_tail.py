import sys

import numpy as np
import pytest

from appliance.config import Engine
from appliance.engine import openvino_tail
from appliance.engine.backend import Inference, open_backend, shaped
from appliance.engine.openvino import OpenVino
from appliance.engine.parity import resized
from appliance.manifest import load_manifest
from tests.box import REPOSITORY

ROWS, COLUMNS, CLASSES = 16, 24, 5


@pytest.fixture(scope="module")
def openvino():
    sys.modules.setdefault("openvino_telemetry", None)
    return pytest.importorskip("openvino")


def graph(openvino, ending):
    """The box's interface behind one layer of random weights, as an export words it."""
    from openvino import opset8 as op
    from openvino import opset11

    numbers = np.random.default_rng(3)
    frame = op.parameter([1, 1, ROWS, COLUMNS], np.uint8, name="frame")
    frame.output(0).set_names({"frame"})
    value = op.divide(op.convert(frame, "f32"), op.constant(np.float32(60)))
    halves = 1 if ending == "whole" else 2
    if halves == 2:
        value = op.space_to_depth(value, "depth_first", 2)
    outside = CLASSES * (4 if ending == "subpixel" else 1)
    weights = numbers.normal(size=(outside, halves**2, 3, 3)).astype(np.float32)
    weights -= weights.mean((1, 2, 3), keepdims=True)  # else the brightest class wins everywhere
    value = op.convolution(value, op.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1])
    if ending == "subpixel":
        value = op.depth_to_space(value, "depth_first", 2)
    elif ending != "whole":
        sizes, axes = (op.constant(np.array(each, np.int64)) for each in ([ROWS, COLUMNS], [2, 3]))
        mode, where = ("nearest", "asymmetric") if ending == "nearest" else ("linear_onnx", ending)
        value = opset11.interpolate(
            value, sizes, mode, "sizes", coordinate_transformation_mode=where, axes=axes
        )
    return interface(openvino, op, frame, op.softmax(value, 1))


def interface(openvino, op, frame, said):
    one, both = op.constant(np.int64([1])), op.constant(np.int64([2, 3]))
    winning = op.reduce_max(said, one, True)
    best = op.topk(said, op.constant(np.int64(1)), 1, "max", "value").output(1)
    numbers = op.constant(np.arange(CLASSES, dtype=np.int32).reshape(1, -1, 1, 1))
    hot = op.convert(op.equal(numbers, best), "f32")
    pixels = op.maximum(op.reduce_sum(hot, both, False), op.constant(np.float32(1)))
    outputs = {
        "labels": op.squeeze(op.convert(best, "u8"), one),
        "confidence": op.divide(op.reduce_sum(op.multiply(hot, winning), both, False), pixels),
        "certainty": op.squeeze(
            op.convert(
                op.multiply(
                    op.avg_pool(winning, [4, 4], [0, 0], [0, 0], [4, 4], True),
                    op.constant(np.float32(255)),
                ),
                "u8",
            ),
            one,
        ),
    }
    for name, node in outputs.items():
        node.output(0).set_names({name})
    return openvino.Model([op.result(node) for node in outputs.values()], [frame], "plain")


def answers(openvino, network, frames):
    compiled = openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    for frame in frames:
        made = request.infer({"frame": frame[None, None]})
        yield {key.get_any_name(): np.array(value) for key, value in made.items()}


@pytest.mark.parametrize("ending", ["whole", "subpixel", "half_pixel"])
def test_a_known_ending_made_quicker_answers_the_same(openvino, ending):
    frames = np.random.default_rng(5).integers(0, 256, (8, ROWS, COLUMNS), np.uint8)
    quick = openvino_tail.quicker(graph(openvino, ending))
    pairs = zip(
        answers(openvino, graph(openvino, ending), frames),
        answers(openvino, quick, frames),
        strict=True,
    )
    seen = set()
    for plain, made in pairs:
        expected, found = shaped(plain), openvino_tail.read(made)
        seen |= set(np.unique(expected.labels))
        assert np.array_equal(found.labels, expected.labels)
        assert np.allclose(found.confidence, expected.confidence, atol=1e-4)
        assert np.abs(found.certainty.astype(int) - expected.certainty).max() <= 1
    assert seen == set(range(CLASSES)), "equality of few classes means little"


@pytest.mark.parametrize("ending", ["nearest", "align_corners"])
def test_upsampling_of_another_kind_is_left_to_openvino(openvino, ending):
    frames = np.random.default_rng(5).integers(0, 256, (4, ROWS, COLUMNS), np.uint8)
    plain = answers(openvino, graph(openvino, ending), frames)
    made = answers(openvino, openvino_tail.quicker(graph(openvino, ending)), frames)
    for one, other in zip(plain, made, strict=True):
        assert openvino_tail.agree(shaped(one), openvino_tail.read(other))


def test_a_graph_without_a_softmax_is_left_as_it_is(openvino):
    from openvino import opset8 as op

    frame = op.parameter([1, 1, 8, 8], np.uint8)
    assert openvino_tail.quicker(openvino.Model([op.result(op.relu(frame))], [frame], "x")) is None


def answer(labels, confidence=0.9, certainty=200):
    return Inference(
        labels, np.full(4, confidence, np.float32), np.full((96, 96), certainty, np.uint8)
    )


def test_answers_that_differ_by_more_than_rounding_dont_agree():
    labels = np.zeros((384, 384), np.uint8)
    other = labels.copy()
    other[:20, :20] = 1
    assert openvino_tail.agree(answer(labels), answer(labels, 0.9003, 201))
    assert not openvino_tail.agree(answer(labels), answer(other))
    assert not openvino_tail.agree(answer(labels), answer(labels, 0.8))
    assert not openvino_tail.agree(answer(labels), answer(labels, certainty=210))


@pytest.mark.parametrize("name", ["first-network-1.0.0", "frame-1.0.0"])
def test_released_networks_run_with_a_quicker_ending_and_answer_as_their_file(
    openvino, name, monkeypatch
):
    manifest = load_manifest(REPOSITORY / "models" / "released" / name)
    made = OpenVino(manifest, "auto", 2)
    assert made._read is openvino_tail.read
    monkeypatch.setattr(openvino_tail, "quicker", lambda network: None)
    plain = OpenVino(manifest, "auto", 2)
    assert plain._read is shaped
    for frame in resized(manifest):
        assert openvino_tail.agree(plain.infer(frame), made.infer(frame))


def test_an_ending_that_answers_otherwise_is_not_used(openvino, monkeypatch, model, caplog):
    monkeypatch.setattr(openvino_tail, "agree", lambda *_: False)
    with caplog.at_level("INFO"):
        made = open_backend(model, Engine(backend="openvino"))
    assert made._read is shaped
    assert "answers otherwise" in caplog.text
