"""Data elements in Explicit VR Little Endian (PS3.5 7.1.2), for values that are already bytes.

Values taken over from a source must stay the bytes they were, whatever their character set says,
and hundreds of per-frame items must not cost a Python object for each element. What we write
ourselves is encoded by pydicom.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_data_element
from pydicom.multival import MultiValue

Elements = dict[int, bytes]  # tag -> the whole encoded element

_LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_PADDED_WITH_ZERO = frozenset(["UI", "OB", "UN"])
_ITEM, _DELIMITER = 0xFFFEE000, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_SHORT = 0xFFFE  # bytes of a value with a 16-bit length field
_TEXT = frozenset(
    [
        *("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI"),
        *("UR", "UT"),
    ]
)
_PACKED = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d"}
_PIECE = 1 << 20  # bytes deflated at a time
_LEVEL = 3  # masks shrink to a hundredth by any; more costs time and wins a few percent


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
    value = b"".join(_item_head(_ITEM, len(item)) + item for item in items)
    return element(tag, "SQ", value)


def joined(elements: Mapping[int, bytes]) -> bytes:
    """Return a data set: its elements in the order of their tags."""
    return b"".join(elements[tag] for tag in sorted(elements))


class Item:
    """Elements by keyword, to be encoded; a sequence is a list of such items or of data sets.

    pydicom's data set takes 20 µs to hold one more value, and a correction has a thousand.
    """

    if TYPE_CHECKING:

        def __setattr__(self, keyword: str, value: object) -> None: ...
        def __getattr__(self, keyword: str) -> Any: ...

    def update(self, other: "Item") -> None:
        """Take over another's elements."""
        vars(self).update(vars(other))


def encoded(dataset: Dataset | Item) -> Elements:
    """Encode a data set of ASCII values, element by element; rare kinds by pydicom itself.

    pydicom's writer takes 0.1 ms for each element, and a correction has a thousand.
    """
    if isinstance(dataset, Item):
        known = ((*_tag_and_vr(keyword), value) for keyword, value in vars(dataset).items())
        return {tag: _one(tag, VR, value) for tag, VR, value in known}
    return {int(item.tag): _one(int(item.tag), item.VR, item.value) for item in dataset}


@lru_cache(maxsize=512)
def _tag_and_vr(keyword: str) -> tuple[int, str]:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag, dictionary_VR(tag)


def _one(tag: int, VR: str, value: Any) -> bytes:
    if VR == "SQ":
        return sequence(tag, [joined(encoded(child)) for child in value or ()])
    plain_value = _value(VR, value)
    if plain_value is not None:
        return element(tag, VR, plain_value)
    return _by_pydicom(DataElement(tag, VR, value))


def _value(VR: str, value: Any) -> bytes | None:
    """Return a plain value as bytes; None for what pydicom has to write."""
    values = [] if value is None or value == "" else _listed(value)
    if VR in _PACKED and all(type(one) in (int, float) for one in values):
        return struct.pack(f"<{len(values)}{_PACKED[VR]}", *values)
    if VR not in _TEXT:
        return None
    text = "\\".join(map(_written, values))
    if not text.isascii() or len(text) >= _SHORT:
        return None
    return text.encode("ascii")


def _written(value: object) -> str:
    """A number of DS or IS as it was written; any other value as it is."""
    original = getattr(value, "original_string", None)
    return original if isinstance(original, str) else str(value)


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple, MultiValue)) else [value]


def _by_pydicom(item: DataElement) -> bytes:
    buffer = BytesIO()
    stream = DicomIO(buffer)
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_data_element(stream, item)
    return buffer.getvalue()


def encapsulated(tag: int, frames: Sequence[bytes]) -> Iterator[bytes]:
    """Give an element of one fragment a frame, with a Basic Offset Table (PS3.5 A.4).

    Parameters
    ----------
    tag
        PixelData's.
    frames
        Each of even length.
    """
    offsets, place = [], 0
    for item in frames:
        offsets.append(place)
        place += len(item) + 8
    table = b"" if place > _UNDEFINED else struct.pack(f"<{len(offsets)}L", *offsets)
    yield head(tag, "OB", _UNDEFINED)
    yield _item_head(_ITEM, len(table)) + table
    for item in frames:
        yield _item_head(_ITEM, len(item))
        yield item
    yield _item_head(_DELIMITER, 0)


def _item_head(tag: int, length: int) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length)


def deflated(parts: Iterable[bytes | memoryview]) -> bytes:
    """Return a data set as Deflated Explicit VR Little Endian holds it (PS3.5 A.5)."""
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    found = bytearray()
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), _PIECE):
            found += stream.compress(view[start : start + _PIECE])
    found += stream.flush()
    return bytes(found) + b"\0" * (len(found) % 2)


def plain(text: str) -> str:
    """Return a text of ours in the default repertoire, which every character set contains."""
    return text.encode("ascii", "ignore").decode().replace("\\", " ").strip()
