"""A TensorRT plan at work: only ever in a process of its own, for it imports TensorRT and pycuda.

Two sets of pinned and device memory, one stream: while a frame is computed the next one is
copied. Every value that can say "no" is looked at: an execution that fails leaves whatever was in
memory before, so that is spoiled beforehand.
"""

import ctypes
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pycuda.driver as cuda
import tensorrt as trt

from appliance.engine.backend import Inference, shaped, warm_up
from appliance.engine.isolated_slots import SLOTS, SPOILED
from appliance.engine.tensorrt_plan import Key, read_plan
from appliance.errors import BackendError
from appliance.manifest import Manifest, Precision, load_manifest

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: the legacy default stream would wait for us
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
_FRAME = "frame"

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Set:
    """Memory of one frame under way, and what computes it."""

    context: trt.IExecutionContext
    host: dict[str, Array]
    device: dict[str, Any]
    spoiled: dict[str, Array]
    done: Any


class Runner:
    """A plan ready to infer. It belongs to the thread that made it, as CUDA's contexts do.

    Parameters
    ----------
    manifest, precision
        What the plan was built of.
    plan
        As the builder serialised it.
    cuda_graph
        Capture a frame's work once and launch it whole from then on.

    Raises
    ------
    BackendError
        When the plan can't be used here, or isn't of this model.
    """

    name = "tensorrt"

    def __init__(
        self, manifest: Manifest, precision: Precision, plan: bytes, *, cuda_graph: bool
    ) -> None:
        self.precision = precision
        cuda.init()
        self._cuda = cuda.Device(0).make_context()
        self._stream = cuda.Stream(_NON_BLOCKING)
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        # None without a driver, and for a plan of another version: no exception.
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise _unusable("TensorRT refuses the plan")
        self._engine = engine
        self._tensors = _tensors(engine, manifest)
        self._sets = [self._new_set() for _ in range(SLOTS)]
        self._turn = 0
        self._busy: deque[_Set] = deque()
        self._graphs: dict[int, Any] = {}
        for _ in self._sets:  # each has a context that allocates at its first frame
            warm_up(self, manifest)
        if cuda_graph:
            self._graphs = {id(item): _captured(self, item) for item in self._sets}
            warm_up(self, manifest)

    def infer(self, frame: npt.NDArray[np.uint8]) -> Inference:
        """Label one letterboxed frame, uint8 [rows, columns]."""
        self.submit(frame)
        return self.collect()

    def submit(self, frame: npt.NDArray[np.uint8]) -> None:
        """Start on a frame; at most `SLOTS` may be under way.

        Raises
        ------
        BackendError
            When TensorRT or CUDA refuses to start it.
        """
        item = self._sets[self._turn]
        assert item not in self._busy, "collect first"
        self._turn = (self._turn + 1) % len(self._sets)
        item.host[_FRAME][0, 0] = frame
        if graph := self._graphs.get(id(item)):
            graph()
        else:
            self.enqueue(item)
        item.done.record(self._stream)
        self._busy.append(item)

    def collect(self) -> Inference:
        """Wait for the oldest frame under way, and copy its answer out."""
        item = self._busy.popleft()
        item.done.synchronize()
        return shaped({name: array for name, array in item.host.items() if name != _FRAME})

    def enqueue(self, item: _Set) -> None:
        """Put one frame's work on the stream."""
        for name, array in item.spoiled.items():
            cuda.memcpy_htod_async(item.device[name], array, self._stream)
        cuda.memcpy_htod_async(item.device[_FRAME], item.host[_FRAME], self._stream)
        if not item.context.execute_async_v3(self._stream.handle):
            raise _unusable("TensorRT could not start a frame")
        for name in item.spoiled:
            cuda.memcpy_dtoh_async(item.host[name], item.device[name], self._stream)

    @property
    def stream(self) -> int:
        """CUDA's handle of the stream."""
        return int(self._stream.handle)

    def _new_set(self) -> _Set:
        context = self._engine.create_execution_context()
        if context is None:
            raise _unusable("there is not enough GPU memory for the plan")
        host, device, spoiled = {}, {}, {}
        for name, (dtype, shape) in self._tensors.items():
            host[name] = cuda.pagelocked_empty(shape, dtype)
            device[name] = cuda.mem_alloc(host[name].nbytes)
            if name != _FRAME:
                spoiled[name] = cuda.pagelocked_empty(shape, dtype)
                spoiled[name].fill(np.nan if dtype == np.float32 else SPOILED)
            if not context.set_tensor_address(name, int(device[name])):
                raise _unusable(f"TensorRT refuses the memory of {name}")
        return _Set(context, host, device, spoiled, cuda.Event())


def made(asked: dict[str, Any]) -> Runner:
    """Make a runner of plain values: model, plan, key, precision, cuda_graph.

    Raises
    ------
    BackendError
        When the plan isn't whole, or not of this machine and model.
    """
    manifest = load_manifest(Path(asked["model"]))
    plan = read_plan(Path(asked["plan"]), Key(asked["key"]))
    try:
        return Runner(manifest, asked["precision"], plan, cuda_graph=asked["cuda_graph"])
    except cuda.Error as error:
        raise _unusable(f"CUDA: {type(error).__name__}") from error


def _tensors(
    engine: trt.ICudaEngine, manifest: Manifest
) -> dict[str, tuple[npt.DTypeLike, tuple[int, ...]]]:
    """Name to type and shape, held against the manifest."""
    types: dict[trt.DataType, npt.DTypeLike] = {
        trt.DataType.UINT8: np.uint8,
        trt.DataType.FLOAT: np.float32,
    }
    frame = (1, 1, manifest.input.rows, manifest.input.columns)
    expected: dict[str, tuple[npt.DTypeLike, tuple[int, ...]]] = {
        _FRAME: (np.dtype(np.uint8), frame)
    }
    for output in manifest.outputs:
        expected[output.name] = (np.dtype(output.type), output.shape)
    found: dict[str, tuple[npt.DTypeLike, tuple[int, ...]]] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        sides = engine.get_tensor_shape(name)
        shape = tuple(int(sides[place]) for place in range(len(sides)))
        found[name] = (np.dtype(types.get(engine.get_tensor_dtype(name), np.void)), shape)
    if found != expected:
        raise _unusable("the plan's inputs and outputs are not the model's")
    return found


def _captured(runner: Runner, item: _Set) -> Any:
    """Record a frame's work as a CUDA graph; returns what launches it.

    pycuda has no graphs: libcuda is asked directly.
    """
    driver = ctypes.CDLL("libcuda.so.1")
    stream, graph, whole = ctypes.c_void_p(runner.stream), ctypes.c_void_p(), ctypes.c_void_p()
    _no_error(driver.cuStreamBeginCapture_v2(stream, _THREAD_LOCAL))
    try:
        runner.enqueue(item)
    finally:
        code = driver.cuStreamEndCapture(stream, ctypes.byref(graph))
    _no_error(code)
    instantiate = driver.cuGraphInstantiateWithFlags
    _no_error(instantiate(ctypes.byref(whole), graph, ctypes.c_ulonglong(0)))
    return lambda: _no_error(driver.cuGraphLaunch(whole, stream))


def _no_error(code: int) -> None:
    if code:
        raise _unusable(f"CUDA graph: error {code}; set engine.cuda_graph to false")


def _unusable(what: str) -> BackendError:
    return BackendError("run a TensorRT plan", what, "The CPU engine serves.")
