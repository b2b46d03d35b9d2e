"""Frames under RLE, JPEG 2000, JPEG-LS and rarer JPEGs, each by the one decoder trusted with it."""

from __future__ import annotations

from typing import Any

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
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from appliance.cine import jpeg
from appliance.cine.layout import FrameError, Layout

_JPEG_BY_GDCM = (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
_PROCESSES = (0xC0, 0xC1, 0xC3)  # start of frame: baseline, extended, lossless
# Named, because pydicom goes on to GDCM when another decoder finds a frame damaged.
_PLUGINS = {
    **dict.fromkeys(_JPEG_BY_GDCM, "gdcm"),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls"),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000, RLELossless), "pylibjpeg"),
    **dict.fromkeys((HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), "pylibjpeg"),
}


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
    if layout.syntax in _JPEG_BY_GDCM:
        _check_for_gdcm(data, layout, index)
    size = jpeg.codestream_size(data)
    if size is not None and size != (layout.rows, layout.columns):
        raise FrameError(index, "its size is not the loop's")
    try:
        return _decode(data, layout)
    except Exception:  # noqa: BLE001
        # Each codec has its own errors; to the loop they all mean that this frame is damaged.
        raise FrameError(index, "its compressed data are damaged") from None


def _check_for_gdcm(data: bytes, layout: Layout, index: int) -> None:
    info = jpeg.read_info(data)
    if (
        info is None
        or not jpeg.is_sound(data)
        or info.process not in _PROCESSES
        or info.precision != (8 if layout.bits_allocated == 8 else layout.bits_stored)
        or len(info.components) != layout.samples
    ):
        raise FrameError(index, "its JPEG is damaged")


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
