"""The network on ONNX Runtime: at f32 the reference the others are held against, and the fallback."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from appliance.engine.backend import Inference, choose, computes_int8, shaped, thread_count
from appliance.errors import BackendError
from appliance.manifest import Manifest, Precision

_ERRORS_ONLY = 3  # ONNX Runtime's log severity


class OnnxRuntime:
    """A network in an ONNX Runtime session on the CPU.

    Parameters
    ----------
    manifest
        The model.
    precision
        "auto" takes int8 where the CPU has it and the model's manifest says that it loses no
        accuracy that matters, f32 otherwise.
    threads
        CPU threads; 0 takes all.

    Raises
    ------
    BackendError
        When ONNX Runtime is missing or refuses the model.
    ManifestError
        When the model has no such precision for ONNX Runtime.
    """

    name = "onnxruntime"

    def __init__(
        self, manifest: Manifest, precision: Precision | Literal["auto"], threads: int
    ) -> None:
        native = {"int8"} if computes_int8() else set()
        self.precision: Precision = choose(manifest, self.name, precision, native)
        variant = manifest.variant(self.name, self.precision)
        try:
            import onnxruntime
        except (ImportError, OSError) as error:
            raise _unusable("it isn't installed, or a library it needs is missing") from error
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_count(threads)
        options.log_severity_level = _ERRORS_ONLY
        # A spinning pool would take the core that decodes the next frame.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                manifest.folder / variant.file, options, providers=["CPUExecutionProvider"]
            )
        # Its exceptions have no common base of their own.
        except Exception as error:
            raise _unusable("it refuses the model") from error
        self._outputs = [output.name for output in manifest.outputs]

    def infer(self, frame: npt.NDArray[np.uint8]) -> Inference:
        """Label one letterboxed frame, uint8 [rows, columns]."""
        values = self._session.run(self._outputs, {"frame": frame[None, None]})
        return shaped(dict(zip(self._outputs, values, strict=True)))


def _unusable(what: str) -> BackendError:
    return BackendError("start ONNX Runtime", what, "Install the package again.")
