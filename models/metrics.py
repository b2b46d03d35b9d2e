"""How far one label map is from another: overlap, distances between outlines, pieces.

Distances are between border pixels (of a structure, those with a 4-neighbour outside it), in
pixels of the map, as MONAI's `compute_hausdorff_distance` and `compute_average_surface_distance`
(symmetric) have them; a test holds both to the same figures.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

LabelMap = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_PERCENTILE = 95
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclass(frozen=True)
class Score:
    """One structure on two label maps.

    Attributes
    ----------
    dice
        0..1; 1 where both maps lack the structure.
    hd95
        px, the larger of the two directed 95th percentiles; None where a map lacks the structure.
    msd
        px, mean over the border pixels of both; None where a map lacks the structure.
    """

    dice: float
    hd95: float | None
    msd: float | None


def score(mine: LabelMap, theirs: LabelMap, label: int) -> Score:
    """Compare one structure of two label maps of one shape."""
    one, other = mine == label, theirs == label
    distances = border_distances(one, other)
    if distances is None:
        return Score(overlap(one, other), None, None)
    hd95 = max(float(np.percentile(way, _PERCENTILE)) for way in distances)
    return Score(overlap(one, other), hd95, float(np.concatenate(distances).mean()))


def dice(labels: LabelMap, expert: LabelMap, structures: tuple[int, ...]) -> list[float]:
    """Return Dice (0..1) of each structure; 1 where both maps lack it."""
    return [overlap(labels == label, expert == label) for label in structures]


def overlap(one: Mask, other: Mask) -> float:
    """Return Dice of two masks; 1 when both are empty."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else 1.0


def iou(one: Mask, other: Mask) -> float:
    """Return intersection over union of two masks; 1 when both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def border_distances(
    one: Mask, other: Mask
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None:
    """Return the distance of each border pixel of a mask to the other's border, both ways, in px.

    None when a mask is empty.
    """
    if not one.any() or not other.any():
        return None
    part = _bounds(one | other)
    mine, theirs = _border(one[part]), _border(other[part])
    return _distance_to(theirs)[mine], _distance_to(mine)[theirs]


def pieces(labels: LabelMap, label: int) -> int:
    """Count the 8-connected components of a structure, single pixels too."""
    return int(cv2.connectedComponents((labels == label).view(np.uint8), connectivity=8)[0]) - 1


def _bounds(mask: Mask) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _border(mask: Mask) -> Mask:
    filled = np.ascontiguousarray(mask).view(np.uint8)
    # Beyond the picture is outside: a mask cut by the edge has its border there.
    inner = cv2.erode(filled, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    border: Mask = mask & (inner == 0)
    return border


def _distance_to(border: Mask) -> npt.NDArray[np.float32]:
    away = cv2.distanceTransform(
        (~border).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE, dstType=cv2.CV_32F
    )
    return np.asarray(away, np.float32)
