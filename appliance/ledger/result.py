"""What reviews became: in which form results leave for a destination, and the objects themselves.

A form is fixed with the first try: what a later note takes back must be what was sent, and a
report must name the segmentation that lies beside it, whatever the configuration says by then.
"""

from collections.abc import Sequence

from sqlite_utils import Database

from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.outbox import Delivery

Key = tuple[int, str]  # review, destination


def fix_form(ledger: Ledger, delivery: Delivery, wanted: str, before: str) -> str:
    """Return the form in which a delivery leaves, and write it down.

    Parameters
    ----------
    ledger
        The box's ledger.
    delivery
        A segmentation or a report.
    wanted
        What the configuration says now. It holds for what was never tried, and in place of a
        form that the destination doesn't take.
    before
        The form of what was tried before forms were written down.
    """
    if _forms(ledger.db, delivery)[-1:] == [wanted]:
        return wanted
    with ledger.transaction() as db:
        if not _forms(db, delivery) and _was_tried(db, delivery):
            _write(db, delivery, before)
        known = _forms(db, delivery)
        if known and not _is_refused(db, delivery):
            return known[-1]
        _write(db, delivery, wanted)
    return wanted


def _write(db: Database, delivery: Delivery, form: str) -> None:
    named = {"review_id": delivery.review_id, "destination": delivery.destination, "form": form}
    # One that comes back is the newest again.
    db.conn.execute(
        "DELETE FROM result_form WHERE review_id = :review_id AND destination = :destination"
        " AND form = :form",
        named,
    )
    insert(db, "result_form", {**named, "at": utc_now()})


def forms(ledger: Ledger, seq: int) -> dict[Key, list[str]]:
    """Return the forms in which results of an instance may have left, by review and destination."""
    rows = ledger.read(
        "SELECT f.review_id, f.destination, f.form FROM result_form f"
        " JOIN review r ON r.id = f.review_id WHERE r.seq = ? ORDER BY f.id",
        [seq],
    )
    found: dict[Key, list[str]] = {}
    for row in rows:
        found.setdefault((row["review_id"], row["destination"]), []).append(row["form"])
    return found


def objects(ledger: Ledger, delivery: Delivery, form: str) -> list[Row]:
    """Return the objects that a delivery's review became in a form, whose files are here."""
    return ledger.read(
        "SELECT r.*, i.study_instance_uid FROM result_object r JOIN review v ON v.id = r.review_id"
        " JOIN instance i ON i.seq = v.seq WHERE r.review_id = ? AND r.kind = ? AND r.form = ?"
        " AND r.purged_at = '' ORDER BY r.number",
        [delivery.review_id, delivery.kind, form],
    )


def keep(ledger: Ledger, rows: Sequence[Row]) -> None:
    """Write down the objects of a delivery; a row of the same UID whose file was lost is replaced."""
    with ledger.transaction() as db:
        for row in rows:
            uid = row["sop_instance_uid"]
            db.conn.execute("DELETE FROM result_object WHERE sop_instance_uid = ?", [uid])
            insert(db, "result_object", {**row, "at": utc_now(), "purged_at": ""})


def may_be_dropped(ledger: Ledger, limit: int) -> list[Row]:
    """Return kept objects, oldest first, of reviews of which nothing waits to be delivered."""
    return ledger.read(
        "SELECT id, sha256, size FROM result_object r WHERE purged_at = ''"
        " AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.review_id = r.review_id"
        "   AND o.state IN ('queued', 'sent')) ORDER BY id LIMIT ?",
        [limit],
    )


def dropped(ledger: Ledger, key: int) -> None:
    """Record that a kept object's file is removed."""
    with ledger.transaction() as db:
        db.conn.execute("UPDATE result_object SET purged_at = ? WHERE id = ?", [utc_now(), key])


def is_overtaken(ledger: Ledger, delivery: Delivery) -> bool:
    """Tell whether a later decision sends the same kind of result to the same destination."""
    row = ledger.read_one(
        "SELECT 1 FROM outbox WHERE seq = ? AND destination = ? AND kind = ? AND review_id > ?"
        " AND state != 'withdrawn'",
        [delivery.seq, delivery.destination, delivery.kind, delivery.review_id],
    )
    return row is not None


def _forms(db: Database, delivery: Delivery) -> list[str]:
    rows = db.conn.execute(
        "SELECT form FROM result_form WHERE review_id = ? AND destination = ? ORDER BY id",
        [delivery.review_id, delivery.destination],
    )
    return [row["form"] for row in rows.fetchall()]


def _was_tried(db: Database, delivery: Delivery) -> bool:
    """Tell whether a segmentation or report of the review was tried; this try itself counts one."""
    row = db.conn.execute(
        "SELECT sum(tries) - 1 AS n FROM outbox WHERE review_id = ? AND destination = ?"
        " AND kind IN ('seg', 'sr')",
        [delivery.review_id, delivery.destination],
    ).fetchone()
    return int(row["n"] or 0) > 0


def _is_refused(db: Database, delivery: Delivery) -> bool:
    """Tell whether the destination takes no segmentation in the form tried last."""
    row = db.conn.execute(
        "SELECT 1 FROM outbox WHERE review_id = ? AND destination = ? AND kind = 'seg'"
        " AND state = 'queued' AND awaits = 'permission'",
        [delivery.review_id, delivery.destination],
    ).fetchone()
    return row is not None
