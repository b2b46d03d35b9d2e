"""The gate that a GPU passes before it serves: the reference on the golden frames."""

import numpy as np
import pytest

from appliance.config import Engine
from appliance.engine.backend import Inference, open_backend
from appliance.engine.parity import Parity, golden_frames, resized
from appliance.errors import BackendError


@pytest.fixture(scope="module")
def gate(model):
    return Parity(model)


@pytest.fixture(scope="module")
def reference(model):
    return open_backend(model, Engine(backend="onnxruntime", precision="f32"))


def spoilt(reference, change):
    """The reference with its answer changed."""

    def infer(frame):
        good = reference.infer(frame)
        labels, confidence = good.labels.copy(), good.confidence.copy()
        return Inference(*(change(labels, confidence) or (labels, confidence)), good.certainty)

    return infer


def test_every_golden_frame_shows_every_structure(model, reference):
    assert len(golden_frames()) >= 3
    for frame in resized(model):
        assert frame.shape == (model.input.rows, model.input.columns)
        found = set(np.unique(reference.infer(frame).labels))
        assert found == {0, *model.labels}


def test_the_box_own_engine_passes(model, gate, backend):
    figures = gate.check(backend.infer, "f16")
    assert set(figures) == {structure.name for structure in model.structures}
    assert min(figures.values()) >= 0.99


def erase(value):
    def change(labels, confidence):
        labels[labels == value] = 0

    return change


def nan(labels, confidence):
    confidence[1] = np.nan


def constant(labels, confidence):
    labels[:] = 0


def shifted(labels, confidence):
    return np.roll(labels, 4, axis=0), confidence


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (erase(3), "draws no Left atrium"),
        (erase(1), "draws no Left ventricle"),
        (nan, "NaN"),
        (constant, "one class everywhere"),
        (shifted, "Dice 0."),
    ],
)
def test_what_is_wrong_is_refused_with_the_reason(gate, reference, change, why):
    with pytest.raises(BackendError, match=why):
        gate.check(spoilt(reference, change), "f16")


def test_int8_needs_the_models_own_gate_too(model, reference):
    others = tuple(variant for variant in model.variants if variant.precision != "int8")
    without = model.model_copy(update={"variants": others})
    without._folder = model.folder
    with pytest.raises(BackendError, match="doesn't allow int8"):
        Parity(without).check(reference.infer, "int8")


def test_frames_that_say_nothing_about_a_model_let_nothing_pass(model):
    unseen = model.structures[0].model_copy(update={"name": "Right ventricle", "label": 9})
    other = model.model_copy(update={"structures": (*model.structures, unseen)})
    other._folder = model.folder
    with pytest.raises(BackendError, match="draws no Right ventricle"):
        Parity(other)
