"""The keys that sign releases: made in a ceremony, kept as PEM files under a passphrase.

Root keys only say whose the other keys are: each lies with another person, away from any network.
"""

import getpass
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from appliance.errors import ApplianceError

ONLINE = ("targets", "snapshot", "timestamp")
PASSPHRASE = "ECHOCART_KEY_PASSPHRASE"  # noqa: S105
_SHORTEST = 12  # characters
_OPERATION = "use a signing key"


class SigningError(ApplianceError):
    """A key can't be made or used."""


def passphrase(*, again: bool = False) -> bytes:
    """Return what the keys are encrypted with: from the environment, else asked for.

    Parameters
    ----------
    again
        For new keys: asked for twice, and not too short.

    Raises
    ------
    SigningError
        When nobody types one, it is too short, or was written differently the second time.
    """
    given = os.environ.get(PASSPHRASE) or _typed("Passphrase of the keys: ")
    if again and len(given) < _SHORTEST:
        what = f"the passphrase has fewer than {_SHORTEST} characters"
        raise SigningError(_OPERATION, what, "Take a longer one.")
    if again and not os.environ.get(PASSPHRASE) and _typed("Once more: ") != given:
        raise SigningError(_OPERATION, "the two passphrases differ", "Try again.")
    return given.encode()


def _typed(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError as error:
        hint = f"Type it at a terminal, or set {PASSPHRASE}."
        raise SigningError(_OPERATION, "no passphrase was given", hint) from error


def make(folder: Path, names: Sequence[str], secret: bytes) -> dict[str, CryptoSigner]:
    """Make Ed25519 keys, a PEM file (PKCS #8, encrypted, readable by its owner alone) each.

    Raises
    ------
    SigningError
        When one is there already: a key in use is never overwritten.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    there = [name for name in names if _file(folder, name).exists()]
    if there:
        what = f"{_file(folder, there[0])} is there already"
        raise SigningError("make signing keys", what, "Name an empty folder.")
    made = {}
    for name in names:
        key = Ed25519PrivateKey.generate()
        data = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(secret),
        )
        descriptor = os.open(_file(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        made[name] = CryptoSigner(key)
    return made


def load(path: Path, secret: bytes) -> CryptoSigner:
    """Read a key that signs metadata; raises as `private` does."""
    return CryptoSigner(private(path, secret))


def private(path: Path, secret: bytes) -> Ed25519PrivateKey:
    """Read a key.

    Raises
    ------
    SigningError
        When it isn't there, isn't an Ed25519 key, or the passphrase is another one's.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), secret)
    except OSError as error:
        hint = "Bring the key, or name its folder with --keys."
        raise SigningError(_OPERATION, f"{path} can't be read", hint) from error
    except (ValueError, TypeError) as error:
        what = f"{path} can't be opened with this passphrase"
        raise SigningError(_OPERATION, what, "Check the passphrase.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(
            _OPERATION, f"{path} is no Ed25519 key", "Make one: models.publish init."
        )
    return key


def online(folder: Path, secret: bytes) -> dict[str, CryptoSigner]:
    """Read the keys that a release takes: targets, snapshot, timestamp."""
    return {name: load(_file(folder, name), secret) for name in ONLINE}


def public(signer: CryptoSigner) -> SSlibKey:
    """Return what the world may know of a key."""
    return signer.public_key


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.pem"
