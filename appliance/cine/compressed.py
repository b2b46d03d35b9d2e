"""Frames under RLE, JPEG 2000, JPEG-LS and lossless JPEG, each by the one decoder trusted with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from appliance.cine import jpeg, lossless
from appliance.cine.layout import FrameError, Layout

_LOSSLESS_JPEG = (JPEGLossless, JPEGLosslessSV1)
# Named, because pydicom goes on to the next decoder, whichever is installed, when one fails.
_PLUGINS = {
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls"),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000, RLELossless), "pylibjpeg"),
    **dict.fromkeys((HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), "pylibjpeg"),
}
SYNTAXES = frozenset({*_PLUGINS, *_LOSSLESS_JPEG})


def decompress(data: bytes, layout: Layout, index: int) -> tuple[npt.NDArray[Any], str]:
    """Samples of one compressed frame, and the photometric interpretation they now have.

    Returns
    -------
    samples, photometric
        [rows, columns] or [rows, columns, 3] as stored; JPEG 2000 comes out as RGB.

    Raises
    ------
    FrameError
        When the data are damaged.
    """
    # Held before decoding: a header may announce gigabytes.
    wanted = (layout.rows, layout.columns, layout.samples)
    if layout.syntax != RLELossless and jpeg.announced(data) != wanted:
        raise FrameError(index, "its size is not the loop's")
    try:
        if layout.syntax in _LOSSLESS_JPEG:
            samples, photometric = _lossless_jpeg(data, layout), layout.photometric
        else:
            samples, photometric = _decode(data, layout)
    except Exception:  # noqa: BLE001
        # Each codec has its own errors; to the loop they all mean that this frame is damaged.
        raise FrameError(index, "its compressed data are damaged") from None
    if (
        samples.shape != (wanted if layout.samples > 1 else wanted[:2])
        or samples.dtype.itemsize > layout.bits_allocated // 8
    ):
        raise FrameError(index, "its compressed data are damaged")
    return samples, photometric


def _lossless_jpeg(data: bytes, layout: Layout) -> npt.NDArray[Any]:
    if layout.bits_allocated == 16:
        wide = lossless.decode(data)
        return wide.view(np.int16) if layout.signed else wide
    import cv2  # late: whoever only reads headers doesn't need it

    if not jpeg.is_whole(data):
        raise ValueError("it was cut")
    if layout.samples == 1:
        return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))
    # Marked as RGB, so that samples come as they were stored.
    marked = np.frombuffer(jpeg.mark_rgb(data), np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.imdecode(marked, flags))[..., ::-1]


def _decode(data: bytes, layout: Layout) -> tuple[npt.NDArray[Any], str]:
    frame = Dataset()
    frame.file_meta = FileMetaDataset()
    frame.file_meta.TransferSyntaxUID = layout.syntax
    frame.Rows, frame.Columns, frame.NumberOfFrames = layout.rows, layout.columns, 1
    frame.SamplesPerPixel = layout.samples
    frame.PhotometricInterpretation = layout.photometric
    frame.PlanarConfiguration = layout.planar
    frame.BitsAllocated, frame.BitsStored = layout.bits_allocated, layout.bits_stored
    frame.HighBit, frame.PixelRepresentation = layout.bits_stored - 1, int(layout.signed)
    frame.PixelData = encapsulate([data])
    frame["PixelData"].VR = "OB"
    frame.set_original_encoding(False, True)
    samples, meta = get_decoder(layout.syntax).as_array(
        frame, index=0, raw=True, decoding_plugin=_PLUGINS.get(layout.syntax, "")
    )
    return samples, str(meta["photometric_interpretation"])
