"""What a person decided about a loop: immutable rows, each naming exactly what was shown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.uid import generate_uid
from sqlite_utils import Database

from appliance.ledger import audit, audited, event, identity, outbox, upstream
from appliance.ledger.clock import boot_id, boot_seconds, utc_now
from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.current import VIEW, in_force, newest
from appliance.ledger.outbox import Wanted
from appliance.ledger.refusal import Conflict, Stale
from appliance.views import OTHER

SENDING = ("accepted", "corrected")
DECISIONS = ("accepted", "corrected", "rejected", "undone")


@dataclass(frozen=True)
class Decision:
    """A person's decision as the page sends it.

    Attributes
    ----------
    analysis_sha256, patient_id
        What was on the screen; refused when either has changed since (promise 12).
    chunks
        Corrected label maps only: (first frame, frame count, SHA-256) of each chunk.
    geometry
        `Geometry.to_dict()` of those chunks.
    key
        Made by the page once for a decision: the same key again is the same decision.
    newest_review
        Id of the loop's newest review on the screen, an undone one too; 0 when it showed none,
        None when the page doesn't say.
    view
        The view's name on the screen; None when the page doesn't say.
    seconds, strokes
        What it took: time on the screen, steps of drawing; None when the page doesn't say.
    """

    seq: int
    analysis_sha256: str
    patient_id: str
    decision: str
    reviewer: str
    key: str
    reason: str = ""
    ed_frame: int | None = None
    es_frame: int | None = None
    measures: dict[str, Any] = field(default_factory=dict)
    chunks: Sequence[tuple[int, int, str]] = ()
    geometry: dict[str, Any] = field(default_factory=dict)
    newest_review: int | None = None
    view: str | None = None
    seconds: int | None = None
    strokes: int | None = None


def record(ledger: Ledger, decision: Decision, wanted: Wanted) -> Row:
    """Store a decision and queue its deliveries, together.

    An undo takes back the decision in force. What stood before that stands again, and what of
    its results had been withdrawn is queued again: unless analysis, view or patient aren't what
    they were then.

    Parameters
    ----------
    ledger
        The box's ledger.
    decision
        What was decided, on what.
    wanted
        (destination, kind) of each object that an accept or a correction sends. Where an
        earlier result of this loop has arrived, a rejection note goes first.

    Returns
    -------
    dict
        The review's row; the same one again for the same key.

    Raises
    ------
    Stale
        When the analysis, the object or its PatientID changed since the page showed it,
        somebody else has decided since, or a decision is undone whose result has left the box.
    Conflict
        When the study tells of several patients and nobody has said whose it is (promises 2
        and 12), or the object belongs to no study. Rejecting stays possible.
    """
    with ledger.transaction() as db:
        known = db.conn.execute('SELECT * FROM review WHERE "key" = ?', [decision.key]).fetchone()
        if known is not None:
            return _same_again(dict(known), decision)
        analysis_id = _must_be_current(db, decision)
        newest_review = _newest_review(db, decision.seq)
        _must_have_seen(decision, newest_review)
        view = _view(db, decision)
        if decision.decision in SENDING:
            _must_be_one_patient(db, decision)
            _must_be_measurable(view)
        restores = None
        if decision.decision == "undone":
            restores = _stands_again(db, decision, analysis_id, view)
        about = {"analysis_id": analysis_id, "parent": newest_review, "restores": restores}
        review_id = _insert(db, decision, view, about)
        upstream.note(db, review_id, decision.reviewer, decision.seconds, decision.strokes)
        # What was drawn for it is in it now, or was given up with it.
        db.conn.execute(
            "DELETE FROM draft WHERE seq = ? AND reviewer = ?", [decision.seq, decision.reviewer]
        )
        outbox.withdraw(db, decision.seq)
        if restores is not None:
            outbox.queue_again(db, restores)
        if decision.decision != "undone":
            _queue(db, decision, review_id, wanted)
        _write_down(db, decision, review_id)
        return dict(db.conn.execute("SELECT * FROM review WHERE id = ?", [review_id]).fetchone())


def _write_down(db: Database, decision: Decision, review_id: int) -> None:
    event.record(db, decision.seq, "review", decision.decision, decision.reviewer)
    facts = {
        "decision": decision.decision,
        "review": review_id,
        "analysis": decision.analysis_sha256,
        "content": audited.stored_sha256(db.conn.execute, review_id),
    }
    audit.record(db, decision.reviewer, "review", f"loop {decision.seq}", **facts)


def _queue(db: Database, decision: Decision, review_id: int, wanted: Wanted) -> None:
    """Queue what a decision sends, what takes back the results before it first."""
    superseded = [(name, "rejection") for name in outbox.reached(db, decision.seq)]
    outbox.queue(db, decision.seq, review_id, superseded)
    if decision.decision not in SENDING:
        # No note takes back a bundle: a later one says that it was entered in error.
        wanted = [(name, "fhir") for name in outbox.told(db, decision.seq)]
    outbox.queue(db, decision.seq, review_id, wanted)


def _same_again(known: Row, decision: Decision) -> Row:
    if known["seq"] != decision.seq or known["decision"] != decision.decision:
        raise Stale("store a review", "its key was used before", "Load the loop again.")
    return known


def _must_be_current(db: Database, decision: Decision) -> int:
    row = db.conn.execute(
        "SELECT i.patient_id, i.state,"
        f" {newest('i')} AS newest,"
        " (SELECT max(id) FROM analysis WHERE seq = i.seq AND state = 'sealed') AS analysis_id"
        " FROM instance i WHERE i.seq = ?",
        [decision.seq],
    ).fetchone()
    if row is None or row["analysis_id"] is None:
        raise Stale("store a review", "this loop has no analysis", "Go back to the list.")
    shown = db.table("analysis").get(row["analysis_id"])
    if row["newest"] != decision.seq:
        raise Stale(
            "store a review",
            "the machine has sent this loop again with other content",
            "Go back to the list and look at the newer one.",
        )
    if shown["sha256"] != decision.analysis_sha256:
        raise Stale("store a review", "the loop was analysed anew", "Look at the new masks first.")
    if row["patient_id"] != decision.patient_id:
        raise Stale("store a review", "the patient was changed", "Check whose loop this is.")
    return int(row["analysis_id"])


def _must_be_one_patient(db: Database, decision: Decision) -> None:
    study = db.conn.execute(
        "SELECT study_instance_uid FROM instance WHERE seq = ?", [decision.seq]
    ).fetchone()[0]
    if not study:
        raise Conflict(
            "store a review",
            "the machine sent no study with this loop",
            "Send it again from the machine.",
        )
    identity.must_be_settled(db, decision.seq)


def _view(db: Database, decision: Decision) -> tuple[str, str]:
    """The view that stands, and who set it ("" when the model told it)."""
    row = db.conn.execute(VIEW, [decision.seq]).fetchone()
    view, by = ("", "") if row is None else (row["view"], row["by"])
    if decision.view not in (None, view):
        raise Stale("store a review", "the view was changed", "Look at it first.")
    return view, by if row is not None and row["source"] == "person" else ""


def _must_be_measurable(view: tuple[str, str]) -> None:
    if view[0] == OTHER:
        raise Conflict(
            "store a review",
            f"{view[1]} has said that this is another view",
            "Change the view first, or leave the loop.",
        )


def _newest_review(db: Database, seq: int) -> int | None:
    newest_id: int | None = db.conn.execute(
        "SELECT max(id) FROM review WHERE seq = ?", [seq]
    ).fetchone()[0]
    return newest_id


def _must_have_seen(decision: Decision, newest_review: int | None) -> None:
    if decision.newest_review not in (None, newest_review or 0):
        raise Stale(
            "store a review",
            "somebody has decided on this loop since you opened it",
            "Look at it first.",
        )


def _stands_again(
    db: Database, decision: Decision, analysis_id: int, view: tuple[str, str]
) -> int | None:
    """Return the review that stood before the one in force, or None where that can't stand now."""
    row = db.conn.execute(
        "SELECT r.id, p.id AS before, p.analysis_id, p.patient_id, p.decision, p.view"
        f" FROM instance i JOIN review r ON r.id = {in_force('i')}"
        f" LEFT JOIN review p ON p.id = {in_force('r', before='r.id')} WHERE i.seq = ?",
        [decision.seq],
    ).fetchone()
    _must_be_undoable(db, row)
    shown = (row["analysis_id"], row["patient_id"]) == (analysis_id, decision.patient_id)
    if not shown or row["decision"] not in SENDING:
        return row["before"] if shown else None
    # As if it were decided now: meanwhile somebody may have said that it shows another view,
    # or another patient.
    try:
        _must_be_one_patient(db, decision)
        _must_be_measurable(view)
    except Conflict:
        return None
    return row["before"] if row["view"] in ("", view[0]) else None


