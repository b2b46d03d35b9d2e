"""Which backend can run which model at which precision on this machine, and why the others can't."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.config import Engine
from appliance.engine import tensorrt, tensorrt_probe
from appliance.engine.backend import may_use, open_backend
from appliance.engine.parity import Parity
from appliance.errors import ApplianceError
from appliance.manifest import Manifest, Precision

_BACKENDS = ("openvino", "onnxruntime", "tensorrt")
_ORDER: tuple[Precision, ...] = ("f32", "bf16", "f16", "int8")


@dataclass(frozen=True)
class Entry:
    """A backend at a precision with a model.

    Attributes
    ----------
    model, backend, precision
        What was tried.
    ok
        Whether it can serve here now.
    text
        Why not; or what else there is to know.
    """

    model: str
    backend: str
    precision: Precision
    ok: bool
    text: str

    @property
    def verdict(self) -> str:
        """In one line."""
        if not self.ok:
            return f"no: {self.text}"
        return f"yes: {self.text}" if self.text else "yes"


def entries(manifest: Manifest, state_dir: Path, probe: tensorrt_probe.Probe) -> Iterator[Entry]:
    """Try every file of a model; what runs is held against the reference.

    Parameters
    ----------
    manifest
        The model.
    state_dir
        Where plans are kept.
    probe
        What was found of the GPU.
    """
    model = f"{manifest.name}-{manifest.version}"
    gate: Parity | None = None
    for backend in _BACKENDS:
        have = {v.precision for v in manifest.variants if backend in v.backends}
        if not have:
            also = f"; {probe.reason}" if backend == tensorrt.NAME and probe.reason else ""
            yield Entry(model, backend, "f16", False, f"the model has no file for it{also}")
        for precision in (item for item in _ORDER if item in have):
            try:
                if backend == tensorrt.NAME:
                    ok, text = _plan(manifest, precision, state_dir, probe)
                else:
                    gate = gate or Parity(manifest)
                    ok, text = True, _on_cpu(manifest, backend, precision, gate)
            except ApplianceError as error:
                ok, text = False, error.subject
            yield Entry(model, backend, precision, ok, text)


def _on_cpu(manifest: Manifest, backend: str, precision: Precision, gate: Parity) -> str:
    made = open_backend(
        manifest, Engine.model_validate({"backend": backend, "precision": precision})
    )
    gate.check(made.infer, precision)
    if precision == "f32" or may_use(manifest, backend, precision):
        return ""
    return "only when it is asked for: its accuracy wasn't measured, or loses more than the gate"


def _plan(
    manifest: Manifest, precision: Precision, state_dir: Path, probe: tensorrt_probe.Probe
) -> tuple[bool, str]:
    if probe.gpu is None:
        return False, probe.reason
    plan = tensorrt.plan_for(manifest, precision, probe.gpu, state_dir / tensorrt.PLANS)
    on = f"{probe.gpu.name}, TensorRT {probe.gpu.tensorrt}"
    if plan.whole():
        return True, f"{on}; its plan is built"
    return True, f"{on}; the engine builds its plan first, `echocart engine build` does it now"
