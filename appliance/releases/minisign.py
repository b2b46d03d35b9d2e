"""Signatures as minisign (https://jedisct1.github.io/minisign) makes them: Ed25519 over BLAKE2b-512.

Only the prehashed form ("ED") is taken. The trusted comment is signed together with the signature,
so neither can be exchanged alone.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import IO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from appliance.errors import ApplianceError

_ALGORITHM, _PREHASHED = b"Ed", b"ED"
_ID, _KEY, _SIGNATURE = 8, 32, 64  # bytes
_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "
_VERIFY = "verify a signature"
_PIECE = 1 << 20


class SignatureError(ApplianceError):
    """A file isn't what the holder of a key signed, or there is no telling."""


@dataclass(frozen=True)
class PublicKey:
    """Whose signatures count.

    Attributes
    ----------
    identity
        Eight bytes by which a signature names its key.
    key
        Ed25519, 32 bytes.
    """

    identity: bytes
    key: bytes

    @classmethod
    def parse(cls, text: str) -> "PublicKey":
        """Read a key as minisign writes it, with its comment or without.

        Raises
        ------
        SignatureError
            When it is none.
        """
        data = _decoded(text.strip().splitlines()[-1] if text.strip() else "")
        if len(data) != len(_ALGORITHM) + _ID + _KEY or data[:2] != _ALGORITHM:
            hint = "Take the line that begins with RW from the .pub file."
            raise SignatureError(_VERIFY, "that is no public key of minisign", hint)
        return cls(data[2 : 2 + _ID], data[2 + _ID :])

    def __str__(self) -> str:
        return base64.b64encode(_ALGORITHM + self.identity + self.key).decode()

    def file(self) -> str:
        """Return what minisign keeps in a .pub file."""
        name = int.from_bytes(self.identity, "little")
        return f"{_UNTRUSTED}minisign public key {name:X}\n{self}\n"


@dataclass(frozen=True)
class Signature:
    """What a .minisig file holds.

    Attributes
    ----------
    identity
        Of the key.
    signature
        Of the file's BLAKE2b-512.
    comment
        What else was signed, in words.
    whole
        Signature of both.
    """

    identity: bytes
    signature: bytes
    comment: str
    whole: bytes

    @classmethod
    def parse(cls, text: str) -> "Signature":
        """Read a .minisig file.

        Raises
        ------
        SignatureError
            When it is none, or of the older form that signs the file itself.
        """
        lines = text.splitlines()
        told = len(lines) == 4 and lines[0].startswith(_UNTRUSTED) and lines[2].startswith(_TRUSTED)
        data, whole = (_decoded(lines[1]), _decoded(lines[3])) if told else (b"", b"")
        if len(data) != 2 + _ID + _SIGNATURE or data[:2] != _PREHASHED or len(whole) != _SIGNATURE:
            raise SignatureError(_VERIFY, "that is no signature of minisign", "Sign it again.")
        return cls(data[2 : 2 + _ID], data[2 + _ID :], lines[2].removeprefix(_TRUSTED), whole)

    def file(self) -> str:
        """Return what minisign keeps in a .minisig file."""
        data = base64.b64encode(_PREHASHED + self.identity + self.signature).decode()
        whole = base64.b64encode(self.whole).decode()
        return f"{_UNTRUSTED}signed by Echocart\n{data}\n{_TRUSTED}{self.comment}\n{whole}\n"

    def verify(self, digest: bytes, key: PublicKey) -> str:
        """Return the trusted comment of a file, known by its `digest_of`.

        Raises
        ------
        SignatureError
            When another key signed, or the file or the comment isn't what was signed.
        """
        if self.identity != key.identity:
            what = "another key signed it than the one that this box knows"
            raise SignatureError(_VERIFY, what, "Ask those who gave you the file.")
        verifier = Ed25519PublicKey.from_public_bytes(key.key)
        for signature, data, what in (
            (self.signature, digest, "the file isn't the one that was signed"),
            (
                self.whole,
                self.signature + self.comment.encode(),
                "its comment isn't the one that was signed",
            ),
        ):
            try:
                verifier.verify(signature, data)
            except InvalidSignature:
                raise SignatureError(_VERIFY, what, "Take another copy.") from None
        return self.comment


def digest_of(stream: IO[bytes], into: IO[bytes] | None = None) -> bytes:
    """Return the BLAKE2b-512 of what a stream holds, copying it on the way if asked to."""
    found = hashlib.blake2b()
    while piece := stream.read(_PIECE):
        found.update(piece)
        if into:
            into.write(piece)
    return found.digest()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
