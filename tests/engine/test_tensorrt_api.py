"""Our TensorRT code against the API of each version it must run with, as NVIDIA's wheels have it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
OURS = ["appliance/engine/tensorrt_builder.py", "appliance/engine/tensorrt_runner.py"]
VERSIONS = ["10.3.0", "10.16.*", "11.4.*"]  # JetPack 6, JetPack 7, the newest


@pytest.fixture(scope="module", params=VERSIONS)
def stubs(request, tmp_path_factory):
    """A folder with the version's tensorrt.pyi."""
    for tool in ("gcc", "readelf", "nm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: apt install gcc binutils")
    folder = tmp_path_factory.mktemp("tensorrt")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--timeout=10"]
    command = [*download, "--dest", folder, f"tensorrt-cu12-bindings=={request.param}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        pytest.skip(f"the bindings of TensorRT can't be downloaded: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(folder / "wheel")
    making = [sys.executable, "-m", "tests.engine.tensorrt_stubs", folder / "wheel", folder / "pyi"]
    done = subprocess.run(making, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert (folder / "pyi" / "tensorrt.pyi").exists(), done.stderr[-2000:]
    return folder / "pyi"


def complaints(stubs, *files):
    """What mypy says about our files; the stubs have faults of their own."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--cache-dir", stubs / "cache"]
        + [str(file) for file in files],
        env={**os.environ, "MYPYPATH": str(stubs)},
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert any("tensorrt.pyi" in line for line in lines), "the stubs were not used\n" + done.stderr
    assert "prevented further checking" not in done.stdout
    return [line for line in lines if "tensorrt.pyi" not in line]


def test_our_code_keeps_to_this_versions_api(stubs):
    assert complaints(stubs, *OURS) == []


def test_what_a_version_lacks_is_found(stubs, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(
        "import tensorrt as trt\n"
        "builder = trt.Builder(trt.Logger(trt.Logger.WARNING))\n"
        "builder.build_cuda_engine(builder.create_network(0))\n"  # gone since TensorRT 10
        "trt.BuilderFlag.NO_SUCH_FLAG\n"
    )
    found = complaints(stubs, path)
    assert any("build_cuda_engine" in line for line in found)
    assert any("NO_SUCH_FLAG" in line for line in found)
