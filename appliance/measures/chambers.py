"""The heart's chambers on one label map: areas, long axis, Simpson's disks, area and length.

Simpson's single-plane method of disks and the area-length method: Lang et al., Recommendations
for cardiac chamber quantification by echocardiography in adults, ASE/EACVI 2015.
"""

import math
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from appliance.masks import LabelMap, outline

LV, MYOCARDIUM, LA = 1, 2, 3
# What these label values must mean for a loop to be measured (SNOMED CT).
_CODES = {LV: "87878005", MYOCARDIUM: "49848007", LA: "82471001"}

_DISKS = 20  # ASE/EACVI 2015
_REACH = 3  # px, side of the square in which two structures count as touching
_MIN_BASE = 5  # px of shared border below which it isn't taken for a mitral annulus
_CUT_SHARE = 0.05  # of the cavity's outline at the fan's edge: some of the cavity lies outside
_EDGE = 5  # px, side of the square that must lie in the fan around an outline point

_TENTHS = "<u2"  # of a px, in a stored row

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
    cut_at_edge, la_cut
        The ventricle, the atrium reaches the edge of what the machine shows: it may go on beyond.
    la_length
        px, from the middle of its mouth to its farthest point; 0 when absent.
    lv_diameters
        px, of the 20 disks from base to apex; () without a length.
    """

    lv_area: float
    la_area: float
    myo_area: float
    lv_length: float
    lv_volume: float
    la_volume: float
    cut_at_edge: bool
    la_cut: bool = False
    la_length: float = 0.0
    lv_diameters: tuple[float, ...] = ()

    def scaled(self, factor: float) -> "FrameMeasures":
        """The same in pixels of which one of these holds `factor` along each side."""
        return replace(
            self,
            lv_diameters=tuple(diameter * factor for diameter in self.lv_diameters),
            **{name: getattr(self, name) * factor**power for name, power in _POWERS.items()},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a ledger row; `from_dict` reads them back."""
        # A row holds every frame, and lists read many rows: a number each would double both.
        tenths = np.rint(np.multiply(self.lv_diameters, 10)).astype(_TENTHS)
        return {**asdict(self), "lv_diameters": b64encode(tenths.tobytes()).decode()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FrameMeasures":
        """The measures a row holds; one of an earlier release holds fewer."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        tenths = np.frombuffer(b64decode(known.get("lv_diameters", "")), _TENTHS)
        return cls(**{**known, "lv_diameters": tuple((tenths / 10).tolist())})


def draws_heart(structures: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether a model's structures are those that are measured here, others aside.

    Parameters
    ----------
    structures
        `label` and `code` of each, as a manifest or an analysis row holds them.
    """
    codes = {item["label"]: item["code"] for item in structures}
    return all(codes.get(label) == code for label, code in _CODES.items())


_POWERS = {
    "lv_area": 2,
    "la_area": 2,
    "myo_area": 2,
    "lv_length": 1,
    "la_length": 1,
    "lv_volume": 3,
    "la_volume": 3,
}


NOTHING = FrameMeasures(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, cut_at_edge=False)


@dataclass(frozen=True)
class Disks:
    """The cavity as Simpson's method cuts it, in pixels of the map.

    Attributes
    ----------
    length
        From the mitral midpoint to the apex.
    diameters
        float64 [20], from base to apex: the mean width of each slice.
    """

    length: float
    diameters: npt.NDArray[np.float64]

    @property
    def volume(self) -> float:
        """V = pi/4 * L/20 * sum(d^2), px^3."""
        return disks_volume(self.length, self.diameters, self.diameters)


def disks_volume(
    length: float, diameters: Sequence[float] | _Points, across: Sequence[float] | _Points
) -> float:
    """V = pi/4 * L/20 * sum(a * b): elliptical disks, seen in two planes at right angles.

    With the diameters of one plane twice, the single-plane method: disks are taken for round.
    """
    return float(math.pi / 4 * length / _DISKS * np.dot(diameters, across))


def area_length_volume(area: float, across: float, length: float) -> float:
    """V = 8 * A1 * A2 / (3 * pi * L); with one area twice, the single-plane method."""
    return 8 * area * across / (3 * math.pi * length)


def disks(labels_iso: LabelMap) -> Disks | None:
    """Cut the cavity of a label map, uint8 [rows, columns]; None without a mitral annulus."""
    border = outline(labels_iso, LV)
    base = _mitral_midpoint(border, Around.of(labels_iso, border)) if len(border) else None
    return None if base is None else _disks(labels_iso, border, base, _farthest(border, base))


def frame_measures(
    labels_iso: LabelMap,
    visible: npt.NDArray[np.bool_] | None = None,
    outlines: Mapping[int, npt.NDArray[np.int32]] | None = None,
    *,
    around: "Around | None" = None,
    shown: npt.NDArray[np.uint8] | None = None,
) -> FrameMeasures:
    """Measure one label map.

    Parameters
    ----------
    labels_iso
        uint8 [rows, columns] with square pixels: the network's own map, or a corrected one
        through `isotropic`.
    visible
        bool [rows, columns], the fan on that map; the whole map when absent.
    outlines, around, shown
        `masks.outline` of each structure, what lies around the cavity's, and `well_inside` of
        `visible`, where the caller has them already.
    """
    areas = {label: float(np.count_nonzero(labels_iso == label)) for label in (LV, MYOCARDIUM, LA)}
    if not areas[LV]:
        return FrameMeasures(0.0, areas[LA], areas[MYOCARDIUM], 0.0, 0.0, 0.0, cut_at_edge=False)
    lines = outlines or {label: outline(labels_iso, label) for label in (LV, LA)}
    border = lines[LV]
    shown = well_inside(labels_iso.shape, visible) if shown is None else shown
    base = _mitral_midpoint(border, around or Around.of(labels_iso, border))
    found = None if base is None else _disks(labels_iso, border, base, _farthest(border, base))
    atrium = lines[LA]
    mouth_to_roof = 0.0 if base is None else _atrial_length(labels_iso, atrium, base)
    return FrameMeasures(
        lv_area=areas[LV],
        la_area=areas[LA],
        myo_area=areas[MYOCARDIUM],
        lv_length=found.length if found else 0.0,
        lv_volume=found.volume if found else 0.0,
        la_volume=area_length_volume(areas[LA], areas[LA], mouth_to_roof) if mouth_to_roof else 0.0,
        cut_at_edge=_is_cut(border, shown),
        la_cut=_is_cut(atrium, shown),
        la_length=mouth_to_roof,
        lv_diameters=tuple(round(float(d), 1) for d in found.diameters) if found else (),
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
    if not len(points):
        return np.zeros(0, np.bool_)
    x, y, width, height = cv2.boundingRect(points)
    left, top = max(0, x - 1), max(0, y - 1)
    mask = (labels[top : y + height + 1, left : x + width + 1] == label).view(np.uint8)
    near = cv2.dilate(mask, np.ones((_REACH, _REACH), np.uint8))
    found: npt.NDArray[np.bool_] = near[points[:, 1] - top, points[:, 0] - left] > 0
    return found


@dataclass(frozen=True)
class Around:
    """Where on the cavity's outline the wall and the atrium lie, bool [n] each."""

    wall: npt.NDArray[np.bool_]
    atrium: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, labels: LabelMap, border: npt.NDArray[np.int32]) -> "Around":
        """Look along an outline, int32 [n, 2] (x, y)."""
        return cls(touching(labels, MYOCARDIUM, border), touching(labels, LA, border))


def _mitral_midpoint(border: npt.NDArray[np.int32], around: "Around") -> _Points | None:
    """Middle of the annulus: where the cavity meets the atrium, else where it has no wall."""
    for base in (border[around.atrium], border[~around.wall]):
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


def _disks(labels: LabelMap, border: npt.NDArray[np.int32], base: _Points, apex: _Points) -> Disks:
    length = _extent(base, apex)
    direction = (apex - base) / max(length - 1.0, 1e-9)
    (left, top), (right, bottom) = border.min(axis=0), border.max(axis=0)
    mask = labels[top : bottom + 1, left : right + 1] == LV
    across = (np.arange(left, right + 1) - base[0]) * direction[0]
    down = (np.arange(top, bottom + 1) - base[1]) * direction[1]
    along = (across + down[:, None])[mask] + 0.5
    place = along * (_DISKS / length)
    inside = place[(place >= 0) & (place <= _DISKS)]
    slices = np.bincount(np.minimum(inside.astype(np.intp), _DISKS - 1), minlength=_DISKS)
    return Disks(length, slices / (length / _DISKS))


def _atrial_length(labels: LabelMap, border: npt.NDArray[np.int32], base: _Points) -> float:
    """From the middle of the atrium's mouth to its farthest point; 0 when it is absent."""
    if not len(border):
        return 0.0
    mouth = border[touching(labels, LV, border)]
    middle = _middle(mouth) if len(mouth) >= _MIN_BASE else base
    return _extent(middle, _farthest(border, middle))


def well_inside(
    shape: tuple[int, ...], visible: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.uint8]:
    """1 where an outline lies clear of the edge of what the machine shows, uint8 [rows, columns]."""
    shown = np.ones(shape, np.uint8) if visible is None else visible.astype(np.uint8)
    kernel = np.ones((_EDGE, _EDGE), np.uint8)
    eroded = cv2.erode(shown, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(eroded, np.uint8)


def _is_cut(border: npt.NDArray[np.int32], inside: npt.NDArray[np.uint8]) -> bool:
    if not len(border):
        return False
    outside = inside[border[:, 1], border[:, 0]] == 0
    return float(outside.mean()) >= _CUT_SHARE
