"""Have a TensorRT plan built: in a process of its own, watched, with limits of time and memory."""

import json
import logging
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.engine.tensorrt_plan import discard_partial
from appliance.errors import BackendError

log = logging.getLogger("echocart.engine")

BUILDER = "appliance.engine.tensorrt_builder"
_LOOK_S = 0.2
_GONE_S = 5.0  # a process that a driver holds may never end
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MB = 1 << 20

Said = Callable[[str], None]


@dataclass(frozen=True)
class Limits:
    """What a build may take.

    Attributes
    ----------
    seconds
        9.5 minutes were seen on an Orin for a larger network.
    memory_mb
        Resident memory of the process; 0 takes half of the machine's.
    """

    seconds: float = 1800.0
    memory_mb: int = 0

    @property
    def memory_bytes(self) -> int:
        """The limit of resident memory."""
        whole = _PAGE * os.sysconf("SC_PHYS_PAGES")
        return self.memory_mb * _MB or whole // 2


def build_plan(
    onnx: Path,
    plan: Path,
    key: Mapping[str, Any],
    workspace_mb: int,
    *,
    limits: Limits | None = None,
    said: Said = lambda text: None,
) -> None:
    """Build a plan and install it under its name.

    Parameters
    ----------
    onnx, plan
        What it is built of, and where it goes. The directory is made; kernel timings are kept there.
    key
        What the plan is tied to: written with it.
    workspace_mb
        GPU memory for scratch.
    limits
        Of time and memory.
    said
        Gets the progress in words.

    Raises
    ------
    BackendError
        When none can be built within the limits. Nothing is left under `plan` then.
    """
    limits = limits or Limits()
    plan.parent.mkdir(parents=True, exist_ok=True)
    discard_partial(plan.parent)
    asked = {
        "onnx": str(onnx),
        "plan": str(plan),
        "cache": str(plan.parent / "timings.cache"),
        "key": dict(key),
        "workspace_mb": workspace_mb,
    }
    child = subprocess.Popen(
        [sys.executable, "-m", BUILDER, json.dumps(asked)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    try:
        last = _watched(child, limits, said)
    finally:
        end(child)
        discard_partial(plan.parent)
    if "plan_bytes" not in last:
        raise _failed(str(last.get("problem") or _how(child.returncode)))
    said(f"built in {last['seconds']} s, {last['plan_bytes'] / 1e6:.0f} MB")


def end(child: subprocess.Popen[bytes]) -> bool:
    """Kill a process if it still runs; False when it can't be ended, which a hung driver can cause."""
    if child.poll() is None:
        child.kill()
    try:
        child.wait(_GONE_S)
    except subprocess.TimeoutExpired:
        log.error("process %d does not end: the GPU's driver holds it", child.pid)
        return False
    finally:
        if child.stdout:
            child.stdout.close()
    return True


def _watched(child: subprocess.Popen[bytes], limits: Limits, said: Said) -> dict[str, Any]:
    """Follow a build to its end; returns the last line it printed."""
    assert child.stdout is not None
    until = time.monotonic() + limits.seconds
    last: dict[str, Any] = {}
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if time.monotonic() > until:
                raise _failed(f"it took longer than {limits.seconds:.0f} s")
            if _resident(child.pid) > limits.memory_bytes:
                raise _failed(f"it took more than {limits.memory_bytes // _MB} MB of memory")
            if not selector.select(_LOOK_S):
                continue
            data = os.read(child.stdout.fileno(), 1 << 16)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                last = _read(line) or last
                if "share" in last:
                    said(f"building the plan, {last['phase']}: {100 * last['share']:.0f} %")
    # It has closed its output: it ends now, or it hangs.
    try:
        child.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _failed(f"it took longer than {limits.seconds:.0f} s") from None
    return last


def _read(line: bytes) -> dict[str, Any]:
    """A line of ours; {} for what a library prints."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _how(status: int | None) -> str:
    if status is None:
        return "the builder does not end"
    return f"the builder died (signal {-status})" if status < 0 else f"the builder ended ({status})"


def _failed(what: str) -> BackendError:
    return BackendError(
        "build a TensorRT plan", what, "The CPU goes on; `echocart engine build` tries again."
    )
