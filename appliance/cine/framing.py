"""Which fragments of encapsulated pixel data make up which frame (PS3.5 A.4)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from pydicom.uid import RLELossless

from appliance.errors import CineError
from appliance.part10 import Header
from appliance.part10.elements import Fragment

Frames = tuple[tuple[Fragment, ...], ...]
Read = Callable[[Fragment], bytes]
_TAG_AND_LENGTH = 8  # bytes before a fragment's value; offset tables count from there
_STARTS = (b"\xff\xd8", b"\xff\x4f")  # of a JPEG or JPEG-LS image, and of a JPEG 2000 one


def group(header: Header, declared: int, read: Read) -> Frames:
    """Fragments by frame, from whatever tells it: offsets, counts, or the images' own starts.

    Parameters
    ----------
    header
        Of a file with encapsulated pixel data.
    declared
        NumberOfFrames.
    read
        Gives a fragment's bytes; asked for two at a time.

    Raises
    ------
    CineError
        When nothing tells where the frames begin.
    """
    fragments = header.fragments
    if not fragments:
        return ()
    if len(fragments) == declared or header.TransferSyntaxUID == RLELossless:
        # A.4.2: a frame under RLE is one fragment.
        return tuple((fragment,) for fragment in fragments)
    starts = _table_starts(header, declared) or _image_starts(fragments, read)
    if starts:
        bounds = [*starts, len(fragments)]
        return tuple(fragments[first:last] for first, last in pairwise(bounds))
    if len(fragments) % declared == 0:
        each = len(fragments) // declared
        return tuple(fragments[i : i + each] for i in range(0, len(fragments), each))
    raise CineError(
        "open a cine loop",
        "The loop is damaged: nobody can tell where its frames begin",
        "Send it again from the echo machine",
    )


def _table_starts(header: Header, declared: int) -> list[int]:
    """Indices of fragments that the Basic Offset Table points at; empty when it can't be right."""
    first = header.fragments[0].offset - _TAG_AND_LENGTH
    places = {
        fragment.offset - _TAG_AND_LENGTH - first: index
        for index, fragment in enumerate(header.fragments)
    }
    starts = [places.get(offset, -1) for offset in header.basic_offsets]
    sound = len(starts) == declared and starts == sorted(set(starts)) and starts[0] == 0
    return starts if sound else []


def _image_starts(fragments: tuple[Fragment, ...], read: Read) -> list[int]:
    """Indices of fragments in which an image starts; empty when the first isn't one."""
    starts = [
        index
        for index, fragment in enumerate(fragments)
        if read(Fragment(fragment.offset, min(2, fragment.length))) in _STARTS
    ]
    return starts if starts and starts[0] == 0 else []
