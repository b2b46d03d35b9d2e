"""Files of objects that broke off, once nobody holds them open."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path

_STALE_S = 5.0  # without a byte: a slow sender, or one whose association is dead


def sweep(folder: Path) -> int:
    """Remove received files that this process doesn't hold open; return how many.

    pynetdicom leaves its temporary file when an association ends inside an object. It holds
    the file open while an object arrives and until its status is decided, so a name listed
    here and then found in no descriptor has no user left.
    """
    names = files(folder)
    if not names:
        return 0
    held = set(_open_files())
    orphans = [path for path in names if str(path) not in held and not _has_another_name(path)]
    for path in orphans:
        path.unlink(missing_ok=True)
    if orphans or any(_age(path) > _STALE_S for path in names):
        # An association that died by an exception (the disk full in the middle of an object)
        # is a reference cycle that still holds its file, or what was the file's room.
        gc.collect()
    return len(orphans)


def files(folder: Path) -> list[Path]:
    """Return the files of a folder in the order of their names."""
    return [path for path in sorted(folder.iterdir()) if path.is_file()]


def is_linked(path: Path) -> bool:
    """Tell whether an object has its final name too, and nobody works on it any more."""
    return _has_another_name(path) and str(path) not in set(_open_files())


def _has_another_name(path: Path) -> bool:
    try:
        return path.stat().st_nlink > 1
    except OSError:
        return False


def _age(path: Path) -> float:
    """Seconds since a file was written to; 0 when it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _open_files() -> Iterator[str]:
    """The paths of this process's open files."""
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            yield str(descriptor.readlink())
        except OSError:
            continue  # closed since it was listed
