"""Whose study it is: contradictions are asked about, a word counts once, nothing in doubt leaves."""

import pytest

from appliance.ledger import Ledger, delivery, identity, review, worklist
from appliance.ledger.identity import Said
from appliance.ledger.person import differing, person
from appliance.ledger.refusal import Conflict, Stale
from tests.ledger.test_states import USB, analysed, decision, ledger, received

__all__ = ["ledger"]

NAMED = {"PatientName": "DOE^JANE", "PatientBirthDate": "19700101"}


def arrived(ledger: Ledger, number: int, again: str = "", **more: str) -> tuple[int, str]:
    """Analyse one loop of study 1.9; another `again` is other content under the same UID."""
    return analysed(ledger, received(f"1.2.{number}", f"{number}{again}".ljust(64, "0"), **more))


def say(ledger: Ledger, seq: int, right: str | None, **more: object) -> None:
    """Say whose study it is, of those that are told, knowing every word before."""
    study = worklist.loop(ledger, seq)["study_instance_uid"]
    shown = frozenset(row["patient_id"] for row in identity.people(ledger, study))
    fields = {"newest": identity.newest_word(ledger, study), **more}
    identity.say(ledger, Said(seq, "AK", shown, right, **fields))


def accept(ledger: Ledger, loop: tuple[int, str], key: str, patient_id: str = "P1") -> None:
    review.record(ledger, decision(*loop, key=key, patient_id=patient_id), USB)


def undo(ledger: Ledger, loop: tuple[int, str], key: str, patient_id: str = "P1") -> None:
    plain = decision(*loop, key=key, patient_id=patient_id, decision="undone")
    review.record(ledger, plain, [])


def due(ledger: Ledger) -> int | None:
    """The loop whose result would leave now."""
    found = delivery.claim(ledger, "c", 10, ["usb"])
    return found and found.seq


def test_results_of_two_contradictory_patients_never_leave_one_study(ledger):
    loops = {name: arrived(ledger, n, PatientID=name) for n, name in enumerate("ABC")}
    seq = loops["A"][0]
    before = identity.newest_word(ledger, "1.9")
    say(ledger, seq, "A")
    accept(ledger, loops["A"], "k1", "A")
    with pytest.raises(Stale, match="AK has said meanwhile"):
        say(ledger, seq, "B", newest=before)
    with pytest.raises(Conflict, match=f"loop {seq} is accepted as another patient's"):
        say(ledger, seq, "B")
    undo(ledger, loops["A"], "k2", "A")
    say(ledger, seq, "B")
    accept(ledger, loops["B"], "k3", "B")
    with pytest.raises(Conflict, match="another patient's ID"):
        accept(ledger, loops["A"], "k4", "A")
    for name in "AC":
        plain = decision(*loops[name], key=f"r{name}", patient_id=name, decision="rejected")
        review.record(ledger, plain, [])
    assert due(ledger) == loops["B"][0]
    assert due(ledger) is None


def test_a_result_of_a_patient_in_doubt_stays_until_somebody_has_said(ledger):
    first = arrived(ledger, 1)
    accept(ledger, first, "k1")
    other = arrived(ledger, 2, PatientID="P2")
    plain = decision(*other, key="k2", patient_id="P2", decision="rejected")
    review.record(ledger, plain, [])
    assert due(ledger) is None  # all decided, but whose it is nobody has said
    say(ledger, first[0], None)
    assert due(ledger) == first[0]


def test_a_result_that_a_word_excludes_stays_although_an_earlier_release_let_it_be_said(ledger):
    first, other = arrived(ledger, 1), arrived(ledger, 2, PatientID="P2")
    say(ledger, first[0], "P1")
    accept(ledger, first, "k1")
    plain = decision(*other, key="k2", patient_id="P2", decision="rejected")
    review.record(ledger, plain, [])
    with ledger.transaction() as db:
        db.execute(
            "INSERT INTO identity (study_instance_uid, patient_ids, right, by, at)"
            """ VALUES ('1.9', '["P1", "P2"]', 'P2', 'BM', '')"""
        )
    assert due(ledger) is None


