"""The network on an NVIDIA GPU, with the CPU engine behind it: a loop is always served by one of them.

At boot the CPU serves. Meanwhile, on a thread, the driver is probed, the plan built if there is
none for this machine, its process started and held against the reference; between two loops it
takes over. Where it fails three times the CPU goes on, until a person or a boot tries again.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from appliance.config import Engine
from appliance.engine import tensorrt_probe
from appliance.engine.backend import Backend, Inference, infer_all, may_use
from appliance.engine.isolated import Isolated
from appliance.engine.parity import Parity
from appliance.engine.tensorrt_build import build_plan
from appliance.engine.tensorrt_plan import BuildSettings, Key, key_of, plan_path, read_plan
from appliance.engine.tensorrt_probe import Gpu
from appliance.errors import ApplianceError, BackendError
from appliance.ledger.engine_state import CPU_SERVES
from appliance.manifest import Manifest, Precision

log = logging.getLogger("echocart.engine")

NAME = "tensorrt"
PLANS = "plans"  # folder in the state directory
_FACTORY = "appliance.engine.tensorrt_runner:made"

Said = Callable[[str], None]
Frame = npt.NDArray[np.uint8]


class Closable(Backend, Protocol):
    """A backend in a process of its own."""

    def infer_all(self, frames: Iterable[Frame]) -> Iterator[Inference]:
        """Label frames in order, the next one handed over while one is computed."""
        ...

    def close(self) -> bool:
        """End the process; False when it can't be ended."""
        ...


@dataclass(frozen=True)
class Plan:
    """A plan on disk: made, or to be made."""

    path: Path
    key: Key
    precision: Precision
    settings: BuildSettings

    def whole(self) -> bool:
        """Whether it is there and can be used here."""
        try:
            read_plan(self.path, self.key)
        except BackendError as error:
            log.info("plan of %s: %s", self.precision, error.subject)
            return False
        return True


def precision_for(manifest: Manifest, wanted: Precision | Literal["auto"]) -> Precision:
    """Return the precision a GPU runs a model at: the one wanted, or f16 where its gate allows it.

    int8 is only taken when it is asked for: no GPU has shown yet that it is faster.

    Raises
    ------
    BackendError
        When the model has no file for it.
    """
    if wanted != "auto":
        return wanted
    have = {v.precision for v in manifest.variants if NAME in v.backends}
    for precision in ("f16", "f32"):
        allowed = precision == "f32" or may_use(manifest, "onnxruntime", "f16")
        if precision in have and allowed:
            return "f16" if precision == "f16" else "f32"
    what = f"{manifest.name} {manifest.version} has no file for TensorRT that its gate allows"
    raise BackendError("start TensorRT", what, "Use a model that models.export made.")


def plan_for(manifest: Manifest, precision: Precision, gpu: Gpu, folder: Path) -> Plan:
    """Return the plan of a model at a precision on this machine.

    Raises
    ------
    ManifestError
        When the model has no such file for TensorRT.
    """
    settings = BuildSettings()
    key = key_of(manifest, precision, gpu, settings)
    return Plan(plan_path(folder, manifest, precision, key), key, precision, settings)


def build(manifest: Manifest, plan: Plan, said: Said) -> None:
    """Build a plan, anew where there is one.

    Raises
    ------
    BackendError
        When none comes out within the limits.
    """
    onnx = manifest.folder / manifest.variant(NAME, plan.precision).file
    build_plan(onnx, plan.path, plan.key.values, plan.settings.workspace_mb, said=said)


def open_gpu(manifest: Manifest, engine: Engine, state_dir: Path, said: Said) -> Isolated:
    """Start the model on the GPU, its plan built first where there is none.

    Raises
    ------
    BackendError, ManifestError
        With the reason why the GPU can't be used.
    """
    found = tensorrt_probe.probe()
    if found.gpu is None:
        raise BackendError("start TensorRT", found.reason, "`echocart engine list` says more.")
    precision = precision_for(manifest, engine.precision)
    plan = plan_for(manifest, precision, found.gpu, state_dir / PLANS)
    said("the plan is looked at")
    if not plan.whole():
        build(manifest, plan, said)
    said("the plan is compared with the reference")
    gate = Parity(manifest)
    return Isolated(
        _FACTORY,
        {
            "plan": str(plan.path),
            "key": dict(plan.key.values),
            "precision": precision,
            "cuda_graph": engine.cuda_graph,
        },
        manifest,
        name=NAME,
        precision=precision,
        check=lambda infer: gate.check(infer, precision),
    )


