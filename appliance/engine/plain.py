"""The shape gate for models that draw other structures than the apical heart.

How those look is nobody's knowledge here: a loop passes when something is drawn in most of its
frames and moves without jumps. The model's own view network has let it through before.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from appliance.engine.backend import Inference
from appliance.engine.quality import (
    SHARE_OF_FRAMES,
    SHARE_READABLE,
    STEADINESS,
    FrameShape,
    Quality,
    along,
)
from appliance.masks import LabelMap, outline

_LEAD = "Nothing is drawn on this loop"


def drawn_shape(
    labels: LabelMap,
    inference: Inference,
    fan_area: float,
    before: LabelMap | None,
    structures: Sequence[int],
) -> FrameShape:
    """Look at one tidied label map.

    Parameters
    ----------
    labels, before
        uint8 [rows, columns]; the frame before, None where there is none.
    inference
        What the network said.
    fan_area
        Pixels of the fan on the map.
    structures
        Label values of the model.

    Returns
    -------
    FrameShape
        What is of the heart alone is 0. `lv_of_fan` is the share of the fan that is drawn on,
        `overlap` that of everything drawn, `certainty` of each structure.
    """
    drawn = labels > 0
    return FrameShape(
        lv_of_fan=np.count_nonzero(drawn) / max(1.0, fan_area),
        wall_of_fan=0.0,
        wall_around=0.0,
        atrium_at_base=0.0,
        atrium_below=False,
        confidence=tuple(float(value) for value in inference.confidence),
        overlap=None if before is None else _overlap(drawn, before > 0),
        certainty=tuple(
            along(inference.certainty, outline(labels, label), labels.shape[0])
            for label in structures
        ),
    )


def judge_drawn(shapes: Sequence[FrameShape], frames: int) -> Quality:
    """Decide whether what was drawn on a loop is shown.

    Parameters
    ----------
    shapes
        Of every readable frame, in order.
    frames
        Frames of the loop, the damaged ones too.
    """
    readable = len(shapes) / max(1, frames)
    if not shapes or readable < SHARE_READABLE:
        return Quality("Most frames of this loop are damaged.", {"readable": readable})
    overlaps = [shape.overlap for shape in shapes if shape.overlap is not None]
    figures = {
        "readable": readable,
        "drawn": sum(shape.lv_of_fan > 0 for shape in shapes) / len(shapes),
        "steadiness": float(np.median(overlaps)) if overlaps else 0.0,
    }
    if figures["drawn"] < SHARE_OF_FRAMES:
        return Quality(f"{_LEAD}: the model finds its structures in too few frames.", figures)
    if figures["steadiness"] < STEADINESS:
        return Quality(f"{_LEAD}: the outlines jump from frame to frame.", figures)
    return Quality("", figures)


def _overlap(drawn: npt.NDArray[np.bool_], before: npt.NDArray[np.bool_]) -> float:
    union = np.count_nonzero(drawn | before)
    return np.count_nonzero(drawn & before) / union if union else 0.0
