"""What a JPEG says about itself: size, components, colour; and how to make readers agree on it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

# ITU-T T.81 table B.1, and T.87 for 0xF7: start-of-frame markers of every process.
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
# What may come before a scan: frames, tables, restart interval, application segments, comments.
_HEADERS = _START_OF_FRAME | {0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xF8, 0xFE}
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
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


def read_info(data: bytes) -> JpegInfo | None:
    """Headers up to the start of the scan, or None when the bytes are no JPEG."""
    if data[:2] != _SOI:
        return None
    jfif, adobe, offset = False, None, 2
    while offset + 4 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        (length,) = struct.unpack_from(">H", data, offset + 2)
        segment = data[offset + 4 : offset + 2 + length]
        if marker == 0xE0 and segment.startswith(b"JFIF"):
            jfif = True
        elif marker == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12:
            adobe = segment[11]
        elif marker in _START_OF_FRAME:
            return _frame(marker, segment, jfif, adobe)
        elif marker == 0xDA or length < 2:
            return None
        offset += 2 + length
    return None


def _frame(marker: int, segment: bytes, jfif: bool, adobe: int | None) -> JpegInfo | None:
    if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
        return None
    precision, rows, columns, count = struct.unpack_from(">BHHB", segment)
    samplings = {segment[7 + 3 * index] for index in range(count)}
    components = tuple(segment[6 + 3 * index] for index in range(count))
    return JpegInfo(rows, columns, precision, marker, components, len(samplings) > 1, jfif, adobe)


def is_sound(data: bytes) -> bool:
    """Whether every header up to the scan can be what it says.

    GDCM ends the whole process on some broken headers, so it must not see them.
    """
    if data[:2] != _SOI or not is_whole(data):
        return False
    offset, frames = 2, 0
    while offset + 4 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        (length,) = struct.unpack_from(">H", data, offset + 2)
        segment = data[offset + 4 : offset + 2 + length]
        frames += marker in _START_OF_FRAME
        if marker == 0xDA:
            return frames == 1 and _is_sound_scan(segment)
        if marker not in _HEADERS or (marker == 0xC4 and not _are_sound_tables(segment)):
            return False
        offset += 2 + length
    return False


def _is_sound_scan(segment: bytes) -> bool:
    """A scan header for whole components (T.81 B.2.3); its predictor or bands are small numbers."""
    return len(segment) >= 6 and len(segment) == 4 + 2 * segment[0] and segment[-3] <= 7


def _are_sound_tables(segment: bytes) -> bool:
    """Huffman tables (T.81 B.2.4.2): class and id, 16 counts, as many values."""
    while segment:
        count = sum(segment[1:17])
        room, codes = 1, segment[1:17]
        for number in codes:
            room = 2 * room - number
            if room < 0:
                return False  # more codes than there are bits for
        if len(segment) < 17 + count or segment[0] & 0xEC or not 0 < count <= 256:
            return False
        segment = segment[17 + count :]
    return True


def is_whole(data: bytes) -> bool:
    """Whether the image runs to its end marker; a cut one decodes to grey from there on."""
    return _EOI in data[-_SEARCHED_FOR_END:]


def mark_rgb(data: bytes) -> bytes:
    """The same image with an Adobe marker, so that every reader shows RGB samples as RGB."""
    return data[:2] + _ADOBE_RGB + data[2:]


def codestream_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns a JPEG, JPEG-LS or JPEG 2000 codestream announces; None when unknown."""
    # Start and size markers of JPEG 2000; a JP2 box may come before them.
    start = data.find(b"\xff\x4f\xff\x51", 0, 256)
    if start >= 0 and len(data) >= start + 24:
        x1, y1, x0, y0 = struct.unpack_from(">4L", data, start + 8)
        return y1 - y0, x1 - x0
    info = read_info(data)
    return (info.rows, info.columns) if info else None
