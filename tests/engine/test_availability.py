"""`echocart engine`: what can run here, why the rest can't, and asking for the GPU again."""

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.ledger import setting
from appliance.manifest import current_model
from tests.box import Box


@pytest.fixture
def box(tmp_path):
    with Box(tmp_path / "box", services=()) as made:
        yield made


def engine(box, *arguments):
    return subprocess.run(
        [Path(sys.executable).with_name("echocart"), "engine", *arguments, "--config", box.config],
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_backend_and_precision_has_a_line_with_a_reason(box):
    done = engine(box, "list")
    assert done.returncode == 0, done.stderr
    lines = [line.split(None, 3) for line in done.stdout.splitlines()]
    model = current_model()
    named = f"{model.name}-{model.version}"
    said = {(line[1], line[2]): line[3] for line in lines if line[0] == named}
    expected = {(b, v.precision) for v in model.variants for b in v.backends}
    assert expected <= set(said)
    assert said["onnxruntime", "f32"] == "yes"
    for (backend, _), text in said.items():
        assert text.startswith(("yes", "no: "))
        if backend == "tensorrt":
            assert "not installed" in text or "driver" in text
    assert any(backend == "tensorrt" for backend, _ in said)


def test_a_plan_cannot_be_built_without_a_gpu_and_the_reason_is_one_line(box):
    done = engine(box, "build")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "build a TensorRT plan" in done.stderr


def test_a_retry_is_written_down_with_who_asked(box):
    assert engine(box, "retry").returncode == 0
    (row,) = setting.history(box.ledger, setting.RETRY)
    assert row["by"]
