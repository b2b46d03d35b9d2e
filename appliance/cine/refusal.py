"""Why an object can't be analysed as a grey apical loop, in a sonographer's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID

from appliance.cine.regions import (
    COLOUR_FLOW,
    CW_DOPPLER,
    M_MODE,
    PW_DOPPLER,
    SPECTRAL,
    TWO_D,
)
from appliance.errors import CineError
from appliance.part10 import text

if TYPE_CHECKING:
    from appliance.cine import Cine

FEWEST_FRAMES = 8  # a beat at the slowest useful rate
COLOUR_DOPPLER = "Colour Doppler: masks are drawn on grey (B-mode) loops only."
_M_MODE_REASON = "M-mode: masks are drawn on moving two-dimensional loops only."
_SPECTRAL_REASON = "Spectral Doppler: masks are drawn on grey (B-mode) loops only."
_THREE_D = "3D data: masks are drawn on two-dimensional loops only."
_VIDEO_PREFIX = "1.2.840.10008.1.2.4.10"  # .100 to .108: MPEG-2, MPEG-4, HEVC
_ENHANCED_VOLUME = "1.2.840.10008.5.1.4.1.1.6.2"
# ImageType value 4, a hexadecimal sum of modes (PS3.3 C.8.5.6.1.1).
_MODES = (
    (0x0002 | 0x0020, _M_MODE_REASON),
    (0x0004 | 0x0008, _SPECTRAL_REASON),
    (0x0010 | 0x0100, COLOUR_DOPPLER),
    (0x0040, _THREE_D),
)
_LOOKED_AT = 8  # frames
_STRIDE = 2  # every second pixel each way is enough to see a colour box
_CHROMA = 26  # distance from the loop's own tint, in 8-bit Cb and Cr, that counts as colour
_CHANGE = 18  # in Cb or Cr over time: flow comes and goes, labels and colour bars stay
_AREA = 0.002  # of the picture


def is_video(syntax: UID) -> bool:
    """Whether the pixels are a video stream, not frames."""
    return str(syntax).startswith(_VIDEO_PREFIX)


def reason(cine: Cine) -> str | None:
    """The first reason that holds, or None; decodes a few frames."""
    return _by_elements(cine) or _by_pixels(cine)


def _by_elements(cine: Cine) -> str | None:
    dataset = cine.header.dataset
    if cine.header.pixel_offset is None:
        return "No image: this object holds a report or measurements, no pictures."
    if cine.identity.Modality not in ("US", ""):
        return "Not an echo image: another kind of machine made it."
    if is_video(cine.transfer_syntax):
        return "A video stream that this box can't decode."
    if _is_three_d(cine):
        return _THREE_D
    if cine.frames < 2:
        return "A still image: masks are drawn on cine loops only."
    return _by_image_type(dataset) or _by_regions(cine) or _by_length(cine)


def _by_length(cine: Cine) -> str | None:
    if cine.frames < FEWEST_FRAMES:
        return f"Only {cine.frames} frames: too short to hold a heartbeat."
    return None


def _is_three_d(cine: Cine) -> bool:
    """Whether volumes hide in a multi-frame object, as Philips writes them in private groups."""
    if cine.identity.SOPClassUID == _ENHANCED_VOLUME:
        return True
    # The keys: going through the data set itself would parse every value.
    groups = {tag.group for tag in cine.header.dataset.keys()}  # noqa: SIM118
    groups |= {tag >> 16 for tag in cine.header.omitted}
    return {0x200D, 0x3001} <= groups


def _by_image_type(dataset: Dataset) -> str | None:
    values = text(dataset, "ImageType").split("\\")
    try:
        modes = int(values[3], 16)
    except (IndexError, ValueError):
        return None  # not said, or said in a vendor's own words: the pixels will tell
    return next((why for bits, why in _MODES if modes & bits), None)


def _by_regions(cine: Cine) -> str | None:
    for region in cine.regions:
        _, _, width, height = region.clipped(cine.rows, cine.columns)
        if width < 2 or height < 2:
            continue
        if region.spatial_format == M_MODE:
            return _M_MODE_REASON
        if region.spatial_format == SPECTRAL or region.data_type in (PW_DOPPLER, CW_DOPPLER):
            return _SPECTRAL_REASON
        if region.spatial_format == TWO_D and region.data_type == COLOUR_FLOW:
            return COLOUR_DOPPLER
    return None


def _by_pixels(cine: Cine) -> str | None:
    """Frames that decode at all, and flow colours among them."""
    pictures = []
    for index in cine.sampled(_LOOKED_AT):
        try:
            pictures.append(cine.rgb(index) if cine.is_colour else cine.grey(index))
        except CineError:
            continue  # one damaged frame doesn't spoil a loop
    if not pictures:
        return "The loop is damaged: none of its frames can be decoded."
    if cine.is_colour and shows_flow(np.stack(pictures)):
        return COLOUR_DOPPLER
    return None


def shows_flow(pictures: npt.NDArray[np.uint8]) -> bool:
    """Whether colour Doppler is seen: coloured areas that change, on several frames.

    A tint (sepia, blue) gives every pixel of one brightness the same colour, so colour is measured
    from the tint of that brightness. Text, ECG traces and cursors are too thin, colour bars and
    logos don't change.

    Parameters
    ----------
    pictures
        uint8[frames, rows, columns, 3], RGB, spread over the loop.
    """
    import cv2  # late: whoever only reads headers doesn't need it

    small = pictures[:, ::_STRIDE, ::_STRIDE]
    ybr = [cv2.cvtColor(np.ascontiguousarray(p), cv2.COLOR_RGB2YCrCb) for p in small]
    chroma = _without_tint(np.asarray(ybr, np.uint8))
    coloured = np.hypot(chroma[..., 0], chroma[..., 1]) > _CHROMA
    changing = (np.ptp(chroma, axis=0) > _CHANGE).any(axis=-1)
    kernel = np.ones((3, 3), np.uint8)
    areas = [
        int(cv2.morphologyEx((mask & changing).astype(np.uint8), cv2.MORPH_OPEN, kernel).sum())
        for mask in coloured
    ]
    enough = _AREA * coloured[0].size
    return len([area for area in areas if area > enough]) >= min(2, len(areas))


def _without_tint(ybr: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Cr and Cb, float32[..., 2], measured from the median colour of their brightness."""
    luma = ybr[..., 0] >> 4
    chroma = ybr[..., 1:].astype(np.float32)
    tint = np.full((16, 2), 128, np.float32)
    lit = ybr[..., 0] > 24
    slope = np.zeros(2, np.float32)
    if lit.any():
        # One line through black: a bright level may be all flow, and hide in its own median.
        slope = np.median((chroma[lit] - 128) / ybr[..., 0][lit][:, None], axis=0)
    tint += slope * (np.arange(16, dtype=np.float32)[:, None] * 16 + 8)
    return np.asarray(chroma - tint[luma], np.float32)
