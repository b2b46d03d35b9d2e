"""Rows put back after the ledger was lost or damaged: from a review's file, or for a found object."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlite_utils import Database

from appliance.errors import LedgerError
from appliance.ledger import audit, audited, event, outbox, reception
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.reception import Received

_WHY = "put back from the spool"
# Whether it has left can't be told. Sent again, it is the same object; counted as not sent, an
# undo would leave it standing where it went.
_TRIED = 1


def review(ledger: Ledger, kept: Mapping[str, Any], *, is_here: bool = True) -> bool:
    """Put a review back, with the object and the analysis that it is about where they are missing.

    Parameters
    ----------
    ledger
        The box's.
    kept
        As `upkeep.records.read` returns it. Oldest reviews first.
    is_here
        Whether the object's file is: it may have been purged since.

    Returns
    -------
    bool
        False when it is there.

    Raises
    ------
    LedgerError
        When the review before it is missing.
    """
    with ledger.transaction() as db:
        said = dict(kept["review"])
        if _id_of(db, said["key"]) is not None:
            return False
        seq = _instance(db, kept["instance"], is_here=is_here)
        said |= {"seq": seq, "analysis_id": _analysis(db, seq, kept)}
        for column in ("parent", "restores"):
            key = kept[f"{column}_key"]
            said[column] = None if key is None else _id_of(db, key)
            if key is not None and said[column] is None:
                hint = "Take the file of the review before it from a back-up."
                subject = f"review {said['id']} names one that is missing"
                raise LedgerError("put a review back", subject, hint)
        number = _put(db, "review", "id", said)
        for row in kept["review_chunks"]:
            _put(db, "review_chunk", "id", {**row, "review_id": number})
        for row in kept.get("facts", ()):
            insert(db, "review_facts", {**row, "review_id": number})
        _deliveries(db, seq, number, said, kept["queued"])
        _tell(db, seq, number, said)
    return True


def _id_of(db: Database, key: str) -> int | None:
    row = db.conn.execute('SELECT id FROM review WHERE "key" = ?', [key]).fetchone()
    return row["id"] if row else None


def _instance(db: Database, row: Row, *, is_here: bool) -> int:
    known = db.conn.execute(
        "SELECT seq FROM instance WHERE sop_instance_uid = ? AND sha256 = ?",
        [row["sop_instance_uid"], row["sha256"]],
    ).fetchone()
    if known:
        return int(known["seq"])
    purged_at = "" if is_here else row["purged_at"] or utc_now()
    put_back = {**row, "state": "analysed", "reason": "", "purged_at": purged_at}
    seq = _put(db, "instance", "seq", put_back)
    event.record(db, seq, "instance", "received", _WHY)
    return seq


def _analysis(db: Database, seq: int, kept: Mapping[str, Any]) -> int:
    known = db.conn.execute(
        "SELECT id FROM analysis WHERE seq = ? AND sha256 = ? AND state = 'sealed'",
        [seq, kept["analysis"]["sha256"]],
    ).fetchone()
    if known:
        return int(known["id"])
    number = _put(db, "analysis", "id", {**kept["analysis"], "seq": seq})
    for row in kept["chunks"]:
        _put(db, "chunk", "id", {**row, "analysis_id": number})
    if not db.conn.execute("SELECT 1 FROM view WHERE seq = ?", [seq]).fetchone():
        for row in kept["views"]:
            _put(db, "view", "id", {**row, "seq": seq})
    job = {"state": "done", "tries": 0}
    if not db.conn.execute("UPDATE job SET state = 'done' WHERE seq = ?", [seq]).rowcount:
        insert(db, "job", {"seq": seq, **job})
    event.set_state(db, seq, "analysed", "")
    return number


def _deliveries(
    db: Database, seq: int, number: int, said: Row, queued: Sequence[Sequence[str]]
) -> None:
    """Queue what the review sent, after what was queued before it is settled as it was then."""
    taken_back = [destination for destination, kind in queued if kind == "rejection"]
    for destination in taken_back:  # a note was sent for what had left
        db.conn.execute(
            "UPDATE outbox SET state = 'unproven', problem = ? WHERE seq = ? AND destination = ?"
            " AND review_id IS NOT NULL AND state = 'queued'",
            [_WHY, seq, destination],
        )
    outbox.withdraw(db, seq)
    if said["decision"] == "undone" and said["restores"] is not None:
        outbox.queue_again(db, said["restores"])
    outbox.queue(db, seq, number, [(destination, kind) for destination, kind in queued])
    db.conn.execute("UPDATE outbox SET tries = ? WHERE review_id = ?", [_TRIED, number])


def _tell(db: Database, seq: int, number: int, said: Row) -> None:
    event.record(db, seq, "review", said["decision"], said["reviewer"])
    content = audited.stored_sha256(db.conn.execute, number)
    facts = {"review": number, "analysis": said["analysis_sha256"], "content": content}
    decision = said["decision"]
    audit.record(
        db, said["reviewer"], "review", f"loop {seq}", decision=decision, restored=True, **facts
    )


def found(
    ledger: Ledger, received: Received, received_at: str, originals: Sequence[str] = ()
) -> int:
    """Write the row of an object that lies in the spool without one; return its number.

    Parameters
    ----------
    ledger
        The box's.
    received
        As reception would describe it; who sent it is not known any more.
    received_at
        When it came, as `clock.utc_now` writes times: of several of one UID, the last counts.
    originals
        Destinations that get every object byte for byte.
    """
    with ledger.transaction() as db:
        stood = db.conn.execute(
            "SELECT seq, received_at FROM instance WHERE sop_instance_uid = ?"
            " ORDER BY arrival DESC, seq DESC LIMIT 1",
            [received.SOPInstanceUID],
        ).fetchone()
        recorded = reception.record_within(db, received, originals)
        if recorded.duplicate:
            return recorded.seq
        db.conn.execute(
            "UPDATE instance SET received_at = ? WHERE seq = ?", [received_at, recorded.seq]
        )
        event.record(db, recorded.seq, "instance", "received", _WHY)
        if stood and stood["received_at"] > received_at:
            reception.stands_again(db, stood["seq"], recorded.seq)
    return recorded.seq


def may_have_left(ledger: Ledger) -> int:
    """Count every waiting result as one that may have left; return how many wait.

    After an older ledger has taken the place of a newer one: what waits in it may have been
    delivered since. It is sent again, the same object under the same UID.
    """
    with ledger.transaction() as db:
        return db.conn.execute(
            "UPDATE outbox SET tries = max(tries, ?), owner = NULL, lease_until = NULL"
            " WHERE state IN ('queued', 'sent')",
            [_TRIED],
        ).rowcount


def _put(db: Database, table: str, key: str, row: Row) -> int:
    """Insert a row under its old number, or under a new one where another has that."""
    known = {column["name"] for column in db.conn.execute(f"PRAGMA table_info({table})")}
    values = {name: value for name, value in row.items() if name in known}
    taken = db.conn.execute(f"SELECT 1 FROM {table} WHERE {key} = ?", [values[key]]).fetchone()
    if taken:
        del values[key]
    return insert(db, table, values)
