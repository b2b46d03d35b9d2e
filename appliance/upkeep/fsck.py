"""`echocart fsck`: what the ledger says held against what lies in the spool, and the reverse."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from appliance.errors import SpoolError
from appliance.ledger import Ledger, audit
from appliance.ledger.connection import Row
from appliance.spool import Spool, hash_file
from appliance.upkeep import rebuild, records

_PIECE = 1000


@dataclass(frozen=True)
class Fault:
    """Something that isn't as it should be.

    Attributes
    ----------
    kind
        `ledger`, `missing`, `changed`, `foreign`, `review` or `audit`.
    subject
        What: an object's number, a file's name. Never a patient.
    text
        What is wrong with it, and what to do.
    """

    kind: str
    subject: str
    text: str


def examine(ledger: Ledger, spool: Spool, *, content: bool = True) -> Iterator[Fault]:
    """Find what doesn't fit together. The box may run meanwhile; nothing is changed.

    Parameters
    ----------
    ledger, spool
        The box's.
    content
        Read every file and compare its hash; else whether it is there, and its size.
    """
    yield from _database(ledger)
    yield from _objects(ledger, spool, content=content)
    yield from _label_maps(ledger, spool, content=content)
    yield from _results(ledger, spool, content=content)
    yield from _foreign(ledger, spool)
    yield from _reviews(ledger, spool)
    if problem := audit.verify(ledger).problem:
        yield Fault("audit", "audit", f"{problem}. See `echocart audit verify`.")


def _database(ledger: Ledger) -> Iterator[Fault]:
    hint = "Restart the box: it is set aside and replaced."
    try:
        with closing(sqlite3.connect(f"{ledger.path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            for (found,) in db.execute("PRAGMA integrity_check(10)"):
                if found != "ok":
                    yield Fault("ledger", "ledger.db", f"{found.splitlines()[0]}. {hint}")
            for table, *_ in db.execute("PRAGMA foreign_key_check").fetchmany(10):
                yield Fault("ledger", "ledger.db", f"a row of {table} names one that is missing.")
    except sqlite3.DatabaseError:
        yield Fault("ledger", "ledger.db", f"it can't be read. {hint}")


def _objects(ledger: Ledger, spool: Spool, *, content: bool) -> Iterator[Fault]:
    for row in _rows(ledger, "SELECT seq AS id, sha256, size, purged_at FROM instance"):
        path, subject = spool.object_path(row["sha256"]), f"object {row['id']}"
        if row["purged_at"]:
            continue
        if not path.exists():
            if _purged_since(ledger, row["id"]):
                continue
            yield Fault("missing", subject, f"{path.name} is gone. Send it again, or restore it.")
        elif path.stat().st_size != row["size"] or (content and hash_file(path) != path.stem):
            text = f"{path.name} isn't what was received. Send it again, or restore it."
            yield Fault("changed", subject, text)


def _purged_since(ledger: Ledger, seq: int) -> bool:
    row = ledger.read_one("SELECT purged_at FROM instance WHERE seq = ?", [seq])
    return bool(row and row["purged_at"])


def _label_maps(ledger: Ledger, spool: Spool, *, content: bool) -> Iterator[Fault]:
    whose = {"chunk": "analysis_id", "review_chunk": "review_id"}
    for table, owner in whose.items():
        for row in _rows(ledger, f"SELECT id, sha256, {owner} AS owner FROM {table}"):
            path, subject = spool.chunk_path(row["sha256"]), f"{owner[:-3]} {row['owner']}"
            if not path.exists():
                yield Fault("missing", subject, f"label maps {path.name} are gone. Restore them.")
            elif content and hash_file(path) != path.name:
                yield Fault(
                    "changed", subject, f"label maps {path.name} have changed. Restore them."
                )


def _results(ledger: Ledger, spool: Spool, *, content: bool) -> Iterator[Fault]:
    for row in _rows(ledger, "SELECT id, review_id, sha256, purged_at FROM result_object"):
        path, subject = spool.result_path(row["sha256"]), f"review {row['review_id']}"
        if row["purged_at"]:
            continue
        if not path.exists():
            yield Fault("missing", subject, f"its result {path.name} is gone. It is made again.")
        elif content and hash_file(path) != path.stem:
            yield Fault("changed", subject, f"its result {path.name} has changed. Restore it.")


def _foreign(ledger: Ledger, spool: Spool) -> Iterator[Fault]:
    for path in rebuild.without_row(ledger, spool):
        text = "no row names it. The sync service records it when it starts (`echocart recover`)."
        yield Fault("foreign", path.name, text)


def _reviews(ledger: Ledger, spool: Spool) -> Iterator[Fault]:
    there = set(records.names(spool))
    for number, name in records.in_ledger(ledger):
        if name not in there:
            text = "it has no file in the spool yet; the sync service writes it."
            yield Fault("review", f"review {number}", text)
    for name in records.unknown(ledger, spool):
        text = "the ledger has not got it. It is put back when the box starts."
        yield Fault("review", name, text)
    for name in sorted(there):
        try:
            records.read(spool.reviews / name)
        except SpoolError as error:
            yield Fault("review", name, f"{error.subject}. {error.hint}")


def _rows(ledger: Ledger, select: str) -> Iterator[Row]:
    # In pieces: a reader that stays keeps the WAL from being folded.
    last, key = 0, "seq" if " seq AS id" in select else "id"
    while rows := ledger.read(f"{select} WHERE {key} > ? ORDER BY {key} LIMIT ?", [last, _PIECE]):
        yield from rows
        last = rows[-1]["id"]
