"""What carts asked the box to be answerable for (PS3.4 Annex J), and whether they were told.

`requested` → `verified` → `reported`; a request that is asked again before its report was taken
is `superseded`. A row stays: it says what was promised.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from appliance.ledger import lease
from appliance.ledger.clock import boot_id, boot_seconds, utc_now
from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.current import newest


@dataclass(frozen=True)
class Request:
    """An N-ACTION as it came.

    Attributes
    ----------
    transaction_uid
        TransactionUID of the action information.
    calling_ae, called_ae, peer, tls
        The association it came over.
    items
        (ReferencedSOPClassUID, ReferencedSOPInstanceUID) in its order.
    """

    transaction_uid: str
    calling_ae: str
    called_ae: str
    peer: str
    tls: bool
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Due:
    """A lease on a request that waits for its report."""

    id: int
    transaction_uid: str
    calling_ae: str
    called_ae: str
    peer: str
    state: str
    tries: int
    owner: str


@dataclass(frozen=True)
class Outcome:
    """What became of one item: where it is kept, and why it isn't committed (0: it is)."""

    id: int
    sop_class_uid: str
    sop_instance_uid: str
    seq: int | None
    reason: int | None


def request(ledger: Ledger, asked: Request, owner: str = "", lease_s: float = 0.0) -> int:
    """Record a request durably; a request of the same transaction that waits is superseded.

    Parameters
    ----------
    ledger
        The box's ledger.
    asked
        The request.
    owner, lease_s
        Who reports on the association it came over, and how long nobody else does.

    Returns
    -------
    int
        Its id. The row is on disk: the N-ACTION may be answered with success.
    """
    now = utc_now()
    described = {
        "transaction_uid": asked.transaction_uid,
        "calling_ae": asked.calling_ae,
        "called_ae": asked.called_ae,
        "peer": asked.peer,
        "tls": int(asked.tls),
    }
    with ledger.transaction() as db:
        db.conn.execute(
            "UPDATE commitment SET state = 'superseded', changed_at = :now"
            " WHERE state IN ('requested', 'verified') AND transaction_uid = :transaction_uid"
            " AND calling_ae = :calling_ae AND peer = :peer",
            {**described, "now": now},
        )
        times = {"requested_at": now, "changed_at": now}
        row = {**described, **times, "state": "requested", "problem": "", "tries": 0}
        key = insert(db, "commitment", row)
        if owner:
            lease.take(db, "commitment", key, owner, lease_s)
        db.conn.executemany(
            "INSERT INTO commitment_item (commitment_id, sop_class_uid, sop_instance_uid)"
            " VALUES (?, ?, ?)",
            [(key, *item) for item in asked.items],
        )
    return key


def waits(ledger: Ledger) -> bool:
    """Tell, without taking the write lock, whether any report was not taken yet."""
    sql = "SELECT 1 FROM commitment WHERE state IN ('requested', 'verified') LIMIT 1"
    return ledger.read_one(sql) is not None


def claim(ledger: Ledger, owner: str, lease_s: float) -> Due | None:
    """Lease the oldest request whose report is due, or return None."""
    with ledger.transaction() as db:
        row = db.conn.execute(
            "SELECT id, transaction_uid, calling_ae, called_ae, peer, state, tries"
            " FROM commitment c WHERE state IN ('requested', 'verified')"
            " AND (next_try_at IS NULL OR next_try_boot_id != :boot OR next_try_at <= :now)"
            f" AND {lease.free_row('c')} ORDER BY tries > 0, id LIMIT 1",
            lease.parameters(),
        ).fetchone()
        if row is None:
            return None
        lease.take(db, "commitment", row["id"], owner, lease_s)
    return Due(**{**dict(row), "tries": row["tries"] + 1, "owner": owner})


def held(ledger: Ledger, key: int, owner: str) -> Due | None:
    """Return the lease that `request` gave to its owner; None when it has run out."""
    row = ledger.read_one(
        "SELECT id, transaction_uid, calling_ae, called_ae, peer, state, tries FROM commitment"
        " WHERE id = ? AND owner = ? AND state IN ('requested', 'verified')",
        [key, owner],
    )
    return Due(**row, owner=owner) if row else None


def let_go(ledger: Ledger, due: Due) -> None:
    """Leave a report that could not be given on the association that asked to anybody else."""
    with ledger.transaction() as db:
        if lease.holds(db, "commitment", due.id, due.owner):
            lease.free(db, "commitment", due.id)


def recover(ledger: Ledger, owner: str) -> None:
    """Free the leases of an owner that holds none any more; what waited for a person is due."""
    with ledger.transaction() as db:
        db.conn.execute(
            "UPDATE commitment SET owner = NULL, boot_id = NULL, lease_until = NULL"
            " WHERE owner = ?",
            [owner],
        )
        all_due(db)


