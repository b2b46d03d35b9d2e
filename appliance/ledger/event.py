"""The history: one row for each change of state, never changed, in the order it happened."""

from sqlite_utils import Database

from appliance.ledger.clock import utc_now
from appliance.ledger.connection import insert


def record(db: Database, seq: int, subject: str, state: str, detail: str = "") -> None:
    """Append a change of state of instance `seq`. Call inside the transaction that makes it.

    Parameters
    ----------
    db
        The connection that holds the transaction.
    seq
        Sequence number of the instance concerned.
    subject
        What changed: `instance`, `analysis`, `review`, or `delivery:<destination>`.
    state
        Its new state.
    detail
        A reason a person understands, or nothing.
    """
    insert(
        db,
        "event",
        {"seq": seq, "subject": subject, "state": state, "detail": detail, "at": utc_now()},
    )


def set_state(db: Database, seq: int, state: str, reason: str = "") -> None:
    """Move an instance to a state and write it into the history."""
    db.table("instance").update(seq, {"state": state, "reason": reason})
    record(db, seq, "instance", state, reason)
