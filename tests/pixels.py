"""Encodes frames as carts do: every photometric interpretation and transfer syntax of the phantom."""

from __future__ import annotations

import io
import struct
from copy import deepcopy
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
)

Bytes = npt.NDArray[np.uint8]


def describe(dataset: Dataset, photometric: str, planar: int, bits: int) -> None:
    """Set the Image Pixel module (PS3.3 C.7.6.3) for this interpretation, the palette included."""
    colour = photometric not in ("MONOCHROME2", "PALETTE COLOR")
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = photometric
    if colour:
        dataset.PlanarConfiguration = planar
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0


def set_palette(dataset: Dataset, bits: int, tint: tuple[float, float, float]) -> None:
    """A 16-bit lookup table (PS3.3 C.7.6.3.1.5): a ramp for every channel, tinted."""
    entries = 1 << bits
    order = ">" if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    for channel, factor in zip(("Red", "Green", "Blue"), tint, strict=True):
        ramp = np.linspace(0, 65535 * factor, entries).round().astype(f"{order}u2")
        setattr(dataset, f"{channel}PaletteColorLookupTableDescriptor", [entries % 65536, 0, 16])
        setattr(dataset, f"{channel}PaletteColorLookupTableData", ramp.tobytes())


def ybr(rgb: Bytes) -> Bytes:
    """YBR_FULL samples of an RGB frame (PS3.3 C.7.6.3.1.2)."""
    converted = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    return np.asarray(converted, np.uint8)


def native(rgb: Bytes, photometric: str, planar: int, bits: int, big_endian: bool) -> bytes:
    """One uncompressed frame as PixelData holds it.

    Parameters
    ----------
    rgb
        uint8[rows, columns, 3]; grey interpretations take the first channel.
    """
    if photometric in ("MONOCHROME2", "PALETTE COLOR"):
        if bits == 8:
            return rgb[..., 0].tobytes()
        return (
            (rgb[..., 0].astype(np.uint16) * 257).astype(">u2" if big_endian else "<u2").tobytes()
        )
    samples = rgb if photometric == "RGB" else ybr(rgb)
    if photometric == "YBR_FULL_422":
        return _halved(samples).tobytes()
    return (samples.transpose(2, 0, 1) if planar else samples).tobytes()


