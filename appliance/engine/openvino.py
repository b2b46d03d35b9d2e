"""The network on Intel's OpenVINO: the fastest way on a CPU."""

import logging
import sys
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from appliance.engine import openvino_tail
from appliance.engine.backend import Inference, choose, computes_int8, shaped, thread_count
from appliance.engine.parity import resized
from appliance.errors import BackendError
from appliance.manifest import Manifest, Precision

log = logging.getLogger("echocart.engine")

_Outputs = Mapping[str, npt.NDArray[Any]]

_NATIVE_BF16 = "BF16"  # OpenVINO names it only where the CPU computes in it
_MOST_STREAMS = 4  # frames computed at a time: each has its own activations, 30 MB
_WAITING = 2  # frames that are ready when a stream is: this thread may wait for a core itself
_COMPARED = 2  # golden frames on which the quicker ending must answer as the file's own does


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
            compiled, self._read = _compiled(core, path, options, resized(manifest)[:_COMPARED])
            # More than are computed: the next frames wait at the streams, not in Python.
            self._requests = [_Request(compiled) for _ in range(streams + _WAITING)]
        except (RuntimeError, KeyError, zipfile.BadZipFile) as error:
            raise _unusable("it refuses the model or this CPU") from error

    def infer(self, frame: npt.NDArray[np.uint8]) -> Inference:
        """Label one letterboxed frame, uint8 [rows, columns]."""
        return next(self.infer_all((frame,)))

    def infer_all(self, frames: Iterable[npt.NDArray[np.uint8]]) -> Iterator[Inference]:
        """Label frames in order, several at a time: no core waits for Python or for another core.

        A frame computed by all threads together waits at every layer for the slowest of them, and
        one of them shares its core with the reader or the writer.
        """
        idle = list(self._requests)
        running: deque[_Request] = deque()
        try:
            for frame in frames:
                request = idle.pop()
                running.append(request)
                request.start(frame)
                if not idle:
                    yield self._answer(running, idle)
            while running:
                yield self._answer(running, idle)
        finally:
            for request in running:
                request.wait()

    def _answer(self, running: deque["_Request"], idle: list["_Request"]) -> Inference:
        request = running[0]
        request.wait()
        found = self._read(request.outputs)
        running.popleft()
        idle.append(request)
        return found


class _Request:
    """One frame's way through a compiled network, in memory that stays the same."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._frame: npt.NDArray[np.uint8] = self._request.get_input_tensor().data
        names = [output.get_any_name() for output in compiled.outputs]
        self._tensors = {name: self._request.get_tensor(name) for name in names}
        self.outputs: _Outputs = {name: tensor.data for name, tensor in self._tensors.items()}

    def start(self, frame: npt.NDArray[np.uint8]) -> None:
        """Begin on a frame, uint8 [rows, columns], which is copied: cheaper than handing it over."""
        self._frame[0, 0] = frame
        self._request.start_async()

    def wait(self) -> None:
        """Wait for the answer."""
        self._request.wait()


def _compiled(
    core: Any, path: Path, options: Mapping[str, str], frames: list[npt.NDArray[np.uint8]]
) -> tuple[Any, Callable[[_Outputs], Inference]]:
    """Compile a network, with its ending made quicker where that answers the same; how to read it."""
    plain = core.compile_model(core.read_model(*_network(path)), "CPU", options)
    try:
        ending = openvino_tail.quicker(core.read_model(*_network(path)))
        if ending is None:
            return plain, shaped
        quick = core.compile_model(ending, "CPU", options)
    except (RuntimeError, KeyError) as error:
        log.debug("the network's ending stays as it is: %s", type(error).__name__)
        return plain, shaped
    one, other = _Request(plain), _Request(quick)
    for frame in frames:
        for request in (one, other):
            request.start(frame)
            request.wait()
        if not openvino_tail.agree(shaped(one.outputs), openvino_tail.read(other.outputs)):
            log.info("the network's ending stays as it is: made quicker, it answers otherwise")
            return plain, shaped
    return quick, openvino_tail.read


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
