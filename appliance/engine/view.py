"""Which view a loop shows, and whether it is an apical heart at all: a small network looks first.

It sees a few frames of the loop, letterboxed as the segmentation network sees them and shrunk, and
says how likely each view is and how far a frame lies from the hearts it learnt from. Unless it is
sure of an apical heart, nothing is drawn (promise 4). A person may say otherwise on the page.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from appliance.cine import Cine, FrameError
from appliance.errors import BackendError
from appliance.manifest import VIEW_INPUT, Manifest, ViewNetwork
from appliance.sector import Sector
from appliance.sector.geometry import letterbox
from appliance.views import OTHER

Frame = npt.NDArray[np.uint8]

# What tells the views apart is larger than 4 map pixels.
SIDE = VIEW_INPUT[0]
LOOKED_AT = 8  # frames, spread over the loop: every phase of a beat is among them
NOT_APICAL = "No apical four- or two-chamber view could be recognised in this loop."
_ERRORS_ONLY = 3  # ONNX Runtime's log severity


@dataclass(frozen=True)
class View:
    """What the view network said about a loop.

    Attributes
    ----------
    view
        Name of the likeliest view, "other" when the loop isn't to be measured, "" when the
        model has no view network.
    certainty
        Of the view's name among the views the model draws on, 0..1; None without a network.
    figures
        `apical` (mean probability of any such view), `distance` (median, in units of the limit)
        and the mean probability of each view.
    """

    view: str
    certainty: float | None
    figures: dict[str, float]

    @property
    def reason(self) -> str:
        """Why the loop isn't to be measured, for a sonographer; "" when it is."""
        return NOT_APICAL if self.view == OTHER else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a ledger row."""
        return asdict(self)


UNKNOWN = View("", None, {})


class ViewGate:
    """The view network of a model, ready to look.

    Parameters
    ----------
    manifest
        The model; one without a view network tells no views and refuses nothing here.

    Raises
    ------
    BackendError
        When ONNX Runtime is missing or refuses the network.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._network = manifest.view
        self._session = _opened(manifest, self._network) if self._network else None

    def look(self, cine: Cine, sector: Sector) -> View:
        """Tell a loop's view from a few of its frames; damaged ones are passed over."""
        return UNKNOWN if self._network is None else self.judge(looked_at(cine, sector))

    def judge(self, frames: Sequence[Frame]) -> View:
        """Tell the view of frames as `shrunk` gives them."""
        if self._network is None:
            return UNKNOWN
        if not frames:
            return View(OTHER, 1.0, {})
        return decide(self._network, *self.ask(frames))

    def ask(
        self, frames: Sequence[Frame]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Probabilities float32 [n, views] and distances float32 [n] of frames, n >= 1."""
        assert self._session is not None  # only a model with a view network is asked
        shown = np.stack(frames)[:, None]
        said, distance = self._session.run(["view", "distance"], {"frames": shown})
        return said, distance


def looked_at(cine: Cine, sector: Sector) -> list[Frame]:
    """Return a few frames of a loop as a view network wants them; damaged ones are passed over."""
    frames = []
    for index in cine.sampled(LOOKED_AT):
        try:
            frames.append(shrunk(letterbox(cine.grey(index), sector.geometry)))
        except FrameError:
            continue
    return frames


def shrunk(frame: Frame) -> Frame:
    """Shrink a letterboxed frame to the view network's input, uint8 [96, 96]."""
    return np.asarray(cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def decide(
    network: ViewNetwork, said: npt.NDArray[np.float32], distance: npt.NDArray[np.float32]
) -> View:
    """Judge a loop by what the network said of its frames.

    Parameters
    ----------
    network
        Names the views and the limits.
    said
        float32 [frames, views], probabilities.
    distance
        float32 [frames], from the hearts it learnt from.
    """
    mean = dict(zip(network.views, said.mean(axis=0).tolist(), strict=True))
    drawn = {name: share for name, share in mean.items() if name != OTHER}
    apical, far = sum(drawn.values()), float(np.median(distance)) / network.limit_distance
    figures = {name: round(share, 4) for name, share in mean.items()}
    figures |= {"apical": round(apical, 4), "distance": round(far, 4)}
    best = max(drawn, key=lambda name: drawn[name])
    if apical < network.limit_apical or far > 1:
        return View(OTHER, round(1 - apical, 4), figures)
    return View(best, round(drawn[best] / apical, 4), figures)


def _opened(manifest: Manifest, network: ViewNetwork) -> Any:
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise _unusable("ONNX Runtime isn't installed") from error
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    # One small network on eight frames: more threads would wait for each other.
    options.intra_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(
            manifest.folder / network.file, options, providers=["CPUExecutionProvider"]
        )
    # Its exceptions have no common base of their own.
    except Exception as error:
        raise _unusable("ONNX Runtime refuses the view network") from error


def _unusable(what: str) -> BackendError:
    return BackendError("look at the view", what, "Install the package, or the model, again.")