def with_gpu(manifest: Manifest, cpu: Backend, engine: Engine, state_dir: Path) -> Backend:
    """Put the GPU in front of the CPU's backend where the site wants it and TensorRT is installed.

    Parameters
    ----------
    manifest, cpu
        The model, and what runs it on the CPU.
    engine
        "tensorrt" is always tried, "auto" where its packages are installed.
    state_dir
        Plans are kept below it.
    """
    wanted = engine.backend == NAME or (engine.backend == "auto" and not tensorrt_probe.installed())
    if not wanted:
        return cpu
    return WithCpu(cpu, lambda said: open_gpu(manifest, engine, state_dir, said))


class WithCpu:
    """A GPU's backend when it can serve, the CPU's otherwise.

    Parameters
    ----------
    cpu
        Always there.
    open_gpu
        Starts the GPU's backend, which may take minutes; gets a way to say how far it is. Called on
        a thread.
    """

    def __init__(self, cpu: Backend, open_gpu: Callable[[Said], Closable]) -> None:
        self._cpu, self._open = cpu, open_gpu
        self._gpu: Closable | None = None
        self._ready: Closable | None = None
        self._lock = threading.Lock()
        self._closed = False
        self.state = "the GPU is being started"
        self.again()

    @property
    def name(self) -> str:
        """Of the backend that serves."""
        return self._serving.name

    @property
    def precision(self) -> Precision:
        """Of the backend that serves."""
        return self._serving.precision

    def infer(self, frame: Frame) -> Inference:
        """Label one letterboxed frame, uint8 [rows, columns].

        Raises
        ------
        BackendError
            When the GPU was given up during this loop: its masks are not mixed with the CPU's, so
            the loop is to be tried again, and the CPU serves it.
        """
        return next(self.infer_all((frame,)))

    def infer_all(self, frames: Iterable[Frame]) -> Iterator[Inference]:
        """Label frames in order; on the GPU the next one is handed over while one is computed.

        Raises
        ------
        BackendError
            As `infer`.
        """
        gpu = self._gpu
        if gpu is None:
            yield from infer_all(self._cpu, frames)
            return
        try:
            yield from gpu.infer_all(frames)
        except BackendError as error:
            self._gpu = None
            gpu.close()
            self._say(f"{CPU_SERVES}{error.subject}")
            raise

    def settle(self) -> bool:
        """Let a GPU that has become ready serve; True when it does from now on. Between two loops."""
        with self._lock:
            ready, self._ready = self._ready, None
        if ready is None:
            return False
        self._gpu = ready
        self._say(f"the GPU serves at {ready.precision}")
        return True

    def again(self) -> None:
        """Try the GPU, unless it serves or is being tried."""
        if self._gpu is not None or self._ready is not None or self._starting():
            return
        self._thread = threading.Thread(target=self._start, name="gpu", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until the GPU is ready or refused."""
        self._thread.join(seconds)

    def close(self) -> None:
        """End the GPU's process."""
        with self._lock:
            self._closed = True
            gpus = [gpu for gpu in (self._gpu, self._ready) if gpu]
            self._gpu = self._ready = None
        for gpu in gpus:
            gpu.close()

    @property
    def _serving(self) -> Backend:
        return self._gpu or self._cpu

    def _starting(self) -> bool:
        thread = getattr(self, "_thread", None)
        return thread is not None and thread.is_alive()

    def _start(self) -> None:
        try:
            made = self._open(self._say)
        except ApplianceError as error:
            self._say(f"{CPU_SERVES}{error.subject}")
            return
        except Exception as error:  # noqa: BLE001  the edge of a thread: the CPU goes on
            self._say(f"{CPU_SERVES}{type(error).__name__} when starting the GPU")
            return
        with self._lock:
            if not self._closed:
                self._ready = made
                return
        made.close()

    def _say(self, text: str) -> None:
        if text != self.state:
            self.state = text
            log.info("GPU: %s", text)
