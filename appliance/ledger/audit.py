"""Who did what, in a chain: each row's hash is over the row before it, so that none can be changed alone.

A row is written in the transaction of the change it tells of: both are there, or neither. No
patient is named in it: a loop is its sequence number, an analysis its SHA-256.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlite_utils import Database

from appliance.ledger import audited
from appliance.ledger.audited import canonical
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row

BEGIN = "0" * 64  # what the first row's hash is over
_BEGUN = "audit begun"
_FIELDS = ("id", "at", "who", "what", "subject", "detail")


@dataclass(frozen=True)
class Verdict:
    """What a look at the whole chain found.

    Attributes
    ----------
    rows
        How many rows are whole, from the first on.
    head
        SHA-256 of the last whole row; `BEGIN` without any.
    problem
        What is wrong with the first broken row or, behind a whole chain, with the first review or
        user that isn't what its row tells; "" when nothing is.
    unhashed
        Reviews made by an earlier release, which wrote no hash of their content: a change of
        their figures isn't noticed.
    """

    rows: int
    head: str
    problem: str = ""
    unhashed: int = 0


def record(db: Database, who: str, what: str, subject: str = "", **detail: Any) -> None:
    """Append a row. Call inside the transaction that makes the change.

    Parameters
    ----------
    db
        The connection that holds the transaction.
    who
        A user's initials, or the name of whoever typed at the command line; "" for nobody known.
    what
        What was done ("sign in", "review").
    subject
        To whom or what ("AK", "loop 12"). Never a patient.
    detail
        JSON-ready facts. Never a patient, never a PIN.
    """
    last = db.conn.execute("SELECT id, sha256 FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    number, before = (last["id"], last["sha256"]) if last else (0, BEGIN)
    row = {
        "id": number + 1,
        "at": utc_now(),
        "who": who,
        "what": what,
        "subject": subject,
        "detail": canonical(detail),
    }
    values = [*(row[name] for name in _FIELDS), _chained(before, row)]
    db.conn.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def begin(db: Database) -> None:
    """Write the first row: which reviews are older than the audit, and so have no row in it."""
    older = db.conn.execute("SELECT coalesce(max(id), 0) FROM review").fetchone()[0]
    record(db, "", _BEGUN, older_reviews=older)


def note(ledger: Ledger, who: str, what: str, subject: str = "", **detail: Any) -> None:
    """Append a row about something that changes nothing else."""
    with ledger.transaction() as db:
        record(db, who, what, subject, **detail)


def listed(ledger: Ledger, limit: int = 100) -> list[Row]:
    """Return the newest rows, newest first: id, at, who, what, subject, detail (decoded), sha256."""
    rows = ledger.read("SELECT * FROM audit ORDER BY id DESC LIMIT ?", [limit])
    return [{**row, "detail": json.loads(row["detail"])} for row in rows]


def verify(ledger: Ledger, known: str = "") -> Verdict:
    """Walk the chain, and hold reviews and users against what it tells of them.

    Parameters
    ----------
    ledger
        The box's ledger.
    known
        A head noted earlier: it must still be in the chain. Without it, rows cut off at the end
        are noticed only where they told of reviews.
    """
    before, count, seen_known = BEGIN, 0, not known
    told = audited.Told(ledger)
    for row in _rows(ledger):
        if row["id"] != count + 1:
            return Verdict(count, before, f"row {count + 1} is missing")
        if row["sha256"] != _chained(before, row):
            return Verdict(count, before, f"row {row['id']} was changed")
        before, count = row["sha256"], row["id"]
        seen_known = seen_known or before == known
        if row["what"] == _BEGUN:
            told.begun(row)
        elif row["what"] == "review":
            told.review(row)
    if not count:
        return Verdict(0, BEGIN, "row 1 is missing")
    if not seen_known:
        return Verdict(count, before, f"no row has the hash {known}: rows were cut off")
    problem = told.problem()
    return Verdict(count, before, problem, told.unhashed)


def _rows(ledger: Ledger) -> Iterator[Row]:
    # In pieces: a reader that stays keeps the WAL from being folded.
    last, piece = 0, 1000
    while rows := ledger.read(
        "SELECT * FROM audit WHERE id > ? ORDER BY id LIMIT ?", [last, piece]
    ):
        yield from rows
        last = rows[-1]["id"]


def _chained(before: str, row: Row) -> str:
    return sha256((before + canonical({name: row[name] for name in _FIELDS})).encode()).hexdigest()
