"""The B-mode fan: where it is in a loop's frames, and the way from there to the network and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.cine import Cine
from appliance.cine.regions import Region
from appliance.errors import CineError, SectorError
from appliance.sector.calibration import Calibration
from appliance.sector.calibration import calibrate as _calibrate
from appliance.sector.geometry import Geometry

Mask = npt.NDArray[np.bool_]
_LOOKED_AT = 16  # frames
_DARK = 10  # grey level up to which a pixel is black, JPEG noise included
_CHANGE = 9  # grey levels a pixel moves over the loop where speckle lives
_SMALLEST = 0.04  # of the picture; a smaller fan is none
_SMALLEST_IN_REGION = 0.25  # of a region's box: a fan fills about 60 % of its own
_MOST_GROWTH = 1.3  # by lit, still pixels; more than that is no fan but the screen around it
_INSIDE = 0.85  # of the fan that a region must hold to be believed


@dataclass(frozen=True)
class Sector:
    """Where the fan is.

    Attributes
    ----------
    geometry
        From source pixels to the network's map.
    fan
        bool[rows, columns]: the B-mode picture itself, without text, traces or tool bars.
    source
        "region" when the box lies in one the machine declared, "pixels" when only pixels told.
    certain
        Whether pixels agree with the region, or form one clear fan.
    note
        What a person should know, "" when nothing.
    region
        The declared region used, None when `source` is "pixels".
    """

    geometry: Geometry
    fan: Mask
    source: str
    certain: bool
    note: str
    region: Region | None = None


def find_sector(cine: Cine) -> Sector:
    """Find the fan from the declared regions where pixels bear them out, else from pixels alone.

    Parameters
    ----------
    cine
        A loop without a `refusal`; up to 16 of its frames are decoded.

    Raises
    ------
    SectorError
        When nothing in the pictures looks like a fan; `subject` is for a sonographer.
    """
    brightest, change = _over_time(cine)
    seen = _fan(brightest, change)
    region = _tissue_region(cine)
    if region is not None:
        inside = _from_region(cine, region, seen, brightest, change)
        if inside is not None:
            return inside
    if seen is None:
        raise SectorError(
            "find the ultrasound fan",
            "No ultrasound fan can be found in this loop",
            "Look at the loop on the echo machine",
        )
    note = "" if region is None else "The machine's region doesn't fit the picture; it isn't used."
    return _sector(cine, seen, "pixels", _is_clear(seen, change), note, None)


def calibration(cine: Cine, sector: Sector) -> Calibration:
    """How large a pixel is, and whether that can be trusted with a patient's volumes."""
    box = sector.geometry
    return _calibrate(
        cine.regions,
        rows=cine.rows,
        columns=cine.columns,
        aspect=cine.pixel_aspect,
        fan_box=(box.x, box.y, box.width, box.height),
        used=sector.region,
    )


def mm_per_map_px(scale: Calibration, sector: Sector) -> float | None:
    """Side of a pixel of the network's map, which is square, in mm; None when not trusted."""
    if not scale.trusted or scale.mm_per_px_x is None:
        return None
    return scale.mm_per_px_x / sector.geometry.scale_x


def _over_time(cine: Cine) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Per pixel, over the sampled frames: brightest value, and brightest less darkest."""
    brightest = np.zeros((cine.rows, cine.columns), np.uint8)
    darkest = np.full_like(brightest, 255)
    decoded = 0
    for index in cine.sampled(_LOOKED_AT):
        try:
            frame = cine.grey(index)
        except CineError:
            continue  # one damaged frame doesn't hide the fan in the others
        np.maximum(brightest, frame, out=brightest)
        np.minimum(darkest, frame, out=darkest)
        decoded += 1
    if not decoded:
        raise SectorError(
            "find the ultrasound fan",
            "The loop is damaged: none of its frames can be decoded",
            "Send it again from the echo machine",
        )
    return brightest, brightest - darkest


def _fan(brightest: npt.NDArray[np.uint8], change: npt.NDArray[np.uint8]) -> Mask | None:
    """The part of the picture in which speckle moves, made convex; None when there is none.

    What is lit but still, such as the probe's own echo at the apex, joins it where it touches.
    """
    import cv2  # late: contours of stored masks don't need it

    lit = brightest > _DARK
    moving = _largest_hull(lit & (change > _CHANGE))
    if moving is None:
        return None
    near = cv2.dilate(moving.astype(np.uint8), _kernel(moving.shape, 3)) > 0
    whole = _largest_hull(lit & near | moving)
    if whole is None or whole.sum() > _MOST_GROWTH * moving.sum():
        return moving
    return whole


def _kernel(shape: tuple[int, ...], times: int = 1) -> npt.NDArray[np.uint8]:
    import cv2  # late: contours of stored masks don't need it

    size = max(3, min(shape) // 90) * times | 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _largest_hull(pixels: Mask) -> Mask | None:
    """The convex hull of the largest coherent part; None when it is too small for a fan."""
    import cv2  # late: contours of stored masks don't need it

    # Closing joins speckle across blood; opening then drops text, traces, cursors and digits.
    closed = cv2.morphologyEx(pixels.astype(np.uint8), cv2.MORPH_CLOSE, _kernel(pixels.shape))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, _kernel(pixels.shape, 2))
    contours, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    # Every fan is convex: its sides are beams, its far end an arc around their source.
    outline = cv2.convexHull(max(contours, key=cv2.contourArea))
    hull = cv2.fillConvexPoly(np.zeros(pixels.shape, np.uint8), outline, 1) > 0
    return hull if hull.mean() >= _SMALLEST else None


def _is_clear(fan: Mask, change: npt.NDArray[np.uint8]) -> bool:
    """Whether most of the fan really moves, and little outside it does."""
    alive = change > _CHANGE
    return bool(alive[fan].mean() > 0.35 and (alive & ~fan).sum() < 0.2 * alive.sum())


def _tissue_region(cine: Cine) -> Region | None:
    """The largest tissue region that lies in the image."""
    tissue = [
        region
        for region in cine.regions
        if region.is_tissue and region.inside(cine.rows, cine.columns)
    ]
    return max(tissue, key=lambda region: region.width * region.height, default=None)


def _from_region(
    cine: Cine,
    region: Region,
    seen: Mask | None,
    brightest: npt.NDArray[np.uint8],
    change: npt.NDArray[np.uint8],
) -> Sector | None:
    """The fan inside a region's box, or None when the picture lies elsewhere."""
    x, y, width, height = region.clipped(cine.rows, cine.columns)
    box = np.zeros((cine.rows, cine.columns), np.bool_)
    box[y : y + height, x : x + width] = True
    if seen is not None and (seen & box).sum() < _INSIDE * seen.sum():
        return None
    fan = _fan(np.where(box, brightest, 0), np.where(box, change, 0))
    if fan is not None and fan.sum() >= _SMALLEST_IN_REGION * box.sum():
        return _sector(cine, fan & box, "region", True, "", region)
    if fan is None and not (brightest[box] > _DARK).any():
        return None
    note = "The fan's edges can't be seen; the machine's whole region is used."
    return _sector(cine, box, "region", False, note, region)


def _sector(
    cine: Cine, fan: Mask, source: str, certain: bool, note: str, region: Region | None
) -> Sector:
    y, x = np.nonzero(fan)
    left, top = int(x.min()), int(y.min())
    box = (left, top, int(x.max()) - left + 1, int(y.max()) - top + 1)
    geometry = Geometry.fit(cine.rows, cine.columns, box, cine.pixel_aspect)
    return Sector(geometry, fan, source, certain, note, region)
