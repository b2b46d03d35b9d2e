"""A released model that comes on a USB stick: one file, signed with minisign by the central team.

The file is a tar of two members, the bundle and its .minisig, so that `tar` and `minisign` can look
at it too. A signature says nothing about what is newer: the box keeps to its own floor, and takes
no release older than one of the same name that it has had.
"""

import hashlib
import tarfile
from pathlib import Path

from appliance.config import Settings
from appliance.errors import ApplianceError, ManifestError
from appliance.ledger import Ledger, release
from appliance.releases import bundle
from appliance.releases.minisign import PublicKey, Signature, digest_of
from appliance.releases.updates import keep

SUFFIX = ".echocart"
SIGNATURE = ".minisig"
COMMENT = "echocart model "  # of the trusted comment, before the name
_TAKE = "take a model from a file"
_LONGEST = 4096  # bytes of a signature
_NEVER_AGAIN = ("refused", "withdrawn")


def take(settings: Settings, ledger: Ledger, path: Path) -> str:
    """Verify a file, and keep the model in it beside the others; returns its name.

    Raises
    ------
    ManifestError
        When no key is known here, the file is none of a release, is older than one that this box
        has had, was refused or withdrawn, or can't be used on this box.
    SignatureError
        When it isn't what the central team signed.
    """
    if not settings.updates.usb_key:
        hint = "Set usb_key in [updates] to the central team's public key."
        raise ManifestError(_TAKE, "this box knows no key for files", hint)
    key = PublicKey.parse(settings.updates.usb_key)
    copy = settings.box.state_dir / "updates" / "bundles" / "carried.tar"
    copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        name = _verified(path, key, copy)
        sha256 = _sha256(copy)
        if not _is_new(ledger, name, sha256):
            return name
        try:
            keep(settings, ledger, copy, name, sha256)
        except ManifestError as error:
            release.step(ledger, name, sha256, "refused", f"{error.subject}. {error.hint}")
            raise
    finally:
        copy.unlink(missing_ok=True)
    return name


def _verified(path: Path, key: PublicKey, copy: Path) -> str:
    """Copy the bundle, and return its name: nothing is read of the stick after it was verified."""
    try:
        with tarfile.open(path, "r:") as tar:
            members = {member.name: member for member in tar if member.isreg()}
            names = [name for name in members if name.endswith(bundle.SUFFIX)]
            if len(names) != 1 or set(members) != {names[0], names[0] + SIGNATURE}:
                raise _no_release(path)
            inner, signed = members[names[0]], members[names[0] + SIGNATURE]
            if signed.size > _LONGEST or inner.size > bundle.MOST_BYTES:
                raise _no_release(path)
            text, content = tar.extractfile(signed), tar.extractfile(inner)
            assert text is not None
            assert content is not None
            signature = Signature.parse(text.read().decode("utf-8", "replace"))
            with copy.open("wb") as stream:
                digest = digest_of(content, stream)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _no_release(path) from error
    comment = signature.verify(digest, key)
    name = comment.removeprefix(COMMENT)
    if name == comment or not name or "/" in name:
        raise _no_release(path)
    return name


def _is_new(ledger: Ledger, name: str, sha256: str) -> bool:
    """Tell whether a release isn't here yet.

    Raises
    ------
    ManifestError
        When it is older than another of its name that was here, or was told to go.
    """
    stem, _, number = name.rpartition("-")
    known = release.newest(ledger)
    before = known.get(name)
    if before and before["state"] in _NEVER_AGAIN and before["sha256"] == sha256:
        what = f"{name} is {before['state']}: {before['why']}"
        raise ManifestError(_TAKE, what, "Wait for another release.")
    for other, row in known.items():
        theirs = other.rpartition("-")
        had = row["state"] != "refused"
        if had and theirs[0] == stem and bundle.version(theirs[2]) > bundle.version(number):
            hint = "`echocart model rollback` goes back to the model before."
            raise ManifestError(_TAKE, f"{name} is older than {other}, which was here", hint)
    return before is None or before["sha256"] != sha256


def _no_release(path: Path) -> ApplianceError:
    what = f"{path.name} can't be read, or is no release of a model"
    return ManifestError(_TAKE, what, f"Take a *{SUFFIX} file that models.publish usb wrote.")


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            found.update(piece)
    return found.hexdigest()
