"""A whole loop through the network, judged against itself: nobody has drawn on it.

A heart moves steadily. What jumps from one frame to the next, or has no heart's shape, is the
network's mistake, whatever the truth is.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.cine import Cine, FrameError, open_cine
from appliance.engine.backend import Backend
from appliance.engine.pipeline import fan_on_map
from appliance.engine.quality import frame_shape, implausible
from appliance.errors import CineError
from appliance.manifest import Manifest
from appliance.masks import LabelMap, tidy
from appliance.measures.beats import smooth
from appliance.measures.chambers import FrameMeasures, frame_measures
from appliance.measures.summary import steady
from appliance.sector import calibration, find_sector, letterbox, mm_per_map_px
from models.metrics import iou, pieces

_LOW = 5  # percentile


@dataclass(frozen=True)
class Steadiness:
    """One structure over a loop.

    Attributes
    ----------
    iou_median, iou_low
        Overlap of a frame with the one before: median and 5th percentile.
    roughness
        Root mean square of the area less its own smoothed curve (as the box smooths it to find
        beats), over the mean area: 0 for a smooth curve.
    """

    iou_median: float
    iou_low: float
    roughness: float


@dataclass(frozen=True)
class JudgedLoop:
    """The network on one loop.

    Attributes
    ----------
    name
        Of the file.
    frames
        Of the file, the damaged ones too.
    numbers
        Frames (from 0) that could be decoded; everything else here is in their order.
    images, labels
        uint8 [384, 384] each: what the network saw, and its tidied map.
    steadiness
        Structure name to how steadily it moves.
    areas
        Structure name to its area in px of each frame.
    doubts
        Per frame what is wrong with its shape; () for a heart's.
    """

    name: str
    frames: int
    numbers: tuple[int, ...]
    images: tuple[LabelMap, ...]
    labels: tuple[LabelMap, ...]
    steadiness: dict[str, Steadiness]
    areas: dict[str, npt.NDArray[np.float64]]
    doubts: tuple[tuple[str, ...], ...]

    @property
    def implausible(self) -> dict[int, tuple[str, ...]]:
        """Frame number to what is wrong with its shape."""
        return {n: why for n, why in zip(self.numbers, self.doubts, strict=True) if why}

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "loop": self.name,
            "frames": self.frames,
            "damaged": self.frames - len(self.numbers),
            "implausible": {str(n): list(why) for n, why in self.implausible.items()},
            "steadiness": {
                name: {key: round(value, 4) for key, value in vars(found).items()}
                for name, found in self.steadiness.items()
            },
        }


def judge_loop(backend: Backend, manifest: Manifest, path: Path) -> JudgedLoop:
    """Run the network over every frame of a DICOM loop, as the box would.

    Raises
    ------
    CineError, SectorError
        When the file is no loop that can be analysed; the message says why.
    """
    with open_cine(path) as cine:
        if reason := cine.refusal():
            raise CineError("judge a loop", f"{path.name}: {reason}", "Give a B-mode loop.")
        return _judged(backend, manifest, cine, path.name)


def _judged(backend: Backend, manifest: Manifest, cine: Cine, name: str) -> JudgedLoop:
    sector = find_sector(cine)
    scale = mm_per_map_px(calibration(cine, sector), sector)
    fan = fan_on_map(sector)
    numbers: list[int] = []
    images: list[LabelMap] = []
    labels: list[LabelMap] = []
    doubts: list[list[str]] = []
    for number in range(cine.frames):
        try:
            image = letterbox(cine.grey(number), sector.geometry)
        except FrameError:
            continue
        found = backend.infer(image)
        tidied = tidy(found.labels)
        shape = frame_shape(
            tidied,
            found.confidence,
            float(fan.sum()),
            None,  # the frame after a wrong one is right: jumps are looked for both ways, below
            raw=found.labels,
            mm_per_px=scale,
        )
        doubts.append([*_broken(manifest, found.labels), *filter(None, [implausible(shape)])])
        numbers.append(number)
        images.append(image)
        labels.append(tidied)
    _add_jumps([frame_measures(map_, fan) for map_ in labels], doubts)
    areas = {
        s.name: np.array([np.count_nonzero(map_ == s.label) for map_ in labels], np.float64)
        for s in manifest.structures
    }
    return JudgedLoop(
        name=name,
        frames=cine.frames,
        numbers=tuple(numbers),
        images=tuple(images),
        labels=tuple(labels),
        steadiness={
            s.name: _steadiness([m == s.label for m in labels], areas[s.name], cine.timing.rate_hz)
            for s in manifest.structures
        },
        areas=areas,
        doubts=tuple(map(tuple, doubts)),
    )


def _broken(manifest: Manifest, labels: LabelMap) -> list[str]:
    """Each structure that is missing or in more than one piece, before tidying."""
    counts = {s.name: pieces(labels, s.label) for s in manifest.structures}
    return [
        f"{name}: {f'{count} pieces' if count else 'missing'}"
        for name, count in counts.items()
        if count != 1
    ]


def _add_jumps(measures: list[FrameMeasures], doubts: list[list[str]]) -> None:
    """Frames where the ventricle's length jumps out of its neighbours', or there is none."""
    for place in set(range(len(measures))) - set(steady(measures)):
        doubts[place].append("The ventricle's length jumps.")


def _steadiness(
    masks: list[npt.NDArray[np.bool_]], area: npt.NDArray[np.float64], rate_hz: float
) -> Steadiness:
    overlaps = [iou(one, other) for one, other in pairwise(masks)] or [1.0]
    rough = area - smooth(area, rate_hz)
    return Steadiness(
        iou_median=float(np.median(overlaps)),
        iou_low=float(np.percentile(overlaps, _LOW)),
        roughness=float(np.sqrt((rough**2).mean()) / max(1.0, area.mean())),
    )
