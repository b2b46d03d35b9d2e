"""SequenceOfUltrasoundRegions: what a machine says each part of the picture shows, and its scale."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from appliance.part10 import number, text

TWO_D, M_MODE, SPECTRAL, WAVE_FORM = 1, 2, 3, 4  # RegionSpatialFormat, PS3.3 C.8.5.5.1.1
TISSUE, COLOUR_FLOW, PW_DOPPLER, CW_DOPPLER = 1, 2, 3, 4  # RegionDataType, C.8.5.5.1.2
CENTIMETRES = 3  # PhysicalUnits, C.8.5.5.1.15
_MOST = 64  # regions read of one image


@dataclass(frozen=True)
class Region:
    """One item (PS3.3 C.8.5.5).

    Attributes
    ----------
    spatial_format, data_type
        Codes of C.8.5.5.1.1 and C.8.5.5.1.2.
    x, y, width, height
        Box in source pixels, as written: it may lie outside the image.
    units_x, units_y
        Codes of C.8.5.5.1.15.
    delta_x, delta_y
        Physical size of one pixel, in those units; 0.0 when missing.
    """

    spatial_format: int
    data_type: int
    x: int
    y: int
    width: int
    height: int
    units_x: int
    units_y: int
    delta_x: float
    delta_y: float

    @property
    def is_tissue(self) -> bool:
        """A two-dimensional grey picture of tissue."""
        return self.spatial_format == TWO_D and self.data_type == TISSUE

    @property
    def in_centimetres(self) -> bool:
        """Whether both scales are lengths."""
        return self.units_x == CENTIMETRES and self.units_y == CENTIMETRES

    def inside(self, rows: int, columns: int) -> bool:
        """Whether the box is one, and lies in the image, give or take a pixel at the far edges."""
        return (
            self.x >= 0
            and self.y >= 0
            and self.width > 1
            and self.height > 1
            and self.x + self.width <= columns + 1
            and self.y + self.height <= rows + 1
        )

    def clipped(self, rows: int, columns: int) -> tuple[int, int, int, int]:
        """The box's part inside the image: x, y, width, height (0 where nothing is left)."""
        x, y = max(0, self.x), max(0, self.y)
        right, bottom = min(columns, self.x + self.width), min(rows, self.y + self.height)
        return x, y, max(0, right - x), max(0, bottom - y)


def read_regions(dataset: Dataset) -> tuple[Region, ...]:
    """Every readable region; an unreadable sequence gives none. Never raises."""
    try:
        items = list(dataset.get("SequenceOfUltrasoundRegions") or [])[:_MOST]
        return tuple(_region(item) for item in items if isinstance(item, Dataset))
    except Exception:  # noqa: BLE001
        # A garbled sequence says as much as a missing one.
        return ()


def _region(item: Dataset) -> Region:
    def whole(keyword: str) -> int:
        return int(number(item, keyword))

    x, y = whole("RegionLocationMinX0"), whole("RegionLocationMinY0")
    return Region(
        spatial_format=whole("RegionSpatialFormat"),
        data_type=whole("RegionDataType"),
        x=x,
        y=y,
        width=whole("RegionLocationMaxX1") - x + 1,
        height=whole("RegionLocationMaxY1") - y + 1,
        units_x=whole("PhysicalUnitsXDirection"),
        units_y=whole("PhysicalUnitsYDirection"),
        delta_x=abs(number(item, "PhysicalDeltaX")),
        delta_y=abs(number(item, "PhysicalDeltaY")),
    )


def pixel_aspect(dataset: Dataset, regions: tuple[Region, ...]) -> float:
    """Height of a pixel over its width: PixelAspectRatio, else the tissue region's scales, else 1.

    PixelAspectRatio is vertical over horizontal size (PS3.3 C.7.6.3.1.7).
    """
    parts = text(dataset, "PixelAspectRatio").split("\\")
    if len(parts) == 2 and all(part.strip().isdigit() for part in parts):
        vertical, horizontal = (int(part) for part in parts)
        if vertical and horizontal:
            return _plausible(vertical / horizontal)
    return region_aspect(regions) or 1.0


def region_aspect(regions: tuple[Region, ...]) -> float:
    """Pixel height over width by the first tissue region measured in centimetres; 0.0 if none."""
    for region in regions:
        if region.is_tissue and region.in_centimetres and region.delta_x > 0 < region.delta_y:
            return _plausible(region.delta_y / region.delta_x)
    return 0.0


def _plausible(aspect: float) -> float:
    return aspect if 0.25 <= aspect <= 4 else 1.0
