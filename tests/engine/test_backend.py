import logging
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from appliance.config import Engine
from appliance.engine import backend as backends
from appliance.engine.backend import open_backend
from appliance.engine.openvino import OpenVino
from appliance.errors import BackendError, ManifestError
from appliance.manifest import Accuracy, Variant
from appliance.sector.geometry import Geometry, letterbox
from tests.phantom import cine_loop


@pytest.fixture(scope="module")
def frames():
    loop = cine_loop(frames=4, rate_hz=8, rows=480, columns=640)
    geometry = Geometry.fit(480, 640, loop.box)
    return [letterbox(grey, geometry) for grey in loop.grey]


@pytest.fixture(scope="module")
def reference(model):
    return open_backend(model, Engine(backend="onnxruntime", precision="f32"))


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_openvino_draws_what_onnx_runtime_draws(model, frames, reference, precision):
    try:
        ours = open_backend(model, Engine(backend="openvino", precision=precision))
    except BackendError:
        pytest.skip("this CPU doesn't compute in bf16")
    assert (ours.name, ours.precision) == ("openvino", precision)
    for frame in frames:
        mine, theirs = ours.infer(frame), reference.infer(frame)
        assert set(np.unique(theirs.labels)) == {0, 1, 2, 3}, "parity of one class means nothing"
        for label in (1, 2, 3):
            both = ((mine.labels == label) & (theirs.labels == label)).sum()
            either = ((mine.labels == label) | (theirs.labels == label)).sum()
            assert both / either > (0.999 if precision == "f32" else 0.99)
        assert np.abs(mine.confidence - theirs.confidence).max() < 0.01


def test_results_own_their_memory(backend, frames):
    first = backend.infer(frames[0])
    kept = first.labels.copy()
    backend.infer(frames[2])
    assert np.array_equal(first.labels, kept)


def test_certainty_is_low_where_structures_meet(backend, frames):
    found = backend.infer(frames[0])
    assert found.certainty.shape == (96, 96)
    blocks = found.labels.reshape(96, 4, 96, 4)
    border = blocks.min(axis=(1, 3)) != blocks.max(axis=(1, 3))
    assert found.certainty[border].mean() < found.certainty[~border].mean() - 20


def test_without_openvino_onnx_runtime_takes_over_and_the_log_says_why(model, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.WARNING):
        found = open_backend(model)
    assert (found.name, found.precision) == ("onnxruntime", "f32")
    assert "isn't installed" in caplog.text


def test_a_backend_chosen_by_name_is_never_exchanged(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match="start OpenVINO"):
        open_backend(model, Engine(backend="openvino"))


def test_onnx_runtime_has_no_bf16(model):
    with pytest.raises(ManifestError, match="openvino bf16"):
        open_backend(model, Engine(backend="onnxruntime", precision="bf16"))


def with_bf16_dice(model, structure, dice):
    """The model as if bf16 had another accuracy."""
    variants = []
    for variant in model.variants:
        if variant.precision == "bf16":
            figures = {**variant.accuracy[0].dice, structure: dice}
            accuracy = variant.accuracy[0].model_copy(update={"dice": figures})
            variant = variant.model_copy(update={"accuracy": (accuracy,)})
        variants.append(variant)
    return model.model_copy(update={"variants": tuple(variants)})


def test_bf16_may_be_used_unasked_only_while_no_structure_loses_half_a_dice_point(model):
    full = model.variant("openvino", "f32").accuracy[0].dice["Left atrium"]
    assert backends.may_use(model, "openvino", "bf16")
    assert backends.may_use(with_bf16_dice(model, "Left atrium", full - 0.004), "openvino", "bf16")
    worse = with_bf16_dice(model, "Left atrium", full - 0.006)
    assert not backends.may_use(worse, "openvino", "bf16")
    kept = tuple(variant for variant in worse.variants if variant.precision != "int8")
    without_int8 = worse.model_copy(update={"variants": kept})
    without_int8._folder = model.folder
    assert OpenVino(without_int8, "auto", 2).precision == "f32"


def test_a_precision_that_was_never_measured_is_not_used_unasked(model):
    bare = [variant.model_copy(update={"accuracy": ()}) for variant in model.variants]
    unmeasured = model.model_copy(update={"variants": tuple(bare)})
    assert not backends.may_use(unmeasured, "openvino", "bf16")


