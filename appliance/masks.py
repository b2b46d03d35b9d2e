"""Label maps, contours and stored chunks: every way from one to another, in one place.

A label map is uint8: 0 background, 1 left ventricle cavity, 2 myocardium, 3 left atrium (the
values and their names come from the model's manifest). *Map* space is what the network saw,
*source* space is the pixels of the cine's own frames. Points are (x, y), pixel centres are whole
numbers.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from appliance.errors import SpoolError

if TYPE_CHECKING:
    from appliance.sector import Geometry

LabelMap = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]

CONTOUR_POINTS = 64  # points per contour: about one every 10 source pixels around a ventricle
SUBPIXELS = 8  # contours travel in whole eighths of a pixel
_SHIFT = 3  # 2 ** _SHIFT == SUBPIXELS, as cv2.fillPoly wants it
_MAGIC = b"ECC1"
_HEADER = struct.Struct("<4sHBBHH")
_ABSENT = -32768
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY8 = (8, 0, 0, 0, 0)  # bit depth, colour type, compression, filter, interlace


def tidy(labels: LabelMap, out: LabelMap | None = None) -> LabelMap:
    """Keep the largest component of each structure and fill its holes.

    Parameters
    ----------
    labels
        uint8 [rows, columns].
    out
        Zeros of that shape, to be filled; a new map when absent.

    Returns
    -------
    uint8 [rows, columns]
        A new map. Where a filled structure encloses another one, the lower label value wins:
        a wall that closes around its cavity never swallows it.
    """
    tidied = np.zeros_like(labels) if out is None else out
    found = outlines(labels, range(int(labels.max()), 0, -1))
    for label, line in found.items():
        if len(line):
            # The filled outer contour is the component with its holes: 10x cheaper than labelling.
            cv2.drawContours(tidied, [line[:, None, :]], -1, label, cv2.FILLED)
    return tidied


def labels_in_source(labels: LabelMap, geometry: Geometry) -> LabelMap:
    """Bring a label map from map space to the pixels of the source frame.

    The only such way: the page's contours and the delivered SEG both come from here.

    Parameters
    ----------
    labels
        uint8 [map_rows, map_columns].
    geometry
        Where the map lies in the source frame.

    Returns
    -------
    uint8 [rows, columns]
        Each class is interpolated linearly and the strongest wins; background outside the
        geometry's box. An identity geometry gives `labels` back as it is.
    """
    if _is_identity(geometry):
        return labels
    box = _box_in_source(geometry)
    source = np.zeros((geometry.rows, geometry.columns), np.uint8)
    target = source[box]
    matrix = _source_to_map(geometry, box)
    strongest = np.zeros(target.shape, np.uint8)
    whole = _reach(labels, matrix, target.shape)
    for label in (0, *_present(labels)):
        mask = _where(labels, label)
        # A class is looked at where it can be; where nothing else can, the background is.
        part = _reach(mask, matrix, target.shape) if label else whole
        if not target[part].size:
            continue
        share = _share(mask, matrix, part)
        target[part][share > strongest[part]] = label
        cv2.max(share, strongest[part], strongest[part])
    return source


def outline(labels: LabelMap, label: int) -> npt.NDArray[np.int32]:
    """Border pixels, int32 [n, 2] (x, y), of the largest component (8-connected) of a structure.

    In order around it, one after the other, [0, 2] when the structure is absent.
    """
    mask = _where(labels, label)
    found = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    if not found:
        return np.empty((0, 2), np.int32)
    # Pick's theorem counts the pixels, so that a speck one pixel wide has a size too.
    largest = max(found, key=lambda line: cv2.contourArea(line) + len(line) / 2)
    return np.asarray(largest, np.int32).reshape(-1, 2)


def outlines(labels: LabelMap, values: Iterable[int]) -> dict[int, npt.NDArray[np.int32]]:
    """`outline` of several structures; the map outside their bounding box isn't looked at."""
    x, y, width, height = cv2.boundingRect(labels)
    part = np.ascontiguousarray(labels[y : y + height, x : x + width])
    if not part.size:
        return {label: np.empty((0, 2), np.int32) for label in values}
    corner = np.array([x, y], np.int32)
    return {label: outline(part, label) + corner for label in values}


def contours(labels_source: LabelMap, points: int = CONTOUR_POINTS) -> dict[int, Points]:
    """Trace the outer contour of each structure's largest component.

    Parameters
    ----------
    labels_source
        uint8 [rows, columns].
    points
        Points of each contour, evenly spaced along it.

    Returns
    -------
    dict
        Label value to float32 [points, 2] (x, y); an absent structure is missing.
    """
    found = outlines(labels_source, _present(labels_source))
    return {label: _resample(line, points) for label, line in found.items()}