def all_due(db: Database) -> None:
    """Try every report again at once: an address has changed. Call inside a transaction."""
    db.conn.execute(
        "UPDATE commitment SET next_try_at = NULL WHERE state IN ('requested', 'verified')"
    )


def items(ledger: Ledger, key: int) -> list[Outcome]:
    """Return what a request names, in its order."""
    rows = ledger.read(
        "SELECT id, sop_class_uid, sop_instance_uid, seq, reason FROM commitment_item"
        " WHERE commitment_id = ? ORDER BY id",
        [key],
    )
    return [Outcome(**row) for row in rows]


def verified(ledger: Ledger, due: Due, outcomes: Sequence[Outcome]) -> None:
    """Record what was found on disk for each item."""
    with ledger.transaction() as db:
        db.conn.executemany(
            "UPDATE commitment_item SET seq = ?, reason = ? WHERE id = ?",
            [(outcome.seq, outcome.reason, outcome.id) for outcome in outcomes],
        )
        _move(ledger, due.id, "verified", "")


def reported(ledger: Ledger, due: Due) -> None:
    """Record that the cart has taken the report; what else waits for it is due at once."""
    with ledger.transaction() as db:
        _move(ledger, due.id, "reported", "")
        lease.free(db, "commitment", due.id)
        db.conn.execute(
            "UPDATE commitment SET next_try_at = NULL WHERE calling_ae = ? AND peer = ?"
            " AND state IN ('requested', 'verified')",
            [due.calling_ae, due.peer],
        )


def postpone(ledger: Ledger, due: Due, problem: str, delay_s: float) -> None:
    """Record why a report wasn't taken and when the next try is due. There is no last try.

    The other reports of the same cart wait as long: a cart that is off is knocked at once,
    and holds up nobody else's report.
    """
    with ledger.transaction() as db:
        lease.free(db, "commitment", due.id)
        db.conn.execute(
            "UPDATE commitment SET problem = ?, changed_at = ?, next_try_at = ?,"
            " next_try_boot_id = ? WHERE calling_ae = ? AND peer = ? AND owner IS NULL"
            " AND state IN ('requested', 'verified')",
            [problem, utc_now(), boot_seconds() + delay_s, boot_id(), due.calling_ae, due.peer],
        )


def _move(ledger: Ledger, key: int, state: str, problem: str) -> None:
    # One that was superseded meanwhile stays so: the newer request is reported too.
    ledger.db.conn.execute(
        "UPDATE commitment SET state = ?, problem = ?, changed_at = ? WHERE id = ?"
        " AND state IN ('requested', 'verified')",
        [state, problem, utc_now(), key],
    )


def find(ledger: Ledger, SOPInstanceUID: str) -> Row | None:
    """Return what is needed to verify the current object of a UID, or None.

    Returns
    -------
    dict or None
        seq, sop_class_uid, sha256, and `archived`: whether a destination has given the
        original back with these bytes.
    """
    row = ledger.read_one(
        "SELECT i.seq, i.sop_class_uid, i.sha256, EXISTS (SELECT 1 FROM outbox o"
        " WHERE o.seq = i.seq AND o.kind = 'original' AND o.state = 'proven'"
        " AND o.sha256 = i.sha256) AS archived"
        f" FROM instance i WHERE i.sop_instance_uid = ? AND i.seq = {newest('i')}",
        [SOPInstanceUID],
    )
    return row and {**row, "archived": bool(row["archived"])}


def promised(ledger: Ledger, seq: int) -> bool:
    """Tell whether a cart was told, or asks to be told, that an object is kept for good.

    The cart may have deleted its own copy: until an archive has proven the object, the box
    holds the only one.
    """
    row = ledger.read_one(
        "SELECT 1 FROM commitment_item c WHERE c.seq = :seq AND c.reason = 0"
        " UNION ALL SELECT 1 FROM commitment_item c JOIN instance i"
        " ON i.sop_instance_uid = c.sop_instance_uid JOIN commitment r ON r.id = c.commitment_id"
        " WHERE i.seq = :seq AND c.reason IS NULL AND r.state = 'requested' LIMIT 1",
        {"seq": seq},
    )
    return row is not None


def open_requests(ledger: Ledger) -> list[Row]:
    """Return the requests whose report was not taken yet, oldest first.

    Each with id, calling_ae, peer, state, tries, problem, requested_at and objects.
    """
    return ledger.read(
        "SELECT id, calling_ae, peer, state, tries, problem, requested_at,"
        " (SELECT count(*) FROM commitment_item n WHERE n.commitment_id = c.id) AS objects"
        " FROM commitment c WHERE state IN ('requested', 'verified') ORDER BY id"
    )
