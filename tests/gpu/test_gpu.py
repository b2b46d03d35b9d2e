"""What only a GPU can show: `make test-gpu` on a machine with an NVIDIA driver and TensorRT.

Every released model with a file for TensorRT is tried, and ECHOCART_GPU_MODEL's folder if it is set.
The figures that are printed belong into docs/engine.md, with the GPU's name and the date.
"""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from appliance.config import Engine
from appliance.engine import tensorrt, tensorrt_probe
from appliance.engine.backend import open_backend
from appliance.engine.isolated import Deadlines, Isolated
from appliance.engine.parity import LEAST, Parity
from appliance.engine.tensorrt_plan import read_plan
from appliance.manifest import load_manifest, released_dir
from appliance.sector.geometry import Geometry, letterbox
from tests.box import Box
from tests.engine.conftest import Bench
from tests.phantom import cine_loop

pytestmark = pytest.mark.gpu
BUILD_S = 1800


def models():
    """(model, precision) of every file for TensorRT."""
    folders = [path.parent for path in sorted(released_dir().glob("*/manifest.json"))]
    if extra := os.environ.get("ECHOCART_GPU_MODEL"):
        folders.append(Path(extra))
    return [
        pytest.param(manifest, variant.precision, id=f"{manifest.version}-{variant.precision}")
        for manifest in map(load_manifest, folders)
        for variant in manifest.variants
        if tensorrt.NAME in variant.backends
    ]


MODELS = models()


def test_there_is_a_model_for_tensorrt():
    assert MODELS, "no released model has a file for TensorRT: set ECHOCART_GPU_MODEL to one"


@pytest.fixture(scope="session")
def gpu():
    found = tensorrt_probe.probe()
    assert found.gpu is not None, found.reason
    print(f"\n{found.gpu}")
    return found.gpu


@pytest.fixture(scope="session")
def state_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def frames():
    loop = cine_loop(frames=60, rows=480, columns=640)
    geometry = Geometry.fit(480, 640, loop.box)
    return [letterbox(grey, geometry) for grey in loop.grey]


@pytest.fixture
def opened(gpu, state_dir):
    made = []

    def start(manifest, precision, *, cuda_graph=False, deadlines=None):
        plan = tensorrt.plan_for(manifest, precision, gpu, state_dir / tensorrt.PLANS)
        if not plan.whole():
            start_s = time.monotonic()
            tensorrt.build(manifest, plan, print)
            print(f"{manifest.version} {precision}: plan in {time.monotonic() - start_s:.0f} s")
        gate = Parity(manifest)
        made.append(
            Isolated(
                "appliance.engine.tensorrt_runner:made",
                {
                    "plan": str(plan.path),
                    "key": dict(plan.key.values),
                    "precision": precision,
                    "cuda_graph": cuda_graph,
                },
                manifest,
                name=tensorrt.NAME,
                precision=precision,
                check=lambda infer: print(gate.check(infer, precision)),
                deadlines=deadlines,
            )
        )
        return made[-1]

    yield start
    for item in made:
        item.close()


def dice(mine, theirs, label):
    a, b = mine == label, theirs == label
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.timeout(BUILD_S)
@pytest.mark.parametrize(("manifest", "precision"), MODELS)
@pytest.mark.parametrize("cuda_graph", [False, True], ids=["stream", "graph"])
def test_a_loop_is_drawn_as_the_reference_draws_it(manifest, precision, cuda_graph, opened, frames):
    backend = opened(manifest, precision, cuda_graph=cuda_graph)
    reference = open_backend(manifest, Engine(backend="onnxruntime", precision="f32"))
    found = list(backend.infer_all(frames))
    expected = [reference.infer(frame) for frame in frames]
    for label in manifest.labels:
        mine = np.stack([item.labels for item in found])
        theirs = np.stack([item.labels for item in expected])
        assert dice(mine, theirs, label) >= LEAST[precision]
    again = list(backend.infer_all(frames))
    for one, other in zip(found, again, strict=True):
        assert np.array_equal(one.labels, other.labels)
    start = time.perf_counter()
    for _ in range(5):
        list(backend.infer_all(frames))
    rate = 5 * len(frames) / (time.perf_counter() - start)
    print(f"{manifest.version} {precision} graph={cuda_graph}: {rate:.0f} frames/s")


@pytest.mark.timeout(BUILD_S)
@pytest.mark.parametrize(("manifest", "precision"), MODELS[:1])
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_process_that_stops_or_dies_is_replaced(manifest, precision, number, opened, frames):
    backend = opened(manifest, precision, deadlines=Deadlines(120.0, 1.0))
    before = backend.infer(frames[0])
    assert backend._child is not None
    os.kill(backend._child.pid, number)
    after = backend.infer(frames[0])
    assert np.array_equal(before.labels, after.labels)


@pytest.mark.timeout(BUILD_S)
@pytest.mark.parametrize(("manifest", "precision"), MODELS[:1])
def test_a_spoiled_plan_is_built_anew(manifest, precision, opened, gpu, state_dir, frames):
    opened(manifest, precision)
    plan = tensorrt.plan_for(manifest, precision, gpu, state_dir / tensorrt.PLANS)
    data = plan.path.read_bytes()
    plan.path.write_bytes(data[: len(data) // 2])
    assert not plan.whole()
    opened(manifest, precision).infer(frames[0])
    assert read_plan(plan.path, plan.key)


@pytest.mark.timeout(BUILD_S)
@pytest.mark.parametrize(("manifest", "precision"), MODELS[:1])
def test_the_engine_takes_the_gpu_by_itself_and_its_analysis_says_so(
    manifest, precision, tmp_path, gpu
):
    name = f"{manifest.name}-{manifest.version}"
    extra = f'[engine]\nbackend = "tensorrt"\nmodel = "{name}"\n'
    with Box(tmp_path / "box", services=("engine",), extra=extra) as box:
        box.wait_for(lambda: "on tensorrt at" in box.log("engine"), "the GPU", BUILD_S)
        Bench(box.settings.box.state_dir).receive(cine_loop(frames=60).write(tmp_path / "a.dcm"))
        (row,) = box.wait_settled(1)
        assert row["analysis"]["engine"] == "tensorrt"
