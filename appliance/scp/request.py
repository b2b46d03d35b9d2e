"""An A-ASSOCIATE-RQ (PS3.8 9.3.2): looked over, then decoded by pynetdicom."""

import struct
from collections.abc import Iterator
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_RQ

MOST_BYTES = 1 << 17  # 128 contexts with all transfer syntaxes take 113 kB
_MOST_ITEMS = 6000  # they are 5,000; pynetdicom takes 700 bytes and more for each
_ITEM = struct.Struct(">BxH")  # type and length
_FIXED = 6 + 68  # header, then versions, titles and reserved bytes, before the first item
_PRESENTATION_CONTEXT, _USER_INFORMATION = 0x20, 0x50
_BEFORE_SUB_ITEMS = {_PRESENTATION_CONTEXT: 4, _USER_INFORMATION: 0}


def decode_request(pdu: bytes) -> tuple[int, Any]:
    """Decode the whole PDU, header included.

    Returns
    -------
    protocol_version, primitive
        The bit field of PS3.8 9.3.2, and pynetdicom's A_ASSOCIATE.

    Raises
    ------
    ValueError
        When it is none, or no application entity would write it.
    """
    if sum(1 for _ in _items(pdu)) > _MOST_ITEMS:
        raise ValueError("an association request with too many items")
    decoded = A_ASSOCIATE_RQ()
    try:
        decoded.decode(pdu)
        return decoded.protocol_version, decoded.to_primitive()
    except Exception as error:
        # pynetdicom raises whatever its structures run into, in words that repeat the peer's.
        raise ValueError("an association request that can't be decoded") from error


def _items(pdu: bytes) -> Iterator[int]:
    """The types of all items and of the sub-items that a peer may repeat."""
    for kind, start, end in _walk(pdu, _FIXED, len(pdu)):
        yield kind
        if kind in _BEFORE_SUB_ITEMS:
            for sub_kind, _, _ in _walk(pdu, start + _BEFORE_SUB_ITEMS[kind], end):
                yield sub_kind


def _walk(pdu: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    while at + _ITEM.size <= end:
        kind, length = _ITEM.unpack_from(pdu, at)
        start, at = at + _ITEM.size, at + _ITEM.size + length
        yield kind, start, min(at, end)
