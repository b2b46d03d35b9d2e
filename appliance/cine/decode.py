"""One frame's bytes to grey or RGB pixels, for every pixel format ultrasound comes in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)

from appliance.cine import compressed, jpeg
from appliance.cine.layout import FrameError, Layout

Grey = npt.NDArray[np.uint8]
Rgb = npt.NDArray[np.uint8]

_LOSSY_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit)
_NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
SYNTAXES = frozenset({*_NATIVE, *_LOSSY_JPEG, *compressed.SYNTAXES})


def rgb(data: bytes, layout: Layout, index: int) -> Rgb:
    """A frame's true colours, uint8[rows, columns, 3].

    Raises
    ------
    FrameError
        When the bytes are damaged or aren't such a frame.
    """
    if layout.syntax in _LOSSY_JPEG:
        return _jpeg(data, layout, index, grey=False)
    samples, photometric = _samples(data, layout, index)
    if photometric.startswith("MONOCHROME"):
        return np.repeat(_eight_bit(samples, layout, photometric)[..., None], 3, axis=2)
    if layout.palette is not None:
        coloured: Rgb = layout.palette[samples]
        return coloured
    return _ybr_to_rgb(samples) if photometric.startswith("YBR_FULL") else samples


def grey(data: bytes, layout: Layout, index: int) -> Grey:
    """A frame's luminance, uint8[rows, columns]; errors as `rgb`."""
    import cv2  # late: whoever only reads headers doesn't need it

    if layout.syntax in _LOSSY_JPEG:
        return _jpeg(data, layout, index, grey=True)
    samples, photometric = _samples(data, layout, index)
    if photometric.startswith("MONOCHROME"):
        return _eight_bit(samples, layout, photometric)
    if layout.palette is not None:
        table = cv2.cvtColor(layout.palette[None], cv2.COLOR_RGB2GRAY)[0]
        return np.asarray(table[samples], np.uint8)
    if photometric.startswith("YBR_FULL"):
        return np.ascontiguousarray(samples[..., 0])
    return grey_of(samples)


