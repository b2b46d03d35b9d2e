"""DICOM Part 10 files: is the file whole, who is it about, and where do its pixels lie.

Light on purpose: the receiver calls it for every object before it answers. `elements` finds where
everything lies; pydicom makes sense of the values.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from appliance.errors import Part10Error
from appliance.part10.elements import (
    OPERATION,
    PIXEL_DATA,
    UNDEFINED,
    Element,
    Fragment,
    Walker,
    broken,
)
from appliance.part10.identity import Identity, identity_of
from appliance.part10.plain import TAGS, Values

_HEAD = 16 * 1024  # bytes read at once: all but the pixels of nearly every object
_KEPT_VALUE = 64 * 1024  # bytes; larger ones are private bulk that nobody here reads
_KEPT_SEQUENCE = 1024 * 1024
_KEPT_ALL = 64 * 1024 * 1024
_LARGEST_INFLATED = 1 << 28  # bytes; a deflated data set beyond it is refused before it is held
_BLOCK = 1 << 20  # bytes inflated at a time
_TRANSFER_SYNTAX_UID = 0x00020010
_LONGEST_UID = 1024  # bytes; PS3.5 9.1 allows 64
_T = TypeVar("_T")


@dataclass(frozen=True)
class Header:
    """A Part 10 file without its pixels.

    Attributes
    ----------
    dataset
        Every element but PixelData and values above 64 kB (sequences: 1 MB); `file_meta` is set.
    TransferSyntaxUID
        As the file meta information says it.
    implicit_vr, little_endian
        How the data set is really written.
    deflated
        True when offsets count in the inflated data set (see `inflate`), not in the file.
    pixel_offset
        Offset of the PixelData value, None without PixelData.
    pixel_length
        Length of a native PixelData value in bytes, None when encapsulated or absent.
    pixel_vr
        PixelData's VR as written, "" in implicit VR.
    basic_offsets
        The Basic Offset Table's entries, relative to the first fragment's item tag; often empty.
    fragments
        Fragments of encapsulated pixel data, without the Basic Offset Table.
    omitted
        Tags whose values were left out for their size.
    """

    dataset: Dataset
    TransferSyntaxUID: str
    implicit_vr: bool
    little_endian: bool
    deflated: bool
    pixel_offset: int | None
    pixel_length: int | None
    pixel_vr: str
    basic_offsets: tuple[int, ...]
    fragments: tuple[Fragment, ...]
    omitted: tuple[int, ...]


def read_header(path: Path) -> Header:
    """Read everything but the pixels, and hold the file's structure against its length.

    Parameters
    ----------
    path
        A Part 10 file (PS3.10 section 7).

    Raises
    ------
    Part10Error
        When the file is not DICOM, was cut, or can't be parsed; `retry` when it can't be read.
        Nothing else, whatever the bytes are; the text never quotes a value.
    """
    return _careful(lambda: _opened(path))


def read_identity(descriptor: int, head: bytes) -> tuple[Identity, str]:
    """Read who and what a file is, and hold its structure against its length.

    Parameters
    ----------
    descriptor
        A whole Part 10 file, open for reading.
    head
        Its first bytes, as many as are at hand.

    Returns
    -------
    identity, TransferSyntaxUID
        What the data set and the file meta information say.

    Raises
    ------
    Part10Error
        As `read_header`.
    """
    return _careful(lambda: _identity(_walker(descriptor, head)))


def _careful(read: Callable[[], _T]) -> _T:
    try:
        return read()
    except Part10Error:
        raise
    except OSError as error:
        raise Part10Error(
            OPERATION, f"the file can't be read (errno {error.errno})", "Check the disk", retry=True
        ) from None
    except Exception:  # noqa: BLE001
        # pydicom's own complaints may quote values, so neither text nor cause goes on.
        raise broken("its data elements can't be understood") from None


def _opened(path: Path) -> Header:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _header(_walker(descriptor, os.pread(descriptor, _HEAD, 0)))
    finally:
        os.close(descriptor)


def _walker(descriptor: int, head: bytes) -> Walker:
    return Walker(
        head,
        os.fstat(descriptor).st_size,
        lambda offset, count: os.pread(descriptor, count, offset),
    )


def inflate(path: Path) -> bytes:
    """The data set of a deflated file (PS3.5 A.5), for offsets of a `deflated` header.

    Raises
    ------
    Part10Error
        When the data don't inflate whole, or beyond 256 MiB.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        walker = _walker(descriptor, b"")
        return _inflate(walker, _meta(walker)[1])
    finally:
        os.close(descriptor)


