"""A damaged ledger: noticed when a service starts, set aside, replaced by its copy and the spool.

Each service holds `use.lock` shared while it runs. Whoever finds nobody else there looks at the
whole file, and puts right what is wrong, before anybody writes to it. Where others run, a mark
makes all of them stop, and the first that starts again does it.
"""

import fcntl
import logging
import os
import random
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from appliance.errors import ApplianceError, LedgerError
from appliance.ledger import Ledger, restored
from appliance.ledger.connection import DAMAGE_MARK, is_damage
from appliance.spool import Spool, sync_folder
from appliance.upkeep import records, snapshot

log = logging.getLogger("echocart")

_FILES = ("ledger.db", "ledger.db-wal", "ledger.db-shm")
_THOROUGH_BYTES = 256 << 20  # indexes of a larger one aren't compared with their tables
_PATIENCE_S = 80.0  # for the others to stop; systemd gives a start 90 s
_LOOK_S = 1.0


@dataclass(frozen=True)
class Mended:
    """What was done to a ledger.

    Attributes
    ----------
    why
        What was wrong with it; "" when nothing was.
    aside
        Where the damaged files lie now.
    from_copy
        Whether the box's own copy took its place, rather than an empty one.
    reviews
        How many reviews were put back from the spool.
    unread
        How many of their files could not be.
    """

    why: str = ""
    aside: Path | None = None
    from_copy: bool = False
    reviews: int = 0
    unread: int = 0


def problem(path: Path, *, whole: bool) -> str:
    """Say what is wrong with a ledger's file, "" when nothing is found.

    Parameters
    ----------
    path
        `ledger.db`; one that isn't there is no problem.
    whole
        Read all of it; else whether it can be opened.
    """
    if not path.exists():
        return ""
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as database:
            tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not tables:
                return "it is empty"
            if not whole:
                return ""
            check = "integrity" if path.stat().st_size < _THOROUGH_BYTES else "quick"
            found = database.execute(f"PRAGMA {check}_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        return "it is no database any more" if is_damage(error) else ""
    return "" if found == "ok" else "its pages contradict each other"


def hold(state_dir: Path) -> IO[str]:
    """Take a service's place at the ledger, once that is whole; keep what is returned.

    Raises
    ------
    LedgerError
        When it can't be put right, or others that use it don't stop.
    """
    lock = (state_dir / "use.lock").open("w")
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if _alone(lock):
            _say(mend(state_dir))
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not _is_marked(state_dir) and not problem(state_dir / "ledger.db", whole=False):
            return lock
        mark(state_dir)
        fcntl.flock(lock, fcntl.LOCK_UN)
        time.sleep(random.uniform(0.1, 0.5))  # noqa: S311
    raise LedgerError(
        "open the ledger",
        "it is damaged, and a service that uses it doesn't stop",
        "Stop all services, then start them: the ledger is rebuilt from its copy and the spool.",
        retry=True,
    )


def alone(state_dir: Path, operation: str) -> IO[str]:
    """Keep every service away from the ledger while what is returned is open.

    Raises
    ------
    LedgerError
        When one runs.
    """
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    lock = (state_dir / "use.lock").open("w")
    if not _alone(lock):
        lock.close()
        hint = "Stop it first (`systemctl stop echocart.target`, or Ctrl-C of `echocart run`)."
        raise LedgerError(operation, f"the box is running on {state_dir}", hint)
    return lock


def _alone(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def mark(state_dir: Path) -> None:
    """Have every service stop and look at the whole ledger when it starts again."""
    (state_dir / DAMAGE_MARK).touch(mode=0o640)


def _is_marked(state_dir: Path) -> bool:
    return (state_dir / DAMAGE_MARK).exists()


def stop_when_marked(state_dir: Path, wait: Callable[[float], bool]) -> None:
    """End this process, as by SIGTERM, once somebody finds the ledger damaged.

    Parameters
    ----------
    state_dir
        The box's.
    wait
        Sleeps for the seconds given; True when the service stops anyway.
    """

    def work() -> None:
        while not wait(_LOOK_S):
            if _is_marked(state_dir):
                log.error("the ledger is damaged: starting anew to put it right")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=work, name="damage", daemon=True).start()


def mend(state_dir: Path, *, anew: bool = False, from_copy: bool = True) -> Mended:
    """Set a damaged ledger aside, put its copy in its place, and the spool's reviews into it.

    Call while no service runs. A ledger that is whole stays, and gets what it lacks.

    Parameters
    ----------
    state_dir
        The box's.
    anew
        Also when nothing is wrong with it.
    from_copy
        Take the box's own copy, where there is one; else begin empty.

    Raises
    ------
    ApplianceError
        When the disk refuses; nothing is deleted.
    """
    path = state_dir / "ledger.db"
    spool = Spool(state_dir)
    why = problem(path, whole=True)
    if why == "it is empty" and not _holds_objects(spool):
        why = ""  # another program is just making it
    aside, copied = None, False
    if why or anew or not path.exists():
        copy = snapshot.whole(state_dir) if from_copy else None
        try:
            aside = replace(state_dir, copy)
        except OSError as error:
            hint = "Check the disk: room, rights, health."
            raise LedgerError("replace the ledger", str(error.strerror), hint) from error
        copied = copy is not None
    ledger = Ledger(state_dir)
    if copied:
        restored.may_have_left(ledger)
    reviews, unread = put_back(ledger, spool)
    ledger.close()
    (state_dir / DAMAGE_MARK).unlink(missing_ok=True)
    return Mended(why, aside, copied, reviews, unread)


def replace(state_dir: Path, by: Path | None) -> Path | None:
    """Set the ledger aside and put a copy in its place, or nothing; return where the old one lies.

    Raises
    ------
    OSError
        When the disk refuses.
    """
    aside = _set_aside(state_dir)
    if by is not None:
        _put_in_place(by, state_dir / "ledger.db")
    return aside


def put_back(ledger: Ledger, spool: Spool) -> tuple[int, int]:
    """Put the reviews back that only the spool has; return how many, and how many could not be."""
    done = failed = 0
    for name in records.unknown(ledger, spool):
        try:
            kept = records.read(spool.reviews / name)
            is_here = spool.object_path(kept["instance"]["sha256"]).exists()
            done += restored.review(ledger, kept, is_here=is_here)
        except ApplianceError as error:
            failed += 1
            log.error("%s", error)
    return done, failed


def _holds_objects(spool: Spool) -> bool:
    return any(spool.objects.rglob("*.dcm")) or any(spool.reviews.iterdir())


def _set_aside(state_dir: Path) -> Path | None:
    there = [state_dir / name for name in _FILES if (state_dir / name).exists()]
    if not there:
        return None
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    home = state_dir / "damaged" / stamp
    home.mkdir(parents=True, mode=0o750)
    for path in there:
        path.rename(home / path.name)
    sync_folder(home)
    sync_folder(state_dir)
    return home


def _put_in_place(copy: Path, path: Path) -> None:
    partial = path.with_name(".ledger.db.part")
    shutil.copyfile(copy, partial)
    partial.chmod(0o640)  # it holds names
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def _say(done: Mended) -> None:
    if done.why:
        instead = "its copy" if done.from_copy else "an empty one"
        log.error(
            "the ledger was damaged (%s): %s took its place, %d reviews put back from the spool;"
            " objects follow. The damaged one lies in %s",
            *(done.why, instead, done.reviews, done.aside),
        )
    elif done.reviews:
        log.warning("%d reviews that the ledger lacked were put back", done.reviews)
    if done.unread:
        log.error("%d reviews' files in the spool can't be read", done.unread)
