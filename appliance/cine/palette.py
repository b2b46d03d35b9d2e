"""Colour tables of PALETTE COLOR images, whole or in segments, never larger than they may be."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

_LARGEST = 1 << 16  # entries (PS3.3 C.7.6.3.1.5)
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2  # segment types, C.7.9.2


def read_palette(
    dataset: Dataset, bits: int, *, signed: bool, little_endian: bool
) -> npt.NDArray[np.uint8]:
    """The colour of every index, a negative one counted from the end: uint8[2**bits, 3] (PS3.3 C.7.6.3.1.5 and .6, C.7.9).

    Parameters
    ----------
    dataset
        With a Palette Color Lookup Table module.
    bits, signed
        BitsAllocated, 8 or 16; whether indices are signed.
    little_endian
        How the data set was written.

    Raises
    ------
    ValueError, KeyError, TypeError, struct.error
        When the table isn't whole, or a segmented one would grow beyond 65536 entries.
    """
    described = [int(value) for value in dataset["RedPaletteColorLookupTableDescriptor"].value]
    entries, first = described[0] or _LARGEST, described[1]
    channels = [
        _channel(dataset, colour, entries, described[2], little_endian)
        for colour in ("Red", "Green", "Blue")
    ]
    table = np.stack(channels, axis=1).astype(np.int32)
    # Some machines declare 16-bit entries and write 8-bit ones.
    if table.max() > 255:
        table = table >> 8
    indices = np.arange(1 << bits)
    if signed:
        indices[indices.size // 2 :] -= indices.size  # so that NumPy finds -1 at the end
    return table.astype(np.uint8)[np.clip(indices - first, 0, entries - 1)]


def _channel(
    dataset: Dataset, colour: str, entries: int, depth: int, little_endian: bool
) -> npt.NDArray[np.uint16]:
    keyword = f"{colour}PaletteColorLookupTableData"
    data = _bytes(dataset, keyword if keyword in dataset else f"Segmented{keyword}")
    order = "<" if little_endian else ">"
    if keyword not in dataset:
        kind = "B" if depth == 8 else "H"
        count = len(data) // struct.calcsize(kind)
        words = struct.unpack_from(f"{order}{count}{kind}", data)
        return np.array(_expanded(words, depth == 8, little_endian, entries), np.uint16)
    if len(data) >= 2 * entries:
        return np.frombuffer(data, f"{order}u2", entries).astype(np.uint16)
    if not little_endian and dataset[keyword].VR == "OW":
        data = np.frombuffer(data, ">u2", len(data) // 2).astype("<u2").tobytes()
    return np.frombuffer(data, np.uint8, entries).astype(np.uint16)


def _bytes(dataset: Dataset, keyword: str) -> bytes:
    value = dataset[keyword].value
    return value if isinstance(value, bytes) else np.asarray(value, "<u2").tobytes()


def _expanded(words: tuple[int, ...], narrow: bool, little_endian: bool, entries: int) -> list[int]:
    """A segmented table's entries (PS3.3 C.7.9.2)."""
    table: list[int] = []
    place = steps = 0
    while place + 1 < len(words) and len(table) < entries:
        kind, length = words[place : place + 2]
        if kind != _INDIRECT:
            place = _segment(words, place, table)
            continue
        width = 4 if narrow else 2
        start = _offset(words[place + 2 : place + 2 + width], narrow, little_endian)
        place += 2 + width
        # An indirect segment's own segments are never indirect, so this ends.
        for _ in range(length):
            steps += 1
            if steps > _LARGEST or len(table) > entries:
                raise ValueError("a segmented table repeats itself without end")
            start = _segment(words, start, table)
    if len(table) < entries:
        raise ValueError("a segmented table is too short")
    return table[:entries]


def _offset(parts: tuple[int, ...], narrow: bool, little_endian: bool) -> int:
    """Where an indirect segment points, in entries; written as two words, the low one first."""
    if not narrow:
        low, high = parts
        return (high << 16 | low) // 2
    return int.from_bytes(bytes(parts), "little" if little_endian else "big")


def _segment(words: tuple[int, ...], place: int, table: list[int]) -> int:
    """Append a discrete or linear segment to the table; where the next segment starts."""
    kind, length = words[place : place + 2]
    if len(table) + length > _LARGEST:
        raise ValueError("a segmented table is too long")
    if kind == _DISCRETE:
        table.extend(words[place + 2 : place + 2 + length])
        return place + 2 + length
    if kind != _LINEAR or not table or length == 0:
        raise ValueError("a segmented table holds no segment where one should start")
    end = words[place + 2]
    steps = np.arange(1, length + 1) * (end - table[-1]) / length
    table.extend((table[-1] + np.around(steps)).astype(int).tolist())
    return place + 3
