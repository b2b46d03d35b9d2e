"""A copy of the ledger, made while it is in use; proven whole before it replaces the one before."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from appliance.errors import LedgerError
from appliance.spool import hash_file, make_durable_folder, sync_folder, write_durably

EVERY_S = 3600.0
LARGE_BYTES = 256 << 20  # of a larger ledger one a day is enough to write
LARGE_EVERY_S = 24 * 3600.0
_FREE_TIMES = 3  # the room it needs may not be what reception needs


def folder(state_dir: Path) -> Path:
    """Return where the copy lies."""
    return state_dir / "snapshot"


def copy(ledger: Path, to: Path) -> str:
    """Copy a ledger in use to a file of its own, consistent and durable; return its SHA-256.

    Parameters
    ----------
    ledger
        `ledger.db` of a box.
    to
        The new file; must not exist.

    Raises
    ------
    LedgerError
        When the ledger is damaged or can't be read, or the copy can't be written. Nothing is
        left under `to`.
    """
    partial = to.with_name(f".{to.name}.part")
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640))  # it holds names
        # At one go: it begins anew with every change made between two pieces.
        with (
            closing(sqlite3.connect(ledger)) as source,
            closing(sqlite3.connect(partial)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")  # one file
            _must_be_whole(target)
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        digest = hash_file(partial)
        partial.replace(to)
        sync_folder(to.parent)
    except (sqlite3.Error, OSError) as error:
        partial.unlink(missing_ok=True)
        raise LedgerError(
            "copy the ledger", f"{to.parent}: {error}", "Check both disks: room, rights, health."
        ) from error
    return digest


def _must_be_whole(database: sqlite3.Connection) -> None:
    found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError("database disk image is malformed")


def take(state_dir: Path) -> Path:
    """Replace the box's own copy by one of now.

    Raises
    ------
    LedgerError
        As `copy`; the copy before stays.
    """
    home = folder(state_dir)
    try:
        make_durable_folder(home)
        new = home / "new.db"
        digest = copy(state_dir / "ledger.db", new)
        # Whoever comes between the two sees a copy that isn't what its hash says, and takes none.
        write_durably(home / "ledger.sha256", digest.encode())
        new.replace(home / "ledger.db")
        sync_folder(home)
    except OSError as error:
        hint = "Check the disk: room, rights, health."
        raise LedgerError("copy the ledger", f"{home}: {error.strerror}", hint) from error
    return home / "ledger.db"


def whole(state_dir: Path) -> Path | None:
    """Return the box's own copy when it is what was written, else None."""
    path = folder(state_dir) / "ledger.db"
    try:
        same = hash_file(path) == (path.parent / "ledger.sha256").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return path if same else None


def is_due(state_dir: Path) -> bool:
    """Tell whether a new copy should be made, and there is room for it."""
    ledger, path = state_dir / "ledger.db", folder(state_dir) / "ledger.db"
    try:
        size = ledger.stat().st_size
        room = os.statvfs(state_dir)
        if room.f_bavail * room.f_frsize < _FREE_TIMES * size:
            return False
        every = EVERY_S if size < LARGE_BYTES else LARGE_EVERY_S
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return ledger.exists()
    return not 0 <= age < every
