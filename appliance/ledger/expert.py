"""Not sure: loops that a person has laid before an expert, each an immutable row with its author.

It is no decision: nothing is delivered, and the study stays open. The next review settles it, or
who asked takes the question back: a row of its own, which follows no review.
"""

from dataclasses import dataclass

from appliance.ledger import audit, event
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.current import in_force, newest
from appliance.ledger.refusal import Conflict, Stale

_ASK = "ask an expert"
_TAKE_BACK = "take a question back"
_NOTHING = -1  # `after` of a question taken back: no review's id, so that it never waits


@dataclass(frozen=True)
class Asked:
    """A person's question to an expert.

    Attributes
    ----------
    analysis_sha256, newest_review
        What was on the screen; refused when either has changed since.
    key
        Made by the page once: the same key again is the same question.
    """

    seq: int
    by: str
    analysis_sha256: str
    newest_review: int
    key: str
    note: str = ""


def ask(ledger: Ledger, asked: Asked) -> Row:
    """Lay a loop before an expert.

    Returns
    -------
    dict
        The question's row; the same one again for the same key.

    Raises
    ------
    Stale
        When the loop was analysed anew or replaced, or somebody has decided since it was shown.
    Conflict
        When a decision is in force: it is undone first.
    """
    with ledger.transaction() as db:
        known = db.conn.execute('SELECT * FROM expert WHERE "key" = ?', [asked.key]).fetchone()
        if known is not None:
            return dict(known)
        row = db.conn.execute(
            f"SELECT i.state, {newest('i')} AS newest,"
            " (SELECT sha256 FROM analysis WHERE seq = i.seq AND state = 'sealed'"
            "  ORDER BY id DESC LIMIT 1) AS sha256,"
            " (SELECT coalesce(max(id), 0) FROM review WHERE seq = i.seq) AS review,"
            f" {in_force('i')} AS in_force"
            " FROM instance i WHERE i.seq = ?",
            [asked.seq],
        ).fetchone()
        if row is None or row["newest"] != asked.seq:
            raise Stale(_ASK, "the machine has sent this loop again", "Look at the newer one.")
        if row["sha256"] != asked.analysis_sha256:
            raise Stale(_ASK, "the loop was analysed anew", "Look at the new masks first.")
        if row["review"] != asked.newest_review:
            raise Stale(_ASK, "somebody has decided on this loop since", "Look at it first.")
        if row["in_force"] is not None:
            raise Conflict(_ASK, "the loop is decided on", "Undo the decision first.")
        fields = {name: getattr(asked, name) for name in ("seq", "by", "note", "key")}
        asked_id = insert(db, "expert", {**fields, "after": asked.newest_review, "at": utc_now()})
        event.record(db, asked.seq, "expert", "asked", asked.by)
        audit.record(db, asked.by, "ask expert", f"loop {asked.seq}")
        return dict(db.conn.execute("SELECT * FROM expert WHERE id = ?", [asked_id]).fetchone())


def take_back(ledger: Ledger, asked: Asked) -> Row:
    """Take back one's own question to an expert, by a row that follows the question's.

    Returns
    -------
    dict
        That row; the same one again for the same key.

    Raises
    ------
    Conflict
        When no question of this person waits: nobody asked, somebody else did, or it is decided.
    """
    with ledger.transaction() as db:
        known = db.conn.execute('SELECT * FROM expert WHERE "key" = ?', [asked.key]).fetchone()
        if known is not None:
            return dict(known)
        waits = db.conn.execute(
            "SELECT * FROM expert WHERE seq = ? ORDER BY id DESC LIMIT 1", [asked.seq]
        ).fetchone()
        newest_review = db.conn.execute(
            "SELECT coalesce(max(id), 0) FROM review WHERE seq = ?", [asked.seq]
        ).fetchone()[0]
        if waits is None or waits["by"] != asked.by or waits["after"] != newest_review:
            raise Conflict(_TAKE_BACK, "no question of yours waits here", "Look at the loop first.")
        fields = {name: getattr(asked, name) for name in ("seq", "by", "note", "key")}
        row_id = insert(db, "expert", {**fields, "after": _NOTHING, "at": utc_now()})
        event.record(db, asked.seq, "expert", "taken back", asked.by)
        audit.record(db, asked.by, "take question back", f"loop {asked.seq}")
        return dict(db.conn.execute("SELECT * FROM expert WHERE id = ?", [row_id]).fetchone())


def told(ledger: Ledger, seq: int) -> list[Row]:
    """Return who asked about a loop and who took that back (`back`), and when, oldest first."""
    sql = 'SELECT "by", at, "after" = ? AS back FROM expert WHERE seq = ? ORDER BY id'
    return ledger.read(sql, [_NOTHING, seq])