def apply_contour(
    labels_source: LabelMap, label: int, polygon: npt.NDArray[np.floating[Any]]
) -> LabelMap:
    """Make one structure what a person drew.

    Parameters
    ----------
    labels_source
        uint8 [rows, columns].
    label
        The structure that was drawn.
    polygon
        float [n, 2] (x, y), closed by itself; rounded to eighths of a pixel.

    Returns
    -------
    uint8 [rows, columns]
        A new map. Pixels of the polygon become `label`. Pixels that had it and lie outside now
        take the label of the nearest pixel that had another one, so that a wall and its cavity
        stay neighbours.
    """
    inside = np.zeros(labels_source.shape, np.uint8)
    eighths = np.rint(np.asarray(polygon, np.float64) * SUBPIXELS).astype(np.int32)
    cv2.fillPoly(inside, [eighths.reshape(-1, 1, 2)], 1, shift=_SHIFT)
    corrected = np.where(inside, np.uint8(label), labels_source)
    given_up = (labels_source == label) & (inside == 0)
    if given_up.any():
        corrected[given_up] = _nearest_other(labels_source, label)[given_up]
    return corrected


def encode_chunk(labels: LabelMap) -> bytes:
    """Compress label maps into one PNG, frames stacked from top to bottom.

    Parameters
    ----------
    labels
        uint8 [frames, rows, columns].

    Returns
    -------
    bytes
        An 8-bit grey PNG of frames*rows by columns pixels; the same maps give the same bytes.
    """
    frames, rows, columns = labels.shape
    # Each row starts with its filter type, 0 for none.
    lines = np.zeros((frames * rows, columns + 1), np.uint8)
    lines[:, 1:] = labels.reshape(frames * rows, columns)
    # Run lengths suit label maps: as small as OpenCV's own PNG, in a quarter of its time.
    packer = zlib.compressobj(level=1, memLevel=9, strategy=zlib.Z_RLE)
    header = struct.pack(">II5B", columns, frames * rows, *_GREY8)
    data = packer.compress(lines.data) + packer.flush()
    parts = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(_png_part(kind, content) for kind, content in parts)


def decode_chunk(data: bytes, frames: int) -> LabelMap:
    """Give back the uint8 [frames, rows, columns] that `encode_chunk` was given.

    Raises
    ------
    SpoolError
        When the bytes aren't a grey PNG of that many frames.
    """
    stacked = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if stacked is None or stacked.ndim != 2 or frames < 1 or stacked.shape[0] % frames:
        raise SpoolError(
            "read label maps",
            f"a chunk isn't a PNG of {frames} stacked frames",
            "Have the loop analysed again.",
        )
    return np.asarray(stacked, np.uint8).reshape(frames, -1, stacked.shape[1])


def encode_certainty(maps: Sequence[npt.NDArray[np.uint8] | None]) -> bytes:
    """Compress certainty maps into one PNG, as `encode_chunk` does; `decode_chunk` reads it.

    Parameters
    ----------
    maps
        uint8 [rows, columns] of each frame, None for a damaged one; kept in steps of 8 of 255,
        which nobody sees in a dashed line: a third of the bytes.
    """
    shape = next((one.shape for one in maps if one is not None), (1, 1))
    stacked = [np.zeros(shape, np.uint8) if one is None else one | np.uint8(7) for one in maps]
    return encode_chunk(np.stack(stacked))


def pack_contours(
    frames: Sequence[Mapping[int, Points] | None],
    structures: Sequence[int],
    points: int = CONTOUR_POINTS,
) -> bytes:
    """Pack a loop's contours for the page.

    Parameters
    ----------
    frames
        Per frame what `contours` gave, or None where the analysis hasn't come yet.
    structures
        Label values in the manifest's order.
    points
        Points per contour.

    Returns
    -------
    bytes
        Little-endian `ECC1`, uint16 frames, uint8 structures, uint8 points, uint16 frames
        available, uint16 0; then int16 [frames, structures, points, 2] in eighths of a pixel,
        all -32768 where absent.
    """
    packed = np.full((len(frames), len(structures), points, 2), _ABSENT, "<i2")
    for index, found in enumerate(frames):
        for place, label in enumerate(structures):
            if found is not None and label in found:
                eighths = np.rint(np.asarray(found[label]) * SUBPIXELS)
                packed[index, place] = np.clip(eighths, _ABSENT + 1, 32767)
    available = sum(found is not None for found in frames)
    header = _HEADER.pack(_MAGIC, len(frames), len(structures), points, available, 0)
    return header + packed.tobytes()


