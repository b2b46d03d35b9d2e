"""Bytes that leave as they lie in the file: objects, frames, long values; block by block."""

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn

import pydicom
from flask import Response
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from appliance.cine.framing import group
from appliance.part10 import Header, number, read_header
from appliance.part10.elements import Fragment
from appliance.webui.app import Refused
from appliance.webui.dicomweb_accept import MULTIPART, Offer

Parts = Sequence[Sequence[tuple[Path, Fragment]]]

_BLOCK = 1 << 18  # bytes read at a time
_TABLES = 16  # loops whose frames' places are remembered: a viewer asks frame by frame


@dataclass(frozen=True)
class Frames:
    """Where the frames of a file lie, and in which syntax."""

    places: tuple[tuple[Fragment, ...], ...]
    syntax: str
    native: bool


@lru_cache(maxsize=_TABLES)
def frames_of(path: Path) -> Frames:
    """Return where the frames of an object of the spool lie; its content never changes.

    Raises
    ------
    Refused
        With 406, when they can't be told apart.
    Part10Error, CineError
        When the file is damaged.
    """
    header = read_header(path)
    declared = max(1, int(number(header.dataset, "NumberOfFrames")))
    if header.pixel_offset is None:
        raise Refused(HTTPStatus.NOT_FOUND, "This object has no frames.")
    if header.deflated:
        _refuse("Its data set is deflated")
    if header.pixel_length is not None:
        # The same bytes in both, and the one that clients ask for.
        little = header.TransferSyntaxUID == ImplicitVRLittleEndian
        syntax = ExplicitVRLittleEndian if little else header.TransferSyntaxUID
        return Frames(_native(header, header.pixel_length, declared), syntax, True)
    if _is_video(header.TransferSyntaxUID):
        _refuse("Its frames are one video stream")
    with path.open("rb") as stream:
        places = group(header, declared, lambda part: _pread(stream.fileno(), part))
    return Frames(places, header.TransferSyntaxUID, False)


def _native(header: Header, length: int, declared: int) -> tuple[tuple[Fragment, ...], ...]:
    bits = 1
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"):
        bits *= int(number(header.dataset, keyword))
    size = bits // 8
    # YBR_FULL_422 has two bytes a pixel; some write three all the same.
    if str(header.dataset.get("PhotometricInterpretation", "")) == "YBR_FULL_422":
        size = size if length >= size * declared else size // 3 * 2
    if bits % 8 or not size:
        _refuse("Its frames don't begin at whole bytes")
    start = header.pixel_offset or 0
    count = min(declared, length // size)
    return tuple((Fragment(start + size * index, size),) for index in range(count))


def _is_video(syntax: str) -> bool:
    return UID(syntax).name.startswith(("MPEG", "HEVC"))


def _refuse(why: str) -> NoReturn:
    raise Refused(HTTPStatus.NOT_ACCEPTABLE, f"{why}: retrieve the whole object.")


def whole(paths: Iterable[tuple[Path, int]]) -> list[list[tuple[Path, Fragment]]]:
    """Return whole files, of these sizes in bytes, as parts."""
    return [[(path, Fragment(0, size))] for path, size in paths]


def response(parts: Parts, offer: Offer, syntaxes: Sequence[str] = ()) -> Response:
    """Return an answer of known length whose bytes are read while they leave.

    Parameters
    ----------
    parts
        For each part the pieces of files it is made of; one part where `offer` is a single one.
    offer
        As the client wants it.
    syntaxes
        Transfer syntax of each part, where `offer` doesn't say it of all.
    """
    if not offer.multipart:
        (part,) = parts
        answer = Response(_pieces(part), content_type=offer.part_type)
        answer.content_length = _length(part)
        return answer
    boundary = secrets.token_hex(16)
    kinds = [replace(offer, syntax=syntax).part_type for syntax in syntaxes]
    heads = [
        f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Length: {_length(part)}\r\n\r\n".encode()
        for kind, part in zip(kinds or [offer.part_type] * len(parts), parts, strict=True)
    ]
    last = f"--{boundary}--\r\n".encode()
    kind = f'{MULTIPART}; type="{offer.kind}"; boundary={boundary}'
    answer = Response(_multipart(parts, heads, last), content_type=kind)
    between = sum(map(len, heads)) + 2 * len(parts) + len(last)
    answer.content_length = between + sum(map(_length, parts))
    return answer


def several(bodies: Sequence[bytes], offer: Offer) -> Response:
    """Return made bytes, as `response` does with those of files."""
    if not offer.multipart:
        return Response(bodies[0], content_type=offer.part_type)
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: {offer.part_type}\r\n\r\n".encode()
    body = b"".join(head + part + b"\r\n" for part in bodies) + f"--{boundary}--\r\n".encode()
    return Response(body, content_type=f'{MULTIPART}; type="{offer.kind}"; boundary={boundary}')


def _length(part: Iterable[tuple[Path, Fragment]]) -> int:
    return sum(fragment.length for _, fragment in part)


def _multipart(parts: Parts, heads: list[bytes], last: bytes) -> Iterator[bytes]:
    for head, part in zip(heads, parts, strict=True):
        yield head
        yield from _pieces(part)
        yield b"\r\n"
    yield last


def _pieces(part: Iterable[tuple[Path, Fragment]]) -> Iterator[bytes]:
    for path, fragment in part:
        with path.open("rb") as stream:
            for start in range(0, fragment.length, _BLOCK):
                size = min(_BLOCK, fragment.length - start)
                yield _pread(stream.fileno(), Fragment(fragment.offset + start, size))


def _pread(descriptor: int, fragment: Fragment) -> bytes:
    data = os.pread(descriptor, fragment.length, fragment.offset)
    if len(data) != fragment.length:
        # The length has been told: cut, the client notices; filled up, it would not.
        raise OSError("the file is shorter than it was")
    return data


def value(path: Path, place: Sequence[int]) -> bytes | Fragment | None:
    """Return a binary value, or where it lies in the file; None when there is none.

    Parameters
    ----------
    path
        Of a file that is not deflated.
    place
        Tag, or tags of sequences and numbers of their items by turns, then the tag.
    """
    try:
        found: Dataset = pydicom.dcmread(
            path, specific_tags=[place[0]], stop_before_pixels=True, defer_size=_BLOCK
        )
        for tag, item in zip(place[:-1:2], place[1::2], strict=True):
            found = found[tag].value[item]
        element = found.get_item(place[-1])
    except Exception:  # noqa: BLE001
        # A path that leads nowhere fails in as many ways as pydicom has types of values.
        return None
    if isinstance(element, RawDataElement) and element.value is None and element.length:
        return Fragment(element.value_tell, element.length)
    data = element.value if element is not None else None
    return data if isinstance(data, bytes) else None
