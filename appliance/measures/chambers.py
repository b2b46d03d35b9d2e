"""The heart's chambers on one label map: areas, long axis, Simpson's disks, area and length.

Simpson's single-plane method of disks and the area-length method: Lang et al., Recommendations
for cardiac chamber quantification by echocardiography in adults, ASE/EACVI 2015.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from appliance.masks import LabelMap, outline

LV, MYOCARDIUM, LA = 1, 2, 3

_DISKS = 20  # ASE/EACVI 2015
_REACH = 3  # px, side of the square in which two structures count as touching
_MIN_BASE = 5  # px of shared border below which it isn't taken for a mitral annulus
_CUT_SHARE = 0.05  # of the cavity's outline at the fan's edge: some of the cavity lies outside
_EDGE = 5  # px, side of the square that must lie in the fan around an outline point

_Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FrameMeasures:
    """Sizes on one label map with square pixels, in its pixels.

    Attributes
    ----------
    lv_area, la_area, myo_area
        px^2; 0 when absent.
    lv_length
        px, from the mitral midpoint to the apex; 0 when no base was found.
    lv_volume
        px^3, Simpson, one plane; 0 without a length.
    la_volume
        px^3, area and length, one plane; 0 when absent.
    cut_at_edge
        The cavity reaches the edge of what the machine shows: it may go on beyond.
    """

    lv_area: float
    la_area: float
    myo_area: float
    lv_length: float
    lv_volume: float
    la_volume: float
    cut_at_edge: bool

    def scaled(self, factor: float) -> "FrameMeasures":
        """The same in pixels of which one of these holds `factor` along each side."""
        return replace(
            self,
            **{name: getattr(self, name) * factor**power for name, power in _POWERS.items()},
        )

    def to_dict(self) -> dict[str, float | bool]:
        """Plain values, for a ledger row; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FrameMeasures":
        """The measures a row holds."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


_POWERS = {
    "lv_area": 2,
    "la_area": 2,
    "myo_area": 2,
    "lv_length": 1,
    "lv_volume": 3,
    "la_volume": 3,
}


def frame_measures(
    labels_iso: LabelMap, visible: npt.NDArray[np.bool_] | None = None
) -> FrameMeasures:
    """Measure one label map.

    Parameters
    ----------
    labels_iso
        uint8 [rows, columns] with square pixels: the network's own map, or a corrected one
        through `isotropic`.
    visible
        bool [rows, columns], the fan on that map; the whole map when absent.
    """
    areas = {label: float(np.count_nonzero(labels_iso == label)) for label in (LV, MYOCARDIUM, LA)}
    length = volume = la_volume = 0.0
    cut = False
    if areas[LV]:
        border = outline(labels_iso, LV)
        cut = _is_cut(border, labels_iso.shape, visible)
        base = _mitral_midpoint(labels_iso, border)
        if base is not None:
            apex = _farthest(border, base)
            length = _extent(base, apex)
            volume = _disks(labels_iso, border, base, apex)
            la_volume = _area_length(labels_iso, base, areas[LA])
    return FrameMeasures(
        areas[LV], areas[LA], areas[MYOCARDIUM], length, volume, la_volume, cut_at_edge=cut
    )


def isotropic(labels_source: LabelMap, aspect: float) -> LabelMap:
    """Even out pixels that aren't square: one pixel becomes as high as a source pixel is wide.

    Parameters
    ----------
    labels_source
        uint8 [rows, columns].
    aspect
        Height of a source pixel over its width.

    Returns
    -------
    uint8 [rows * aspect, columns]
        Nearest labels; the input itself when the pixels are square.
    """
    if aspect == 1.0:
        return labels_source
    rows, columns = labels_source.shape
    size = (columns, max(1, round(rows * aspect)))
    resized = cv2.resize(labels_source, size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, np.uint8)


def touching(labels: LabelMap, label: int, points: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Tell for each (x, y) point, int32 [n, 2], whether a structure lies within 1 px."""
    mask = (labels == label).view(np.uint8)
    near = cv2.dilate(mask, np.ones((_REACH, _REACH), np.uint8))
    found: npt.NDArray[np.bool_] = near[points[:, 1], points[:, 0]] > 0
    return found


def _mitral_midpoint(labels: LabelMap, border: npt.NDArray[np.int32]) -> _Points | None:
    """Middle of the annulus: where the cavity meets the atrium, else where it has no wall."""
    for base in (
        border[touching(labels, LA, border)],
        border[~touching(labels, MYOCARDIUM, border)],
    ):
        if len(base) >= _MIN_BASE:
            return _middle(base)
    return None


def _middle(points: npt.NDArray[np.int32]) -> _Points:
    """Middle of the chord between the two ends of a stretch of outline."""
    one = _farthest(points, points.mean(axis=0))
    return (one + _farthest(points, one)) / 2


def _farthest(points: npt.NDArray[Any], origin: npt.NDArray[Any]) -> _Points:
    distances = np.hypot(*(points - origin).T)
    return np.asarray(points[int(distances.argmax())], np.float64)


def _extent(base: _Points, apex: _Points) -> float:
    # Both are pixel centres on the outline: half a pixel of cavity lies beyond each.
    return float(np.hypot(*(apex - base))) + 1.0


def _disks(labels: LabelMap, border: npt.NDArray[np.int32], base: _Points, apex: _Points) -> float:
    """V = pi/4 * L/20 * sum(d^2); a disk's diameter is the mean width of its slice."""
    length = _extent(base, apex)
    direction = (apex - base) / max(length - 1.0, 1e-9)
    (left, top), (right, bottom) = border.min(axis=0), border.max(axis=0)
    y, x = np.nonzero(labels[top : bottom + 1, left : right + 1] == LV)
    along = (x + left - base[0]) * direction[0] + (y + top - base[1]) * direction[1] + 0.5
    slices = np.histogram(along, bins=_DISKS, range=(0.0, length))[0]
    diameters = slices / (length / _DISKS)
    return float(math.pi / 4 * length / _DISKS * (diameters**2).sum())


def _area_length(labels: LabelMap, base: _Points, area: float) -> float:
    """V = 8 A^2 / (3 pi L), from the middle of the atrium's mouth to its farthest point."""
    if not area:
        return 0.0
    border = outline(labels, LA)
    mouth = border[touching(labels, LV, border)]
    middle = _middle(mouth) if len(mouth) >= _MIN_BASE else base
    length = _extent(middle, _farthest(border, middle))
    return 8 * area**2 / (3 * math.pi * length)


def _is_cut(
    border: npt.NDArray[np.int32],
    shape: tuple[int, ...],
    visible: npt.NDArray[np.bool_] | None,
) -> bool:
    shown = np.ones(shape, np.uint8) if visible is None else visible.astype(np.uint8)
    well_inside = cv2.erode(
        shown, np.ones((_EDGE, _EDGE), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    outside = well_inside[border[:, 1], border[:, 0]] == 0
    return float(outside.mean()) >= _CUT_SHARE
