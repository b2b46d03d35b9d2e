"""Why an object can't be analysed as a grey apical loop, in a sonographer's words."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset

from appliance.cine.look import grey_of, is_still, shows_flow, shows_several
from appliance.cine.regions import (
    COLOUR_FLOW,
    CW_DOPPLER,
    M_MODE,
    PW_DOPPLER,
    SPECTRAL,
    TWO_D,
)
from appliance.cine.video import can_decode, is_video
from appliance.errors import CineError
from appliance.part10 import text

if TYPE_CHECKING:
    from appliance.cine import Cine

FEWEST_FRAMES = 8  # a beat at the slowest useful rate
COLOUR_DOPPLER = "Colour Doppler: masks are drawn on grey (B-mode) loops only."
_M_MODE_REASON = "M-mode: masks are drawn on moving two-dimensional loops only."
_SPECTRAL_REASON = "Spectral Doppler: masks are drawn on grey (B-mode) loops only."
_THREE_D = "3D data: masks are drawn on two-dimensional loops only."
_CONTRAST = "Contrast echo: masks are drawn on loops without a contrast agent."
_NO_AGENT = {"", "NONE", "NO", "N/A"}
_SEVERAL = "Several pictures side by side: masks are drawn on one loop at a time."
_NO_VIDEO = (
    'A video, which this box lacks the decoder for; it comes with pip install "echocart[video]".'
)
_FROZEN = "A still image, stored as a loop: nothing moves in it."
_ONLY_APICAL = "masks are drawn on apical four- and two-chamber loops only."
_ENHANCED_VOLUME = "1.2.840.10008.5.1.4.1.1.6.2"
# ImageType value 4, a hexadecimal sum of modes (PS3.3 C.8.5.6.1.1).
_MODES = (
    (0x0002 | 0x0020, _M_MODE_REASON),
    (0x0004 | 0x0008, _SPECTRAL_REASON),
    (0x0010 | 0x0100, COLOUR_DOPPLER),
    (0x0040 | 0x0400, _THREE_D),
)
_VOLUMES = {"VOLUME", "3D", "3D_TEMPORAL", "MPR", "VOLUME_RENDER"}
# PS3.16 CID 12226; those the box draws on, in today's codes and in the SRT codes before them.
_APICAL = {"399214001", "399232001", "G-A19C", "G-A19B"}
_NOT_APICAL = (
    *("parasternal", "subcostal", "suprasternal", "transesophageal", "transoesophageal"),
    *("long axis", "short axis", "inflow", "outflow", "arch"),
)
# As carts write a stress protocol's ViewName (PS3.3 C.8.5.6), which is free text.
_VIEW_NAMES = {
    **dict.fromkeys(("PLAX", "PLA", "LAX"), "long axis"),
    **dict.fromkeys(("PSAX", "SAX", "PSA", "SAX PM", "SAXB", "SAX-PM"), "short axis"),
    **dict.fromkeys(("SUBCOSTAL", "SUBC", "SC"), "subcostal"),
    **dict.fromkeys(("A3C", "AP3", "APLAX", "3CH", "ALAX"), "apical long axis"),
}
_SIMILAR = 0.5  # the smaller of two regions over the larger: two pictures, not a picture and a bar
_LOOKED_AT = 8  # frames
_FINE = 1920 * 1200  # pixels; of a larger frame every second pixel each way is looked at


def reason(cine: Cine) -> str | None:
    """The first reason that holds, or None; decodes a few frames."""
    return by_elements(cine) or _by_pixels(cine)


def by_elements(cine: Cine) -> str | None:
    """The first reason that the header alone gives, or None."""
    dataset = cine.header.dataset
    if cine.header.pixel_offset is None:
        return "No image: this object holds a report or measurements, no pictures."
    if cine.identity.Modality not in ("US", ""):
        return "Not an echo image: another kind of machine made it."
    if is_video(cine.transfer_syntax) and not can_decode():
        return _NO_VIDEO
    if _is_three_d(cine):
        return _THREE_D
    if cine.frames < 2 <= cine.declared_frames:
        return _damaged(cine)
    if cine.frames < 2:
        return "A still image: masks are drawn on cine loops only."
    return (
        _by_image_type(dataset)
        or _by_regions(cine)
        or _by_contrast(dataset)
        or _by_view(dataset)
        or _by_length(cine)
    )


def _by_contrast(dataset: Dataset) -> str | None:
    agent = text(dataset, "ContrastBolusAgent").strip().upper()
    given = dataset.get("ContrastBolusAgentSequence") or agent not in _NO_AGENT
    return _CONTRAST if given else None


def _by_view(dataset: Dataset) -> str | None:
    """What the machine itself says it shows (PS3.3 C.8.5.6); what it doesn't say is looked at."""
    for item in dataset.get("ViewCodeSequence") or ():
        meaning = text(item, "CodeMeaning").lower()
        other = any(word in meaning for word in _NOT_APICAL)
        if other and text(item, "CodeValue") not in _APICAL:
            # In known words: the text is the machine's own and may hold anything.
            known = " ".join(word for word in ("apical", *_NOT_APICAL) if word in meaning)
            return f"{known.capitalize()}, as the machine says: {_ONLY_APICAL}"
    name = _VIEW_NAMES.get(text(dataset, "ViewName").strip().upper())
    return (
        f"{name[:1].upper()}{name[1:]} view, as the machine says: {_ONLY_APICAL}" if name else None
    )


