"""The first bytes of a Part 10 file (PS3.10 7.1), for objects that arrive without them."""

import struct

# Written into every received file since the first release. They stay as they are: with other
# values, an object that comes again would be other bytes under a known UID.
_IMPLEMENTATION_CLASS_UID = "1.2.826.0.1.3680043.9.3811.3.0.4"
_IMPLEMENTATION_VERSION_NAME = "PYNETDICOM_304"


def file_meta(SOPClassUID: str, SOPInstanceUID: str, TransferSyntaxUID: str) -> bytes:
    """Return preamble, prefix and file meta information (PS3.10 7.1).

    Parameters
    ----------
    SOPClassUID, SOPInstanceUID
        As the C-STORE command announced them (PS3.7 9.1.1.1).
    TransferSyntaxUID
        Of the presentation context that the data set came by.
    """
    elements = b"".join(
        [
            _element(0x0001, b"OB", b"\0\1"),
            _element(0x0002, b"UI", _uid(SOPClassUID)),
            _element(0x0003, b"UI", _uid(SOPInstanceUID)),
            _element(0x0010, b"UI", _uid(TransferSyntaxUID)),
            _element(0x0012, b"UI", _uid(_IMPLEMENTATION_CLASS_UID)),
            _element(0x0013, b"SH", _even(_IMPLEMENTATION_VERSION_NAME.encode(), b" ")),
        ]
    )
    length = _element(0x0000, b"UL", struct.pack("<L", len(elements)))
    return bytes(128) + b"DICM" + length + elements


def _uid(uid: str) -> bytes:
    return _even(uid.encode("ascii", "replace"), b"\0")


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding * (len(value) % 2)


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    """Explicit VR Little Endian (PS3.5 7.1.2)."""
    if vr == b"OB":
        return struct.pack("<HH2s2xL", 2, number, vr, len(value)) + value
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value
