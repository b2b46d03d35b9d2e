"""What a page asks another service to do: a row, which that service takes and answers."""

import json
from collections.abc import Sequence
from datetime import datetime, timezone

from appliance.ledger import audit
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert

TEST, RETRY = "test destination", "retry deliveries"
OPEN = ("asked", "taken")
LONGEST_S = 120.0  # somebody stands there: what was asked longer ago is asked again if wanted


def ask(ledger: Ledger, service: str, what: str, subject: str, by: str) -> int:
    """Ask a service for something, once: what is open already is not asked again.

    Parameters
    ----------
    ledger
        The box's.
    service
        Which of the four.
    what, subject
        `TEST` or `RETRY`, and the destination's name.
    by
        Who asks.

    Returns
    -------
    int
        The command's number.
    """
    with ledger.transaction() as db:
        known = db.conn.execute(
            "SELECT id, at FROM command WHERE what = ? AND subject = ? AND state IN (?, ?)"
            " ORDER BY id DESC",
            [what, subject, *OPEN],
        ).fetchone()
        if known and not is_old(known["at"]):
            return int(known["id"])
        row = {"service": service, "what": what, "subject": subject, "by": by, "at": utc_now()}
        audit.record(db, by, what, subject)
        return insert(db, "command", {**row, "state": "asked", "answer": "[]", "answered_at": ""})


def take(ledger: Ledger, service: str) -> Row | None:
    """Take the oldest open command of a service, or return None; old ones are given up."""
    if ledger.read_one("SELECT 1 FROM command WHERE service = ? AND state = 'asked'", [service]):
        with ledger.transaction() as db:
            rows = db.conn.execute(
                "SELECT * FROM command WHERE service = ? AND state = 'asked' ORDER BY id", [service]
            ).fetchall()
            for row in map(dict, rows):
                old = is_old(row["at"])
                state = "failed" if old else "taken"
                db.conn.execute("UPDATE command SET state = ? WHERE id = ?", [state, row["id"]])
                if not old:
                    return row
    return None


def answer(ledger: Ledger, number: int, *, done: bool, said: Sequence[str]) -> None:
    """Say what came of a command, in sentences."""
    with ledger.transaction() as db:
        db.conn.execute(
            "UPDATE command SET state = ?, answer = ?, answered_at = ? WHERE id = ?",
            ["done" if done else "failed", json.dumps(list(said)), utc_now(), number],
        )


def newest(ledger: Ledger, what: str, subject: str) -> Row | None:
    """Return the last command of its kind, its answer decoded; None when there was none.

    One that nobody has answered for long counts as failed: whoever had it was stopped.
    """
    row = ledger.read_one(
        "SELECT * FROM command WHERE what = ? AND subject = ? ORDER BY id DESC LIMIT 1",
        [what, subject],
    )
    if row is None:
        return None
    if row["state"] in OPEN and is_old(row["at"]):
        row["state"] = "failed"
    return {**row, "answer": json.loads(row["answer"])}


def is_old(at: str) -> bool:
    """Tell whether a command was asked so long ago that nobody waits for it."""
    then = datetime.fromisoformat(at.replace("Z", "+00:00"))
    return not 0 <= (datetime.now(timezone.utc) - then).total_seconds() < LONGEST_S