def _by_length(cine: Cine) -> str | None:
    if cine.frames < FEWEST_FRAMES <= cine.declared_frames:
        return _damaged(cine)
    if cine.frames < FEWEST_FRAMES:
        return f"Only {cine.frames} frames: too short to hold a heartbeat."
    return None


def _damaged(cine: Cine) -> str:
    """What the pixels hold is far less than the header announces: the file is to blame."""
    what = "video" if is_video(cine.transfer_syntax) else "loop"
    found, said = cine.frames, cine.declared_frames
    return f"The {what} is damaged: of the {said} frames it announces, {found} can be found."


def _is_three_d(cine: Cine) -> bool:
    """Whether volumes hide in a multi-frame object, as Philips writes them in private groups."""
    if cine.identity.SOPClassUID == _ENHANCED_VOLUME:
        return True
    # The keys: going through the data set itself would parse every value.
    groups = {tag.group for tag in cine.header.dataset.keys()}  # noqa: SIM118
    groups |= {tag >> 16 for tag in cine.header.omitted}
    dataset = cine.header.dataset
    said = {*text(dataset, "ImageType").upper().split("\\"), text(dataset, "VolumetricProperties")}
    said |= {text(dataset, "DimensionOrganizationType")}
    return {0x200D, 0x3001} <= groups or bool(said & _VOLUMES)


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
    return _SEVERAL if _side_by_side(cine) else None


def _side_by_side(cine: Cine) -> bool:
    """Whether the machine declares several tissue pictures that don't overlap."""
    boxes = [region.clipped(cine.rows, cine.columns) for region in cine.regions if region.is_tissue]
    largest = max((width * height for _, _, width, height in boxes), default=0)
    alike = [box for box in boxes if box[2] * box[3] > _SIMILAR * largest > 0]
    return any(_apart(one, other) for one, other in combinations(alike, 2))


def _apart(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return (
        one[0] + one[2] <= other[0]
        or other[0] + other[2] <= one[0]
        or one[1] + one[3] <= other[1]
        or other[1] + other[3] <= one[1]
    )


def _by_pixels(cine: Cine) -> str | None:
    """Frames that decode at all, and flow colours among them."""
    pictures = []
    step = 2 if cine.rows * cine.columns > _FINE else 1  # of 4K, eight frames are 230 MB
    for index in cine.sampled(_LOOKED_AT):
        try:
            picture = cine.rgb(index) if cine.is_colour else cine.grey(index)
            pictures.append(picture[::step, ::step].copy())
        except CineError:
            continue  # one damaged frame doesn't spoil a loop
    if not pictures:
        return "The loop is damaged: none of its frames can be decoded."
    stacked = np.stack(pictures)
    if cine.is_colour and shows_flow(stacked):
        return COLOUR_DOPPLER
    grey = grey_of(stacked)
    if len(pictures) > 1 and is_still(grey):
        return _FROZEN
    return _SEVERAL if shows_several(grey) else None
