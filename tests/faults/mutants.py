"""Files as no machine would write them: real ones with lengths, tags, values and fragments changed."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.uid import AllTransferSyntaxes

from appliance.part10 import Header, read_header
from appliance.part10.elements import Element, Walker

LENGTHS = [0, 1, 2, 7, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]
NUMBERS = [0, 1, 2, 3, 8, 12, 16, 32, 255, 256, 8192, 32767, 65535]
WORDS = [b"0", b"-1", b"1", b"2147483647", b"9999999999", b"1e308", b"nan", b"", b"\\\\", b"RGB"]
PHOTOMETRIC = [b"RGB", b"YBR_FULL", b"YBR_FULL_422", b"PALETTE COLOR", b"MONOCHROME1", b"YBR_RCT"]
NUMBERED = b"US SS UL SL"


@dataclass(frozen=True)
class Original:
    """A file's bytes, where its elements lie, and what is known of it."""

    data: bytes
    elements: tuple[Element, ...]
    header: Header
    order: str

    @classmethod
    def read(cls, path: Path) -> "Original":
        data, header = path.read_bytes(), read_header(path)
        walker = Walker(data, len(data))
        meta = 132
        while data[meta : meta + 2] == b"\x02\x00":
            meta = walker.element(meta, False).end
        walker.settle(meta, header.implicit_vr, not header.little_endian)
        elements = tuple(walker.elements(meta)) if not header.deflated else ()
        return cls(data, elements, header, walker.order)


Choose = np.random.Generator
Change = Callable[[bytearray, Original, Choose], None]


def _put(data: bytearray, place: int, value: bytes) -> None:
    data[place : place + len(value)] = value


def _length(data: bytearray, original: Original, choose: Choose) -> None:
    element = original.elements[choose.integers(len(original.elements))]
    value = LENGTHS[choose.integers(len(LENGTHS))]
    if element.offset - element.start == 8 and element.vr:
        _put(data, element.offset - 2, struct.pack(original.order + "H", value & 0xFFFF))
    else:
        _put(data, element.offset - 4, struct.pack(original.order + "L", value))


def _tag(data: bytearray, original: Original, choose: Choose) -> None:
    one, other = choose.integers(len(original.elements), size=2)
    _put(data, original.elements[one].start, data[original.elements[other].start :][:4])


def _value(data: bytearray, original: Original, choose: Choose) -> None:
    """An element that tells of pixels or frames says something else."""
    telling = [
        element
        for element in original.elements
        if element.tag >> 16 in (0x0018, 0x0028) and 0 < element.length <= 16
    ]
    for element in choose.choice(np.array(telling, object), size=2):
        element = Element(*element)
        if element.tag == 0x00280004:
            value = PHOTOMETRIC[choose.integers(len(PHOTOMETRIC))]
        elif element.length == 2 and (element.vr in NUMBERED or not element.vr):
            value = struct.pack(original.order + "H", NUMBERS[choose.integers(len(NUMBERS))])
        else:
            value = WORDS[choose.integers(len(WORDS))]
        _put(data, element.offset, value[: element.length].ljust(element.length))


def _syntax(data: bytearray, original: Original, choose: Choose) -> None:
    """The pixels are said to be under another transfer syntax."""
    said = original.header.TransferSyntaxUID.encode()
    other = str(AllTransferSyntaxes[choose.integers(len(AllTransferSyntaxes))]).encode()
    room = len(said) + len(said) % 2
    _put(data, data.index(said, 132), other[:room].ljust(room, b"\0"))


def _flips(data: bytearray, original: Original, choose: Choose) -> None:
    pixels = original.header.pixel_offset or len(data)
    for place in choose.integers(132, pixels, size=4):
        data[place] = choose.integers(256)


def _pixels(data: bytearray, original: Original, choose: Choose) -> None:
    """Bytes at the beginning of frames, where codecs keep their headers, and anywhere in them."""
    starts = [part.offset for part in original.header.fragments] or [original.header.pixel_offset]
    for start in choose.choice(starts, size=min(len(starts), 12), replace=False):
        for place in start + choose.integers(0, 400, size=6):
            if place < len(data):
                data[place] = choose.integers(256)
    for place in choose.integers(starts[0], len(data), size=200):
        data[place] = choose.integers(256)


def _fragment(data: bytearray, original: Original, choose: Choose) -> None:
    """A fragment's length is wrong; of native pixels, the whole element's."""
    fragments = original.header.fragments
    if fragments:
        start = fragments[choose.integers(len(fragments))].offset
    else:
        start = original.header.pixel_offset
    _put(data, start - 4, struct.pack(original.order + "L", LENGTHS[choose.integers(len(LENGTHS))]))


def _cut(data: bytearray, original: Original, choose: Choose) -> None:
    del data[choose.integers(132, len(data)) :]


def _inserted(data: bytearray, original: Original, choose: Choose) -> None:
    place = int(choose.integers(132, original.header.pixel_offset or len(data)))
    data[place:place] = data[place : place + int(choose.integers(1, 200))]


CHANGES: tuple[Change, ...] = (
    *(_value, _pixels, _length, _value, _syntax, _pixels, _tag, _value, _flips),
    *(_pixels, _fragment, _value, _cut, _pixels, _inserted),
)


def mutant(original: Original, seed: int) -> bytes:
    """The file with one or two changes, the same for the same seed."""
    choose = np.random.default_rng(seed)
    data = bytearray(original.data)
    for _ in range(choose.integers(1, 3)):
        change = CHANGES[(seed + int(choose.integers(2))) % len(CHANGES)]
        try:
            change(data, original, choose)
        except (ValueError, IndexError):
            continue  # the first change left no room for this one
    return bytes(data)
