"""The destination `folder`: a directory of Part 10 files, on a USB stick or a share.

An object lies under `<path>/<StudyInstanceUID>/<SOPInstanceUID>.dcm`, whole or not at all. An
original that came again with other content lies beside the first one, its hash in its name.

`path` must exist: we never make it. Name a directory *on* the stick, not the place where the
stick is mounted: with the stick unplugged the directory is then gone and results wait, instead of
filling the box's own disk.
"""

import errno
import hashlib
import os
import re
import stat
from pathlib import Path

from appliance.sync.brake import Brake, Slowed
from appliance.sync.destinations import Absent, Proof, Unreachable
from appliance.sync.originals import Original
from appliance.sync.seg import Part10

_OPERATION = "deliver to a folder"
_BLOCK = 1 << 20  # bytes read at a time while hashing
_UID = re.compile(r"[0-9][0-9.]{0,63}")

# What the owner of the folder can mend, in words; anything else is named by the system.
_REASONS = {
    errno.ENOENT: "is not there",
    errno.ENOTDIR: "is not a directory",
    errno.EACCES: "may not be written to by this service",
    errno.EPERM: "may not be written to by this service",
    errno.EROFS: "is read-only",
    errno.ENOSPC: "is full",
    errno.EDQUOT: "is full for this user",
    errno.ESTALE: "has lost its server",
    errno.ENOTCONN: "has lost its server",
    errno.EHOSTDOWN: "has lost its server",
    errno.ETIMEDOUT: "doesn't answer",
    errno.ENODEV: "was unplugged",
    errno.EIO: "can't be written or read reliably",
}
_HINTS = {
    errno.ENOENT: "Plug in the stick, mount the share, or make the directory; nothing is lost.",
    errno.EACCES: "Give the service write access; nothing is lost.",
    errno.EPERM: "Give the service write access; nothing is lost.",
    errno.EROFS: "Mount it writable; nothing is lost.",
    errno.ENOSPC: "Make room on it; nothing is lost.",
    errno.EIO: "Try another stick or disk; nothing is lost.",
}
_HINT = "The result waits until it is back; nothing is lost."


class Folder:
    """A directory that gets results.

    Parameters
    ----------
    path
        The directory. It is never made here.
    brake
        How fast it may be written to.
    """

    def __init__(self, path: Path, brake: Brake | None = None) -> None:
        self.path = path
        self._brake = brake or Brake(0)

    def is_there(self) -> bool:
        """Tell whether the directory can be reached at all."""
        return os.path.isdir(self.path)  # noqa: PTH112  (Path.is_dir raises on a stale share)

    def check(self) -> None:
        """Make sure that the directory is there.

        Raises
        ------
        Unreachable
            When it isn't; the reason is in words.
        """
        try:
            if not stat.S_ISDIR(self.path.stat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        except OSError as error:
            raise _unreachable(self.path, error) from error

    def put(self, result: Part10) -> None:
        """Write a result, whole or not at all, so that it survives a power cut.

        A file that is there already with the same bytes is left as it is: an earlier try was
        cut short after it. One with other bytes under this UID was never proven and is
        replaced.

        Raises
        ------
        Unreachable
            When the directory is gone, read-only or full; trying again later helps.
        """
        self.check()
        try:
            final = self._final(result)
            if not final.parent.is_dir():
                final.parent.mkdir(exist_ok=True)
                _sync_folder(self.path)
            if not final.exists() or _hash(final)[0] != result.sha256:
                _write(final, result, self._brake)
            # Also after a kill between an earlier try's rename and its sync.
            _sync_folder(final.parent)
        except OSError as error:
            raise _unreachable(self.path, error) from error

    def prove(self, result: Part10) -> Proof:
        """Read a result back.

        Raises
        ------
        Absent
            When it isn't there, or isn't what was written.
        Unreachable
            When it can't be read.
        """
        self.check()
        try:
            sha256, size = _hash(self._final(result))
        except FileNotFoundError as error:
            raise Absent(_OPERATION, f"{self.path} doesn't hold it", _HINT, retry=True) from error
        except OSError as error:
            raise _unreachable(self.path, error) from error
        if sha256 != result.sha256:
            raise Absent(
                _OPERATION,
                f"{self.path} gives back other bytes than were written",
                "The stick or disk is failing: replace it. The result is written again.",
                retry=True,
            )
        return Proof(sha256, size)

    def _final(self, result: Part10) -> Path:
        uid = _safe("object", result.SOPInstanceUID)
        name = f"{uid}{result.suffix}"
        final = self.path / _safe("study", result.StudyInstanceUID) / name
        if isinstance(result, Original) and final.exists() and _hash(final)[0] != result.sha256:
            # Same UID, other content: both are kept (promise 2).
            return final.with_name(f"{uid}-{result.sha256[:16]}.dcm")
        return final


def _safe(what: str, uid: str) -> str:
    """Return a name that never leads out of the folder, whatever a source says."""
    if _UID.fullmatch(uid):
        return uid
    return f"{what}-{hashlib.sha256(uid.encode()).hexdigest()[:16]}"


def _write(final: Path, result: Part10, brake: Brake) -> None:
    # The same name at every try: what a killed one left behind is overwritten, never piled up.
    temporary = final.with_name(f".{final.name}.part")
    try:
        with temporary.open("wb") as stream:
            result.write_to(Slowed(stream, brake) if brake else stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(final)
    except OSError:
        _discard(temporary)
        raise


def _discard(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        # The first error is the one to tell; the next try overwrites this file.
        return


def _hash(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        # Drop what the kernel remembers of the file: the medium is asked, not the memory.
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems don't sync directories: their server decides.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _unreachable(path: Path, error: OSError) -> Unreachable:
    number = error.errno or 0
    reason = _REASONS.get(number) or f"can't be used ({os.strerror(number)})"
    hint = _HINTS.get(number, _HINT)
    return Unreachable(_OPERATION, f"{path} {reason}", hint, retry=True)
