"""What destinations report of the objects they were asked to answer for (PS3.4 J.3.3).

A report is written down as it comes, by whichever service took it; `take` decides what it means.
What it says of an object that is kept counts also when it comes late; what it says of one that
isn't counts for the newest transaction only.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from appliance.ledger.asked import AMBIGUOUS, Transaction, settle, tell, void
from appliance.ledger.clock import boot_id, boot_seconds, utc_now
from appliance.ledger.connection import Ledger, insert


@dataclass(frozen=True)
class Taken:
    """What a report changed: deliveries proven by it, and those whose objects go out again."""

    proven: int
    failed: int


def destination_of(ledger: Ledger, transaction_uid: str) -> str | None:
    """Return the destination that was asked in a transaction, or None."""
    sql = "SELECT destination FROM asked WHERE transaction_uid = ?"
    row = ledger.read_one(sql, [transaction_uid])
    return str(row["destination"]) if row else None


def is_reported(ledger: Ledger, transaction: Transaction) -> bool:
    """Tell whether a report on a transaction has come."""
    sql = "SELECT 1 FROM report WHERE transaction_uid = ?"
    return ledger.read_one(sql, [transaction.transaction_uid]) is not None


def report(ledger: Ledger, transaction_uid: str, outcomes: Sequence[tuple[str, str, int]]) -> None:
    """Write a report down, durably: it may be answered with success then.

    Parameters
    ----------
    ledger
        The box's ledger.
    transaction_uid
        As the report gives it.
    outcomes
        (SOP class UID, SOP instance UID, failure reason of PS3.3 C.14.1.1; 0 for committed).
    """
    row = {"transaction_uid": transaction_uid, "content": json.dumps(outcomes)}
    with ledger.transaction() as db:
        insert(db, "report", {**row, "at": utc_now(), "taken_at": ""})


def take(ledger: Ledger, destination: str, delay_s: float) -> Taken | None:
    """Act on the oldest report of a destination; None when there is none.

    Parameters
    ----------
    ledger
        The box's ledger.
    destination
        Its name.
    delay_s
        After which objects that it didn't commit to are sent again.
    """
    sql = (
        "SELECT r.id, r.content, a.id AS asked_id FROM report r JOIN asked a"
        " USING (transaction_uid) WHERE r.taken_at = '' AND a.destination = ?"
        " ORDER BY r.id LIMIT 1"
    )
    if ledger.read_one(sql, [destination]) is None:
        return None
    with ledger.transaction() as db:
        row = db.conn.execute(sql, [destination]).fetchone()
        if row is None:
            return None
        touched = set[int]()
        for _, SOPInstanceUID, reason in json.loads(row["content"]):
            touched |= _note(db, destination, row["asked_id"], SOPInstanceUID, reason)
        proven, failed = _judged(db, touched, delay_s)
        # What the report doesn't mention is asked for anew.
        void(db, [row["asked_id"]], "reported")
        # What it said stands with the items; of thousands of objects that is long.
        done = "UPDATE report SET taken_at = ?, content = '[]' WHERE id = ?"
        db.conn.execute(done, [utc_now(), row["id"]])
    return Taken(proven, failed)


def _note(
    db: Database, destination: str, asked_id: int, SOPInstanceUID: str, reason: int
) -> set[int]:
    """Write what a report says of an object; return the deliveries it is part of."""
    newest = " AND a.asked_id = :asked" if reason else ""
    rows = db.conn.execute(
        "SELECT a.id, a.outbox_id FROM asked_item a JOIN outbox o ON o.id = a.outbox_id"
        " WHERE a.sop_instance_uid = :uid AND o.destination = :destination"
        f" AND o.awaits = 'commitment' AND a.times > 0{newest}",
        {"uid": SOPInstanceUID, "destination": destination, "asked": asked_id},
    ).fetchall()
    for row in rows:
        db.conn.execute("UPDATE asked_item SET reason = ? WHERE id = ?", [reason, row["id"]])
    return {row["outbox_id"] for row in rows}


def _judged(db: Database, deliveries: set[int], delay_s: float) -> tuple[int, int]:
    """Settle the deliveries that a report decides; return how many are proven, how many not."""
    proven = failed = 0
    for key in sorted(deliveries):
        rows = db.conn.execute("SELECT reason FROM asked_item WHERE outbox_id = ?", [key])
        reasons = [row["reason"] for row in rows.fetchall()]
        if lost := [reason for reason in reasons if reason]:
            failed += 1
            _send_again(db, key, lost[0], delay_s)
        elif all(reason == 0 for reason in reasons):
            proven += 1
            settle(db, key, *_worth(db, key))
    return proven, failed


def _worth(db: Database, key: int) -> tuple[str, str]:
    """Return state and problem of a delivery whose objects are all committed to.

    Commitment names an object by its UID alone. Of an original that came twice with different
    bytes it doesn't say which ones are kept.
    """
    row = db.conn.execute(
        "SELECT count(*) AS n FROM outbox o JOIN instance i ON i.seq = o.seq"
        " JOIN instance n ON n.sop_instance_uid = i.sop_instance_uid"
        " WHERE o.id = ? AND o.kind = 'original'",
        [key],
    ).fetchone()
    return ("unproven", AMBIGUOUS) if row["n"] > 1 else ("proven", "")


def _send_again(db: Database, key: int, reason: int, delay_s: float) -> None:
    problem = f"it doesn't commit to keep the object: {REASONS.get(reason, 'refused')}"
    problem += f" (reason 0x{reason:04X}). It is sent again."
    db.conn.execute(
        "UPDATE outbox SET awaits = '', problem = ?, changed_at = ?, next_try_at = ?,"
        " next_try_boot_id = ? WHERE id = ?",
        [problem, utc_now(), boot_seconds() + delay_s, boot_id(), key],
    )
    tell(db, key, "postponed", problem)


REASONS = {  # PS3.3 C.14.1.1
    0x0110: "it failed while processing it",
    0x0112: "it doesn't have it",
    0x0119: "it has it under another class",
    0x0122: "it doesn't take this class",
    0x0131: "it knows this transaction already",
    0x0213: "it has no resources for it",
}
