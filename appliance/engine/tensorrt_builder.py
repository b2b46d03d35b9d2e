"""The process that builds a TensorRT plan of an ONNX. Nothing else imports it: it imports TensorRT.

    python -m appliance.engine.tensorrt_builder JSON

JSON has onnx, plan, cache (paths), key and workspace_mb. It prints a line of JSON for each step of
progress and a last one with what came out. The network is strongly typed: precision is in the
file (fp32, fp16, or int8 as QDQ pairs), and one code path serves TensorRT 10.3 to 11.x.
"""

import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import tensorrt as trt

from appliance.engine.tensorrt_plan import install, write_plan

_MB = 1 << 20
_TOLD_EVERY_S = 0.5


class BuildError(Exception):
    """No plan can be built; the text says at which step."""


class _Progress(trt.IProgressMonitor):
    """Tells the parent how far the outermost phase is. TensorRT calls it from many threads."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._steps: dict[str, int] = {}
        self._told_at = 0.0

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: Any) -> None:
        with self._lock:
            self._steps[phase_name] = int(num_steps)

    def phase_finish(self, phase_name: str) -> None:
        with self._lock:
            self._steps.pop(phase_name, None)

    def step_complete(self, phase_name: str, step: Any) -> bool:
        with self._lock:
            outermost = next(iter(self._steps), phase_name)
            now = time.monotonic()
            if phase_name == outermost and now - self._told_at > _TOLD_EVERY_S:
                self._told_at = now
                share = (int(step) + 1) / max(self._steps.get(phase_name, 1), 1)
                say(phase=phase_name, share=round(min(share, 1.0), 3))
        return True


def build(onnx: Path, workspace_mb: int, cache: Path) -> memoryview:
    """Parse an ONNX and build its plan for this machine's GPU.

    Parameters
    ----------
    onnx
        Precision is what the file says.
    workspace_mb
        GPU memory for scratch.
    cache
        Kernel timings of earlier builds; read if it can be, and written anew.

    Raises
    ------
    BuildError
        When TensorRT refuses the file, or builds nothing.
    """
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    # The value of the flag differs between TensorRT 10 and 11: never a literal.
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx.read_bytes()):
        said = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise BuildError(f"the ONNX is refused: {'; '.join(said[:3])}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb * _MB)
    monitor = _Progress()  # must outlive the build
    config.progress_monitor = monitor
    timings = _timing_cache(config, cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError("no plan comes out: see the lines of TensorRT above")
    if timings is not None:
        # Only time is lost without it.
        with contextlib.suppress(OSError):
            install(cache, _view(timings.serialize()))
    return _view(plan)


def say(**values: Any) -> None:
    """Print one line of JSON for the parent."""
    print(json.dumps(values), flush=True)  # noqa: T201


def _view(memory: trt.IHostMemory) -> memoryview:
    """TensorRT's memory without a copy; its signatures don't tell that it is a buffer."""
    buffer: Any = memory
    return memoryview(buffer)


def _timing_cache(config: trt.IBuilderConfig, path: Path) -> trt.ITimingCache | None:
    """Give the builder the timings of earlier builds; those of another GPU or version are refused."""
    for data in (_bytes(path), b""):
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _main() -> int:
    os.nice(10)  # the loops on the CPU go first
    asked = json.loads(sys.argv[1])
    start = time.monotonic()
    try:
        plan = build(Path(asked["onnx"]), asked["workspace_mb"], Path(asked["cache"]))
        write_plan(Path(asked["plan"]), asked["key"], plan)
    except BuildError as error:
        say(problem=str(error))
        return 1
    except OSError as error:
        say(problem=f"the plan can't be written: {error.strerror}")
        return 1
    say(plan_bytes=len(plan), seconds=round(time.monotonic() - start, 1))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
