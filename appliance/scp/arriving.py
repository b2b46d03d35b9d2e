"""A file that is written while an object arrives, hashed and sent to the disk on the way."""

import errno
import hashlib
import os
import secrets
from concurrent.futures import Executor, Future
from pathlib import Path

from appliance.writeback import start_writeback

HEAD = 16 * 1024  # bytes kept in memory: all but the pixels of nearly every object
_STRIDE = 1 << 20  # bytes after which the disk and the hash are set to work
# Bytes written at a time. With larger ones the kernel takes memory in pieces that a virtual machine
# which reports free pages has just given back to its host: five times the cost.
_GATHERED = 1 << 16
_BLOCK = 1 << 18  # bytes hashed at a time: they fit a core's cache


class ArrivingFile:
    """A file in `spool/incoming` on its way to be a kept object.

    Parameters
    ----------
    path
        Its name there.
    descriptor
        It, open for reading and, while it arrives, for writing.
    helpers
        Threads that hash and sync it beside what the caller does.

    Raises
    ------
    OSError
        From every method that writes or reads.
    """

    def __init__(self, path: Path, descriptor: int, helpers: Executor) -> None:
        self.path = path
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self.head = os.pread(descriptor, HEAD, 0) if self.size else b""
        self._block = memoryview(b"")
        self._filled = 0  # bytes of the block that wait to be written
        self._helpers = helpers
        self._digest = _Digest(descriptor, helpers)
        self._under_way = 0
        self._stays = False
        self._syncing: Future[None] | None = None

    @classmethod
    def create(cls, folder: Path, helpers: Executor) -> "ArrivingFile":
        """Open a new file under a name of its own."""
        path = folder / f"{secrets.token_hex(8)}.part"
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        return cls(path, os.open(path, flags, 0o640), helpers)

    @classmethod
    def opened(cls, path: Path, helpers: Executor) -> "ArrivingFile":
        """Take a file that somebody else has written to its end."""
        return cls(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC), helpers)

    def write(self, data: bytes | memoryview) -> None:
        """Append some bytes; they may change once this returns."""
        if len(self.head) < HEAD:
            self.head += bytes(data[: HEAD - len(self.head)])
        # Fragments end anywhere. Gathered, they fill whole pages, which the page cache takes at a
        # quarter less cost; the copy, within a core's cache, costs a fraction of that.
        rest = memoryview(data)
        while rest:
            if not self._block:
                self._block = memoryview(bytearray(_GATHERED))
            part = rest[: _GATHERED - self._filled]
            end = self._filled + len(part)
            self._block[self._filled : end] = part
            self._filled = end
            rest = rest[len(part) :]
            if end == _GATHERED:
                self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        rest, self._filled = self._block[: self._filled], 0
        while rest:
            written = os.write(self.descriptor, rest)
            self.size += written
            rest = rest[written:]
        if self.size - self._under_way >= _STRIDE:
            start_writeback(self.descriptor, self._under_way, self.size - self._under_way)
            self._digest.advance(self.size)
            self._under_way = self.size

    def start_sync(self) -> None:
        """Begin to put the whole file on the disk and to hash its last bytes; see `sha256`."""
        self.flush()
        self._digest.advance(self.size)
        self._syncing = self._helpers.submit(os.fsync, self.descriptor)

    def sha256(self) -> str:
        """Return the SHA-256 of the whole file in hex, once the file is on the disk."""
        assert self._syncing is not None
        digest = self._digest.finish(self.size)
        self._syncing.result()
        return digest

    def close(self) -> None:
        """Let go of the file; its name stays."""
        if self.descriptor >= 0:
            self._digest.abandon()
            _settled(self._syncing)
            os.close(self.descriptor)
            self.descriptor = -1

    def discard(self) -> None:
        """Remove the name, unless it was left, and let go of the file."""
        if not self._stays:
            self.path.unlink(missing_ok=True)
        self.close()

    def leave(self) -> None:
        """Keep the name: a second link under it tells the next start to look for the row."""
        self._stays = True


class _Digest:
    """SHA-256 of a file that grows, read back from the page cache by a thread of its own.

    hashlib and preadv release the GIL: on a second core the hash costs the sender no time.
    """

    def __init__(self, descriptor: int, helpers: Executor) -> None:
        self._descriptor = descriptor
        self._helpers = helpers
        self._hash = hashlib.sha256()
        self._done = 0
        self._task: Future[None] | None = None

    def advance(self, size: int) -> None:
        """Hash on up to `size`, unless that is still going on."""
        if self._task is None or self._task.done():
            self._check()
            self._task = self._helpers.submit(self._run, size)

    def finish(self, size: int) -> str:
        self._check()
        self._run(size)
        return self._hash.hexdigest()

    def abandon(self) -> None:
        _settled(self._task)

    def _check(self) -> None:
        if self._task is not None:
            self._task.result()

    def _run(self, size: int) -> None:
        if self._done == size:
            return
        buffer = memoryview(bytearray(min(_BLOCK, size - self._done)))
        while self._done < size:
            part = buffer[: size - self._done]
            count = os.preadv(self._descriptor, [part], self._done)
            if not count:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._hash.update(part[:count])
            self._done += count


def _settled(task: "Future[None] | None") -> None:
    """Wait until a task doesn't use its file any more, however it ends."""
    if task is not None and not task.cancel():
        task.exception()
