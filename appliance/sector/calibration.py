"""How large a pixel is, and why it can't be trusted when it can't: no calibration, no volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from appliance.cine.regions import Region, region_aspect

_SHALLOWEST, _DEEPEST = 3.0, 40.0  # cm of picture; hearts are looked at from 5 to 30
_SAME = 0.02  # relative difference up to which two scales are one


@dataclass(frozen=True)
class Calibration:
    """Physical size of a source pixel.

    Attributes
    ----------
    mm_per_px_x, mm_per_px_y
        Width and height of a pixel in mm; None when not trusted.
    aspect
        Height of a pixel over its width, which ratios such as EF need.
    trusted
        Whether volumes may be computed.
    reason
        Why not, for the page; "" when trusted.
    """

    mm_per_px_x: float | None
    mm_per_px_y: float | None
    aspect: float
    trusted: bool
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a ledger row."""
        return asdict(self)


def calibrate(
    regions: Sequence[Region],
    *,
    rows: int,
    columns: int,
    aspect: float,
    fan_box: tuple[int, int, int, int],
    used: Region | None,
) -> Calibration:
    """Judge the declared scale against the picture (PS3.3 C.8.5.5.1.16 and .17).

    Parameters
    ----------
    regions
        All that the machine declared.
    rows, columns
        Size of a frame.
    aspect
        Height of a pixel over its width, as the loop says it.
    fan_box
        x, y, width, height of the fan in source pixels.
    used
        The region that the fan was found in, None when pixels contradicted them all.
    """
    reason = _doubt(regions, rows, columns, aspect, fan_box, used)
    if reason or used is None:
        return Calibration(None, None, aspect, False, reason)
    return Calibration(used.delta_x * 10, used.delta_y * 10, aspect, True, "")


def _doubt(
    regions: Sequence[Region],
    rows: int,
    columns: int,
    aspect: float,
    fan_box: tuple[int, int, int, int],
    used: Region | None,
) -> str:
    tissue = [region for region in regions if region.is_tissue]
    if not tissue:
        return "The machine sent no calibration for this picture."
    if used is None:
        if any(region.inside(rows, columns) for region in tissue):
            return "The machine's calibration belongs to another part of the picture."
        return "The machine's calibration lies outside the image."
    return (
        _doubt_scale(used, aspect)
        or _doubt_depth(used, fan_box)
        or _doubt_others(tissue, used, fan_box)
    )


def _doubt_scale(region: Region, aspect: float) -> str:
    if not region.in_centimetres:
        return "The machine's calibration is not in centimetres."
    if region.delta_x <= 0 or region.delta_y <= 0:
        return "The machine's calibration is empty."
    # 1.0 is what software fills in that knows no scale.
    if region.delta_x == 1.0 or region.delta_y == 1.0:
        return "The machine's calibration is a placeholder."
    if abs(region_aspect((region,)) / aspect - 1) > _SAME:
        return "The machine gives two different pixel shapes."
    return ""


def _doubt_depth(region: Region, fan_box: tuple[int, int, int, int]) -> str:
    depth = fan_box[3] * region.delta_y
    if not _SHALLOWEST <= depth <= _DEEPEST:
        return f"By the machine's calibration the picture would be {depth:.3g} cm deep."
    return ""


def _doubt_others(
    tissue: Sequence[Region], used: Region, fan_box: tuple[int, int, int, int]
) -> str:
    for region in tissue:
        differs = any(
            abs(one - other) > _SAME * other
            for one, other in ((region.delta_x, used.delta_x), (region.delta_y, used.delta_y))
        )
        if differs and _overlap(region, fan_box):
            return "The machine gives several calibrations for this picture."
    return ""


def _overlap(region: Region, box: tuple[int, int, int, int]) -> bool:
    x, y, width, height = box
    return (
        region.x < x + width
        and x < region.x + region.width
        and region.y < y + height
        and y < region.y + region.height
    )
