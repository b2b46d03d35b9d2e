"""The outbox: a row per result and destination, kept until it is proven there."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from appliance.errors import LedgerError
from appliance.ledger import event, lease
from appliance.ledger.clock import boot_id, boot_seconds, utc_now
from appliance.ledger.connection import Ledger


@dataclass(frozen=True)
class Delivery:
    """A lease on one result for one destination; its UIDs are those of every try."""

    id: int
    review_id: int
    seq: int
    destination: str
    sop_instance_uid: str
    series_instance_uid: str
    tries: int
    owner: str


def claim(
    ledger: Ledger, owner: str, lease_s: float, destinations: Sequence[str]
) -> Delivery | None:
    """Lease the oldest result that is due at one of the destinations, or return None."""
    names = {f"d{index}": name for index, name in enumerate(destinations)}
    among = ", ".join(f":{key}" for key in names)
    with ledger.transaction() as db:
        row = db.conn.execute(
            "SELECT o.id, o.review_id, o.seq, o.destination, o.tries,"
            " r.result_sop_instance_uid AS sop, r.result_series_instance_uid AS series"
            " FROM outbox o JOIN review r ON r.id = o.review_id"
            f" WHERE o.state IN ('queued', 'sent') AND o.destination IN ({among})"
            " AND (o.next_try_at IS NULL OR o.next_try_boot_id != :boot OR o.next_try_at <= :now)"
            f" AND {lease.FREE} ORDER BY o.id LIMIT 1",
            lease.parameters(**names),
        ).fetchone()
        if row is None:
            return None
        lease.take(db, "outbox", row["id"], owner, lease_s)
    uids = (row["sop"], row["series"])
    place = (row["id"], row["review_id"], row["seq"], row["destination"])
    return Delivery(*place, *uids, row["tries"] + 1, owner)


def recover(ledger: Ledger) -> int:
    """Free the leases of couriers that died; return how many. Called while no other runs."""
    with ledger.transaction() as db:
        rows = db.conn.execute("SELECT id FROM outbox WHERE owner IS NOT NULL").fetchall()
        for row in rows:
            lease.free(db, "outbox", row["id"])
    return len(rows)


def renew(ledger: Ledger, delivery: Delivery, lease_s: float) -> bool:
    """Prolong a lease; False means it was lost and the work must stop."""
    with ledger.transaction() as db:
        return lease.renew(db, "outbox", delivery.id, delivery.owner, lease_s)


def sent(ledger: Ledger, delivery: Delivery) -> None:
    """Record that the destination said it has the result; that alone proves nothing."""
    with ledger.transaction() as db:
        _must_hold(db, delivery)
        _set_state(db, delivery, "sent")


def proven(ledger: Ledger, delivery: Delivery, sha256: str, size: int) -> None:
    """Record that the result was read back from the destination with this hash and size."""
    with ledger.transaction() as db:
        _must_hold(db, delivery)
        db.table("outbox").update(delivery.id, {"sha256": sha256, "size": size, "problem": ""})
        lease.free(db, "outbox", delivery.id)
        _set_state(db, delivery, "proven")


def postpone(ledger: Ledger, delivery: Delivery, problem: str, delay_s: float) -> None:
    """Record why a try failed and when the next one is due. There is no last try."""
    with ledger.transaction() as db:
        _must_hold(db, delivery)
        known = db.table("outbox").get(delivery.id)["problem"]
        db.table("outbox").update(
            delivery.id,
            {
                "problem": problem,
                "changed_at": utc_now(),
                "next_try_at": boot_seconds() + delay_s,
                "next_try_boot_id": boot_id(),
            },
        )
        lease.free(db, "outbox", delivery.id)
        if problem != known:  # weeks of the same are one line of history
            event.record(db, delivery.seq, f"delivery:{delivery.destination}", "postponed", problem)


def _set_state(db: Database, delivery: Delivery, state: str) -> None:
    db.table("outbox").update(delivery.id, {"state": state, "changed_at": utc_now()})
    event.record(db, delivery.seq, f"delivery:{delivery.destination}", state)


def _must_hold(db: Database, delivery: Delivery) -> None:
    if not lease.holds(db, "outbox", delivery.id, delivery.owner):
        raise LedgerError(
            "record a delivery",
            f"the lease on delivery {delivery.id} was lost",
            "Another courier has it now; it records its own outcome.",
        )
