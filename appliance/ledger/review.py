"""What a person decided about a loop: immutable rows, each naming exactly what was shown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.uid import generate_uid
from sqlite_utils import Database

from appliance.ledger import audit, audited, event, identity, outbox
from appliance.ledger.clock import boot_id, boot_seconds, utc_now
from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.current import VIEW, newest
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


def record(ledger: Ledger, decision: Decision, wanted: Wanted) -> Row:
    """Store a decision and queue its deliveries, together.

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
        if decision.decision == "undone":
            _must_be_undoable(db, decision.seq)
        review_id = _insert(db, decision, analysis_id, newest_review, view)
        # What was drawn for it is in it now, or was given up with it.
        db.conn.execute(
            "DELETE FROM draft WHERE seq = ? AND reviewer = ?", [decision.seq, decision.reviewer]
        )
        outbox.withdraw(db, decision.seq)
        if decision.decision != "undone":
            superseded = [(name, "rejection") for name in outbox.reached(db, decision.seq)]
            outbox.queue(db, decision.seq, review_id, superseded)
        if decision.decision in SENDING:
            outbox.queue(db, decision.seq, review_id, wanted)
        elif decision.decision != "undone":
            # No note takes back a bundle: a later one says that it was entered in error.
            errors = [(name, "fhir") for name in outbox.told(db, decision.seq)]
            outbox.queue(db, decision.seq, review_id, errors)
        event.record(db, decision.seq, "review", decision.decision, decision.reviewer)
        content = audited.stored_sha256(db.conn.execute, review_id)
        facts = {"review": review_id, "analysis": decision.analysis_sha256, "content": content}
        audit.record(
            db,
            decision.reviewer,
            "review",
            f"loop {decision.seq}",
            decision=decision.decision,
            **facts,
        )
        return dict(db.conn.execute("SELECT * FROM review WHERE id = ?", [review_id]).fetchone())


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


def _must_be_undoable(db: Database, seq: int) -> None:
    row = db.conn.execute(
        "SELECT id, decision FROM review WHERE seq = ? ORDER BY id DESC LIMIT 1", [seq]
    ).fetchone()
    if row is None or row["decision"] == "undone":
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
    analysis_id: int,
    parent: int | None,
    view: tuple[str, str],
) -> int:
    row = {name: getattr(decision, name) for name in _PLAIN}
    review_id = insert(
        db,
        "review",
        {
            **row,
            "analysis_id": analysis_id,
            "measures": json.dumps(decision.measures),
            "geometry": json.dumps(decision.geometry),
            "at": utc_now(),
            "decided_boot_id": boot_id(),
            "decided_boot_s": boot_seconds(),
            # Allocated once, with the decision: a delivery cut short sends the same
            # object again, never a second one.
            "result_sop_instance_uid": generate_uid(prefix=None),
            "result_series_instance_uid": generate_uid(prefix=None),
            "parent": parent,
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