def with_int8(model, loss):
    """The model as if its int8, for both backends, lost so many Dice points of a structure."""
    full = model.variant("openvino", "f32").accuracy[0].dice
    dice = {**full, "Left atrium": full["Left atrium"] - loss / 100}
    made = [
        Variant(
            file=f"network.int8.{name}",
            sha256="0" * 64,
            precision="int8",
            backends=(name,),
            accuracy=(Accuracy(backend=name, data="test", frames=200, dice=dice),),
        )
        for name in ("openvino", "onnxruntime")
    ]
    others = [variant for variant in model.variants if variant.precision != "int8"]
    return model.model_copy(update={"variants": (*others, *made)})


@pytest.mark.parametrize(
    ("loss", "native", "expected"),
    [
        (0.1, {"int8", "bf16"}, "int8"),
        (0.5, {"int8", "bf16"}, "int8"),
        (0.6, {"int8", "bf16"}, "bf16"),
        (0.6, {"int8"}, "f32"),
        (0.1, {"bf16"}, "bf16"),
        (0.1, set(), "f32"),
    ],
)
def test_the_fastest_precision_that_its_gate_allows_here_is_taken(model, loss, native, expected):
    assert backends.choose(with_int8(model, loss), "openvino", "auto", native) == expected


def test_a_precision_asked_for_is_not_exchanged(model):
    assert backends.choose(with_int8(model, 9.0), "openvino", "int8", set()) == "int8"
    others = tuple(variant for variant in model.variants if variant.precision != "int8")
    without = model.model_copy(update={"variants": others})
    without._folder = model.folder
    with pytest.raises(ManifestError, match="openvino at int8"):
        open_backend(without, Engine(backend="openvino", precision="int8"))


def test_onnx_runtime_takes_int8_by_the_same_gate(model):
    assert backends.choose(with_int8(model, 0.1), "onnxruntime", "auto", {"int8"}) == "int8"
    assert backends.choose(with_int8(model, 0.6), "onnxruntime", "auto", {"int8"}) == "f32"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu sse2 avx2 avx_vnni\n", True),
        ("flags\t\t: fpu avx512f avx512_vnni\n", True),
        ("Features\t: fp asimd aes asimddp\n", True),
        ("flags\t\t: fpu sse2 avx2\n", False),
        ("", False),
    ],
)
def test_int8_counts_only_where_the_cpu_has_its_instructions(tmp_path, flags, expected):
    path = tmp_path / "cpuinfo"
    path.write_text(flags)
    assert backends.computes_int8(path) is expected
    assert not backends.computes_int8(tmp_path / "none")


def test_a_damaged_int8_file_is_refused_with_a_reason(model, tmp_path):
    broken = with_int8(model, 0.1)
    file = "network.int8.openvino.zip"
    variants = [v.model_copy(update={"file": file}) for v in broken.variants]
    broken = broken.model_copy(update={"variants": tuple(variants)})
    broken._folder = tmp_path
    (tmp_path / file).write_bytes(b"PK, once")
    with pytest.raises(BackendError, match="refuses the model"):
        OpenVino(broken, "int8", 2)
    with zipfile.ZipFile(tmp_path / file, "w") as archive:
        archive.writestr("network.xml", "<net/>")
    with pytest.raises(BackendError, match="refuses the model"):
        OpenVino(broken, "int8", 2)


def test_a_network_that_breaks_its_manifest_is_refused_at_start(model, backend):
    small = tuple(
        output.model_copy(update={"shape": (1, 10, 10)}) if output.name == "certainty" else output
        for output in model.outputs
    )
    with pytest.raises(BackendError, match="certainty"):
        backends.warm_up(backend, model.model_copy(update={"outputs": small}))


WATCH = """
import sys
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event in (
    "socket.connect", "socket.getaddrinfo", "os.fork", "subprocess.Popen") else None)
from appliance.engine.backend import open_backend
from appliance.manifest import current_model
backend = open_backend(current_model())
import time; time.sleep(0.5)
assert sys.modules.get("openvino_telemetry") is None, "telemetry was imported"
assert not seen, seen
print(backend.name)
"""


def test_starting_the_network_talks_to_nobody(tmp_path):
    # `import openvino` alone forks a child that reports to Google Analytics.
    done = subprocess.run(
        [sys.executable, "-c", WATCH],
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "openvino"
    assert not list(tmp_path.iterdir()), "nothing is left in the home directory"


def test_onnx_runtime_leaves_nothing_on_the_disk_to_be_sent(tmp_path):
    code = "from appliance.engine import onnxruntime; import onnxruntime"
    environment = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert list(tmp_path.iterdir()) == []
