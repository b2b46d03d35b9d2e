"""The outbox: a row per result and destination, kept until it is proven there."""

from sqlite_utils import Database

from appliance.errors import LedgerError
from appliance.ledger import audit, event, lease
from appliance.ledger.clock import boot_id, boot_seconds, utc_now
from appliance.ledger.connection import Ledger
from appliance.ledger.outbox import Delivery
from appliance.ledger.turn import claim, claim_fresh

__all__ = ["Delivery", "claim", "claim_fresh"]


def recover(ledger: Ledger, owner: str | None = None) -> int:
    """Free the leases of an owner that holds none any more, or of all; return how many."""
    with ledger.transaction() as db:
        rows = db.conn.execute(
            "SELECT id FROM outbox WHERE owner IS NOT NULL AND coalesce(owner = ?, 1)", [owner]
        ).fetchall()
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
        must_hold(db, delivery)
        _set_state(db, delivery, "sent")
        where = {"destination": delivery.destination, "kind": delivery.kind}
        audit.record(db, "", "export", f"loop {delivery.seq}", **where)


def proven(ledger: Ledger, delivery: Delivery, sha256: str, size: int) -> None:
    """Record that the result was read back from the destination with this hash and size."""
    with ledger.transaction() as db:
        must_hold(db, delivery)
        db.table("outbox").update(
            delivery.id, {"sha256": sha256, "size": size, "problem": "", "awaits": ""}
        )
        lease.free(db, "outbox", delivery.id)
        _set_state(db, delivery, "proven")


def unproven(ledger: Ledger, delivery: Delivery, why: str) -> None:
    """Record that the destination took the object and offers no way to prove that it has it."""
    with ledger.transaction() as db:
        must_hold(db, delivery)
        db.table("outbox").update(delivery.id, {"problem": why, "awaits": ""})
        lease.free(db, "outbox", delivery.id)
        _set_state(db, delivery, "unproven", why)


def postpone(
    ledger: Ledger, delivery: Delivery, problem: str, delay_s: float, awaits: str = ""
) -> None:
    """Record why a try failed and when the next one is due. There is no last try.

    `awaits` is "permission" when only the destination's administrator can help.
    """
    with ledger.transaction() as db:
        must_hold(db, delivery)
        known = db.table("outbox").get(delivery.id)["problem"]
        db.table("outbox").update(
            delivery.id,
            {
                "problem": problem,
                "awaits": awaits,
                "changed_at": utc_now(),
                "next_try_at": boot_seconds() + delay_s,
                "next_try_boot_id": boot_id(),
            },
        )
        lease.free(db, "outbox", delivery.id)
        if problem != known:  # weeks of the same are one line of history
            event.record(db, delivery.seq, f"delivery:{delivery.destination}", "postponed", problem)


def refuse(ledger: Ledger, delivery: Delivery, reason: str) -> None:
    """Record that an object must not leave the box, and why. Nothing tries it again."""
    with ledger.transaction() as db:
        must_hold(db, delivery)
        db.table("outbox").update(delivery.id, {"problem": reason, "awaits": ""})
        lease.free(db, "outbox", delivery.id)
        _set_state(db, delivery, "refused", reason)


def _set_state(db: Database, delivery: Delivery, state: str, detail: str = "") -> None:
    db.table("outbox").update(delivery.id, {"state": state, "changed_at": utc_now()})
    detail = f"{delivery.kind}: {detail}" if detail else delivery.kind
    event.record(db, delivery.seq, f"delivery:{delivery.destination}", state, detail)


def must_hold(db: Database, delivery: Delivery) -> None:
    """Make sure that a lease is still held. Call inside the transaction that needs it.

    Raises
    ------
    LedgerError
        When it was lost.
    """
    if not lease.holds(db, "outbox", delivery.id, delivery.owner):
        raise LedgerError(
            "record a delivery",
            f"the lease on delivery {delivery.id} was lost",
            "Another courier has it now; it records its own outcome.",
        )
