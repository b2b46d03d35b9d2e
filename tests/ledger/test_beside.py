"""The other view of a study and a patient's earlier studies, as the ledger tells them."""

import pytest

from appliance.ledger import Ledger, analysis, beside, delivery, reception, review, view, worklist
from appliance.ledger.view import Said
from tests.ledger.test_states import OPENED, USB, decision, received


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def measured(ledger, uid, name="A4C", ef=55.0, certainty=0.97, **who):
    """A loop that the model has measured in a view; its seq and its analysis' hash."""
    seq = reception.record(ledger, received(uid, uid.replace(".", "").rjust(64, "0"), **who)).seq
    claim = analysis.claim(ledger, "engine", 10)
    view.found(ledger, claim, name, certainty=certainty, figures={}, network_sha256="e" * 64)
    opened = analysis.open(ledger, claim, OPENED)
    sealed = analysis.seal(
        *(ledger, claim, opened),
        measures={"ef_percent": ef},
        per_frame=[],
        quality={},
        timings={},
    )
    return seq, sealed


def accept(ledger, loop, key, **more):
    seq, sha256 = loop
    return review.record(ledger, decision(seq, sha256, key=key, **more), USB)["id"]


def partner(ledger, review_id):
    found = beside.other_view(ledger, review_id)
    return found and found["loop"]["seq"]


def test_the_second_of_two_accepted_views_stands_beside_the_first(ledger):
    four, two = measured(ledger, "1.1"), measured(ledger, "1.2", "A2C")
    first, second = accept(ledger, four, "k1"), accept(ledger, two, "k2")
    assert partner(ledger, first) is None
    assert partner(ledger, second) == four[0]
    assert beside.other_view(ledger, second)["measures"] == {"ef_percent": 55.0}


def tried(ledger, review_id):
    """Let a courier begin with what the outbox holds up to a review's results."""
    while delivery.claim(ledger, "sync:usb", 600, ["usb"]).review_id != review_id:
        pass


def test_what_comes_after_the_first_try_never_changes_what_stands_beside_it(ledger):
    four, two = measured(ledger, "1.1"), measured(ledger, "1.2", "A2C")
    accept(ledger, four, "k1")
    second = accept(ledger, two, "k2")
    tried(ledger, second)
    accept(ledger, four, "k3", decision="rejected")
    reception.record(ledger, received("1.1", "9" * 64))
    assert partner(ledger, second) == four[0]


def test_a_view_decided_anew_before_the_first_try_stands_in_its_own_report_only(ledger):
    four, two = measured(ledger, "1.1"), measured(ledger, "1.2", "A2C")
    accept(ledger, four, "k1")
    second = accept(ledger, two, "k2")
    again = accept(ledger, four, "k3")
    tried(ledger, second)
    assert partner(ledger, second) is None
    assert partner(ledger, again) == two[0]


def test_a_decision_taken_back_before_the_first_try_leaves_the_other_view_beside(ledger):
    four, two = measured(ledger, "1.1"), measured(ledger, "1.2", "A2C")
    accept(ledger, four, "k1")
    second = accept(ledger, two, "k2")
    accept(ledger, four, "k3", decision="rejected")
    accept(ledger, four, "k4", decision="undone")
    tried(ledger, second)
    assert partner(ledger, second) == four[0]


@pytest.mark.parametrize("decided", ["rejected", "undone"])
def test_what_does_not_stand_is_not_beside(ledger, decided):
    four, two = measured(ledger, "1.1"), measured(ledger, "1.2", "A2C")
    accept(ledger, four, "k1")
    accept(ledger, four, "k2", decision=decided)
    assert partner(ledger, accept(ledger, two, "k3")) is None


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("A4C", {}),
        ("A2C", {"StudyInstanceUID": "1.8"}),
        ("A2C", {"PatientID": "P2", "StudyInstanceUID": "1.8"}),
    ],
)
def test_the_same_view_and_other_studies_are_not_beside(ledger, name, who):
    four, other = measured(ledger, "1.1"), measured(ledger, "1.2", name, **who)
    accept(ledger, other, "k1", **({"patient_id": "P2"} if "PatientID" in who else {}))
    assert partner(ledger, accept(ledger, four, "k2")) is None


def test_a_view_that_a_person_corrected_counts(ledger):
    four, two = measured(ledger, "1.1"), measured(ledger, "1.2", "A4C")
    view.say(ledger, Said(two[0], "A2C", "KL", view.of(ledger, two[0])["id"]))
    accept(ledger, four, "k1")
    assert partner(ledger, accept(ledger, two, "k2")) == four[0]


