"""Which view a loop shows: what a model said and what a person said, each an immutable row.

A person's word stands over a model's, also over a later one.
"""

import json
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from appliance.errors import LedgerError
from appliance.ledger import analysis, audit, event, lease, outbox
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.current import VIEW, newest
from appliance.ledger.refusal import Conflict, Stale
from appliance.views import APICAL, NO_VIEW

_SAY = "set the view"


@dataclass(frozen=True)
class Said:
    """A person's word on a loop's view.

    Attributes
    ----------
    view
        "A4C", "A2C" or "other".
    shown
        Id of the row whose view was on the screen, 0 for none: refused when it has changed.
    """

    seq: int
    view: str
    by: str
    shown: int


def found(
    ledger: Ledger,
    claim: analysis.Claim,
    view: str,
    *,
    certainty: float | None,
    figures: dict[str, Any],
    network_sha256: str,
) -> None:
    """Record what a model said of a claimed loop; `view` is "" when the model tells no views.

    Raises
    ------
    LedgerError
        When the claim was lost.
    """
    with ledger.transaction() as db:
        analysis.must_hold(db, claim)
        _insert(db, claim.seq, view, "model", network_sha256, certainty, figures)
        event.record(db, claim.seq, "view", view or "unknown", "model")


def say(ledger: Ledger, said: Said) -> None:
    """Record a person's word; a loop that was kept for its view is then analysed.

    So is one whose model doesn't draw the view said, where another model in force does, and one
    whose numbers are withheld because nobody had told its view.

    Results that haven't left the box are withdrawn when the view changes: they name the old one,
    and wait for a new decision. Saying again what stands changes nothing.

    Raises
    ------
    Stale
        When another view was shown than stands, the loop is being measured, or was replaced.
    Conflict
        When the loop was kept for what no view can mend (a still, Doppler, damage).
    """
    with ledger.transaction() as db:
        row = db.conn.execute(
            f"SELECT i.seq, i.state, i.reason, {newest('i')} AS newest FROM instance i WHERE i.seq = ?",
            [said.seq],
        ).fetchone()
        if row is None or row["newest"] != said.seq:
            raise Stale(_SAY, "the machine has sent this loop again", "Look at the newer one.")
        before = in_force(db, said.seq)
        if before and (before["view"], before["source"], before["by"]) == (
            said.view,
            "person",
            said.by,
        ):
            return
        if (before["id"] if before else 0) != said.shown:
            raise Stale(_SAY, "the view was changed meanwhile", "Look at it first.")
        if row["state"] not in ("analysed", "kept"):
            raise Stale(_SAY, "the loop is being measured", "Wait until it is done.")
        if row["state"] == "kept" and not _was_looked_at(db, said.seq):
            raise Conflict(_SAY, "this loop can't be measured in any view", row["reason"])
        _insert(db, said.seq, said.view, "person", said.by, None, {})
        event.record(db, said.seq, "view", said.view, said.by)
        audit.record(db, said.by, "set view", f"loop {said.seq}", view=said.view)
        if before is None or before["view"] != said.view:
            outbox.withdraw(db, said.seq)
        kept = row["state"] == "kept" and said.view in APICAL
        if kept or _drawn_by_another(db, said) or _waits_for_a_view(db, said):
            _measure(db, said)


def in_force(db: Database, seq: int) -> Row | None:
    """Return the row that stands, or None. Call inside a transaction."""
    row = db.conn.execute(VIEW, [seq]).fetchone()
    return None if row is None else dict(row)


def of(ledger: Ledger, seq: int) -> Row | None:
    """Return the row that stands with its figures decoded, or None."""
    row = ledger.read_one(VIEW, [seq])
    return {**row, "figures": json.loads(row["figures"])} if row else None


def by_model(ledger: Ledger, seq: int) -> Row | None:
    """Return what a model said last, with its figures decoded, or None when none looked."""
    row = ledger.read_one(
        "SELECT * FROM view WHERE seq = ? AND source = 'model' ORDER BY id DESC LIMIT 1", [seq]
    )
    return {**row, "figures": json.loads(row["figures"])} if row else None


def _insert(
    db: Database,
    seq: int,
    view: str,
    source: str,
    by: str,
    certainty: float | None,
    figures: dict[str, Any],
) -> None:
    row = {"seq": seq, "view": view, "source": source, "by": by, "certainty": certainty}
    insert(db, "view", {**row, "figures": json.dumps(figures), "at": utc_now()})


def _was_looked_at(db: Database, seq: int) -> bool:
    """Whether a model got as far as asking for the view: what came before no person can mend."""
    row = db.conn.execute("SELECT 1 FROM view WHERE seq = ? AND source = 'model'", [seq]).fetchone()
    return row is not None


def _drawn_by_another(db: Database, said: Said) -> bool:
    """Whether another model in force than the one that drew the loop draws the view said."""
    drew = db.conn.execute(
        "SELECT model_name || '-' || model_version AS model FROM analysis"
        " WHERE seq = ? AND state = 'sealed' ORDER BY id DESC LIMIT 1",
        [said.seq],
    ).fetchone()
    rows = db.conn.execute("SELECT model, views FROM engine_model WHERE problem = ''").fetchall()
    drawing = {row["model"] for row in rows if said.view in row["views"].split(", ")}
    return drew is not None and bool(drawing) and drew["model"] not in drawing


def _waits_for_a_view(db: Database, said: Said) -> bool:
    row = db.conn.execute(
        "SELECT measures FROM analysis WHERE seq = ? AND state = 'sealed' ORDER BY id DESC LIMIT 1",
        [said.seq],
    ).fetchone()
    found = json.loads(row["measures"]) if row and said.view in APICAL else {}
    return bool(found.get("withheld", {}).get("ef_percent") == NO_VIEW)


def _measure(db: Database, said: Said) -> None:
    job = db.conn.execute("SELECT id FROM job WHERE seq = ?", [said.seq]).fetchone()
    if job is None:
        raise LedgerError(_SAY, f"instance {said.seq} has no job", "Report it as a fault.")
    lease.free(db, "job", job["id"])
    db.table("job").update(job["id"], {"state": "queued", "tries": 0})
    event.set_state(db, said.seq, "received", f"to be measured as {said.view}, by {said.by}")
