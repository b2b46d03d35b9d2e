"""The network on Intel's OpenVINO: the fastest way on a CPU."""

import sys
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from appliance.engine.backend import Inference, choose, computes_int8, shaped, thread_count
from appliance.errors import BackendError
from appliance.manifest import Manifest, Precision

_NATIVE_BF16 = "BF16"  # OpenVINO names it only where the CPU computes in it
_MOST_STREAMS = 4  # frames computed at a time: each has its own activations, 30 MB


class OpenVino:
    """A network compiled by OpenVINO for this CPU.

    Parameters
    ----------
    manifest
        The model.
    precision
        "auto" takes int8, else bf16, where the CPU has it and the model's manifest says that it
        loses no accuracy that matters; f32 otherwise. OpenVINO's own default would be bf16 unasked.
    threads
        CPU threads; 0 takes all.

    Raises
    ------
    BackendError
        When OpenVINO is missing, refuses the model, or the CPU hasn't the precision.
    """

    name = "openvino"

    def __init__(
        self, manifest: Manifest, precision: Precision | Literal["auto"], threads: int
    ) -> None:
        openvino = _import_silently()
        core = openvino.Core()
        self.precision: Precision = _choose(core, manifest, precision)
        path = manifest.folder / manifest.variant(self.name, self.precision).file
        count = thread_count(threads)
        streams = _streams(count)
        options = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(count),
            # What an int8 network leaves in floating point stays exact: bf16 there gains nothing.
            "INFERENCE_PRECISION_HINT": "f32" if self.precision == "int8" else self.precision,
            # The reader and the writer of the pipeline need cores too: the system shares them out.
            "ENABLE_CPU_PINNING": "NO",
        }
        try:
            network = core.read_model(*_network(path))
            compiled = core.compile_model(network, "CPU", options)
            # One more than are computed: the next frame waits at the stream, not in Python.
            self._requests = [compiled.create_infer_request() for _ in range(streams + 1)]
        except (RuntimeError, KeyError, zipfile.BadZipFile) as error:
            raise _unusable("it refuses the model or this CPU") from error
        self._outputs = [output.name for output in manifest.outputs]

    def infer(self, frame: npt.NDArray[np.uint8]) -> Inference:
        """Label one letterboxed frame, uint8 [rows, columns]."""
        return next(self.infer_all((frame,)))

    def infer_all(self, frames: Iterable[npt.NDArray[np.uint8]]) -> Iterator[Inference]:
        """Label frames in order, several at a time: no core waits for Python or for another core.

        A frame computed by all threads together waits at every layer for the slowest of them, and
        one of them shares its core with the reader or the writer.
        """
        idle = list(self._requests)
        # The frame is kept beside its request: OpenVINO reads it where it lies.
        running: deque[tuple[Any, npt.NDArray[np.uint8]]] = deque()
        try:
            for frame in frames:
                request = idle.pop()
                running.append((request, frame))
                request.start_async({"frame": frame[None, None]}, share_inputs=True)
                if not idle:
                    yield self._answer(running, idle)
            while running:
                yield self._answer(running, idle)
        finally:
            for request, _ in running:
                request.wait()

    def _answer(self, running: deque[tuple[Any, Any]], idle: list[Any]) -> Inference:
        request, _ = running[0]
        request.wait()
        found = shaped({name: request.get_tensor(name).data for name in self._outputs})
        running.popleft()
        idle.append(request)
        return found


def _streams(threads: int) -> int:
    """How many frames are computed at a time, so that each has as many threads as the others."""
    return max(count for count in range(1, _MOST_STREAMS + 1) if threads % count == 0)


def _import_silently() -> Any:
    """Import OpenVINO without its telemetry.

    `import openvino` forks a child that reports to Google Analytics unless the package
    openvino_telemetry can't be imported: then OpenVINO uses its own stub, which does nothing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise _unusable("it isn't installed, or a library it needs is missing") from error
    return openvino


def _choose(core: Any, manifest: Manifest, precision: Precision | Literal["auto"]) -> Precision:
    native = {"int8"} if computes_int8() else set()
    if _NATIVE_BF16 in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        native.add("bf16")
    if precision == "bf16" and precision not in native:
        raise _unusable("this CPU doesn't compute in bf16", "Set engine.precision to auto.")
    return choose(manifest, OpenVino.name, precision, native)


def _network(path: Path) -> tuple[Any, ...]:
    """What OpenVINO reads: the path of an ONNX, or the IR in a ZIP, which is two files."""
    if path.suffix != ".zip":
        return (path,)
    with zipfile.ZipFile(path) as archive:
        return archive.read("network.xml"), archive.read("network.bin")


def _unusable(what: str, hint: str = "") -> BackendError:
    return BackendError(
        "start OpenVINO", what, hint or "Install the package again, or use onnxruntime."
    )
