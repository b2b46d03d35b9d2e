"""Reviews as files in the spool, each with everything that it names: they outlive the ledger.

A file is written as soon as the page has confirmed a review, and never changed. It holds the rows
of the review, of what was reviewed, and what was queued with it.
"""

import gzip
import hashlib
import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.errors import SpoolError
from appliance.ledger import Ledger, audited
from appliance.spool import Spool, spool_error, write_durably

log = logging.getLogger("echocart")

FORM = 1  # of the files: another number is a later release's
_PIECE = 500
_DIGITS = 12
_SUFFIX = ".json.gz"


def name_of(number: int, key: str) -> str:
    """Return the name of a review's file: its number, then a hash of its key."""
    return f"{number:08d}-{hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]}{_SUFFIX}"


def write(ledger: Ledger, spool: Spool, number: int) -> Path:
    """Write a review's file durably, unless it is there.

    Parameters
    ----------
    ledger, spool
        The box's.
    number
        The review's id.

    Raises
    ------
    SpoolError
        When it can't be written; nothing is left under its name.
    """
    content = _content(ledger, number)
    path = spool.reviews / name_of(number, content["review"]["key"])
    if path.exists():
        return path
    data = gzip.compress(json.dumps(content, separators=(",", ":")).encode(), 6, mtime=0)
    try:
        write_durably(path, data)
    except OSError as error:
        raise spool_error(path.parent, error, "keep a review in the spool") from error
    return path


def write_missing(ledger: Ledger, spool: Spool) -> int:
    """Write the file of each review that has none; return how many were written.

    Those of a release that wrote none, and of a page that was killed before it could.

    Raises
    ------
    SpoolError
        As `write`.
    """
    there, count = set(names(spool)), 0
    for number, name in in_ledger(ledger):
        if name not in there:
            write(ledger, spool, number)
            count += 1
    return count


def names(spool: Spool) -> list[str]:
    """Return the names of all reviews' files, in the order in which they were decided."""
    return sorted(path.name for path in spool.reviews.glob(f"*{_SUFFIX}"))


def unknown(ledger: Ledger, spool: Spool) -> list[str]:
    """Return the names of the files whose reviews the ledger has not got, oldest first."""
    known = {name for _, name in in_ledger(ledger)}
    return [name for name in names(spool) if name not in known]


def read(path: Path) -> dict[str, Any]:
    """Return what a review's file holds.

    Returns
    -------
    dict
        instance, review: their rows; analysis: its row, chunks: its label maps' rows;
        review_chunks; views: what was said of the loop's view; queued: [destination, kind] of
        each object that the review sent; facts: who decided, by role, and what it took; parent_key, restores_key; content: the review's
        `audited.content_sha256`.

    Raises
    ------
    SpoolError
        When it can't be read, is damaged, or is a later release's.
    """
    try:
        content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
        rows = [tuple(row[name] for name in _CHUNK) for row in content["review_chunks"]]
        whole = audited.content_sha256(content["review"], rows) == content["content"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise _unreadable(path, "it is damaged") from error
    if content["form"] != FORM:
        raise _unreadable(path, "a later release wrote it")
    if not whole:
        raise _unreadable(path, "its content isn't what its hash says")
    return content


_CHUNK = ("first_frame", "frame_count", "sha256")


def _unreadable(path: Path, why: str) -> SpoolError:
    return SpoolError(
        "read a review's file",
        f"{path.name}: {why}",
        "Take it from a back-up; the others are read.",
    )


def in_ledger(ledger: Ledger) -> Iterator[tuple[int, str]]:
    """Give each review of the ledger, by its number and the name that its file has."""
    # In pieces: a reader that stays keeps the WAL from being folded.
    last = 0
    while rows := ledger.read(
        'SELECT id, "key" FROM review WHERE id > ? ORDER BY id LIMIT ?', [last, _PIECE]
    ):
        last = rows[-1]["id"]
        yield from ((row["id"], name_of(row["id"], row["key"])) for row in rows)


def _content(ledger: Ledger, number: int) -> dict[str, Any]:
    review = _one(ledger, "SELECT * FROM review WHERE id = ?", number)
    chunks = ledger.read("SELECT * FROM review_chunk WHERE review_id = ?", [number])
    about = review["analysis_id"]
    return {
        "form": FORM,
        "review": review,
        "review_chunks": chunks,
        "facts": ledger.read("SELECT * FROM review_facts WHERE review_id = ?", [number]),
        "content": audited.content_sha256(
            review, [tuple(row[name] for name in _CHUNK) for row in chunks]
        ),
        "parent_key": _key(ledger, review["parent"]),
        "restores_key": _key(ledger, review["restores"]),
        "instance": _one(ledger, "SELECT * FROM instance WHERE seq = ?", review["seq"]),
        "analysis": _one(ledger, "SELECT * FROM analysis WHERE id = ?", about),
        "chunks": ledger.read("SELECT * FROM chunk WHERE analysis_id = ?", [about]),
        "views": ledger.read("SELECT * FROM view WHERE seq = ? ORDER BY id", [review["seq"]]),
        "queued": [
            [row["destination"], row["kind"]]
            for row in ledger.read(
                "SELECT destination, kind FROM outbox WHERE review_id = ? ORDER BY id", [number]
            )
        ],
    }


def _one(ledger: Ledger, sql: str, number: int) -> dict[str, Any]:
    row = ledger.read_one(sql, [number])
    assert row is not None
    return row


def _key(ledger: Ledger, number: int | None) -> str | None:
    row = ledger.read_one('SELECT "key" FROM review WHERE id = ?', [number])
    return row["key"] if row else None