def grey_of(picture: Rgb) -> Grey:
    """Luminance of a frame in true colours."""
    import cv2  # late: whoever only reads headers doesn't need it

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def _jpeg(data: bytes, layout: Layout, index: int, *, grey: bool) -> npt.NDArray[np.uint8]:
    import cv2  # late: whoever only reads headers doesn't need it

    info = jpeg.read_info(data)
    if info is None or not jpeg.is_whole(data) or not jpeg.is_simple(data, info):
        raise FrameError(index, "its JPEG is damaged")
    # Held before decoding: a header may announce gigabytes.
    if (info.rows, info.columns) != (layout.rows, layout.columns):
        raise FrameError(index, "its size is not the loop's")
    readable = jpeg.mark_rgb(data) if _is_unmarked_rgb(data, info, layout) else data
    flag = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    try:
        flag |= cv2.IMREAD_IGNORE_ORIENTATION
        decoded = cv2.imdecode(np.frombuffer(readable, np.uint8), flag)
    except cv2.error:
        decoded = None
    if decoded is None or decoded.shape[:2] != (layout.rows, layout.columns):
        raise FrameError(index, "its JPEG is damaged")
    if layout.photometric == "MONOCHROME1":
        decoded = 255 - decoded
    return np.asarray(decoded if grey else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def browser_jpeg(data: bytes, layout: Layout, index: int) -> bytes:
    """A JPEG that browsers show in true colours: untouched where possible, else quality 90."""
    if layout.syntax == JPEGBaseline8Bit and layout.photometric != "MONOCHROME1":
        info = jpeg.read_info(data)
        if info is not None and jpeg.is_whole(data):
            return jpeg.mark_rgb(data) if _is_unmarked_rgb(data, info, layout) else data
    picture = rgb(data, layout, index)
    return as_jpeg(picture, flat=layout.photometric.startswith("MONOCHROME"))


def as_jpeg(picture: Rgb, *, flat: bool = False) -> bytes:
    """A picture as a JPEG of quality 90; `flat` when its channels are the same."""
    import cv2  # late: whoever only reads headers doesn't need it

    shown = picture[..., 0] if flat else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


def _is_unmarked_rgb(data: bytes, info: jpeg.JpegInfo, layout: Layout) -> bool:
    """Whether samples are RGB though readers would take them for YBR.

    The tag alone is not believed: carts tag YBR as RGB. Ultrasound is mostly grey, and grey has
    three equal samples in RGB, but 128 for both chroma samples in YBR.
    """
    import cv2  # late: whoever only reads headers doesn't need it

    if layout.photometric != "RGB" or not info.colour_unsaid:
        return False
    marked = np.frombuffer(jpeg.mark_rgb(data), np.uint8)
    raw = cv2.imdecode(marked, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if raw is None:
        return False
    third, second, first = (raw[::4, ::4, channel].astype(np.int16) for channel in range(3))
    as_rgb = np.mean(np.abs(first - second) + np.abs(first - third))
    as_ybr = np.mean(np.abs(second - 128) + np.abs(third - 128))
    return bool(as_rgb < as_ybr)


def _samples(data: bytes, layout: Layout, index: int) -> tuple[npt.NDArray[Any], str]:
    """Samples as stored, [rows, columns] or [rows, columns, 3], and what they now stand for."""
    if layout.syntax not in _NATIVE:
        return compressed.decompress(data, layout, index)
    return _native(data, layout, index), layout.photometric


def _native(data: bytes, layout: Layout, index: int) -> npt.NDArray[Any]:
    shape = (layout.rows, layout.columns)
    if layout.bits_allocated == 16:
        kind = ("<" if layout.little_endian else ">") + ("i2" if layout.signed else "u2")
        words = np.frombuffer(data, kind)
        return _shaped(words, shape, index)
    samples: npt.NDArray[Any] = np.frombuffer(data, np.uint8)
    if layout.swapped:
        samples = samples[: samples.size & ~1].reshape(-1, 2)[:, ::-1].ravel()
    if layout.samples == 1:
        return _shaped(samples, shape, index)
    if layout.photometric == "YBR_FULL_422" and samples.size < 3 * layout.pixels:
        return _unpacked_422(samples, layout, index)
    if layout.planar == 1:
        planes: npt.NDArray[Any] = _shaped(samples, (3, *shape), index).transpose(1, 2, 0)
        return planes
    return _shaped(samples, (*shape, 3), index)


def _unpacked_422(samples: npt.NDArray[np.uint8], layout: Layout, index: int) -> Rgb:
    """Y1 Y2 Cb Cr for each pair of pixels (PS3.3 C.7.6.3.1.2)."""
    if layout.columns % 2:
        raise FrameError(index, "its width is odd, which its pixel format can't be")
    packed = _shaped(samples, (layout.rows, layout.columns // 2, 4), index)
    full = np.empty((layout.rows, layout.columns // 2, 2, 3), np.uint8)
    full[..., 0] = packed[..., :2]
    full[..., 1:] = packed[:, :, None, 2:]
    return full.reshape(layout.rows, -1, 3)


def _shaped(samples: npt.NDArray[Any], shape: tuple[int, ...], index: int) -> npt.NDArray[Any]:
    count = int(np.prod(shape))
    if samples.size < count:
        raise FrameError(index, "its data end too early")
    shaped: npt.NDArray[Any] = samples[:count].reshape(shape)
    return shaped


def _eight_bit(samples: npt.NDArray[Any], layout: Layout, photometric: str) -> Grey:
    bits = layout.bits_stored
    values = samples
    if layout.bits_allocated == 16 or bits < 8 or layout.signed:
        wide = samples.astype(np.int32)
        if layout.signed:
            wide = wide + (1 << (bits - 1))
        values = np.clip(wide >> (bits - 8) if bits > 8 else wide << (8 - bits), 0, 255)
    bytes_ = np.ascontiguousarray(values, dtype=np.uint8)
    return 255 - bytes_ if photometric == "MONOCHROME1" else bytes_


def _ybr_to_rgb(samples: npt.NDArray[np.uint8]) -> Rgb:
    import cv2  # late: whoever only reads headers doesn't need it

    # OpenCV's YCrCb is the DICOM formula with the chroma channels changed over.
    swapped = np.ascontiguousarray(samples[..., [0, 2, 1]])
    return np.asarray(cv2.cvtColor(swapped, cv2.COLOR_YCrCb2RGB), np.uint8)
