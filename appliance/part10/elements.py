"""Data elements by their positions: where each lies in a file, and whether the file holds it whole.

Walked here rather than by pydicom, which stops without a word at the end of a cut file and copies
encapsulated pixels to find their end. Encoding: PS3.5 section 7 and A.4.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from appliance.errors import Part10Error

OPERATION = "read a DICOM file"
UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
# PS3.5 7.1.2: these VRs carry a 16-bit length; every other, known or yet to come, a 32-bit one.
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_KNOWN = _SHORT | frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_DEEPEST = 48  # nested sequences; real objects stay under 10
_MOST_FRAGMENTS = 200_000  # an hour of frames; each costs a hundred bytes to remember


class Fragment(NamedTuple):
    """One item of encapsulated pixel data (PS3.5 A.4): file offset and length in bytes."""

    offset: int
    length: int


class Element(NamedTuple):
    """Where one data element lies: offsets of its tag, of its value, and just behind it.

    `vr` is b"" when implicit; `length` is the one written, which may be `UNDEFINED`.
    """

    tag: int
    vr: bytes
    start: int
    offset: int
    length: int
    end: int


class Walker:
    """Walks data elements, holding every length against the end of the data.

    Parameters
    ----------
    head
        The first bytes of the data, or all of them.
    size
        Bytes in the data.
    read
        Gives `count` bytes at `offset`, for what lies behind the head.
    """

    def __init__(
        self, head: bytes, size: int, read: Callable[[int, int], bytes] | None = None
    ) -> None:
        self.head = head
        self.size = size
        self.read = read
        self.implicit = False
        self.items: list[Fragment] = []
        self._set_order("<")

    def _set_order(self, order: str) -> None:
        self.order = order
        self._with_long = struct.Struct(order + "HHL")  # group, element, length
        self._with_short = struct.Struct(order + "HH2sH")  # group, element, VR, length
        self._long = struct.Struct(order + "L")

    def take(self, offset: int, count: int) -> bytes:
        """`count` bytes at `offset`; Part10Error beyond the end."""
        end = offset + count
        if end <= len(self.head):
            return self.head[offset:end]
        if end > self.size or self.read is None:
            raise broken("the file ends in the middle of a data element: it was cut")
        return self.read(offset, count)

    def settle(self, offset: int, implicit: bool, big: bool) -> None:
        """Take byte order and VR from the first element, where it contradicts the syntax."""
        self.implicit = implicit
        self._set_order(">" if big else "<")
        if offset + 8 > self.size:
            return
        first = self.take(offset, 8)
        if first[:2] in (b"\x08\x00", b"\x00\x08"):  # group 0008 tells the byte order
            self._set_order("<" if first[0] else ">")
        self.implicit = first[4:6] not in _KNOWN

    def element(self, offset: int, implicit: bool) -> Element:
        """The element whose tag starts at `offset`; its end is not checked."""
        start = self.take(offset, 8)
        group, number, vr, length = self._with_short.unpack(start)
        tag = group << 16 | number
        if implicit or group == 0xFFFE:
            (length,) = self._long.unpack_from(start, 4)
            return Element(tag, b"", offset, offset + 8, length, offset + 8 + length)
        if vr in _SHORT:
            return Element(tag, vr, offset, offset + 8, length, offset + 8 + length)
        if not vr.isalpha() or not vr.isupper():
            raise broken("a data element has no valid value representation")
        (length,) = self._long.unpack(self.take(offset + 8, 4))
        return Element(tag, vr, offset, offset + 12, length, offset + 12 + length)

    def elements(self, offset: int) -> Iterator[Element]:
        """Top-level elements, each checked to lie inside the data; PixelData's end left open."""
        while offset < self.size:
            if self._only_zeros(offset):
                return
            element = self.element(offset, self.implicit)
            if element.tag >> 16 == 0xFFFE or element.tag >> 16 == 0:
                raise broken("an element stands where none of its kind may")
            if element.length == UNDEFINED and element.tag != PIXEL_DATA:
                element = element._replace(end=self._sequence_end(element, self.implicit, 0))
            if element.length != UNDEFINED and element.end > self.size:
                raise broken("the file ends in the middle of a data element: it was cut")
            offset = element.end
            if element.length == UNDEFINED and element.tag == PIXEL_DATA:
                self.items = list(self.fragments(element.offset))
                last = self.items[-1] if self.items else Fragment(element.offset, 0)
                offset = last.offset + last.length + 8
                element = element._replace(end=offset)
            yield element

    def fragments(self, offset: int) -> Iterator[Fragment]:
        """Items of encapsulated pixel data (PS3.5 A.4), the Basic Offset Table first."""
        take, unpack, size = self.take, self._with_long.unpack, self.size
        for _ in range(_MOST_FRAGMENTS):
            group, number, length = unpack(take(offset, 8))
            tag = group << 16 | number
            if tag == _SEQUENCE_END:
                return
            offset += 8
            if tag != _ITEM or length == UNDEFINED or offset + length > size:
                raise broken("the pixel data ends in the middle of a frame: the file was cut")
            yield Fragment(offset, length)
            offset += length
        raise broken("its pixel data are in far too many pieces")

    def _sequence_end(self, sequence: Element, implicit: bool, depth: int) -> int:
        if depth > _DEEPEST:
            raise broken("its sequences are nested too deeply")
        # PS3.5 6.2.2: UN of undefined length holds an implicit VR sequence.
        implicit = implicit or sequence.vr == b"UN"
        offset = sequence.offset
        while True:
            item = self.element(offset, True)
            if item.tag == _SEQUENCE_END:
                return item.offset
            if item.tag != _ITEM:
                raise broken("a sequence holds something that is no item")
            offset = item.end
            if item.length == UNDEFINED:
                offset = self._item_end(item.offset, implicit, depth)
            if offset > self.size:
                raise broken("the file ends in the middle of a sequence: it was cut")

    def _item_end(self, offset: int, implicit: bool, depth: int) -> int:
        while True:
            element = self.element(offset, implicit)
            if element.tag == _ITEM_END:
                return element.offset
            offset = element.end
            if element.length == UNDEFINED:
                offset = self._sequence_end(element, implicit, depth + 1)

    def _only_zeros(self, offset: int) -> bool:
        # Some writers pad the file to a block with zeros after the last element.
        if self.size - offset > 4096:
            return False
        return not any(self.take(offset, self.size - offset))


def broken(subject: str) -> Part10Error:
    """The error for a file whose bytes are wrong, which only its sender can mend."""
    return Part10Error(OPERATION, subject, "Send the image again from the echo machine")