def unpack_contours(data: bytes, structures: Sequence[int]) -> list[dict[int, Points]]:
    """Read what `pack_contours` wrote.

    Raises
    ------
    SpoolError
        When the header or the length doesn't fit.
    """
    magic, frames, count, points, _, _ = _HEADER.unpack(data[: _HEADER.size].ljust(_HEADER.size))
    wanted = _HEADER.size + frames * count * points * 4
    if magic != _MAGIC or count != len(structures) or len(data) != wanted:
        raise SpoolError(
            "read contours", "the bytes aren't packed contours", "Reload the page and try again."
        )
    packed = np.frombuffer(data, "<i2", offset=_HEADER.size).reshape(frames, count, points, 2)
    return [
        {
            label: (packed[index, place] / SUBPIXELS).astype(np.float32)
            for place, label in enumerate(structures)
            if packed[index, place, 0, 0] != _ABSENT
        }
        for index in range(frames)
    ]


def _present(labels: LabelMap) -> list[int]:
    """Label values in use but for the background, rising; np.unique would sort every pixel."""
    return [label for label in range(1, int(labels.max()) + 1) if (labels == label).any()]


def _where(labels: LabelMap, label: int) -> LabelMap:
    """255 where the map has the label, 0 elsewhere."""
    mask: LabelMap = (labels == label).view(np.uint8) * np.uint8(255)
    return mask


def _png_part(kind: bytes, content: bytes) -> bytes:
    """Length, kind, content and checksum (PNG specification, 5.3)."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _resample(line: npt.NDArray[np.int32], points: int) -> Points:
    closed = np.vstack([line, line[:1]]).astype(np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    if along[-1] == 0.0:
        return np.repeat(closed[:1], points, axis=0).astype(np.float32)
    wanted = np.arange(points) * along[-1] / points
    # A mean over half a spacing takes the pixels' staircase away and leaves the shape.
    around = np.linspace(-0.25, 0.25, 9)[:, None] * along[-1] / points
    places = (wanted + around) % along[-1]
    x, y = (np.interp(places, along, closed[:, axis]).mean(axis=0) for axis in (0, 1))
    return np.stack([x, y], axis=1).astype(np.float32)


def _nearest_other(labels: LabelMap, label: int) -> LabelMap:
    """Each pixel's label, or for a pixel of `label` that of the nearest pixel of another."""
    own = _where(labels, label)
    if own.all():
        return np.zeros_like(labels)
    nearest = cv2.distanceTransformWithLabels(
        own, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    label_of = np.zeros(int(nearest.max()) + 1, np.uint8)
    label_of[nearest[own == 0]] = labels[own == 0]
    other: LabelMap = label_of[nearest]
    return other


def _is_identity(geometry: Geometry) -> bool:
    return (
        (geometry.rows, geometry.columns) == (geometry.map_rows, geometry.map_columns)
        and (geometry.scale_x, geometry.scale_y) == (1.0, 1.0)
        and (geometry.pad_x - geometry.x, geometry.pad_y - geometry.y) == (0, 0)
    )


def _box_in_source(geometry: Geometry) -> tuple[slice, slice]:
    """The geometry's box, cut to the frame."""
    top, left = max(0, geometry.y), max(0, geometry.x)
    bottom = min(geometry.rows, geometry.y + geometry.height)
    right = min(geometry.columns, geometry.x + geometry.width)
    return slice(top, max(top, bottom)), slice(left, max(left, right))


def _reach(
    mask: LabelMap, matrix: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[slice, slice]:
    """Where in a cut box of that shape the pixels of a map that aren't 0 have any share."""
    x, y, width, height = cv2.boundingRect(mask)
    spans = []
    for axis, start, length in ((0, x, width), (1, y, height)):
        scale, first = matrix[axis, axis], matrix[axis, 2]
        before = math.floor((start - 1 - first) / scale)
        behind = math.ceil((start + length - first) / scale) + 1
        limit = shape[1 - axis]
        spans.append(slice(min(limit, max(0, before)), max(0, min(limit, behind))))
    return spans[1], spans[0]


def _share(mask: LabelMap, matrix: npt.NDArray[np.float64], part: tuple[slice, slice]) -> LabelMap:
    """A mask interpolated at the pixels of a part of the cut box."""
    rows, columns = part
    size = (columns.stop - columns.start, rows.stop - rows.start)
    moved = matrix.copy()
    moved[:, 2] += matrix @ (columns.start, rows.start, 0)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(mask, moved, size, flags=flags), np.uint8)


def _source_to_map(geometry: Geometry, box: tuple[slice, slice]) -> npt.NDArray[np.float64]:
    """Affine 2x3 from pixels of the cut box to map pixels, measured between pixel centres."""
    rows, columns = box
    offset_x = (columns.start - geometry.x + 0.5) * geometry.scale_x - 0.5 + geometry.pad_x
    offset_y = (rows.start - geometry.y + 0.5) * geometry.scale_y - 0.5 + geometry.pad_y
    return np.array([[geometry.scale_x, 0.0, offset_x], [0.0, geometry.scale_y, offset_y]])
