"""The box's plan builder with a real parser and builder, for every released file, without a GPU.

TensorRT for RTX has TensorRT's API and builds for a GPU that isn't there; it has no Jetson (SM 87).
"""

import json
import os
from pathlib import Path

import pytest

from appliance.engine import tensorrt_build
from appliance.engine.tensorrt_build import Limits, build_plan
from appliance.engine.tensorrt_plan import Key, read_plan
from appliance.errors import BackendError
from appliance.manifest import current_model, load_manifest, released_dir

pytestmark = pytest.mark.models

# TensorRT for RTX under TensorRT's name, with the one thing it asks for beyond: a target.
AS_TENSORRT = """
import os
from tensorrt_rtx_bindings import *
from tensorrt_rtx_bindings import __version__
import tensorrt_rtx_bindings as rtx

class Builder(rtx.Builder):
    def create_builder_config(self):
        config = super().create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(rtx.ComputeCapability, os.environ["TARGET"]), 0)
        return config
"""
TARGETS = ["SM80", "SM86", "SM89", "SM120"]


def released():
    """Every ONNX that a released model gives to TensorRT."""
    found = []
    for path in sorted(released_dir().glob("*/manifest.json")):
        manifest = load_manifest(path.parent)
        for variant in manifest.variants:
            if "tensorrt" in variant.backends:
                found.append(manifest.folder / variant.file)
    return found


@pytest.fixture(scope="session")
def made_f16(tmp_path_factory):
    """The current network as a release for TensorRT has it, whether or not it is one."""
    from models import graph
    from models.export import read

    path = tmp_path_factory.mktemp("f16") / "network.f16.onnx"
    network = read(current_model().folder / "network.onnx")
    path.write_bytes(graph.half(network).SerializeToString())
    return path


@pytest.fixture
def target(tmp_path, monkeypatch):
    pytest.importorskip(
        "tensorrt_rtx_bindings",
        reason="TensorRT for RTX isn't installed: pip install 'echocart[test-models]'",
    )
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim" / "tensorrt.py").write_text(AS_TENSORRT)
    paths = [str(tmp_path / "shim"), str(Path.cwd())]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return lambda name: monkeypatch.setenv("TARGET", name)


def build(tmp_path, onnx, **limits):
    said = []
    plan = tmp_path / "plans" / "a.plan"
    key = {"onnx": onnx.name}
    build_plan(onnx, plan, key, 512, limits=Limits(**limits), said=said.append)
    return read_plan(plan, Key(key)), said


@pytest.mark.parametrize("name", TARGETS)
def test_a_plan_comes_out_for_each_gpu(made_f16, target, tmp_path, name):
    target(name)
    plan, said = build(tmp_path, made_f16)
    assert len(plan) > 1_000_000
    assert said[-1].startswith("built in")
    assert not list((tmp_path / "plans").glob(".partial-*"))


@pytest.mark.parametrize("name", TARGETS)
def test_a_plan_comes_out_of_each_released_file(target, tmp_path, name):
    target(name)
    for onnx in released():
        plan, _ = build(tmp_path, onnx)
        assert len(plan) > 500_000, onnx


def test_float32_builds_too(target, tmp_path):
    from models import graph
    from models.export import read

    target("SM86")
    onnx = tmp_path / "network.onnx"
    onnx.write_bytes(read(current_model().folder / "network.onnx").SerializeToString())
    plan, _ = build(tmp_path, onnx)
    half = tmp_path / "half.onnx"
    half.write_bytes(graph.half(read(onnx)).SerializeToString())
    smaller, _ = build(tmp_path, half)
    assert len(smaller) < 0.75 * len(plan), "precision is what the file says"


def test_a_file_that_is_no_network_is_refused_with_tensorrts_words(target, tmp_path):
    target("SM86")
    onnx = tmp_path / "network.onnx"
    onnx.write_bytes(b"not a network")
    with pytest.raises(BackendError, match="the ONNX is refused"):
        build(tmp_path, onnx)
    assert not list((tmp_path / "plans").glob("*.plan"))


def test_a_build_that_takes_too_long_is_ended(made_f16, target, tmp_path):
    target("SM86")
    with pytest.raises(BackendError, match="longer than"):
        build(tmp_path, made_f16, seconds=0.05)
    assert not list((tmp_path / "plans").iterdir())


def test_timings_of_an_earlier_build_are_kept_and_rubbish_is_no_hindrance(
    made_f16, target, tmp_path
):
    target("SM86")
    build(tmp_path, made_f16)
    cache = tmp_path / "plans" / "timings.cache"
    cache.write_bytes(b"rubbish")
    plan, _ = build(tmp_path, made_f16)
    assert len(plan) > 1_000_000


def test_the_progress_is_told(made_f16, target, tmp_path, monkeypatch):
    target("SM120")
    monkeypatch.setattr(tensorrt_build, "_LOOK_S", 0.01)
    _, said = build(tmp_path, made_f16)
    assert said, json.dumps(said)
