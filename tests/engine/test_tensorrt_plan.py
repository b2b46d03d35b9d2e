"""Plans on disk, the process that builds them, and the probe of the driver: without a GPU."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appliance.engine import tensorrt_build, tensorrt_plan
from appliance.engine.tensorrt_build import Limits, build_plan
from appliance.engine.tensorrt_plan import BuildSettings, Key, read_plan, write_plan
from appliance.engine.tensorrt_probe import Gpu, probe
from appliance.errors import BackendError
from appliance.manifest import Variant

ORIN = Gpu("Orin", "8.7", 8, "CUDA 12060 R36", "10.3.0")


@pytest.fixture
def key(model):
    return key_of(model, ORIN)


def key_of(model, gpu, settings=None, sha256="1" * 64):
    f16 = Variant(
        file="n.f16.onnx", sha256=sha256, precision="f16", backends=("tensorrt",), accuracy=()
    )
    other = model.model_copy(update={"variants": (f16,)})
    return tensorrt_plan.key_of(other, "f16", gpu, settings or BuildSettings())


@pytest.fixture
def plan(tmp_path, key):
    path = tmp_path / "a.plan"
    write_plan(path, key.values, b"plan" * 1000)
    return path


def test_a_plan_comes_back_whole(plan, key):
    assert read_plan(plan, key) == b"plan" * 1000


@pytest.mark.parametrize(
    "change",
    [
        {"name": "RTX A2000"},
        {"compute_capability": "8.6"},
        {"multiprocessors": 4},
        {"driver": "CUDA 12080 R36"},
        {"tensorrt": "10.16.1"},
    ],
)
def test_another_machine_asks_for_another_plan(model, plan, key, change):
    other = key_of(model, Gpu(**{**vars(ORIN), **change}))
    assert other.short != key.short
    with pytest.raises(BackendError, match=f"built for another {next(iter(change))}"):
        read_plan(plan, other)


def test_another_network_or_other_settings_ask_for_another_plan(model, plan, key):
    for other in (
        key_of(model, ORIN, sha256="2" * 64),
        key_of(model, ORIN, BuildSettings(workspace_mb=64)),
    ):
        assert other.short != key.short
        with pytest.raises(BackendError, match="built for another"):
            read_plan(plan, other)


def cut(data):
    return data[:-1]


def half(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:-10] + bytes([data[-10] ^ 1]) + data[-9:]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (cut, "bytes of 4000"),
        (half, "bytes of 4000"),
        (flipped, "not those that were written"),
        (lambda data: b"", "first line"),
        (lambda data: data[:20], "first line"),
        (lambda data: b"[]\n" + data, "first line"),
        (lambda data: data + b"more", "bytes of 4000"),
    ],
)
def test_a_spoiled_plan_is_refused_with_the_reason(plan, key, spoil, why):
    plan.write_bytes(spoil(plan.read_bytes()))
    with pytest.raises(BackendError, match=why):
        read_plan(plan, key)


WRITER = """
import sys
from pathlib import Path
from appliance.engine.tensorrt_plan import write_plan
print("writing", flush=True)
while True:
    write_plan(Path(sys.argv[1]), {"a": 1}, bytes(20_000_000))
"""


def test_a_writer_that_is_killed_leaves_a_whole_plan_or_none(tmp_path):
    path = tmp_path / "a.plan"
    for delay in (0.0, 0.01, 0.03, 0.05, 0.1):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=Path.cwd()
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(delay)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        if path.exists():
            assert read_plan(path, Key({"a": 1})) == bytes(20_000_000)
    tensorrt_plan.discard_partial(tmp_path)
    assert {item.name for item in tmp_path.iterdir()} <= {"a.plan"}


@pytest.fixture
def builder(tmp_path, monkeypatch):
    """Another program in the builder's place, as a real process."""

    def replace(body):
        (tmp_path / "another_builder.py").write_text(body)
        monkeypatch.setattr(tensorrt_build, "BUILDER", "another_builder")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path.cwd())]))

    return replace


def build(tmp_path, **limits):
    said = []
    path = tmp_path / "plans" / "a.plan"
    build_plan(tmp_path / "n.onnx", path, {"a": 1}, 64, limits=Limits(**limits), said=said.append)
    return path, said


def test_a_build_tells_how_far_it_is_and_leaves_a_plan(tmp_path, builder):
    builder(
        "import json, sys\nfrom pathlib import Path\n"
        "from appliance.engine.tensorrt_plan import write_plan\n"
        "asked = json.loads(sys.argv[1])\n"
        "print('TensorRT says something of its own')\n"
        "print(json.dumps({'phase': 'Building', 'share': 0.5}), flush=True)\n"
        "write_plan(Path(asked['plan']), asked['key'], b'plan')\n"
        "print(json.dumps({'plan_bytes': 4, 'seconds': 1.0}))\n"
    )
    path, said = build(tmp_path)
    assert read_plan(path, Key({"a": 1})) == b"plan"
    assert "building the plan, Building: 50 %" in said