def _halved(samples: Bytes) -> Bytes:
    """Y1 Y2 Cb Cr for each pair of pixels: chroma of both, averaged (PS3.3 C.7.6.3.1.2)."""
    rows, columns, _ = samples.shape
    pairs = samples.reshape(rows, columns // 2, 2, 3)
    packed = np.empty((rows, columns // 2, 4), np.uint8)
    packed[..., :2] = pairs[..., 0]
    packed[..., 2:] = pairs[..., 1:].astype(np.uint16).mean(axis=2).round()
    return packed


def jpeg(rgb: Bytes, photometric: str, quality: int = 92) -> bytes:
    """One baseline JPEG: grey, YBR 4:2:2, or true RGB without any marker that says so."""
    if photometric == "RGB":
        return _unmarked_rgb(rgb, quality)
    picture = rgb[..., 0] if photometric == "MONOCHROME2" else rgb[..., ::-1]
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return cv2.imencode(".jpg", picture, options)[1].tobytes()


def _unmarked_rgb(rgb: Bytes, quality: int) -> bytes:
    """RGB samples with component ids 1, 2, 3 and no Adobe marker: readers take them for YBR."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=quality, keep_rgb=True, subsampling=0)
    data = stream.getvalue()
    adobe = data.find(b"\xff\xee")
    if adobe > 0:
        length = int.from_bytes(data[adobe + 2 : adobe + 4], "big")
        data = data[:adobe] + data[adobe + 2 + length :]
    frame = data.index(b"\xff\xc0") + 10  # behind marker, length, precision, size, count
    scan = data.index(b"\xff\xda") + 5
    changed = bytearray(data)
    for component in range(3):
        changed[frame + 3 * component] = component + 1
        changed[scan + 2 * component] = component + 1
    return bytes(changed)


def lossless_jpeg(
    samples: npt.NDArray[Any], bits: int, predictor: int = 1, rows_between: int = 0
) -> bytes:
    """JPEG lossless (ITU-T T.81 annex H) in the simplest code: five bits for each size of difference.

    Parameters
    ----------
    samples
        [rows, columns], or [rows, columns, 3] for three interleaved components.
    rows_between
        Rows of a restart interval; 0 for none.
    """
    planes = samples.astype(np.int64).reshape(*samples.shape[:2], -1)
    rows, columns, components = planes.shape
    each = rows_between or rows
    ids = range(1, components + 1)
    frame = struct.pack(">BHHB", bits, rows, columns, components)
    frame += b"".join(bytes([number, 0x11, 0]) for number in ids)
    scan = bytes([components, *(part for number in ids for part in (number, 0)), predictor, 0, 0])
    parts = [_entropy(planes[top : top + each], bits, predictor) for top in range(0, rows, each)]
    restarts = [bytes([0xFF, 0xD0 + index % 8]) for index in range(len(parts) - 1)]
    return b"".join(
        [
            b"\xff\xd8",
            _segment(0xC4, bytes([0, *[0] * 4, 17, *[0] * 11, *range(17)])),
            _segment(0xC3, frame),
            _segment(0xDD, struct.pack(">H", rows_between * columns)) if rows_between else b"",
            _segment(0xDA, scan),
            *(part + mark for part, mark in zip(parts, [*restarts, b"\xff\xd9"], strict=True)),
        ]
    )


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _entropy(planes: npt.NDArray[Any], bits: int, predictor: int) -> bytes:
    """One restart interval: int64[rows, columns, components]."""
    left = np.roll(planes, 1, axis=1)
    left[1:, 0], left[0, 0] = planes[:-1, 0], 1 << (bits - 1)
    above = np.roll(planes, 1, axis=0)
    a, b, c = left, above, np.roll(above, 1, axis=1)
    table = [a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1]
    predicted = left.copy()
    predicted[1:, 1:] = table[predictor - 1][1:, 1:]
    written = []
    for difference in ((planes - predicted + 32767) % 65536 - 32767).ravel().tolist():
        size = abs(difference).bit_length()
        written.append(f"{size:05b}")
        if 0 < size < 16:
            value = difference if difference > 0 else difference + (1 << size) - 1
            written.append(f"{value:0{size}b}")
    text = "".join(written)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")


def compressed(dataset: Dataset, frames: list[bytes], syntax: UID) -> list[bytes]:
    """Native frames of the described data set (planar 0), encoded by pydicom's encoder for a syntax."""
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        shape = (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)
        kind, bits = f"<u{dataset.BitsAllocated // 8}", dataset.BitsAllocated
        predictor = 1 if syntax == JPEGLosslessSV1 else 7
        pictures = [np.frombuffer(frame, kind).reshape(shape) for frame in frames]
        return [lossless_jpeg(picture, bits, predictor) for picture in pictures]
    native_set = deepcopy(dataset.group_dataset(0x0028))
    native_set.file_meta = FileMetaDataset()
    native_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    native_set.SOPClassUID, native_set.SOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    native_set.NumberOfFrames = len(frames)
    if dataset.SamplesPerPixel == 3:
        native_set.PlanarConfiguration = 0
    native_set.PixelData = b"".join(frames)
    native_set["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
    native_set.compress(syntax, generate_instance_uid=False)
    dataset.PhotometricInterpretation = native_set.PhotometricInterpretation
    if dataset.SamplesPerPixel == 3 and syntax != RLELossless:
        dataset.PlanarConfiguration = 0  # RLE alone may be tagged either way
    return list(generate_frames(native_set.PixelData, number_of_frames=len(frames)))


def put(
    dataset: Dataset, frames: list[bytes], syntax: UID, *, offsets: bool, fragments_per_frame: int
) -> None:
    """Set PixelData from encoded frames."""
    if syntax.is_compressed and syntax.is_encapsulated:
        dataset.PixelData = encapsulate(
            frames, fragments_per_frame=fragments_per_frame, has_bot=offsets
        )
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        if syntax == JPEGBaseline8Bit:
            dataset.LossyImageCompression = "01"
            dataset.LossyImageCompressionMethod = "ISO_10918_1"
            dataset.LossyImageCompressionRatio = "10"
        return
    dataset.PixelData = b"".join(frames)
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
