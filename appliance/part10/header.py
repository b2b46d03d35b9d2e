"""DICOM Part 10 files: is the file whole, who is it about, and where do its pixels lie.

Light on purpose: the receiver calls it for every object before it answers. `elements` finds where
everything lies; pydicom makes sense of the values.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
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

_KEPT_VALUE = 64 * 1024  # bytes; larger ones are private bulk that nobody here reads
_KEPT_SEQUENCE = 1024 * 1024
_KEPT_ALL = 64 * 1024 * 1024
_LARGEST_INFLATED = 1 << 30  # bytes; a deflated data set beyond it is refused before it is held


def _quiet_pydicom() -> None:
    """Keep pydicom from writing values, which may be patient data, to logs and stderr."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom\.")


_quiet_pydicom()


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


@dataclass(frozen=True)
class Identity:
    """What an object says about itself; "" (or 0) where it says nothing readable.

    Names are DICOM keywords. `PatientName` is decoded by SpecificCharacterSet, all component
    groups kept and joined by "=" (PS3.5 6.2.1.1). `ContentDateTime` is ContentDate and
    ContentTime as written, one after the other, or AcquisitionDateTime where they are missing.
    """

    SOPInstanceUID: str = ""
    SOPClassUID: str = ""
    StudyInstanceUID: str = ""
    SeriesInstanceUID: str = ""
    PatientID: str = ""
    PatientName: str = ""
    PatientBirthDate: str = ""
    Modality: str = ""
    Manufacturer: str = ""
    ManufacturerModelName: str = ""
    SeriesNumber: str = ""
    InstanceNumber: str = ""
    SeriesDescription: str = ""
    TimezoneOffsetFromUTC: str = ""
    ContentDateTime: str = ""
    NumberOfFrames: int = 0
    Rows: int = 0
    Columns: int = 0


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
    try:
        with path.open("rb") as stream:
            return _read(stream, path.stat().st_size)
    except Part10Error:
        raise
    except OSError as error:
        raise Part10Error(
            OPERATION, f"the file can't be read (errno {error.errno})", "Check the disk", retry=True
        ) from None
    except Exception:  # noqa: BLE001
        # pydicom's own complaints may quote values, so neither text nor cause goes on.
        raise broken("its data elements can't be understood") from None


def inflate(path: Path) -> bytes:
    """The data set of a deflated file (PS3.5 A.5), for offsets of a `deflated` header.

    Raises
    ------
    Part10Error
        When the data don't inflate whole, or beyond 1 GiB.
    """
    with path.open("rb") as stream:
        start = _meta(Walker(stream, path.stat().st_size))[1]
        return _inflate(stream, start)


def _inflate(stream: BinaryIO, start: int) -> bytes:
    stream.seek(start)
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = machine.decompress(stream.read(), _LARGEST_INFLATED)
    except zlib.error:
        raise broken("its compressed data set is damaged") from None
    if not machine.eof:
        raise broken("its compressed data set is cut, or far too large")
    return data


def _meta(walker: Walker) -> tuple[FileMetaDataset, int]:
    """File meta information (PS3.10 7.1: always Explicit VR Little Endian) and where it ends."""
    if walker.size < 132 or walker.take(128, 4) != b"DICM":
        raise Part10Error(OPERATION, "this is not a DICOM file", "Send DICOM objects only")
    offset = 132
    while offset + 2 <= walker.size and walker.take(offset, 2) == b"\x02\x00":
        element = walker.element(offset, False)
        if element.end > walker.size:
            raise broken("the file ends inside its first block: it was cut")
        offset = element.end
    meta = read_dataset(BytesIO(walker.take(132, offset - 132)), False, True)
    return FileMetaDataset(meta), offset


def _read(stream: BinaryIO, size: int) -> Header:
    walker = Walker(stream, size)
    meta, start = _meta(walker)
    syntax = str(meta.get("TransferSyntaxUID", "") or "").strip("\0 ")
    if not syntax:
        raise broken("the file doesn't say its transfer syntax")
    deflated = syntax == DeflatedExplicitVRLittleEndian
    if deflated:
        data = _inflate(stream, start)
        walker, start = Walker(BytesIO(data), len(data)), 0
    walker.settle(start, syntax == ImplicitVRLittleEndian, syntax == ExplicitVRBigEndian)
    return _collect(walker, start, meta, deflated)


def _collect(walker: Walker, start: int, meta: FileMetaDataset, deflated: bool) -> Header:
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
    dataset.file_meta = meta
    encapsulated = pixels is not None and pixels.length == UNDEFINED
    items = list(walker.fragments(pixels.offset)) if pixels and encapsulated else []
    return Header(
        dataset=dataset,
        TransferSyntaxUID=str(meta.TransferSyntaxUID).strip("\0 "),
        implicit_vr=walker.implicit,
        little_endian=walker.order == "<",
        deflated=deflated,
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


def text(dataset: Dataset, keyword: str) -> str:
    """An element's value as text, several joined by a backslash; "" when missing.

    Never raises: a value its VR or SpecificCharacterSet doesn't allow is decoded with
    replacement characters, as written.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        return ""
    try:
        value = dataset[tag].value if tag in dataset else None
        if value is None:
            return ""
        if isinstance(value, (list, pydicom.multival.MultiValue)):
            return "\\".join(str(part) for part in value).strip("\0 ")
        return str(value).strip("\0 ")
    except Exception:  # noqa: BLE001
        # Whatever pydicom makes of a garbled value, the receiver and the page go on without it.
        return _as_written(dataset, tag)


def _as_written(dataset: Dataset, tag: int) -> str:
    try:
        raw = dataset.get_item(tag)
    except Exception:  # noqa: BLE001
        # Only reached when even the bytes are out of reach: then there is nothing to show.
        return ""
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
        return raw.value.decode("ascii", "replace").strip("\0 ")
    return ""


def number(dataset: Dataset, keyword: str) -> float:
    """An element's (first) value as a finite number; 0.0 when missing or unreadable."""
    try:
        value = float(text(dataset, keyword).split("\\")[0])
    except ValueError:
        return 0.0
    return value if abs(value) < float("inf") else 0.0  # also false for NaN


def identity(dataset: Dataset) -> Identity:
    """What an object says about itself; never raises."""
    values: dict[str, str | int] = {}
    for field in fields(Identity):
        if field.name in ("NumberOfFrames", "Rows", "Columns"):
            values[field.name] = max(0, int(number(dataset, field.name)))
        elif field.name != "ContentDateTime":
            values[field.name] = text(dataset, field.name)
    when = text(dataset, "ContentDate") + text(dataset, "ContentTime")
    values["ContentDateTime"] = when or text(dataset, "AcquisitionDateTime")
    return Identity(**values)  # type: ignore[arg-type]
