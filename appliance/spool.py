"""Bytes on disk, atomically: a file is whole under its final name, or it is not there."""

import errno
import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from appliance.errors import SpoolError

PURGE_LOCK = "purge.lock"
_BLOCK = 1 << 20  # bytes read at a time while hashing: large enough to keep SHA-256 busy


@dataclass(frozen=True)
class Adopted:
    """A received object under its final name: where, how long, and its SHA-256 in hex."""

    path: Path
    sha256: str
    size: int


class Linked(Enum):
    """What an object found under its final name: nothing, the same bytes, or damaged ones."""

    NEW = "new"
    KNOWN = "known"
    HEALED = "healed"


class Spool:
    """The folder of received objects and label map chunks, each named by its SHA-256.

    Parameters
    ----------
    state_dir
        The box's state directory; `spool/` is made below it.

    Raises
    ------
    SpoolError
        When the folders can't be made.
    """

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir / "spool"
        self.incoming = self.root / "incoming"
        self.objects = self.root / "objects"
        self.chunks = self.root / "chunks"
        self.cache = self.root / "cache"
        self.quarantine = self.root / "quarantine"
        self.leaving = self.root / "leaving"
        self.results = self.root / "results"
        self.reviews = self.root / "reviews"
        self._turn = threading.Condition()
        self._busy: set[str] = set()
        folders = (
            self.incoming,
            self.objects,
            self.chunks,
            self.cache,
            self.quarantine,
            self.leaving,
            self.results,
            self.reviews,
        )
        for folder in folders:
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            except OSError as error:
                raise spool_error(folder, error, "open the spool") from error

    def object_path(self, sha256: str) -> Path:
        """Return the final path of a received object."""
        return self.objects / sha256[:2] / f"{sha256}.dcm"

    def chunk_path(self, sha256: str) -> Path:
        """Return the final path of a chunk of label maps."""
        return self.chunks / sha256[:2] / sha256

    def result_path(self, sha256: str) -> Path:
        """Return the path of an object that a review became, as it was delivered."""
        return self.results / sha256[:2] / f"{sha256}.dcm"

    def served_path(self, row: Mapping[str, Any]) -> Path:
        """Return the file of a row of `served`: of a received object, or of a result."""
        path = self.result_path if "is_result" in row else self.object_path
        return path(row["sha256"])

    def quarantine_path(self, sha256: str) -> Path:
        """Return the path of an object that was refused and put aside."""
        return self.quarantine / f"{sha256}.dcm"

    def make_object_folders(self) -> None:
        """Make the folders of received objects beforehand: one sync instead of one for each.

        Raises
        ------
        SpoolError
            When they can't be made.
        """
        folders = [self.objects / f"{number:02x}" for number in range(256)]
        missing = [folder for folder in folders if not folder.exists()]
        try:
            for folder in missing:
                folder.mkdir(exist_ok=True, mode=0o750)
            if missing:
                sync_folder(self.objects)
        except OSError as error:
            raise spool_error(self.objects, error, "open the spool") from error

    def frames_path(self, sha256: str) -> Path:
        """Return where an object's frames are kept once made into JPEG for the page."""
        return self.cache / f"{sha256}.frames"

    def adopt(self, incoming: Path) -> Adopted:
        """Make a received object durable under its final name.

        Parameters
        ----------
        incoming
            Part 10 file below `self.incoming`, closed by its writer.

        Returns
        -------
        Adopted
            Final path, size in bytes and SHA-256 of the whole file.

        Raises
        ------
        SpoolError
            When the file or its directory can't be synced. Nothing new is left under the
            final name; `retry` tells whether trying again can help (ENOSPC: yes, EIO: no).

        Notes
        -----
        The caller answers 0x0000 only after this returns and the ledger has committed
        (PS3.4 B.2.3: success means the SCP has taken responsibility), and unlinks
        `incoming` last: a name still there at start says that the row may be missing.
        """
        try:
            sha256, size = _sync_and_hash(incoming)
        except OSError as error:
            raise spool_error(incoming.parent, error) from error
        self.link(incoming, sha256)
        return Adopted(self.object_path(sha256), sha256, size)

    def link(self, incoming: Path, sha256: str) -> Linked:
        """Give a received object, synced already, its final name; durable once this returns.

        Parameters
        ----------
        incoming
            Its name below `self.incoming`, which stays.
        sha256
            Of its content, in hex.

        Returns
        -------
        Linked
            Whether the same content has been there before.

        Raises
        ------
        SpoolError
            As `adopt`.
        """
        final = self.object_path(sha256)
        linked = Linked.KNOWN
        try:
            make_durable_folder(final.parent)
            # The receiver removes its own name afterwards: link, never rename.
            try:
                os.link(incoming, final)
                linked = Linked.NEW
            except FileExistsError:
                if _replace_if_damaged(incoming, final, sha256):
                    linked = Linked.HEALED
            sync_folder(final.parent)
        except OSError as error:
            if linked is Linked.NEW:
                final.unlink(missing_ok=True)
            raise spool_error(incoming.parent, error) from error
        return linked

    @contextmanager
    def alone_with(self, sha256: str) -> Iterator[None]:
        """Keep other threads of this process from linking or taking back the same content."""
        with self._turn:
            self._turn.wait_for(lambda: sha256 not in self._busy)
            self._busy.add(sha256)
        try:
            yield
        finally:
            with self._turn:
                self._busy.discard(sha256)
                self._turn.notify_all()

    @contextmanager
    def purging(self, *, may: bool) -> Iterator[None]:
        """Hold off every other process's purge, or (`may`) everybody who holds one off."""
        # A descriptor for each holder: two holders of one would release each other's lock.
        descriptor = os.open(self.root / PURGE_LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if may else fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    def put_chunk(self, data: bytes) -> str:
        """Write a chunk durably under its SHA-256 and return that name (64 hex digits).

        Raises
        ------
        SpoolError
            When it can't be written or synced; nothing is left under the final name.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        final = self.chunk_path(sha256)
        if final.exists() and final.stat().st_size == len(data):
            return sha256
        try:
            make_durable_folder(final.parent)
            write_durably(final, data)
        except OSError as error:
            raise spool_error(final.parent, error, "store label maps") from error
        return sha256

    def read_chunk(self, sha256: str) -> bytes:
        """Return a chunk's bytes.

        Raises
        ------
        SpoolError
            When the file is missing or its content no longer has that hash.
        """
        path = self.chunk_path(sha256)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise spool_error(path, error, "read label maps") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise SpoolError(
                "read label maps",
                f"the chunk {sha256[:12]}… has changed on disk",
                "The disk may be failing: check it, then have the loop analysed again.",
            )
        return data

    def free_bytes(self) -> int:
        """Return the bytes that may still be written to the spool's file system."""
        room = os.statvfs(self.root)
        return room.f_bavail * room.f_frsize


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that it is whole under its name or absent, also after a power cut.

    Raises
    ------
    OSError
        From the first step that failed; the temporary name is removed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hex, read block by block."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _sync_and_hash(path: Path) -> tuple[str, int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        return hash_file(path), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _replace_if_damaged(incoming: Path, final: Path, sha256: str) -> bool:
    """An object sent twice heals a first copy that rotted: success must mean these bytes."""
    if hash_file(final) == sha256:
        return False
    healed = final.with_suffix(f".{secrets.token_hex(4)}.part")
    os.link(incoming, healed)
    healed.rename(final)
    return True


def make_durable_folder(folder: Path) -> None:
    """Make a folder that is still there after a power cut; its parent exists.

    Raises
    ------
    OSError
        When it can't be made or synced.
    """
    if folder.exists():
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's names on the disk.

    Raises
    ------
    OSError
        When it can't be synced.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def spool_error(
    folder: Path, error: OSError, operation: str = "store a received object"
) -> SpoolError:
    """Say a failure of the file system in words; `retry` when space is what was missing."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = {
        errno.ENOSPC: "Free some space on that file system; reception resumes on its own.",
        errno.EDQUOT: "Raise the quota of the service's user; reception resumes on its own.",
        errno.EACCES: "Give the service's user the right to write there.",
        errno.EROFS: "Mount the file system for writing.",
    }.get(error.errno or 0, "Check the disk (dmesg, smartctl): it may be failing.")
    return SpoolError(operation, f"{folder}: {os.strerror(error.errno or 0)}", hint, retry=full)
