"""What a JPEG says about itself: size, components, colour; and how to make readers agree on it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

# ITU-T T.81 table B.1, and T.87 for 0xF7: start-of-frame markers of every process.
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_SEQUENTIAL = (0xC0, 0xC1)  # baseline and extended
_MOST_SCANS = 8  # one for each component, and what a thumbnail may hold
_START_OF_SCAN = 0xDA
_SOI, EOI = b"\xff\xd8", b"\xff\xd9"
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"  # T.872 6.5.3, transform 0
_SEARCHED_FOR_END = 64  # bytes behind the last marker that writers pad with


@dataclass(frozen=True)
class JpegInfo:
    """The headers of one JPEG or JPEG-LS image.

    Attributes
    ----------
    rows, columns, precision
        Size in pixels, bits a sample.
    process
        The start-of-frame marker's second byte: 0xC0 is baseline.
    components
        Component ids.
    subsampled
        Whether any component is coarser than another.
    jfif
        Whether a JFIF marker is present, which only YBR and grey images may have.
    adobe_transform
        Of an APP14 marker: 0 is RGB, 1 is YBR; None without one.
    """

    rows: int
    columns: int
    precision: int
    process: int
    components: tuple[int, ...]
    subsampled: bool
    jfif: bool
    adobe_transform: int | None

    @property
    def colour_unsaid(self) -> bool:
        """Whether nothing in the image tells RGB from YBR, so that others must be asked."""
        return (
            len(self.components) == 3
            and not self.jfif
            and not self.subsampled  # nobody halves red and blue
            and self.adobe_transform is None
            and bytes(self.components) != b"RGB"
        )


def segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, content, and where it ends, of each segment up to the scan's header; none of no JPEG."""
    offset = 2
    while data[:2] == _SOI and offset + 4 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        (length,) = struct.unpack_from(">H", data, offset + 2)
        if length < 2:
            return
        end = offset + 2 + length
        yield marker, data[offset + 4 : end], end
        if marker == _START_OF_SCAN:
            return
        offset = end


def read_info(data: bytes) -> JpegInfo | None:
    """Headers up to the start of the scan, or None when the bytes are no JPEG."""
    jfif, adobe = False, None
    for marker, segment, _ in segments(data):
        if marker == 0xE0 and segment.startswith(b"JFIF"):
            jfif = True
        elif marker == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12:
            adobe = segment[11]
        elif marker in _START_OF_FRAME:
            return _frame(marker, segment, jfif, adobe)
    return None


def _frame(marker: int, segment: bytes, jfif: bool, adobe: int | None) -> JpegInfo | None:
    if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
        return None
    precision, rows, columns, count = struct.unpack_from(">BHHB", segment)
    samplings = {segment[7 + 3 * index] for index in range(count)}
    components = tuple(segment[6 + 3 * index] for index in range(count))
    return JpegInfo(rows, columns, precision, marker, components, len(samplings) > 1, jfif, adobe)


def is_whole(data: bytes) -> bool:
    """Whether the image runs to its end marker; a cut one decodes to grey from there on."""
    return EOI in data[-_SEARCHED_FOR_END:]


def mark_rgb(data: bytes) -> bytes:
    """The same image with an Adobe marker, so that every reader shows RGB samples as RGB."""
    # Readers believe a JFIF marker more than Adobe's.
    return data[:2] + _ADOBE_RGB + data[2:64].replace(b"JFIF\0", b"JFIX\0") + data[64:]


def announced(data: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components a JPEG, JPEG-LS or JPEG 2000 codestream says it has."""
    # Start and size markers of JPEG 2000; JP2 boxes may come before them.
    start = data.find(b"\xff\x4f\xff\x51", 0, 256)
    if start >= 0 and len(data) >= start + 42:
        x1, y1, x0, y0 = struct.unpack_from(">4L", data, start + 8)
        (components,) = struct.unpack_from(">H", data, start + 40)
        return y1 - y0, x1 - x0, components
    info = read_info(data)
    return (info.rows, info.columns, len(info.components)) if info else None


def is_simple(data: bytes, info: JpegInfo) -> bool:
    """Whether it is sequential, in at most a few scans: every further one costs a whole decoding."""
    return info.process in _SEQUENTIAL and data.count(b"\xff\xda") <= _MOST_SCANS
