"""Rows of the outbox: queued with what causes them, withdrawn when a newer decision replaces it.

They are queued again when that is undone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from appliance.ledger import event
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import insert
from appliance.ledger.current import in_force

Wanted = Sequence[tuple[str, str]]  # (destination, kind)

REPLACED = "replaced by other content"  # as a problem: why it was withdrawn
KINDS = ("original", "seg", "sr", "overlay", "fhir", "rejection", "correction")
# What has left the box, or may have: a courier killed between handing it over and saying so
# leaves a row that is queued and was tried.
LEFT = "(state IN ('sent', 'proven', 'unproven') OR tries > 0)"
_QUEUE_AGAIN = (
    "UPDATE outbox SET state = 'queued', problem = '', changed_at = ? WHERE state = 'withdrawn'"
)


@dataclass(frozen=True)
class Delivery:
    """A lease on one object for one destination.

    Attributes
    ----------
    kind
        `original`, `seg`, `sr`, `overlay`, `fhir`, `rejection` or `correction`.
    review_id
        The review it comes from; None for an original.
    result_uid, series_uid
        UIDs allocated with the review, the same in every try; "" for an original.
    tries
        Which try this is, from 1.
    first_release
        The release of Echocart that made the first; "" where it wasn't written down.
    """

    id: int
    review_id: int | None
    seq: int
    destination: str
    kind: str
    result_uid: str
    series_uid: str
    tries: int
    owner: str
    first_release: str = ""


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
    _end(db, seq, "")


def replaced(db: Database, seq: int) -> None:
    """Withdraw results of an object that another content has replaced. Call inside a transaction.

    What was decided on it isn't of what stands now, and nobody could undo it any more.
    """
    _end(db, seq, REPLACED)


def stands_again(db: Database, seq: int) -> None:
    """Queue again what `replaced` withdrew of the decision in force. Call inside a transaction."""
    db.conn.execute(
        f"{_QUEUE_AGAIN} AND seq = ? AND problem = ? AND review_id = {in_force('outbox')}",
        [utc_now(), seq, REPLACED],
    )


def queue_again(db: Database, review_id: int) -> None:
    """Queue again what was withdrawn of a review that stands again. Call inside a transaction.

    What had left already is there, and stands there: nothing has taken it back.
    """
    db.conn.execute(f"{_QUEUE_AGAIN} AND review_id = ?", [utc_now(), review_id])


def _end(db: Database, seq: int, why: str) -> None:
    db.conn.execute(
        "UPDATE outbox SET state = 'withdrawn', problem = ?, changed_at = ? WHERE seq = ?"
        " AND review_id IS NOT NULL AND state = 'queued' AND owner IS NULL",
        [why, utc_now(), seq],
    )


def reached(db: Database, seq: int) -> list[str]:
    """Return the destinations that hold, or are just getting, a result of this instance.

    Those whose newest result is a rejection note hold nothing that stands.
    """
    rows = db.conn.execute(
        "SELECT destination FROM outbox o WHERE seq = ? AND kind IN ('seg', 'sr', 'overlay')"
        f" AND {LEFT}"
        " AND NOT EXISTS (SELECT 1 FROM outbox n WHERE n.seq = o.seq AND n.kind = 'rejection'"
        "   AND n.destination = o.destination AND n.review_id > o.review_id"
        "   AND n.state != 'withdrawn')"
        " GROUP BY destination",
        [seq],
    )
    return [row["destination"] for row in rows]


def told(db: Database, seq: int) -> list[str]:
    """Return the destinations that have, or are just getting, a FHIR bundle of this instance."""
    rows = db.conn.execute(
        f"SELECT DISTINCT destination FROM outbox WHERE seq = ? AND kind = 'fhir' AND {LEFT}",
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
