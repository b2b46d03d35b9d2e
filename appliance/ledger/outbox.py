"""Rows of the outbox: queued with what causes them, withdrawn when a newer decision replaces it."""

from collections.abc import Sequence

from sqlite_utils import Database

from appliance.ledger import event
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import insert

Wanted = Sequence[tuple[str, str]]  # (destination, kind)

KINDS = ("original", "seg", "sr", "rejection", "correction")
# What has left the box, or may have: a courier killed between handing it over and saying so
# leaves a row that is queued and was tried.
LEFT = "(state IN ('sent', 'proven', 'unproven') OR tries > 0)"


def queue(db: Database, seq: int, review_id: int | None, wanted: Wanted) -> None:
    """Queue objects of an instance for their destinations. Call inside a transaction."""
    now = utc_now()
    for destination, kind in wanted:
        insert(
            db,
            "outbox",
            {
                "review_id": review_id,
                "seq": seq,
                "destination": destination,
                "kind": kind,
                "state": "queued",
                "tries": 0,
                "problem": "",
                "queued_at": now,
                "changed_at": now,
            },
        )
        event.record(db, seq, f"delivery:{destination}", "queued", kind)


def withdraw(db: Database, seq: int) -> None:
    """Withdraw results of earlier reviews that have not left yet. Call inside a transaction.

    One that a courier has in hand goes out, and is superseded like any other that has left.
    """
    db.conn.execute(
        "UPDATE outbox SET state = 'withdrawn', changed_at = ? WHERE seq = ?"
        " AND review_id IS NOT NULL AND state = 'queued' AND owner IS NULL",
        [utc_now(), seq],
    )


def reached(db: Database, seq: int) -> list[str]:
    """Return the destinations that hold, or are just getting, a result of this instance.

    Those whose newest result is a rejection note hold nothing that stands.
    """
    rows = db.conn.execute(
        "SELECT destination FROM outbox o WHERE seq = ? AND kind IN ('seg', 'sr')"
        f" AND {LEFT}"
        " AND NOT EXISTS (SELECT 1 FROM outbox n WHERE n.seq = o.seq AND n.kind = 'rejection'"
        "   AND n.destination = o.destination AND n.review_id > o.review_id"
        "   AND n.state != 'withdrawn')"
        " GROUP BY destination",
        [seq],
    )
    return [row["destination"] for row in rows]


def has_left(db: Database, review_id: int) -> bool:
    """Tell whether anything of a review has left the box or is leaving just now."""
    row = db.conn.execute(
        f"SELECT 1 FROM outbox WHERE review_id = ? AND {LEFT}",
        [review_id],
    ).fetchone()
    return row is not None
