"""Data elements in Explicit VR Little Endian (PS3.5 7.1.2), for values that are already bytes.

Values taken over from a source must stay the bytes they were, whatever their character set says,
and hundreds of per-frame items must not cost a Python object for each element. What we write
ourselves is encoded by pydicom.
"""

import struct
from collections.abc import Iterable, Mapping
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_data_element

Elements = dict[int, bytes]  # tag -> the whole encoded element

_LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_PADDED_WITH_ZERO = frozenset(["UI", "OB", "UN"])
_ITEM = 0xFFFEE000


def head(tag: int, vr: str, length: int) -> bytes:
    """Return tag, VR and length of an element whose value follows."""
    group, element = tag >> 16, tag & 0xFFFF
    if vr in _LONG:
        return struct.pack("<HH2s2xL", group, element, vr.encode(), length)
    return struct.pack("<HH2sH", group, element, vr.encode(), length)


def element(tag: int, vr: str, value: bytes) -> bytes:
    """Return an element; a value of odd length gets the padding its VR asks for."""
    if len(value) % 2:
        value += b"\0" if vr in _PADDED_WITH_ZERO else b" "
    return head(tag, vr, len(value)) + value


def sequence(tag: int, items: Iterable[bytes]) -> bytes:
    """Return a sequence of encoded items, each the elements of one data set in order."""
    value = b"".join(
        struct.pack("<HHL", _ITEM >> 16, _ITEM & 0xFFFF, len(item)) + item for item in items
    )
    return element(tag, "SQ", value)


def joined(elements: Mapping[int, bytes]) -> bytes:
    """Return a data set: its elements in the order of their tags."""
    return b"".join(elements[tag] for tag in sorted(elements))


def encoded(dataset: Dataset) -> Elements:
    """Encode a data set of ASCII values with pydicom, element by element."""
    elements = {}
    for item in dataset:
        buffer = BytesIO()
        stream = DicomIO(buffer)
        stream.is_implicit_VR, stream.is_little_endian = False, True
        write_data_element(stream, item)
        elements[int(item.tag)] = buffer.getvalue()
    return elements


def plain(text: str) -> str:
    """Return a text of ours in the default repertoire, which every character set contains."""
    return text.encode("ascii", "ignore").decode().replace("\\", " ").strip()
