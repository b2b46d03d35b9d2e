"""A released model as one file for a USB stick, signed as minisign does.

The file is a tar of the bundle and its .minisig: `tar xf` and `minisign -Vm NAME-VERSION.tar -P KEY`
tell the same as the box does.
"""

import hashlib
import io
import os
import tarfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.releases import bundle
from appliance.releases.minisign import PublicKey, Signature, digest_of
from appliance.releases.stick import COMMENT, SIGNATURE, SUFFIX
from models import signing
from models.corrections import write_whole

KEY = "usb"  # its file in the folder of keys


def make_key(folder: Path, secret: bytes) -> PublicKey:
    """Make the key for files; `usb.pub` beside it is what boxes know it by.

    Raises
    ------
    SigningError
        When there is one already.
    """
    signing.make(folder, [KEY], secret)
    public = public_key(signing.private(folder / f"{KEY}.pem", secret))
    write_whole(folder / f"{KEY}.pub", public.file().encode())
    return public


def public_key(key: Ed25519PrivateKey) -> PublicKey:
    """Return what the world may know of a key. Its identity follows from it."""
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return PublicKey(hashlib.sha256(raw).digest()[:8], raw)


def sign(digest: bytes, comment: str, key: Ed25519PrivateKey) -> Signature:
    """Sign a file by its `digest_of`, and a comment with it."""
    signature = key.sign(digest)
    whole = key.sign(signature + comment.encode())
    return Signature(public_key(key).identity, signature, comment, whole)


def write(packed: Path, key: Ed25519PrivateKey, out: Path) -> Path:
    """Write the file for a bundle; returns its path.

    Parameters
    ----------
    packed
        The bundle, called NAME-VERSION.tar; the name is signed with it.
    key
        From `signing.private`.
    out
        Folder.
    """
    name = packed.name.removesuffix(bundle.SUFFIX)
    with packed.open("rb") as stream:
        signature = sign(digest_of(stream), COMMENT + name, key)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}{SUFFIX}"
    partial = path.with_name(f".{path.name}.partial")
    try:
        with tarfile.open(partial, "w:", format=tarfile.USTAR_FORMAT) as tar:
            inner = tarfile.TarInfo(name + bundle.SUFFIX)
            inner.size = packed.stat().st_size
            with packed.open("rb") as stream:
                tar.addfile(inner, stream)
            text = signature.file().encode()
            signed = tarfile.TarInfo(inner.name + SIGNATURE)
            signed.size = len(text)
            tar.addfile(signed, io.BytesIO(text))
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())  # a stick is pulled out soon after
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        error.filename = error.filename or str(path)  # a full stick names no file
        raise
    return path
