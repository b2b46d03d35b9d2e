"""Whose study it is: what a person said of one whose loops tell of several patients.

Loops tell of several when PatientID, PatientName or PatientBirthDate differ, also those of an
object that a newer one of its UID has replaced: a changed identity is confirmed, not believed
(promise 2). Words are immutable rows with their author. The newest counts, for as long as the
study tells of nobody else (promise 12).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from appliance.ledger import audit, current, event
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.current import newest
from appliance.ledger.person import Person, differing, known_as, person, told_apart
from appliance.ledger.refusal import Conflict, Stale

_SAY = "say whose study it is"
_REVIEW = "store a review"
# Every version of what is current in a study; `now` marks the current ones.
VERSIONS = (
    "FROM instance c JOIN instance p ON p.sop_instance_uid = c.sop_instance_uid"
    f" WHERE c.study_instance_uid != '' AND c.seq = {newest('c')}"
)
_OF_STUDY = f"{VERSIONS} AND c.study_instance_uid = ?"
_NEWEST = "SELECT * FROM identity WHERE study_instance_uid = ? ORDER BY id DESC LIMIT 1"
_COUNTS = ("no", "one", "two", "three", "four")


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
    newest
        Id of the study's newest word on the screen, 0 for none; refused when there is another.
    shown_keys
        `key` of each person on the screen; None when the page doesn't say.
    right_key
        Which of them is the right one, where several have its PatientID.
    """

    seq: int
    by: str
    shown: frozenset[str]
    right: str | None
    newest: int = 0
    shown_keys: frozenset[str] | None = None
    right_key: str | None = None


@dataclass(frozen=True)
class Question:
    """Whom a study's loops tell of.

    Attributes
    ----------
    people
        The different ones, replaced versions included; more than one is a question.
    now
        Those among them that current loops tell of.
    """

    people: list[Person]
    now: list[Person]

    @property
    def differing(self) -> list[str]:
        """What tells them apart, in words."""
        return differing(*self.people)

    @property
    def told(self) -> str:
        """The question in words, without who it is about; "" when there is none."""
        if len(self.people) < 2:
            return ""
        what = " and ".join(self.differing)
        verb = "differ" if len(self.differing) > 1 else "differs"
        if len(self.now) == 1:
            return f"the machine has sent this study again with another patient ({what} {verb})"
        count = len(self.now)
        return f"this study holds loops of {_count(count)} patients ({what} {verb})"


def question(versions: Iterable[Iterable[Any]]) -> Question:
    """Return whom loops tell of, of (PatientID, name, birth date, whether current) of each."""
    seen = [(person(*who), now) for *who, now in versions]
    people = told_apart(who for who, _ in seen)
    current: dict[str, list[Person]] = {}
    for who in {who for who, now in seen if now}:
        current.setdefault(who.id, []).append(who)
    now = [one for one in people if any(known_as(one, who) for who in current.get(one.id, ()))]
    return Question(people, now)


def key(one: Person) -> str:
    """Return what names a person of a study on the page."""
    return json.dumps(one)


def say(ledger: Ledger, said: Said) -> None:
    """Record whose study it is.

    The loops of the patient named can then be accepted, the others can't; all can when they are
    the same person's. Each result keeps the PatientID of its own loop: nothing is renamed.

    Raises
    ------
    Stale
        When the study holds other people than were shown, or somebody has said meanwhile.
    Conflict
        When there is nothing to say: one patient only, or no study. When a loop of another
        patient is accepted: that is undone or rejected first, nothing is withdrawn silently.
    """
    with ledger.transaction() as db:
        row = db.conn.execute(
            "SELECT study_instance_uid FROM instance WHERE seq = ?", [said.seq]
        ).fetchone()
        study = row["study_instance_uid"] if row else ""
        people = _asked(db, study).people
        if len(people) < 2:
            raise Conflict(_SAY, "this study holds loops of one patient", "Load the loop again.")
        word = db.conn.execute(_NEWEST, [study]).fetchone()
        if said.newest != (word["id"] if word else 0):
            who = word["by"] if word else "Nobody"
            raise Stale(_SAY, f"{who} has said meanwhile whose study this is", "Look at it first.")
        right = _named(people, said)
        if right is not None:
            _must_contradict_no_review(db, study, right)
        insert(
            db,
            "identity",
            {
                "study_instance_uid": study,
                "patient_ids": json.dumps(sorted({one.id for one in people})),
                "right": said.right,
                "identities": json.dumps(people),
                "right_identity": right and json.dumps(right),
                "by": said.by,
                "at": utc_now(),
            },
        )
        settled = "same" if right is None else "one"
        event.record(db, said.seq, "identity", settled, said.by)
        audit.record(db, said.by, "settle patient", f"loop {said.seq}", said=settled)


