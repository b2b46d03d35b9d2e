"""The repository of released models: TUF metadata and bundles in a folder any web server serves.

The Update Framework 1.0: root says whose keys count, targets what is released, snapshot and
timestamp that nobody shows an old state. Whoever looks on while a release is written sees the
state before or after: the timestamp comes last.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError

from appliance.errors import ApplianceError
from models.corrections import write_whole
from models.signing import ONLINE

LIFETIMES = {
    "root": timedelta(days=3650),
    "targets": timedelta(days=730),
    "snapshot": timedelta(days=730),
    "timestamp": timedelta(days=90),
}
WITHDRAWN = "withdrawn"
_OPERATION = "publish a model"
_Role = TypeVar("_Role", Root, Snapshot, Targets, Timestamp)
Signers = Mapping[str, CryptoSigner]


class RepositoryError(ApplianceError):
    """The repository isn't as it should be, or doesn't allow what was asked."""


class Repository:
    """A repository in a folder: `metadata/` and `targets/`.

    Parameters
    ----------
    folder
        Where it is.
    now
        Tells the time: what is signed expires.
    """

    def __init__(
        self,
        folder: Path,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self.folder = folder
        self._metadata, self._targets = folder / "metadata", folder / "targets"
        self._now = now

    def create(self, roots: Sequence[CryptoSigner], threshold: int, online: Signers) -> None:
        """Begin a repository: root version 1, signed by all root keys, and nothing released.

        Raises
        ------
        RepositoryError
            When there is one already, or fewer root keys than must sign.
        """
        self.must_be_free(len(roots), threshold)
        root = Root(consistent_snapshot=True)
        for signer in roots:
            root.add_key(signer.public_key, "root")
        root.roles["root"].threshold = threshold
        for role in ONLINE:
            root.add_key(online[role].public_key, role)
        self._targets.mkdir(parents=True)
        self._metadata.mkdir()
        self._write(root, roots, f"{root.version}.root.json")
        self._release(Targets(), Snapshot(), Timestamp(), online, first=True)

    def must_be_free(self, roots: int, threshold: int) -> None:
        """Refuse to begin a repository, before any key is made for it; raises as `create` does."""
        if self._metadata.exists():
            hint = "Name an empty folder."
            raise RepositoryError("begin a repository", f"{self.folder} holds one already", hint)
        if not 1 <= threshold <= roots:
            what = f"{threshold} of {roots} root keys can't sign"
            raise RepositoryError("begin a repository", what, "Make more keys, or ask for fewer.")

    def add(self, name: str, bundle: Path, about: Mapping[str, Any], online: Signers) -> None:
        """Release a bundle.

        Parameters
        ----------
        name
            What boxes know it by: `<name>-<version>.tar`.
        bundle
            The file.
        about
            JSON-ready facts that are signed with it.
        online
            From `signing.online`.

        Raises
        ------
        RepositoryError
            When there is another one of that name: what boxes may have is never changed.
        """
        targets = self._newest(Targets)
        target = TargetFile.from_file(name, str(bundle))
        target.unrecognized_fields["custom"] = dict(about)
        known = targets.targets.get(name)
        if known and known.hashes != target.hashes:
            raise RepositoryError(_OPERATION, f"{name} was released", "Take another version.")
        place = self._targets / f"{target.hashes['sha256']}.{name}"
        write_whole(place, bundle.read_bytes())
        targets.targets[name] = target
        self._bump(targets, online)

    def withdraw(self, name: str, why: str, online: Signers) -> None:
        """Take a release back: boxes that have it leave it, none fetches it any more.

        Raises
        ------
        RepositoryError
            When there is none of that name.
        """
        targets = self._newest(Targets)
        if name not in targets.targets:
            have = ", ".join(sorted(targets.targets)) or "none"
            what = f"{name} was never released"
            raise RepositoryError("withdraw a model", what, f"Released: {have}.")
        targets.targets[name].unrecognized_fields.setdefault("custom", {})[WITHDRAWN] = why
        self._bump(targets, online)

    def refresh(self, online: Signers) -> None:
        """Sign the same state again, before the timestamp expires."""
        self._bump(None, online)

    def rotate(self, role: str, fresh: CryptoSigner, roots: Sequence[CryptoSigner]) -> None:
        """Let another key sign for a role. `refresh` with the new keys must follow.

        Raises
        ------
        RepositoryError
            When fewer root keys sign than must, or one isn't a root key.
        """
        root = self._newest(Root)
        known, needed = set(root.roles["root"].keyids), root.roles["root"].threshold
        mine = {signer.public_key.keyid for signer in roots}
        if mine - known or len(mine) < needed:
            what = f"{len(mine & known)} root keys sign, {needed} must"
            raise RepositoryError("rotate a key", what, "Bring enough of them together.")
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        root.add_key(fresh.public_key, role)
        root.version += 1
        self._write(root, roots, f"{root.version}.root.json")

    def names(self, role: str, signer: CryptoSigner) -> bool:
        """Tell whether root names a key for a role already."""
        return signer.public_key.keyid in self._newest(Root).roles[role].keyids

    def released(self) -> dict[str, TargetFile]:
        """Return what is released, by name; withdrawn ones too."""
        return dict(self._newest(Targets).targets)

    def expires(self) -> datetime:
        """Return until when boxes believe this state to be the newest."""
        return self._newest(Timestamp).expires

    def _bump(self, targets: Targets | None, online: Signers) -> None:
        fresh = targets or self._newest(Targets)
        snapshot, timestamp = self._newest(Snapshot), self._newest(Timestamp)
        for role in (fresh, snapshot, timestamp):
            role.version += 1
        self._release(fresh, snapshot, timestamp, online)

    def _release(
        self,
        targets: Targets,
        snapshot: Snapshot,
        timestamp: Timestamp,
        online: Signers,
        *,
        first: bool = False,
    ) -> None:
        root = self._newest(Root)
        for role in ONLINE:
            if online[role].public_key.keyid not in root.roles[role].keyids:
                what = f"the {role} key isn't the one that root names"
                raise RepositoryError(_OPERATION, what, "Name the folder of the keys in force.")
        if first or targets.version:
            self._write(targets, [online["targets"]], f"{targets.version}.targets.json")
        snapshot.meta["targets.json"] = MetaFile(targets.version)
        self._write(snapshot, [online["snapshot"]], f"{snapshot.version}.snapshot.json")
        timestamp.snapshot_meta = MetaFile(snapshot.version)
        self._write(timestamp, [online["timestamp"]], "timestamp.json")

    def _write(self, role: _Role, signers: Sequence[CryptoSigner], name: str) -> None:
        role.expires = (self._now() + LIFETIMES[role.type]).replace(microsecond=0)
        signed = Metadata(role)
        for signer in signers:
            signed.sign(signer, append=True)
        write_whole(self._metadata / name, signed.to_bytes())

    def _newest(self, role: type[_Role]) -> _Role:
        name = "timestamp.json" if role is Timestamp else f"*.{role.type}.json"
        found = sorted(self._metadata.glob(name), key=_version)
        try:
            loaded = Metadata[_Role].from_file(str(found[-1]))
        except DeserializationError as error:
            hint = "Put it back from a copy of the repository."
            raise RepositoryError(_OPERATION, f"{found[-1]} is damaged", hint) from error
        except IndexError as error:
            what = f"{self.folder} is no repository of models"
            raise RepositoryError(_OPERATION, what, "Begin one: models.publish init.") from error
        return loaded.signed


def _version(path: Path) -> int:
    number = path.name.partition(".")[0]
    return int(number) if number.isdigit() else 0