HANGS = "import os, time, json, sys\nfrom pathlib import Path\nplan = Path(json.loads(sys.argv[1])['plan'])\n(plan.parent / f'.partial-{os.getpid()}-1').write_bytes(b'half')\n"


@pytest.mark.parametrize(
    ("body", "limits", "why"),
    [
        (HANGS + "time.sleep(600)", {"seconds": 2.0}, "longer than 2 s"),
        (HANGS + "sys.stdout.close()\nimport os; os.close(1)\ntime.sleep(600)", {"seconds": 2.0}, "longer than 2 s"),
        (HANGS + "a = bytearray(b'1' * 400_000_000)\ntime.sleep(600)", {"memory_mb": 200}, "more than 200 MB"),
        (HANGS + "import os; os.kill(os.getpid(), 11)", {}, "signal 11"),
        (HANGS + "sys.exit(3)", {}, "ended \\(3\\)"),
        (HANGS + "print(json.dumps({'problem': 'the ONNX is refused: Foo'}))", {}, "the ONNX is refused"),
    ],
)  # fmt: skip
def test_a_build_that_fails_leaves_nothing_and_says_why(tmp_path, builder, body, limits, why):
    builder(body)
    with pytest.raises(BackendError, match=why):
        build(tmp_path, **limits)
    assert list((tmp_path / "plans").iterdir()) == []


STUB = """
int cuInit(unsigned f) {{ {init} }}
int cuDeviceGetCount(int *n) {{ *n = {count}; return 0; }}
int cuDeviceGet(int *d, int i) {{ *d = i; return 0; }}
int cuDeviceGetName(char *s, int n, int d) {{ s[0] = 'G'; s[1] = 0; return 0; }}
int cuDriverGetVersion(int *v) {{ *v = 12060; return 0; }}
int cuDeviceGetAttribute(int *v, int a, int d) {{ *v = a; return 0; }}
"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A library in the driver's place, and packages in the place of TensorRT and pycuda."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: apt install gcc")

    def make(init="return 0;", count=1, tensorrt="__version__ = '10.3.0'"):
        source = tmp_path / "cuda.c"
        source.write_text(STUB.format(init=init, count=count))
        library = tmp_path / "libcuda.so.1"
        subprocess.run(["gcc", "-w", "-shared", "-fPIC", "-o", library, source], check=True)
        (tmp_path / "tensorrt.py").write_text(tensorrt)
        (tmp_path / "pycuda").mkdir(exist_ok=True)
        for name in ("__init__", "driver"):
            (tmp_path / "pycuda" / f"{name}.py").touch()
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path.cwd())]))
        monkeypatch.syspath_prepend(tmp_path)

    return make


def test_a_gpu_is_described(driver):
    driver()
    found = probe()
    assert found.reason == ""
    assert found.gpu is not None
    assert (found.gpu.name, found.gpu.compute_capability) == ("G", "75.76")
    assert found.gpu.multiprocessors == 16
    assert found.gpu.driver.startswith("CUDA 12060")
    assert found.gpu.tensorrt == "10.3.0"


CRASH = "import ctypes; ctypes.string_at(0)"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"init": "return 100;"}, r"can't be initialised \(cuInit: 100\)"),
        ({"init": "*(volatile int *)0 = 1; return 0;"}, r"asking the driver ended .*signal 11"),
        ({"init": "for (;;) ;"}, "the driver did not answer within 3 s"),
        ({"count": 0}, "has no GPU"),
        ({"tensorrt": CRASH}, r"importing TensorRT ended the process \(signal 11\)"),
        ({"tensorrt": "import libnvinfer_10"}, "ModuleNotFoundError when importing TensorRT"),
        ({"tensorrt": "import time; time.sleep(60)"}, "TensorRT did not answer within 3 s"),
    ],
)
def test_a_driver_that_fails_costs_a_child_process_and_gives_a_reason(driver, given, why):
    driver(**given)
    found = probe(timeout_s=3.0 if "3 s" in why else 60.0)
    assert found.gpu is None
    assert re.search(why, found.reason), found.reason


def test_what_is_not_installed_is_named_and_nothing_is_imported():
    found = probe()
    assert found.gpu is None
    assert "not installed" in found.reason or "driver" in found.reason
    assert "tensorrt" not in sys.modules
