"""Back-ups: a folder that gathers the spool's files by their hashes, and a ledger for each time.

Files are added, never changed and never removed: a back-up into the same folder copies only what
is new. Each ledger finds there everything that it names. No key is in it.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from appliance import __version__
from appliance.config import Settings
from appliance.errors import ApplianceError, LedgerError
from appliance.ledger import Ledger, restored
from appliance.releases import model_store
from appliance.spool import Spool, hash_file, make_durable_folder, sync_folder, write_durably
from appliance.upkeep import damage, snapshot

_BACKUP, _RESTORE = "back up", "restore"
_FOLDERS = (
    "objects",
    "chunks",
    "reviews",
    "results",
    "quarantine",
)  # of the spool; the rest is made anew
_LEDGERS = "ledgers"
# Whoever has the de-identification key can tell from the central archive's pseudonyms whose they
# are; the others sign, or open doors.
LEFT_OUT = ("the de-identification key (upstream.key)", "TLS keys", "the page's key", "passwords")


@dataclass
class Copied:
    """What was copied.

    Attributes
    ----------
    ledger
        The ledger's file.
    files, size
        Files that were new, and their bytes.
    missing
        SHA-256 of each object that the ledger names and the spool has not.
    damaged
        Files that aren't what their names say.
    """

    ledger: Path
    files: int = 0
    size: int = 0
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def back_up(settings: Settings, config: Path, to: Path) -> Copied:
    """Copy the box's state while it runs.

    Parameters
    ----------
    settings
        The box's.
    config
        Its TOML file, copied too.
    to
        The folder of back-ups, outside the state directory. On the same file system files are
        hard links, which take no room and share a disk's fate.

    Raises
    ------
    ApplianceError
        When the folder can't be used, or the ledger is damaged. What was copied is whole.
    """
    state_dir = settings.box.state_dir
    _must_be_outside(to, state_dir)
    if not (state_dir / "ledger.db").exists():
        hint = "Start the box once, or name its file with --config."
        raise LedgerError(_BACKUP, f"no box has run in {state_dir} yet", hint)
    spool = Spool(state_dir)
    try:
        to.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (_LEDGERS, *_FOLDERS):
            make_durable_folder(to / name)
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        new = to / _LEDGERS / f".{stamp}.db"
        # First the ledger: whatever it names is in the spool by then.
        digest = snapshot.copy(state_dir / "ledger.db", new)
        done = Copied(to / _LEDGERS / f"{stamp}.db")
        for name in _FOLDERS:
            _gather(spool.root / name, to / name, done)
        _gather(model_store.added_dir(state_dir), to / "models", done)
        shutil.copy2(config, to / "echocart.toml")
        done.missing = _missing(new, to)
        about = {"version": __version__, "sha256": digest, "left_out": LEFT_OUT}
        write_durably(done.ledger.with_suffix(".json"), json.dumps(about, indent=1).encode())
        # Last: a back-up that was cut short has no ledger.
        new.replace(done.ledger)
        sync_folder(done.ledger.parent)
    except OSError as error:
        raise _trouble(_BACKUP, to, error) from error
    return done


def ledgers(folder: Path) -> list[Path]:
    """Return the ledgers of a folder of back-ups, the newest last."""
    return sorted(path for path in (folder / _LEDGERS).glob("*.db") if path.name[0] != ".")


def restore(settings: Settings, folder: Path, at: str = "", *, replace: bool = False) -> Copied:
    """Put a back-up in the box's place; the box must not run.

    Parameters
    ----------
    settings
        The box's: its state directory is filled.
    folder
        Of back-ups.
    at
        Which one, as its file is called (20261121T200000Z); "" takes the newest.
    replace
        Where a ledger is there already: set it aside. Without it that is refused.

    Raises
    ------
    ApplianceError
        When there is no such back-up, it is damaged, the box runs or has a ledger.
    """
    state_dir = settings.box.state_dir
    source = _chosen(folder, at)
    about = json.loads(source.with_suffix(".json").read_text())
    if hash_file(source) != about["sha256"]:
        hint = "Take another one with --at."
        raise LedgerError(_RESTORE, f"{source} isn't what was written", hint)
    with damage.alone(state_dir, _RESTORE):
        if (state_dir / "ledger.db").exists() and not replace:
            hint = "--replace sets it aside; what only it knows is not in the box then."
            raise LedgerError(_RESTORE, f"{state_dir} holds a ledger", hint)
        spool = Spool(state_dir)
        done = Copied(state_dir / "ledger.db")
        try:
            for name in _FOLDERS:
                _gather(folder / name, spool.root / name, done, check=True)
            _gather(folder / "models", model_store.added_dir(state_dir), done)
            damage.replace(state_dir, source)
        except OSError as error:
            raise _trouble(_RESTORE, state_dir, error) from error
        ledger = Ledger(state_dir)
        restored.may_have_left(ledger)
        damage.put_back(ledger, spool)
        done.missing = _missing(state_dir / "ledger.db", spool.root)
        ledger.close()
    return done


def _chosen(folder: Path, at: str) -> Path:
    there = ledgers(folder)
    chosen = [path for path in there if not at or path.stem == at]
    if not chosen:
        known = (
            f"There are: {', '.join(path.stem for path in there)}." if there else "Name another."
        )
        raise LedgerError(_RESTORE, f"{folder} holds no back-up {at}".rstrip(), known)
    return chosen[-1]


def _must_be_outside(to: Path, state_dir: Path) -> None:
    if to.resolve().is_relative_to(state_dir.resolve()):
        hint = "Name a folder elsewhere, on another disk if possible."
        raise LedgerError(_BACKUP, f"{to} lies in the state directory", hint)


def _gather(source: Path, to: Path, done: Copied, *, check: bool = False) -> None:
    """Copy what is new; a file's name says its content, so that one of that size is the same."""
    for path in _files(source):
        target = to / path.relative_to(source)
        try:
            size = path.stat().st_size
            if target.exists() and target.stat().st_size == size:
                continue
            make_durable_folder(target.parent)
            _copy(path, target)
        except FileNotFoundError:
            continue  # purged since it was listed; `_missing` tells if it was not
        if check and not _is_itself(target):
            done.damaged.append(target.name)
        done.files += 1
        done.size += size


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_file() and not path.name.startswith("."):
            yield path


def _copy(path: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.part")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:  # another file system, or one without links
        shutil.copy2(path, partial)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
    partial.replace(target)
    sync_folder(target.parent)


def _is_itself(path: Path) -> bool:
    named = path.stem if path.suffix == ".dcm" else path.name
    return len(named) != 64 or hash_file(path) == named


def _missing(ledger: Path, root: Path) -> list[str]:
    """The objects that a ledger names as present and that aren't, unless purged meanwhile."""
    rows = _read(ledger, "SELECT sha256 FROM instance WHERE purged_at = ''")
    lost = [
        sha256 for sha256 in rows if not (root / "objects" / sha256[:2] / f"{sha256}.dcm").exists()
    ]
    return sorted(set(lost))


def _read(ledger: Path, sql: str) -> list[str]:
    with closing(sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro", uri=True)) as database:
        return [row[0] for row in database.execute(sql)]


def _trouble(operation: str, folder: Path, error: OSError) -> ApplianceError:
    reason = os.strerror(error.errno or 0)
    return LedgerError(operation, f"{folder}: {reason}", "Check room, rights and health there.")
