"""Whether this machine has a GPU that TensorRT can use, found out where a crash does no harm.

Without a driver, or with a broken one, importing TensorRT can end the process (a segmentation
fault, not an exception). So a child process asks the driver first, then imports TensorRT and
pycuda, and says what it found line by line: what it said before it died tells how far it came.
"""

import contextlib
import ctypes
import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PROBE_S = 60.0  # a cold Jetson needs 10 s for its first cuInit
_MODULE = "appliance.engine.tensorrt_probe"
# CUdevice_attribute, cuda.h
_MULTIPROCESSOR_COUNT, _CC_MAJOR, _CC_MINOR = 16, 75, 76
_NAME_BYTES = 256


@dataclass(frozen=True)
class Gpu:
    """The GPU that would be used, and what runs it: all that a plan is tied to.

    Attributes
    ----------
    name
        As the driver calls it.
    compute_capability
        "8.7" for an Orin.
    multiprocessors
        Number of streaming multiprocessors.
    driver
        CUDA version of the driver, and the driver's own where it can be read.
    tensorrt
        Version of the Python package, which is that of its libraries.
    """

    name: str
    compute_capability: str
    multiprocessors: int
    driver: str
    tensorrt: str


@dataclass(frozen=True)
class Probe:
    """What was found: a GPU, or the reason why none can be used."""

    gpu: Gpu | None
    reason: str


def installed() -> str:
    """Return which Python package is missing, "" when none is. Imports nothing."""
    missing = [name for name in ("tensorrt", "pycuda") if find_spec(name) is None]
    return f"{' and '.join(missing)} not installed" if missing else ""


def probe(timeout_s: float = PROBE_S) -> Probe:
    """Ask a child process for the GPU.

    Parameters
    ----------
    timeout_s
        After it, the driver counts as hung.
    """
    if missing := installed():
        return Probe(None, missing)
    try:
        child = subprocess.run(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        told = _lines(error.stdout or b"")
        where = "TensorRT" if told else "the driver"
        return Probe(None, f"{where} did not answer within {timeout_s:.0f} s")
    return _understood(_lines(child.stdout), child.returncode)


def _lines(output: bytes) -> list[dict[str, Any]]:
    told = []
    for line in output.splitlines():
        # Libraries print to stdout as they please.
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                told.append(value)
    return told


def _understood(told: list[dict[str, Any]], status: int) -> Probe:
    for line in told:
        if "problem" in line:
            return Probe(None, str(line["problem"]))
    found = {name: value for line in told for name, value in line.items()}
    try:
        return Probe(Gpu(**found), "")
    except TypeError:
        where = "importing TensorRT" if found else "asking the driver"
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return Probe(None, f"{where} ended the process ({how})")


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)  # noqa: T201  the pipe to the parent


def _driver() -> dict[str, Any]:
    """Ask libcuda alone; raises RuntimeError with the reason."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise RuntimeError("there is no NVIDIA driver (libcuda.so.1)") from None
    if code := cuda.cuInit(0):
        raise RuntimeError(f"the NVIDIA driver can't be initialised (cuInit: {code})")
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if code := cuda.cuDeviceGetCount(ctypes.byref(count)):
        raise RuntimeError(f"the NVIDIA driver names no devices (cuDeviceGetCount: {code})")
    if count.value < 1:
        raise RuntimeError("the NVIDIA driver has no GPU")
    text = ctypes.create_string_buffer(_NAME_BYTES)
    codes = [
        cuda.cuDeviceGet(ctypes.byref(device), 0),
        cuda.cuDeviceGetName(text, _NAME_BYTES, device),
        cuda.cuDriverGetVersion(ctypes.byref(version)),
    ]
    attributes = {}
    for number in (_MULTIPROCESSOR_COUNT, _CC_MAJOR, _CC_MINOR):
        value = ctypes.c_int()
        codes.append(cuda.cuDeviceGetAttribute(ctypes.byref(value), number, device))
        attributes[number] = value.value
    if any(codes):
        raise RuntimeError(f"the NVIDIA driver doesn't describe its GPU ({max(codes)})")
    return {
        "name": text.value.decode("ascii", "replace"),
        "compute_capability": f"{attributes[_CC_MAJOR]}.{attributes[_CC_MINOR]}",
        "multiprocessors": attributes[_MULTIPROCESSOR_COUNT],
        "driver": f"CUDA {version.value} {_release()}".strip(),
    }


def _release() -> str:
    """The driver's own version: NVIDIA's module on a PC, L4T on a Jetson; "" if neither says."""
    for path, pattern in (
        ("/proc/driver/nvidia/version", r"\b\d+\.\d+(\.\d+)?\b"),
        ("/etc/nv_tegra_release", r"R\d+.*?REVISION: [\d.]+"),
    ):
        try:
            found = re.search(pattern, Path(path).read_text(encoding="ascii", errors="replace"))
        except OSError:
            continue
        if found:
            return found[0]
    return ""


def _main() -> int:
    try:
        _say(**_driver())
    except (RuntimeError, AttributeError) as error:
        _say(problem=str(error))
        return 1
    try:
        import pycuda.driver  # noqa: F401
        import tensorrt
    except (ImportError, OSError) as error:
        _say(problem=f"{type(error).__name__} when importing TensorRT or pycuda")
        return 1
    _say(tensorrt=str(tensorrt.__version__))
    return 0


def as_dict(gpu: Gpu) -> dict[str, Any]:
    """Plain values, for a plan's key."""
    return asdict(gpu)


if __name__ == "__main__":
    sys.exit(_main())
