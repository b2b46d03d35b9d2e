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
    """Record that the destination has said of an object that it has it; that proves nothing.

    Of several objects of a delivery the first one's word is recorded: from then on something of
    it has left the box.
    """
    with ledger.transaction() as db:
        must_hold(db, delivery)
        _set_state(db, delivery, "sent")
        where = {"destination": delivery.destination, "kind": delivery.kind}
        audit.record(db, "", "export", f"loop {delivery.seq}", **where)


def proven(ledger: Ledger, delivery: Delivery, sha256: str, size: int) -> None:
    """Record that the result was read back from the destination with this hash and size."""
    with ledger.transaction() as db:
        must_hold(db, delivery)
        _update(db, delivery, sha256=sha256, size=size, problem="", awaits="")
        lease.free(db, "outbox", delivery.id)
        _set_state(db, delivery, "proven")


def unproven(ledger: Ledger, delivery: Delivery, why: str) -> None:
    """Record that the destination took the object and offers no way to prove that it has it."""
    with ledger.transaction() as db:
        must_hold(db, delivery)
        _update(db, delivery, problem=why, awaits="")
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
        row = db.conn.execute("SELECT problem FROM outbox WHERE id = ?", [delivery.id]).fetchone()
        _update(
            db,
            delivery,
            problem=problem,
            awaits=awaits,
            changed_at=utc_now(),
            next_try_at=boot_seconds() + delay_s,
            next_try_boot_id=boot_id(),
        )
        lease.free(db, "outbox", delivery.id)
        if problem != row["problem"]:  # weeks of the same are one line of history
            event.record(db, delivery.seq, f"delivery:{delivery.destination}", "postponed", problem)


def refuse(ledger: Ledger, delivery: Delivery, reason: str) -> None:
    """Record that an object must not leave the box, and why. Nothing tries it again."""
    with ledger.transaction() as db:
        must_hold(db, delivery)
        _update(db, delivery, problem=reason, awaits="")
        lease.free(db, "outbox", delivery.id)
        _set_state(db, delivery, "refused", reason)


def _set_state(db: Database, delivery: Delivery, state: str, detail: str = "") -> None:
    _update(db, delivery, state=state, changed_at=utc_now())
    detail = f"{delivery.kind}: {detail}" if detail else delivery.kind
    event.record(db, delivery.seq, f"delivery:{delivery.destination}", state, detail)


def _update(db: Database, delivery: Delivery, **values: str | float) -> None:
    # Plain SQL: sqlite-utils looks at the table's schema each time.
    names = ", ".join(f"{name} = ?" for name in values)
    db.conn.execute(f"UPDATE outbox SET {names} WHERE id = ?", [*values.values(), delivery.id])


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