@pytest.mark.parametrize("unsure", ["1.1", "1.2"])
def test_a_view_nobody_is_sure_of_gives_no_pair_until_a_person_says_it(ledger, unsure):
    loops = {
        uid: measured(ledger, uid, name, certainty=0.6 if uid == unsure else 0.97)
        for uid, name in (("1.1", "A4C"), ("1.2", "A2C"))
    }
    accept(ledger, loops["1.1"], "k1")
    assert partner(ledger, accept(ledger, loops["1.2"], "k2")) is None
    seq = loops[unsure][0]
    standing = view.of(ledger, seq)
    view.say(ledger, Said(seq, standing["view"], "KL", standing["id"]))
    accept(ledger, loops["1.1"], "k3")
    assert partner(ledger, accept(ledger, loops["1.2"], "k4")) == loops["1.1"][0]


def old(ledger, uid, day, ef, *, key, reviewer="KL", **who):
    about = {"StudyInstanceUID": f"2.{day}", "ContentDateTime": f"{day}101500", **who}
    loop = measured(ledger, uid, ef=ef, **about)
    return loop, accept(ledger, loop, key, reviewer=reviewer)


def earlier(ledger, seq):
    found = beside.earlier(ledger, worklist.loop(ledger, seq))
    return [(row["content_date_time"][:8], row["ef_percent"]) for row in found]


def test_accepted_earlier_studies_of_the_patient_are_told_newest_first(ledger):
    old(ledger, "3.1", "20240105", 61.0, key="a")
    old(ledger, "3.2", "20251103", 48.0, key="b")
    today = measured(ledger, "3.3", ContentDateTime="20261120101500")
    assert earlier(ledger, today[0]) == [("20251103", 48.0), ("20240105", 61.0)]


def test_an_old_study_that_is_sent_late_is_earlier_all_the_same(ledger):
    today = measured(ledger, "3.3", ContentDateTime="20261120101500")
    (late, _), _ = old(ledger, "3.2", "20251103", 48.0, key="b")
    assert earlier(ledger, today[0]) == [("20251103", 48.0)]
    assert earlier(ledger, late) == []


def test_a_study_is_told_once_with_what_was_decided_last(ledger):
    old(ledger, "3.1", "20251103", 48.0, key="a")
    old(ledger, "3.2", "20251103", 52.0, key="b")
    today = measured(ledger, "3.3", ContentDateTime="20261120101500")
    assert earlier(ledger, today[0]) == [("20251103", 52.0)]


@pytest.mark.parametrize(
    "other",
    [{"PatientID": "P2"}, {"PatientBirthDate": "19700101"}, {"StudyInstanceUID": "1.9"}],
)
def test_another_person_or_the_same_study_is_not_told(ledger, other):
    about = {"ContentDateTime": "20251103", "StudyInstanceUID": "2.1", **other}
    loop = measured(
        ledger,
        "3.1",
        PatientBirthDate=other.get("PatientBirthDate", "19600101"),
        **{name: value for name, value in about.items() if name != "PatientBirthDate"},
    )
    accept(ledger, loop, "a", patient_id=other.get("PatientID", "P1"))
    today = measured(ledger, "3.3", ContentDateTime="20261120", PatientBirthDate="19600101")
    assert earlier(ledger, today[0]) == []


def test_without_a_patient_id_nobody_is_the_same(ledger):
    loop = measured(ledger, "3.1", PatientID="", StudyInstanceUID="2.1")
    accept(ledger, loop, "a", patient_id="")
    today = measured(ledger, "3.3", PatientID="")
    assert earlier(ledger, today[0]) == []


@pytest.mark.parametrize("decided", ["rejected", "undone"])
def test_what_was_not_accepted_in_the_end_is_not_told(ledger, decided):
    loop, _ = old(ledger, "3.1", "20251103", 48.0, key="a")
    accept(ledger, loop, "b", decision=decided)
    today = measured(ledger, "3.3", ContentDateTime="20261120101500")
    assert earlier(ledger, today[0]) == []


def test_nothing_is_told_of_a_loop_without_an_ef(ledger):
    old(ledger, "3.1", "20251103", None, key="a")
    today = measured(ledger, "3.3", ContentDateTime="20261120101500")
    assert earlier(ledger, today[0]) == []