def _inflate(walker: Walker, start: int) -> bytes:
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    data = BytesIO()
    try:
        while start < walker.size and not machine.eof:
            deflated = walker.take(start, min(_BLOCK, walker.size - start))
            start += len(deflated)
            while deflated and data.tell() <= _LARGEST_INFLATED:
                data.write(machine.decompress(deflated, _BLOCK))
                deflated = machine.unconsumed_tail
        data.write(machine.flush())
    except zlib.error:
        raise broken("its compressed data set is damaged") from None
    if not machine.eof or data.tell() > _LARGEST_INFLATED:
        raise broken("its compressed data set is cut, or far too large")
    return data.getvalue()


def _meta(walker: Walker) -> tuple[str, int]:
    """Transfer syntax and end of the file meta information (PS3.10 7.1)."""
    if walker.size < 132 or walker.take(128, 4) != b"DICM":
        raise Part10Error(OPERATION, "this is not a DICOM file", "Send DICOM objects only")
    syntax, offset = "", 132
    while offset + 2 <= walker.size and walker.take(offset, 2) == b"\x02\x00":
        element = walker.element(offset, False)  # always Explicit VR Little Endian
        if element.end > walker.size:
            raise broken("the file ends inside its first block: it was cut")
        if element.tag == _TRANSFER_SYNTAX_UID and element.length <= _LONGEST_UID:
            value = walker.take(element.offset, element.length)
            syntax = value.decode("ascii", "replace").strip("\0 ")
        offset = element.end
    if not syntax:
        raise broken("the file doesn't say its transfer syntax")
    return syntax, offset


def _data_set(walker: Walker, syntax: str, start: int) -> tuple[Walker, int]:
    """A walker over the data set, in the encoding it is written in, and where that begins."""
    if syntax == DeflatedExplicitVRLittleEndian:
        data = _inflate(walker, start)
        walker, start = Walker(data, len(data)), 0
    walker.settle(start, syntax == ImplicitVRLittleEndian, syntax == ExplicitVRBigEndian)
    return walker, start


def _identity(file: Walker) -> tuple[Identity, str]:
    syntax, end = _meta(file)
    walker, start = _data_set(file, syntax, end)
    wanted = frozenset(TAGS.values())
    # To the last element, whatever is found before: the walk tells whether the file is whole.
    found = {one.tag: one for one in walker.elements(start) if one.tag in wanted}
    kept = {tag: one for tag, one in found.items() if one.end - one.start <= _limit(one)}
    return identity_of(Values(walker, kept).text), syntax


def _header(file: Walker) -> Header:
    syntax, end = _meta(file)
    meta = read_dataset(BytesIO(file.take(132, end - 132)), False, True)
    walker, start = _data_set(file, syntax, end)
    kept, omitted = bytearray(), list[int]()
    pixels: Element | None = None
    for element in walker.elements(start):
        if element.tag == PIXEL_DATA:
            pixels = element
        elif element.end - element.start <= min(_limit(element), _KEPT_ALL - len(kept)):
            kept += walker.take(element.start, element.end - element.start)
        else:
            omitted.append(element.tag)
    dataset = read_dataset(BytesIO(bytes(kept)), walker.implicit, walker.order == "<")
    dataset.file_meta = FileMetaDataset(meta)
    encapsulated = pixels is not None and pixels.length == UNDEFINED
    items = walker.items
    return Header(
        dataset=dataset,
        TransferSyntaxUID=syntax,
        implicit_vr=walker.implicit,
        little_endian=walker.order == "<",
        deflated=walker is not file,
        pixel_offset=pixels.offset if pixels else None,
        pixel_length=pixels.length if pixels and not encapsulated else None,
        pixel_vr=pixels.vr.decode("ascii") if pixels else "",
        basic_offsets=_table(walker, items[0]) if items else (),
        fragments=tuple(items[1:]),
        omitted=tuple(omitted),
    )


def _limit(element: Element) -> int:
    if element.tag >> 16 == 0x0028:
        return 4 * _KEPT_VALUE  # a 16-bit palette is 128 kB
    undefined = element.length == UNDEFINED
    return _KEPT_SEQUENCE if undefined or element.vr == b"SQ" else _KEPT_VALUE


def _table(walker: Walker, item: Fragment) -> tuple[int, ...]:
    count = min(item.length // 4, 1_000_000)
    return struct.unpack(f"{walker.order}{count}L", walker.take(item.offset, count * 4))
