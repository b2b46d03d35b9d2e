"""What goes with a decision to the central archive, and corrections that wait for a person's look."""

from typing import NamedTuple

from sqlite_utils import Database

from appliance.errors import LedgerError
from appliance.ledger import audit, event, user
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.current import in_force

RELEASING = ("expert", "admin")  # roles that may say that a loop names nobody
_OPERATION = "release a correction"
_REFUSED = (
    "SELECT o.id, o.seq, o.review_id, o.destination, o.problem, o.changed_at,"
    " coalesce(s.\"by\", '') AS kept_by FROM outbox o"
    " LEFT JOIN correction_stay s ON s.review_id = o.review_id"
    f" WHERE o.kind = 'correction' AND o.state = 'refused' AND o.review_id = {in_force('o')}"
)


class Facts(NamedTuple):
    """What is told of a decision beside its content.

    Attributes
    ----------
    role
        The decider's, as it was then: "expert", "sonographer", or "" when unknown.
    seconds
        That the loop was on the screen before; None when the page didn't say.
    strokes
        Steps of drawing, those taken back not counted; None when the page didn't say.
    """

    role: str = ""
    seconds: int | None = None
    strokes: int | None = None


def note(
    db: Database, review_id: int, reviewer: str, seconds: int | None, strokes: int | None
) -> None:
    """Note who decided, by role, and what it took. Call inside the decision's transaction."""
    row = db.conn.execute("SELECT roles FROM user WHERE initials = ?", [reviewer]).fetchone()
    roles = row["roles"].split() if row else []
    role = next((name for name in ("expert", "sonographer") if name in roles), "")
    facts = {"role": role, "seconds": seconds, "strokes": strokes}
    insert(db, "review_facts", {"review_id": review_id, **facts})


def facts(ledger: Ledger, review_id: int) -> Facts:
    """Return what was noted of a decision; of one of an earlier release nothing is known."""
    row = ledger.read_one(
        "SELECT role, seconds, strokes FROM review_facts WHERE review_id = ?", [review_id]
    )
    return Facts(**row) if row else Facts()


def refused(ledger: Ledger, seq: int | None = None) -> list[Row]:
    """Return corrections that must not leave as they are, oldest first; of one loop or of all.

    Each with id, seq, review_id, destination, problem (why), changed_at, and kept_by: who looked
    and said that it stays, "" while nobody has.
    """
    only = "" if seq is None else " AND o.seq = ?"
    return ledger.read(f"{_REFUSED}{only} ORDER BY o.id", [] if seq is None else [seq])


def released(ledger: Ledger, review_id: int) -> set[str]:
    """Return the hashes of the pixels that somebody has looked at and let go."""
    rows = ledger.read(
        "SELECT pixels_sha256 FROM correction_release WHERE review_id = ?", [review_id]
    )
    return {row["pixels_sha256"] for row in rows}


def release(ledger: Ledger, seq: int, pixels_sha256: str, by: str) -> int:
    """Let a refused correction leave with just the pixels that were looked at.

    Parameters
    ----------
    ledger
        The box's ledger.
    seq
        The loop.
    pixels_sha256
        `appliance.scrub.Scrubbed.sha256` of what the person saw.
    by
        Initials of a user with one of the roles `RELEASING`.

    Returns
    -------
    int
        How many destinations get it now.

    Raises
    ------
    LedgerError
        When nothing of this loop was refused, or the person may not decide that.
    """
    with ledger.transaction() as db:
        rows, initials = _to_decide(ledger, seq, by)
        row = {"review_id": rows[0]["review_id"], "pixels_sha256": pixels_sha256}
        insert(db, "correction_release", {**row, "by": initials, "at": utc_now()})
        for waiting in rows:
            change = {"state": "queued", "problem": "", "changed_at": utc_now()}
            db.table("outbox").update(waiting["id"], change)
            place = f"delivery:{waiting['destination']}"
            event.record(db, seq, place, "released", initials)
        about = {"review": rows[0]["review_id"], "pixels": pixels_sha256}
        audit.record(db, initials, "release correction", f"loop {seq}", **about)
    return len(rows)


def keep(ledger: Ledger, seq: int, by: str) -> None:
    """Say of a refused correction, after a look, that it stays. It can be released later.

    Parameters
    ----------
    ledger
        The box's ledger.
    seq
        The loop.
    by
        Initials of a user with one of the roles `RELEASING`.

    Raises
    ------
    LedgerError
        When nothing of this loop was refused, or the person may not decide that.
    """
    with ledger.transaction() as db:
        rows, initials = _to_decide(ledger, seq, by)
        if rows[0]["kept_by"]:
            return  # a second tap, or somebody else a moment before
        review_id = rows[0]["review_id"]
        insert(db, "correction_stay", {"review_id": review_id, "by": initials, "at": utc_now()})
        for waiting in rows:
            event.record(db, seq, f"delivery:{waiting['destination']}", "stays", initials)
        audit.record(db, initials, "keep correction", f"loop {seq}", review=review_id)


def _to_decide(ledger: Ledger, seq: int, by: str) -> tuple[list[Row], str]:
    """What of a loop waits for a word, and the initials of who says it. Inside a transaction."""
    person = user.find(ledger, by)
    if person is None or not person.roles & set(RELEASING):
        hint = f"Ask a user with the role {' or '.join(RELEASING)}."
        raise LedgerError(_OPERATION, "this person may not decide that", hint)
    rows = refused(ledger, seq)
    if not rows:
        hint = "`echocart correction list` shows those that are refused."
        raise LedgerError(_OPERATION, f"no correction of loop {seq} is refused", hint)
    return rows, person.initials
