"""Values that read the same in every character set, decoded without pydicom's objects.

Nearly all that a receiver asks of an object is of this kind, and it asks for every object.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cached_property
from io import BytesIO

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from appliance.part10.elements import UNDEFINED, Element, Walker
from appliance.part10.identity import KEYWORDS, text

TAGS = {keyword: tag for keyword in KEYWORDS if (tag := tag_for_keyword(keyword)) is not None}
_VR = {tag: dictionary_VR(tag).encode() for tag in TAGS.values()}
_TEXT = frozenset(b"AE CS DA DT IS LO PN SH TM UI".split())


class Values:
    """What walked elements say, each as `identity.text` gives it.

    Parameters
    ----------
    walker
        Of the data set.
    elements
        Those that may be asked for, by tag.
    """

    def __init__(self, walker: Walker, elements: Mapping[int, Element]) -> None:
        self._walker = walker
        self._elements = elements

    def text(self, keyword: str) -> str:
        """Return an element's value as text; "" when it is not among the elements."""
        element = self._elements.get(TAGS[keyword])
        if element is None:
            return ""
        plain = None
        if element.length != UNDEFINED:
            value = self._walker.take(element.offset, element.length)
            plain = plain_text(element.vr or _VR[element.tag], value, self._walker.order)
        return text(self._dataset, keyword) if plain is None else plain

    @cached_property
    def _dataset(self) -> Dataset:
        """All of them as pydicom reads them, SpecificCharacterSet among them."""
        take, elements = self._walker.take, self._elements.values()
        data = b"".join(take(one.start, one.end - one.start) for one in elements)
        return read_dataset(BytesIO(data), self._walker.implicit, self._walker.order == "<")


def plain_text(vr: bytes, value: bytes, order: str) -> str | None:
    """Return one value as text, or None when more than ASCII is needed to tell it.

    Parameters
    ----------
    vr
        Its VR, of the dictionary where it is implicit.
    value
        As it lies in the data set.
    order
        "<" or ">", for binary numbers.

    Notes
    -----
    Printable ASCII is itself under every SpecificCharacterSet (PS3.3 C.12.1.1.2), but for the
    backslash, which parts values, and the tilde of ISO_IR 13; "=" parts a name's groups.
    """
    if vr == b"US" and len(value) == 2:
        return str(struct.unpack(order + "H", value)[0])
    if vr not in _TEXT:
        return None
    bare = value.strip(b"\0 ")
    if not bare.isascii() or b"\\" in bare or b"~" in bare or (vr == b"PN" and b"=" in bare):
        return None
    if vr == b"IS" and bare and not bare.isdigit():
        return None  # "+1", "1e3", "one": pydicom's reading of it is the one that counts
    said = bare.decode("ascii")
    return said if said.isprintable() else None