def _must_be_undoable(db: Database, row: Row | None) -> None:
    if row is None:
        raise Stale("undo a review", "there is none to undo", "Look at the loop again.")
    if outbox.has_left(db, row["id"]):
        raise Stale(
            "undo a review",
            "its result has left the box",
            "Decide anew: the new result replaces the old one where it went.",
        )


def _insert(
    db: Database,
    decision: Decision,
    view: tuple[str, str],
    about: dict[str, int | None],
) -> int:
    row = {name: getattr(decision, name) for name in _PLAIN}
    review_id = insert(
        db,
        "review",
        {
            **row,
            **about,
            "measures": json.dumps(decision.measures),
            "geometry": json.dumps(decision.geometry),
            "at": utc_now(),
            "decided_boot_id": boot_id(),
            "decided_boot_s": boot_seconds(),
            # Allocated once, with the decision: a delivery cut short sends the same
            # object again, never a second one.
            "result_sop_instance_uid": generate_uid(prefix=None),
            "result_series_instance_uid": generate_uid(prefix=None),
            "view": view[0],
            "view_by": view[1],
        },
    )
    for first_frame, frame_count, sha256 in decision.chunks:
        chunk = {"first_frame": first_frame, "frame_count": frame_count, "sha256": sha256}
        insert(db, "review_chunk", {"review_id": review_id, **chunk})
    return review_id


_PLAIN = (
    *("seq", "analysis_sha256", "patient_id", "decision", "reviewer", "reason", "key"),
    *("ed_frame", "es_frame"),
)
