"""Objects that destinations were asked to answer for (storage commitment as SCU, PS3.4 Annex J).

A delivery whose objects were sent awaits a report. Each try is a transaction with a UID of its
own: `open` before the N-ACTION is answered, `asked` then, `reported` with the report, `void` when
none came in time or the request was refused. See `reported` for what comes back.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from appliance.ledger import event, lease
from appliance.ledger.clock import boot_id, boot_seconds, utc_now
from appliance.ledger.connection import Ledger, insert
from appliance.ledger.delivery import Delivery, must_hold

AT_ONCE = 500  # objects in one request: some archives take no more
AMBIGUOUS = (
    "objects with other content came under its UID, and commitment doesn't say which one is kept"
)
Reference = tuple[str, str]  # SOP class UID, SOP instance UID


@dataclass(frozen=True)
class Transaction:
    """A request for storage commitment, about to be made.

    Attributes
    ----------
    items
        (ReferencedSOPClassUID, ReferencedSOPInstanceUID) of each object.
    """

    id: int
    destination: str
    transaction_uid: str
    items: tuple[Reference, ...]


def await_report(
    ledger: Ledger, delivery: Delivery, objects: Sequence[Reference], sha256: str, size: int
) -> None:
    """Record that a delivery's objects were sent, and that a report must prove them.

    Parameters
    ----------
    ledger
        The box's ledger.
    delivery
        The lease; it is given back.
    objects
        What was sent.
    sha256, size
        Of what was sent, as `delivery.proven` takes them.
    """
    with ledger.transaction() as db:
        must_hold(db, delivery)
        db.conn.execute("DELETE FROM asked_item WHERE outbox_id = ?", [delivery.id])
        for SOPClassUID, SOPInstanceUID in objects:
            row = {"outbox_id": delivery.id, "sop_class_uid": SOPClassUID}
            insert(db, "asked_item", {**row, "sop_instance_uid": SOPInstanceUID, "times": 0})
        db.conn.execute(
            "UPDATE outbox SET awaits = 'commitment', sha256 = ?, size = ?, problem = '',"
            " changed_at = ?, next_try_at = NULL WHERE id = ?",
            [sha256, size, utc_now(), delivery.id],
        )
        lease.free(db, "outbox", delivery.id)


def waits(ledger: Ledger, destination: str) -> bool:
    """Tell, without taking the write lock, whether a destination is to be asked."""
    return ledger.read_one(f"{_DUE} LIMIT 1", _due(destination)) is not None


def begin(ledger: Ledger, destination: str, within_s: float) -> Transaction | None:
    """Open a transaction over the objects that are due, or return None.

    Parameters
    ----------
    ledger
        The box's ledger.
    destination
        Its name.
    within_s
        How long its report may take the first time; each further time twice as long, up to a
        day: some archives commit at night.
    """
    with ledger.transaction() as db:
        rows = db.conn.execute(f"{_DUE} ORDER BY a.id LIMIT {AT_ONCE}", _due(destination))
        items = rows.fetchall()
        if not items:
            return None
        patience = min(86400.0, within_s * 2.0 ** min(16, min(row["times"] for row in items)))
        now = utc_now()
        described = {"destination": destination, "transaction_uid": _new_uid()}
        until = {"until_boot_id": boot_id(), "until_s": boot_seconds() + patience}
        row = {**described, "state": "open", **until, "at": now, "changed_at": now}
        key = insert(db, "asked", row)
        db.conn.executemany(
            "UPDATE asked_item SET asked_id = ?, times = times + 1, reason = NULL WHERE id = ?",
            [(key, item["id"]) for item in items],
        )
    references = tuple((item["sop_class_uid"], item["sop_instance_uid"]) for item in items)
    return Transaction(key, destination, described["transaction_uid"], references)


def asked(ledger: Ledger, transaction: Transaction) -> None:
    """Record that the destination has taken the request."""
    with ledger.transaction() as db:
        _move(db, [transaction.id], "asked", ("open",))


def refused(ledger: Ledger, transaction: Transaction, problem: str, delay_s: float) -> None:
    """Record why a request wasn't taken, and when its objects are due again."""
    with ledger.transaction() as db:
        db.conn.execute(
            "UPDATE outbox SET problem = ?, changed_at = ?, next_try_at = ?, next_try_boot_id = ?"
            " WHERE awaits = 'commitment' AND id IN"
            " (SELECT outbox_id FROM asked_item WHERE asked_id = ?)",
            [problem, utc_now(), boot_seconds() + delay_s, boot_id(), transaction.id],
        )
        void(db, [transaction.id])


def never(ledger: Ledger, transaction: Transaction, why: str) -> None:
    """Record that the destination commits to nothing: its deliveries stay unproven."""
    with ledger.transaction() as db:
        for row in _deliveries(db, transaction.id):
            settle(db, row["id"], "unproven", why)
            db.conn.execute("DELETE FROM asked_item WHERE outbox_id = ?", [row["id"]])
        void(db, [transaction.id])


