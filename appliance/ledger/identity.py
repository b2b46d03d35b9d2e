"""Whose study it is: what a person said of one that holds loops of several PatientIDs.

Immutable rows with their author. The newest counts, for as long as the study holds the very
PatientIDs it named: with another one the question is open again (promise 12).
"""

import json
from dataclasses import dataclass

from sqlite_utils import Database

from appliance.ledger import audit, event
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.current import newest
from appliance.ledger.refusal import Conflict, Stale

_SAY = "say whose study it is"
_CURRENT = (
    "FROM instance p WHERE p.study_instance_uid = ? AND p.study_instance_uid != ''"
    f" AND p.seq = {newest('p')}"
)


@dataclass(frozen=True)
class Said:
    """A person's word on the identity of a study's loops.

    Attributes
    ----------
    seq
        The loop it was said at.
    shown
        The PatientIDs on the screen; refused when the study holds others by now.
    right
        The PatientID of the one whose study it is; None when all are the same person.
    """

    seq: int
    by: str
    shown: frozenset[str]
    right: str | None


def say(ledger: Ledger, said: Said) -> None:
    """Record whose study it is.

    The loops of the patient named can then be accepted, the others can't; all can when they are
    the same person's. Each result keeps the PatientID of its own loop: nothing is renamed.

    Raises
    ------
    Stale
        When the study holds other PatientIDs than were shown.
    Conflict
        When there is nothing to say: one patient only, or no study.
    """
    with ledger.transaction() as db:
        row = db.conn.execute(
            "SELECT study_instance_uid FROM instance WHERE seq = ?", [said.seq]
        ).fetchone()
        study = row["study_instance_uid"] if row else ""
        held = _held(db, study)
        if len(held) < 2:
            raise Conflict(_SAY, "this study holds loops of one patient", "Load the loop again.")
        if held != said.shown or said.right not in (None, *held):
            raise Stale(_SAY, "the study's loops have changed meanwhile", "Look at them first.")
        insert(
            db,
            "identity",
            {
                "study_instance_uid": study,
                "patient_ids": json.dumps(sorted(held)),
                "right": said.right,
                "by": said.by,
                "at": utc_now(),
            },
        )
        settled = "one" if said.right is not None else "same"
        event.record(db, said.seq, "identity", settled, said.by)
        audit.record(db, said.by, "settle patient", f"loop {said.seq}", said=settled)


def in_force(row: Row | None, patient_ids: list[str]) -> Row | None:
    """Return the newest word on a study when it is about these PatientIDs, else None."""
    held = row is not None and json.loads(row["patient_ids"]) == sorted(patient_ids)
    return row if held else None


def people(ledger: Ledger, study_instance_uid: str) -> list[Row]:
    """Return patient_id, patient_name, patient_birth_date and loops of each identity in a study."""
    return ledger.read(
        "SELECT p.patient_id, p.patient_name, p.patient_birth_date, count(*) AS loops"
        f" {_CURRENT} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        [study_instance_uid],
    )


def must_be_settled(db: Database, study_instance_uid: str, patient_id: str) -> None:
    """Refuse a loop whose patient is in doubt. Call inside a transaction.

    Raises
    ------
    Conflict
        When the study holds several PatientIDs and nobody has said whose it is, or said another.
    """
    held = _held(db, study_instance_uid)
    if len(held) < 2:
        return
    newest_row = db.conn.execute(
        "SELECT * FROM identity WHERE study_instance_uid = ? ORDER BY id DESC LIMIT 1",
        [study_instance_uid],
    ).fetchone()
    said = in_force(dict(newest_row) if newest_row else None, list(held))
    if said is None:
        raise Conflict(
            "store a review",
            "this study holds loops of two patients",
            "Say first whose study it is.",
        )
    if said["right"] not in (None, patient_id):
        raise Conflict(
            "store a review",
            "this loop carries another patient's ID than the study",
            "Reject it, or correct the patient on the machine and send it again.",
        )


def _held(db: Database, study: str) -> frozenset[str]:
    rows = db.conn.execute(f"SELECT DISTINCT p.patient_id {_CURRENT}", [study])
    return frozenset(row[0] for row in rows)
