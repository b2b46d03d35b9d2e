"""UIDs that follow from others: the same object gets the same UID in every try."""

import hashlib


def derived_uid(root: str, purpose: str) -> str:
    """Return a UID that depends on another one and on what it is for, and on nothing else.

    Parameters
    ----------
    root
        A UID allocated once and stored.
    purpose
        What the derived one names ("sr", "rejection:usb").

    Returns
    -------
    str
        A UID under 2.25 (PS3.5 B.2), from 128 bits of a SHA-256, marked as a version 8 UUID
        (RFC 9562 5.8), at most 44 characters.
    """
    bits = int.from_bytes(hashlib.sha256(f"{root}\0{purpose}".encode()).digest()[:16], "big")
    bits = bits & ~(0xF << 76) | 8 << 76
    bits = bits & ~(3 << 62) | 2 << 62
    return f"2.25.{bits}"
