"""The outbox: a row per result and destination, kept until it is proven there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from sqlite_utils import Database

from appliance.errors import LedgerError
from appliance.ledger import audit, event, identity, lease
from appliance.ledger.clock import boot_id, boot_seconds, utc_now
from appliance.ledger.connection import Ledger
from appliance.ledger.current import newest

# A study is closed when it has been quiet for a while (nothing arrived, nobody decided) and each
# of its loops that could be analysed was, and is decided. After a restart of the box the quiet
# time begins anew.
_CLOSED = f"""
NOT EXISTS (
  SELECT 1 FROM instance i JOIN instance mine ON mine.seq = o.seq
  WHERE (i.seq = mine.seq OR (i.study_instance_uid = mine.study_instance_uid
         AND i.study_instance_uid != ''))
    AND (
      :now - CASE WHEN i.received_boot_id = :boot THEN i.received_boot_s ELSE 0 END < :quiet
      OR :now - coalesce((SELECT CASE WHEN r.decided_boot_id = :boot THEN r.decided_boot_s END
           FROM review r WHERE r.seq = i.seq ORDER BY r.id DESC LIMIT 1), 0) < :quiet
      OR i.state IN ('received', 'analysing')
      OR (i.state = 'analysed'
          AND i.seq = {newest("i")}
          AND coalesce((SELECT decision FROM review WHERE seq = i.seq ORDER BY id DESC LIMIT 1),
                       'undone') = 'undone')
    )
)
"""
# What a destination gets of a loop arrives in order, the loop before its results. One that the
# destination has refused holds nothing back.
_FIRST = """
NOT EXISTS (
  SELECT 1 FROM outbox e WHERE e.seq = o.seq AND e.destination = o.destination
  AND e.id < o.id AND e.state IN ('queued', 'sent') AND e.problem = ''
  AND e.kind IN ('original', 'rejection')
)
"""


@dataclass(frozen=True)
class Delivery:
    """A lease on one object for one destination.

    Attributes
    ----------
    kind
        `original`, `seg`, `sr`, `rejection` or `correction`.
    review_id
        The review it comes from; None for an original.
    result_uid, series_uid
        UIDs allocated with the review, the same in every try; "" for an original.
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


def claim(
    ledger: Ledger,
    owner: str,
    lease_s: float,
    destinations: Sequence[str],
    closes_after_s: float = 0.0,
) -> Delivery | None:
    """Lease the oldest object that is due at one of the destinations, or return None.

    Originals are due at once; results when their study is closed, which is once nothing
    arrived and nobody decided for `closes_after_s` and every analysed loop of it is decided.
    Those whose patient is in doubt by then stay (promise 12).
    """
    names = {f"d{index}": name for index, name in enumerate(destinations)}
    among = ", ".join(f":{key}" for key in names)
    with ledger.transaction() as db:
        rows = db.conn.execute(
            "SELECT o.id, o.review_id, o.seq, o.destination, o.kind, o.tries, o.state,"
            " coalesce(r.result_sop_instance_uid, '') AS result_uid,"
            " coalesce(r.result_series_instance_uid, '') AS series_uid"
            " FROM outbox o LEFT JOIN review r ON r.id = o.review_id"
            f" WHERE o.state IN ('queued', 'sent') AND o.destination IN ({among})"
            " AND (o.next_try_at IS NULL OR o.next_try_boot_id != :boot OR o.next_try_at <= :now)"
            f" AND {lease.free_row('o')} AND {_FIRST} AND (o.kind = 'original' OR {_CLOSED})"
            " ORDER BY o.kind != 'original', o.id",
            lease.parameters(quiet=closes_after_s, **names),
        )
        in_doubt = cache(partial(identity.in_doubt, db))
        row = next((row for row in rows if not _held_back(row, in_doubt)), None)
        rows.close()  # a reader that stays keeps the WAL from being folded
        if row is None:
            return None
        lease.take(db, "outbox", row["id"], owner, lease_s)
    leased = {name: row[name] for name in row.keys() if name != "state"}  # noqa: SIM118
    return Delivery(**{**leased, "tries": row["tries"] + 1, "owner": owner})


def _held_back(row: Any, in_doubt: Callable[[int], bool]) -> bool:
    """Tell whether a result stays because its patient is in doubt.

    What is there already is proven, and a rejection note takes back what may be wrong.
    """
    result = row["kind"] in ("seg", "sr", "correction") and row["state"] == "queued"
    return result and in_doubt(row["seq"])


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
        _must_hold(db, delivery)
        _set_state(db, delivery, "sent")
        where = {"destination": delivery.destination, "kind": delivery.kind}
        audit.record(db, "", "export", f"loop {delivery.seq}", **where)


def proven(ledger: Ledger, delivery: Delivery, sha256: str, size: int) -> None:
    """Record that the result was read back from the destination with this hash and size."""
    with ledger.transaction() as db:
        _must_hold(db, delivery)
        db.table("outbox").update(delivery.id, {"sha256": sha256, "size": size, "problem": ""})
        lease.free(db, "outbox", delivery.id)
        _set_state(db, delivery, "proven")


def unproven(ledger: Ledger, delivery: Delivery, why: str) -> None:
    """Record that the destination took the object and offers no way to prove that it has it."""
    with ledger.transaction() as db:
        _must_hold(db, delivery)
        db.table("outbox").update(delivery.id, {"problem": why})
        lease.free(db, "outbox", delivery.id)
        _set_state(db, delivery, "unproven", why)


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


def refuse(ledger: Ledger, delivery: Delivery, reason: str) -> None:
    """Record that an object must not leave the box, and why. Nothing tries it again."""
    with ledger.transaction() as db:
        _must_hold(db, delivery)
        db.table("outbox").update(delivery.id, {"problem": reason})
        lease.free(db, "outbox", delivery.id)
        _set_state(db, delivery, "refused", reason)


def _set_state(db: Database, delivery: Delivery, state: str, detail: str = "") -> None:
    db.table("outbox").update(delivery.id, {"state": state, "changed_at": utc_now()})
    detail = f"{delivery.kind}: {detail}" if detail else delivery.kind
    event.record(db, delivery.seq, f"delivery:{delivery.destination}", state, detail)


def _must_hold(db: Database, delivery: Delivery) -> None:
    if not lease.holds(db, "outbox", delivery.id, delivery.owner):
        raise LedgerError(
            "record a delivery",
            f"the lease on delivery {delivery.id} was lost",
            "Another courier has it now; it records its own outcome.",
        )
