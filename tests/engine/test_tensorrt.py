"""The GPU with the CPU behind it: who serves when, with processes that really fail."""

import numpy as np
import pytest

from appliance.config import Engine
from appliance.engine.choice import Choice
from appliance.engine.isolated import Deadlines, Isolated
from appliance.engine.parity import Parity
from appliance.engine.tensorrt import WithCpu, open_gpu, precision_for, with_gpu
from appliance.errors import BackendError
from appliance.ledger import engine_state, setting
from appliance.manifest import Variant
from tests.box import Box
from tests.engine.conftest import Bench
from tests.engine.misbehaving import answer
from tests.phantom import cine_loop

WAIT_S = 120


class Gpus:
    """Starts test backends as the engine starts the GPU's, one `kind` after the other."""

    def __init__(self, model, check=lambda infer: None):
        self.model, self.check, self.kinds, self.asked = model, check, [], {}

    def open(self, said):
        said("the plan is looked at")
        kind = self.kinds.pop(0)
        return Isolated(
            "tests.engine.misbehaving:made",
            {"kind": kind, **self.asked},
            self.model,
            name="tensorrt",
            precision="f16",
            check=self.check,
            deadlines=Deadlines(120.0, 2.0),
        )


@pytest.fixture
def gpus(model):
    return Gpus(model)


@pytest.fixture
def with_kinds(backend, gpus):
    made = []

    def start(*kinds, **asked):
        gpus.kinds, gpus.asked = list(kinds), asked
        made.append(WithCpu(backend, gpus.open))
        return made[-1]

    yield start
    for item in made:
        item.close()


@pytest.fixture
def frame():
    return np.zeros((384, 384), np.uint8)


def test_the_cpu_serves_until_the_gpu_takes_over_between_two_loops(with_kinds, backend, frame):
    both = with_kinds("works")
    assert both.name == backend.name
    both.wait(WAIT_S)
    assert both.name == backend.name, "not within a loop"
    assert both.settle()
    assert (both.name, both.precision) == ("tensorrt", "f16")
    assert np.array_equal(both.infer(frame).labels, answer(frame).labels)
    assert "the GPU serves" in both.state
    assert not both.settle()


def test_after_three_failures_the_loop_is_tried_again_on_the_cpu(with_kinds, backend, frame):
    both = with_kinds("hangs", after=2)
    both.wait(WAIT_S)
    both.settle()
    both.infer(frame)
    with pytest.raises(BackendError) as caught:
        list(both.infer_all([frame] * 9))
    assert caught.value.retry, "the worker takes the loop up again"
    assert both.name == backend.name
    assert both.state.startswith("the CPU serves: it hung")
    assert both.infer(frame).labels.shape == (384, 384)


def test_a_command_brings_it_back(with_kinds, frame):
    both = with_kinds("is killed", "works")
    both.wait(WAIT_S)
    both.settle()
    with pytest.raises(BackendError):
        both.infer(frame)
    assert not both.settle(), "not by itself"
    both.again()
    both.wait(WAIT_S)
    assert both.settle()
    assert both.name == "tensorrt"


def test_a_gpu_that_draws_nothing_never_serves(with_kinds, gpus, model, backend):
    gate = Parity(model)
    gpus.check = lambda infer: gate.check(infer, "f16")
    both = with_kinds("background")
    both.wait(WAIT_S)
    assert not both.settle()
    assert both.name == backend.name
    assert both.state == "the CPU serves: a mask is one class everywhere"


def test_without_tensorrt_auto_is_the_cpu_alone_and_by_name_says_why(model, backend, tmp_path):
    assert with_gpu(model, backend, Engine(), tmp_path) is backend
    both = with_gpu(model, backend, Engine(backend="tensorrt"), tmp_path)
    assert isinstance(both, WithCpu)
    both.wait(WAIT_S)
    assert both.name == backend.name
    assert both.state.startswith("the CPU serves: ")
    both.close()


def test_the_reason_is_one_line(model, tmp_path):
    with pytest.raises(BackendError, match=r"not installed|no NVIDIA driver") as caught:
        open_gpu(model, Engine(backend="tensorrt"), tmp_path, lambda text: None)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_file_for_tensorrt_is_refused(model):
    bare = [v.model_copy(update={"backends": ("onnxruntime",)}) for v in model.variants]
    with pytest.raises(BackendError, match="no file for TensorRT"):
        precision_for(model.model_copy(update={"variants": tuple(bare)}), "auto")


def test_what_serves_and_why_is_in_the_ledger_and_a_retry_is_heard(tmp_path, monkeypatch, model):
    gpus = Gpus(model)
    gpus.kinds = ["refuses", "works"]
    with Box(tmp_path / "box", services=(), extra='[engine]\nbackend = "tensorrt"\n') as box:
        monkeypatch.setattr(
            "appliance.engine.tensorrt.open_gpu", lambda *arguments: gpus.open(arguments[-1])
        )
        choice = Choice(box.ledger, box.settings)
        backend = choice.first().first.backend()
        backend.wait(WAIT_S)
        assert choice.newer() is None
        row = engine_state.get(box.ledger)
        assert row["backend"] == "openvino"
        assert row["detail"] == "the CPU serves: the plan is refused"
        setting.retry_gpu(box.ledger, "anna")
        assert choice.newer() is None
        backend.wait(WAIT_S)
        loaded = choice.newer()
        assert loaded is not None
        assert loaded.first.backend().name == "tensorrt"
        assert engine_state.get(box.ledger)["backend"] == "tensorrt"
        choice.close()


def with_f16(model):
    f16 = Variant(
        file="n.f16.onnx", sha256="1" * 64, precision="f16", backends=("tensorrt",), accuracy=()
    )
    made = model.model_copy(update={"variants": (*model.variants, f16)})
    made._folder = model.folder
    return made


def test_a_loop_whose_gpu_dies_is_analysed_whole_on_the_cpu(
    with_kinds, tmp_path, monkeypatch, backend, model
):
    monkeypatch.setattr("appliance.engine.worker.RETRY_S", 0.05)
    both = with_kinds("is killed", after=4)
    both.wait(WAIT_S)
    both.settle()
    bench = Bench(tmp_path / "state", with_f16(model), both)
    row = bench.analyse(cine_loop(frames=30).write(tmp_path / "a.dcm"))
    bench.ledger.close()
    assert row["state"] == "analysed"
    assert row["analysis"]["engine"] == backend.name
    assert len(row["analysis"]["per_frame"]) == 30
    assert row["analysis"]["measures"]["ef_percent"] is not None