def in_force(row: Row | None, people: list[Person]) -> Row | None:
    """Return the newest word on a study when it is about all these people, else None."""
    if row is None or len(people) < 2:
        return None
    if row["identities"] is None:  # said on an earlier release, of PatientIDs alone
        about = json.loads(row["patient_ids"]) == [one.id for one in people]
    else:
        known = [Person(*one) for one in json.loads(row["identities"])]
        about = all(any(known_as(said, one) for said in known) for one in people)
    return row if about else None


def excludes(word: Row | None, loop: Person) -> bool:
    """Tell whether a word in force says that a study is another patient's than the loop's."""
    if word is None or word["right"] is None:
        return False
    if word["right_identity"] is None:
        return bool(word["right"] != loop.id)
    return bool(differing(Person(*json.loads(word["right_identity"])), loop))


def people(ledger: Ledger, study_instance_uid: str) -> list[Row]:
    """Return whom a study's loops tell of.

    Returns
    -------
    list of dict
        `key`, `patient_id`, `patient_name`, `patient_birth_date` as sent, `loops` (current ones).
    """
    rows = ledger.read(
        "SELECT p.patient_id, p.patient_name, p.patient_birth_date, sum(p.seq = c.seq) AS loops"
        f" {_OF_STUDY} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        [study_instance_uid],
    )
    found: dict[Person, Row] = {}
    for one in told_apart(map(of, rows)):
        found[one] = {"key": key(one), "patient_id": one.id, "loops": 0}
        found[one] |= {"patient_name": "", "patient_birth_date": ""}
    for row in rows:
        told = found[next(one for one in found if known_as(one, of(row)))]
        told["loops"] += row["loops"]
        for name in ("patient_name", "patient_birth_date"):
            told[name] = told[name] or row[name]
    return list(found.values())


def newest_word(ledger: Ledger, study_instance_uid: str) -> int:
    """Return the id of the newest word on a study, 0 for none."""
    row = ledger.read_one(_NEWEST, [study_instance_uid])
    return int(row["id"]) if row else 0


def of(loop: Mapping[str, Any]) -> Person:
    """Return whom an instance's row tells of."""
    return person(loop["patient_id"], loop["patient_name"], loop["patient_birth_date"])


def must_be_settled(db: Database, seq: int) -> None:
    """Refuse a loop whose patient is in doubt. Call inside a transaction.

    Raises
    ------
    Conflict
        When its study tells of several patients and nobody has said whose it is, or said another.
    """
    loop, asked, word = _standing(db, seq)
    if len(asked.people) < 2:
        return
    if word is None:
        raise Conflict(_REVIEW, asked.told, "Say first whose study it is.")
    if excludes(word, of(loop)):
        raise Conflict(
            _REVIEW,
            "this loop carries another patient's ID, name or birth date than the study",
            "Reject it, or correct the patient on the machine and send it again.",
        )


def in_doubt(db: Database, seq: int) -> bool:
    """Tell whether `must_be_settled` would refuse a loop."""
    loop, asked, word = _standing(db, seq)
    return len(asked.people) > 1 and (word is None or excludes(word, of(loop)))


def _standing(db: Database, seq: int) -> tuple[Row, Question, Row | None]:
    """A loop, whom its study tells of, and the word on it that is in force."""
    loop = dict(db.conn.execute("SELECT * FROM instance WHERE seq = ?", [seq]).fetchone())
    asked = _asked(db, loop["study_instance_uid"])
    row = db.conn.execute(_NEWEST, [loop["study_instance_uid"]]).fetchone()
    return loop, asked, in_force(dict(row) if row else None, asked.people)


def _asked(db: Database, study: str) -> Question:
    rows = db.conn.execute(
        "SELECT DISTINCT p.patient_id, p.patient_name, p.patient_birth_date, p.seq = c.seq"
        f" {_OF_STUDY}",
        [study],
    )
    return question(tuple(row) for row in rows)


def _named(people: list[Person], said: Said) -> Person | None:
    """The one who was named; refused when the study is about others than were shown."""
    keys = frozenset(map(key, people))
    fits = [one for one in people if one.id == said.right and said.right_key in (None, key(one))]
    changed = said.shown != {one.id for one in people} or said.shown_keys not in (None, keys)
    if changed or (said.right is not None and len(fits) != 1):
        raise Stale(_SAY, "the study's loops have changed meanwhile", "Look at them first.")
    return fits[0] if said.right is not None else None


def _must_contradict_no_review(db: Database, study: str, right: Person) -> None:
    rows = db.conn.execute(
        "SELECT c.* FROM instance c WHERE c.study_instance_uid = ?"
        f" AND c.seq = {newest('c')} AND (SELECT decision FROM review"
        f"  WHERE id = {current.in_force('c')}) IN ('accepted', 'corrected')",
        [study],
    )
    for row in map(dict, rows):
        if differing(right, of(row)):
            raise Conflict(
                _SAY,
                f"loop {row['instance_number'] or row['seq']} is accepted as another patient's",
                "Undo that first, or reject the loop.",
            )


def _count(number: int) -> str:
    return _COUNTS[number] if number < len(_COUNTS) else str(number)
