"""One frame judged against the expert's drawing."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from appliance.engine.backend import Backend, Inference
from appliance.engine.quality import frame_shape, implausible
from appliance.manifest import Manifest
from appliance.masks import LabelMap, tidy
from models.camus import Frame
from models.corrections import Row
from models.data import letterboxed, map_spacing
from models.metrics import Score, pieces, score
from models.stats import Reliability

ALL, HEART = "every block", "heart"  # regions of the calibration beside the structures

_SURE = 255  # of `certainty`
_MOSTLY = 0.5  # of a block
_BLACK = 8  # grey level: outside the fan CAMUS is 0, but for the rim that resizing softens


@dataclass(frozen=True)
class Judged:
    """The network on one frame.

    Attributes
    ----------
    row
        Whose frame, which view and phase.
    mm_per_px
        Of the label map; None when unknown.
    width_over_height
        Of the source frame as it is stored.
    network, tidied
        Structure name to its score, before and after the box's tidying.
    pieces
        Structure name to its components before tidying; 0 when it is missing.
    doubt
        Why the box doesn't take this shape for a heart's; "" when it does.
    confidence
        Structure name to the network's mean winning probability over its pixels.
    precision
        Structure name to the share of its pixels the expert gave the same label.
    reliability
        Region to certainty against correctness of its blocks.
    image, labels, drawn
        uint8 [384, 384]: what the network saw, its tidied map, the expert's tidied map.
    """

    row: Row
    mm_per_px: float | None
    width_over_height: float
    network: dict[str, Score]
    tidied: dict[str, Score]
    pieces: dict[str, int]
    doubt: str
    confidence: dict[str, float]
    precision: dict[str, float]
    reliability: dict[str, Reliability]
    image: LabelMap
    labels: LabelMap
    drawn: LabelMap

    @property
    def broken(self) -> list[str]:
        """Structures missing, or in more than one piece, before tidying."""
        return [name for name, count in self.pieces.items() if count != 1]

    def to_dict(self) -> dict[str, Any]:
        """Plain values of one line of a report."""
        return {
            "patient": self.row.patient,
            "view": self.row.view,
            "phase": self.row.phase,
            **({"scanner": self.row.scanner} if self.row.scanner else {}),
            "mm_per_px": self.mm_per_px,
            "network": {name: _rounded(found) for name, found in self.network.items()},
            "tidied": {name: _rounded(found) for name, found in self.tidied.items()},
            "pieces": self.pieces,
            "doubt": self.doubt,
            "confidence": {name: round(value, 4) for name, value in self.confidence.items()},
            "precision": {name: round(value, 4) for name, value in self.precision.items()},
        }


def judge(backend: Backend, manifest: Manifest, frames: Sequence[Frame]) -> Iterator[Judged]:
    """Run the network over drawn frames.

    Raises
    ------
    CorrectionsError
        At the first frame that can't be read.
    """
    for frame in frames:
        drawn = frame.load()
        image, expert = letterboxed(drawn)
        found = backend.infer(image)
        labels = tidy(found.labels)
        scale = map_spacing(drawn)
        shape = frame_shape(
            labels, found.confidence, _fan_area(image), None, raw=found.labels, mm_per_px=scale
        )
        rows, columns = drawn.image.shape
        yield Judged(
            row=drawn.row,
            mm_per_px=scale,
            width_over_height=columns / rows / drawn.aspect,
            network=_scores(manifest, found.labels, expert),
            tidied=_scores(manifest, labels, expert),
            pieces={s.name: pieces(found.labels, s.label) for s in manifest.structures},
            doubt=implausible(shape),
            confidence={s.name: float(found.confidence[s.label]) for s in manifest.structures},
            precision=_precision(manifest, found.labels, expert),
            reliability=_reliability(manifest, found, expert),
            image=image,
            labels=labels,
            drawn=tidy(expert),
        )


def _scores(manifest: Manifest, labels: LabelMap, expert: LabelMap) -> dict[str, Score]:
    return {s.name: score(labels, expert, s.label) for s in manifest.structures}


def _precision(manifest: Manifest, labels: LabelMap, expert: LabelMap) -> dict[str, float]:
    shares = {}
    for structure in manifest.structures:
        called = labels == structure.label
        right = expert[called] == structure.label
        shares[structure.name] = float(right.mean()) if len(right) else 0.0
    return shares


def _reliability(manifest: Manifest, found: Inference, expert: LabelMap) -> dict[str, Reliability]:
    """Sort the blocks of `certainty` by how sure the network was and how much of each is right."""
    certainty = found.certainty.astype(np.float64) / _SURE
    rows, columns = certainty.shape
    shape = rows, columns
    correct = _shares(found.labels == expert, shape)
    regions = {
        ALL: np.ones(shape, np.bool_),
        HEART: _shares((found.labels > 0) | (expert > 0), shape) > 0,
    }
    for structure in manifest.structures:
        called = found.labels == structure.label
        regions[structure.name] = _shares(called, shape) >= _MOSTLY
    return {
        name: Reliability.of(certainty[region], correct[region]) for name, region in regions.items()
    }


def _shares(mask: npt.NDArray[np.bool_], shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Share of each block's pixels that the mask has, float64 of `shape`."""
    rows, columns = shape
    high, wide = mask.shape
    blocks = mask.reshape(rows, high // rows, columns, wide // columns)
    shares: npt.NDArray[np.float64] = blocks.mean(axis=(1, 3))
    return shares


def _fan_area(image: LabelMap) -> float:
    """Pixels of the convex hull of what isn't black: a still has no movement to find the fan by."""
    lit = cv2.findNonZero((image > _BLACK).view(np.uint8))
    return float(cv2.contourArea(cv2.convexHull(lit))) if lit is not None else 0.0


def _rounded(found: Score) -> dict[str, float | None]:
    return {
        name: None if value is None else round(value, 4) for name, value in asdict(found).items()
    }
