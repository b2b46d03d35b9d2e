"""From source pixels to the network's square and back: one definition for every part of the box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

MAP_SIZE = 384  # rows and columns of the network's input


@dataclass(frozen=True)
class Geometry:
    """Where a label map lies on the source frame.

    Attributes
    ----------
    rows, columns
        Size of a source frame in pixels.
    x, y, width, height
        Box of source pixels that the map covers.
    map_rows, map_columns
        Size of the label map.
    scale_x, scale_y
        Map pixels per source pixel. They differ where source pixels are not square, so that a
        map's pixels are.
    pad_x, pad_y
        Map pixels left and above of the box's image in the map.

    Notes
    -----
    Coordinates are (x, y) with pixel centres at whole numbers, as OpenCV has them; the edges of
    pixel 0 lie at -0.5 and 0.5.
    """

    rows: int
    columns: int
    x: int
    y: int
    width: int
    height: int
    map_rows: int
    map_columns: int
    scale_x: float
    scale_y: float
    pad_x: int
    pad_y: int

    @classmethod
    def identity(cls, rows: int, columns: int) -> Geometry:
        """The map is the whole source frame, pixel for pixel."""
        return cls(rows, columns, 0, 0, columns, rows, rows, columns, 1.0, 1.0, 0, 0)

    @classmethod
    def fit(
        cls, rows: int, columns: int, box: tuple[int, int, int, int], aspect: float = 1.0
    ) -> Geometry:
        """Letterbox a box of source pixels: long side `MAP_SIZE`, centred.

        Parameters
        ----------
        rows, columns
            Size of a source frame.
        box
            x, y, width, height in source pixels, inside the frame.
        aspect
            Height of a source pixel over its width (1.0: square).
        """
        x, y, width, height = box
        scale = MAP_SIZE / max(width, height * aspect)
        inner_width = max(1, round(width * scale))
        inner_height = max(1, round(height * aspect * scale))
        return cls(
            rows=rows,
            columns=columns,
            x=x,
            y=y,
            width=width,
            height=height,
            map_rows=MAP_SIZE,
            map_columns=MAP_SIZE,
            # What rounding to whole map pixels really made of the scale.
            scale_x=inner_width / width,
            scale_y=inner_height / height,
            pad_x=(MAP_SIZE - inner_width) // 2,
            pad_y=(MAP_SIZE - inner_height) // 2,
        )

    @property
    def inner(self) -> tuple[int, int]:
        """Width and height in map pixels of the part of the map that shows the box."""
        return round(self.width * self.scale_x), round(self.height * self.scale_y)

    def to_source(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Map (x, y) points, float[n, 2], in source pixels."""
        scale = np.array([self.scale_x, self.scale_y])
        pad = np.array([self.pad_x, self.pad_y])
        corner = np.array([self.x, self.y])
        source: npt.NDArray[np.float64] = (points - pad + 0.5) / scale - 0.5 + corner
        return source

    def to_map(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Source (x, y) points, float[n, 2], in map pixels."""
        scale = np.array([self.scale_x, self.scale_y])
        pad = np.array([self.pad_x, self.pad_y])
        corner = np.array([self.x, self.y])
        mapped: npt.NDArray[np.float64] = (points - corner + 0.5) * scale - 0.5 + pad
        return mapped

    def to_dict(self) -> dict[str, int | float]:
        """Plain values, for a ledger row; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, int | float]) -> Geometry:
        """The geometry a row holds."""
        whole = {name: int(value) for name, value in values.items() if not name.startswith("scale")}
        return cls(**whole, scale_x=float(values["scale_x"]), scale_y=float(values["scale_y"]))


def letterbox(
    grey: npt.NDArray[np.uint8],
    geometry: Geometry,
    fan: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """A frame as the network was trained on it.

    Parameters
    ----------
    grey
        uint8[rows, columns], a whole source frame.
    geometry
        As `Geometry.fit` made it.
    fan
        bool[rows, columns]; what lies outside (text, marks) turns black. None leaves it.

    Returns
    -------
    numpy.ndarray
        uint8[map_rows, map_columns]: the box resized by area, centred, black around it.
    """
    import cv2  # heavy, and not needed to read a geometry

    part = np.s_[
        geometry.y : geometry.y + geometry.height, geometry.x : geometry.x + geometry.width
    ]
    box = grey[part] if fan is None else grey[part] * fan[part]
    width, height = geometry.inner
    canvas = np.zeros((geometry.map_rows, geometry.map_columns), np.uint8)
    inner = np.s_[geometry.pad_y : geometry.pad_y + height, geometry.pad_x : geometry.pad_x + width]
    canvas[inner] = cv2.resize(box, (width, height), interpolation=cv2.INTER_AREA)
    return canvas