def test_other_studies_go_past_one_in_doubt(ledger):
    stuck = arrived(ledger, 1)
    accept(ledger, stuck, "k1")
    other = arrived(ledger, 2, PatientID="P2")
    review.record(ledger, decision(*other, key="k2", patient_id="P2", decision="rejected"), [])
    fine = arrived(ledger, 3, StudyInstanceUID="1.10")
    accept(ledger, fine, "k3")
    assert due(ledger) == fine[0]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"PatientID": "P2"}, "ID differs"),
        ({"PatientName": "ROE^JANE"}, "name differs"),
        ({"PatientBirthDate": "19710101"}, "birth date differs"),
        ({"PatientID": "P2", "PatientName": "ROE^JIM"}, "ID and name differ"),
    ],
)
def test_the_same_object_with_another_identity_asks_once(ledger, changed, what):
    arrived(ledger, 1, **NAMED)
    now = {**NAMED, "PatientID": "P1", **changed}
    newer = arrived(ledger, 1, "again", **now)
    with pytest.raises(Conflict, match=f"another patient \\({what}\\)"):
        accept(ledger, newer, "k1", now["PatientID"])
    people = {row["loops"]: row["key"] for row in identity.people(ledger, "1.9")}
    assert people.keys() == {0, 1}  # as sent before, and as it is now
    say(ledger, newer[0], now["PatientID"], right_key=people[1])
    accept(ledger, newer, "k2", now["PatientID"])
    later = arrived(ledger, 2, **now)
    accept(ledger, later, "k3", now["PatientID"])


def test_a_change_that_is_not_right_is_not_accepted(ledger):
    arrived(ledger, 1)
    newer = arrived(ledger, 1, "again", PatientID="P2")
    say(ledger, newer[0], "P1")
    with pytest.raises(Conflict, match="another patient's ID"):
        accept(ledger, newer, "k1", "P2")


@pytest.mark.parametrize("changed", [{"PatientName": "ROE^JANE"}, {"PatientBirthDate": "19710101"}])
def test_one_id_with_two_names_or_birth_dates_blocks(ledger, changed):
    first = arrived(ledger, 1, **NAMED)
    other = arrived(ledger, 2, **{**NAMED, **changed})
    assert "two patients" in worklist.loop(ledger, first[0])["told"]
    with pytest.raises(Conflict, match="two patients"):
        accept(ledger, first, "k1")
    with pytest.raises(Stale):
        say(ledger, first[0], "P1")  # which of them, nobody can tell
    right = identity.key(person("P1", NAMED["PatientName"], NAMED["PatientBirthDate"]))
    say(ledger, first[0], "P1", right_key=right)
    accept(ledger, first, "k2")
    with pytest.raises(Conflict, match="name or birth date than the study"):
        accept(ledger, other, "k3")


@pytest.mark.parametrize(
    "same", [{"PatientName": "Doe^Jane^^"}, {"PatientName": ""}, {"PatientBirthDate": ""}]
)
def test_another_spelling_or_a_missing_part_asks_nothing(ledger, same):
    first = arrived(ledger, 1, **NAMED)
    arrived(ledger, 2, **{**NAMED, **same})
    arrived(ledger, 2, "again", **NAMED)
    accept(ledger, first, "k1")
    assert worklist.loop(ledger, first[0])["patients"] == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("DOE^JANE", " doe ^Jane ^^^"), ("DOE^^JANE", "DOE^JANE"), ("DE  BOER^A", "De Boer^A=")],
)
def test_spelling_tells_no_names_apart(one, other):
    assert differing(person("P", one, ""), person("P", other, "")) == []
    assert differing(person("P", one, ""), person("P", f"X{other}", "")) == ["name"]


def test_three_patients_are_told_as_three(ledger):
    for number, name in enumerate("ABC"):
        seq, _ = arrived(ledger, number, PatientID=name)
    assert "three patients" in worklist.loop(ledger, seq)["told"]


def test_a_study_of_very_many_patients_is_told_without_holding_each_against_each():
    # A machine that puts all of its patients into one study; pairs would take a quarter of an hour.
    asked = identity.question((f"P{number}", "", "", True) for number in range(20_000))
    assert asked.told == "this study holds loops of 20000 patients (ID differs)"


def test_what_differs_is_told_in_the_order_of_the_words_whoever_comes_first():
    people = [("A", "X", "1970"), ("A", "X", "1971"), ("B", "", "1970"), ("A", "Y", "")]
    asked = identity.question((*who, True) for who in people)
    assert asked.differing == ["ID", "name", "birth date"]