def recover(ledger: Ledger, destination: str) -> None:
    """Give up requests of which a kill left unknown whether they were made."""
    with ledger.transaction() as db:
        rows = db.conn.execute(
            "SELECT id FROM asked WHERE destination = ? AND state = 'open'", [destination]
        )
        void(db, [row["id"] for row in rows.fetchall()])


def adopt(ledger: Ledger, destination: str) -> int:
    """Have originals asked for that were sent while nothing proved what the destination keeps.

    Returns
    -------
    int
        How many; at most `AT_ONCE`.
    """
    sql = (
        "SELECT o.id, i.sop_class_uid, i.sop_instance_uid, i.sha256, i.size FROM outbox o"
        " JOIN instance i ON i.seq = o.seq WHERE o.destination = ? AND o.state = 'unproven'"
        " AND o.kind = 'original' AND o.problem != ? LIMIT ?"
    )
    found = [destination, AMBIGUOUS, AT_ONCE]
    if ledger.read_one(sql, found) is None:
        return 0
    with ledger.transaction() as db:
        rows = db.conn.execute(sql, found).fetchall()
        for row in rows:
            names = {"sop_class_uid": row["sop_class_uid"], "times": 0}
            names |= {"outbox_id": row["id"], "sop_instance_uid": row["sop_instance_uid"]}
            insert(db, "asked_item", names)
            db.conn.execute(
                "UPDATE outbox SET state = 'sent', awaits = 'commitment', sha256 = ?, size = ?,"
                " problem = '', changed_at = ?, next_try_at = NULL WHERE id = ?",
                [row["sha256"], row["size"], utc_now(), row["id"]],
            )
    return len(rows)


def expire(ledger: Ledger, destination: str) -> int:
    """Give up transactions whose report is overdue; their objects are due again.

    Returns
    -------
    int
        How many transactions.
    """
    late = (
        "SELECT id FROM asked WHERE destination = ? AND state = 'asked'"
        " AND (until_boot_id != ? OR until_s < ?)"
    )
    found = [destination, boot_id(), boot_seconds()]
    if ledger.read_one(f"{late} LIMIT 1", found) is None:
        return 0
    with ledger.transaction() as db:
        rows = [row["id"] for row in db.conn.execute(late, found).fetchall()]
        void(db, rows)
    return len(rows)


def _new_uid() -> str:
    return f"2.25.{uuid.uuid4().int}"  # PS3.5 B.2


# Objects that were sent and stand in no transaction.
_DUE = """
SELECT a.id, a.sop_class_uid, a.sop_instance_uid, a.times FROM asked_item a CROSS JOIN outbox o
ON o.id = a.outbox_id WHERE o.state IN ('queued', 'sent') AND o.destination = :destination
AND o.awaits = 'commitment' AND a.asked_id IS NULL AND a.reason IS NULL
AND (o.next_try_at IS NULL OR o.next_try_boot_id != :boot OR o.next_try_at <= :now)
"""


def _due(destination: str) -> dict[str, object]:
    return {"destination": destination, "boot": boot_id(), "now": boot_seconds()}


def _deliveries(db: Database, asked_id: int) -> list[dict[str, int]]:
    rows = db.conn.execute(
        "SELECT DISTINCT o.id FROM asked_item a JOIN outbox o ON o.id = a.outbox_id"
        " WHERE a.asked_id = ? AND o.awaits = 'commitment'",
        [asked_id],
    )
    return [dict(row) for row in rows.fetchall()]


def settle(db: Database, key: int, state: str, problem: str) -> None:
    """End a delivery that awaits a report. Call inside a transaction."""
    db.conn.execute(
        "UPDATE outbox SET state = ?, awaits = '', problem = ?, changed_at = ? WHERE id = ?",
        [state, problem, utc_now(), key],
    )
    tell(db, key, state, problem)


def tell(db: Database, key: int, state: str, detail: str) -> None:
    """Write a delivery's change of state into the history. Call inside a transaction."""
    row = db.conn.execute("SELECT seq, destination, kind FROM outbox WHERE id = ?", [key])
    found = row.fetchone()
    words = f"{found['kind']}: {detail}" if detail else found["kind"]
    event.record(db, found["seq"], f"delivery:{found['destination']}", state, words)


def void(db: Database, keys: Sequence[int], state: str = "void") -> None:
    """End transactions; what was not reported is due again. Call inside a transaction."""
    for key in keys:
        db.conn.execute(
            "UPDATE asked_item SET asked_id = NULL WHERE asked_id = ? AND reason IS NULL", [key]
        )
    _move(db, keys, state, ("open", "asked"))


def _move(db: Database, keys: Sequence[int], state: str, before: Sequence[str]) -> None:
    among = ", ".join("?" * len(before))
    db.conn.executemany(
        f"UPDATE asked SET state = ?, changed_at = ? WHERE id = ? AND state IN ({among})",
        [(state, utc_now(), key, *before) for key in keys],
    )
