"""The view's label: a model's word, a person's word over it, and what each changes."""

import sqlite3

import pytest

from appliance.ledger import Ledger, analysis, reception, review, view, worklist
from appliance.ledger.review import Conflict, Stale
from appliance.ledger.view import Said
from tests.ledger.test_states import USB, analysed, decision, received, seal


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def looked_at(ledger, claim, found="A4C", certainty=0.97):
    view.found(ledger, claim, found, certainty=certainty, figures={}, network_sha256="e" * 64)


def measured(ledger, found="A4C"):
    """A loop that was looked at and analysed; its seq and the analysis' hash."""
    seq = reception.record(ledger, received()).seq
    claim = analysis.claim(ledger, "engine", 10)
    looked_at(ledger, claim, found)
    return seq, seal(ledger, claim)


def kept(ledger):
    """A loop that was kept because the model saw another view."""
    seq = reception.record(ledger, received()).seq
    claim = analysis.claim(ledger, "engine", 10)
    looked_at(ledger, claim, "other")
    analysis.keep(ledger, claim, "No apical view.")
    return seq


def say(ledger, seq, name, by="AK", shown=None):
    standing = view.of(ledger, seq)
    known = standing["id"] if standing else 0
    view.say(ledger, Said(seq, name, by, known if shown is None else shown))


def test_a_persons_word_stands_over_the_models_and_both_stay(ledger):
    seq, _ = measured(ledger)
    say(ledger, seq, "A2C")
    assert worklist.loop(ledger, seq)["view"]["view"] == "A2C"
    assert view.by_model(ledger, seq)["view"] == "A4C"
    rows = ledger.read("SELECT view, source, by FROM view WHERE seq = ? ORDER BY id", [seq])
    assert [tuple(row.values()) for row in rows] == [
        ("A4C", "model", "e" * 64),
        ("A2C", "person", "AK"),
    ]


def test_who_changed_the_view_when_is_in_the_history(ledger):
    seq, _ = measured(ledger)
    say(ledger, seq, "A2C")
    told = [row for row in worklist.history(ledger, seq) if row["subject"] == "view"]
    assert [(row["state"], row["detail"]) for row in told] == [("A4C", "model"), ("A2C", "AK")]
    assert told[-1]["at"]


def test_a_word_on_the_view_is_never_changed_or_deleted(ledger):
    measured(ledger)
    for statement in ("UPDATE view SET view = 'A2C'", "DELETE FROM view"):
        with pytest.raises(sqlite3.IntegrityError, match="immutable"):
            ledger.db.conn.execute(statement)


def test_a_loop_kept_for_its_view_is_measured_when_a_person_says_what_it_shows(ledger):
    seq = kept(ledger)
    say(ledger, seq, "A4C")
    assert worklist.loop(ledger, seq)["state"] == "received"
    claim = analysis.claim(ledger, "engine", 10)
    assert (claim.seq, claim.view, claim.tries) == (seq, "A4C", 1)
    looked_at(ledger, claim, "other")  # the model says the same again
    seal(ledger, claim)
    found = worklist.loop(ledger, seq)
    assert (found["state"], found["view"]["view"]) == ("analysed", "A4C")


def test_confirming_that_a_kept_loop_is_another_view_measures_nothing(ledger):
    seq = kept(ledger)
    say(ledger, seq, "other")
    assert worklist.loop(ledger, seq)["state"] == "kept"
    assert analysis.claim(ledger, "engine", 10) is None


def test_a_loop_that_was_kept_before_anyone_looked_stays_kept(ledger):
    seq = reception.record(ledger, received()).seq
    claim = analysis.claim(ledger, "engine", 10)
    analysis.keep(ledger, claim, "A still image.")
    with pytest.raises(Conflict, match="in any view"):
        say(ledger, seq, "A4C")
    assert worklist.loop(ledger, seq)["state"] == "kept"


def test_the_same_word_twice_is_one_row(ledger):
    seq = kept(ledger)
    shown = view.of(ledger, seq)["id"]
    say(ledger, seq, "A4C", shown=shown)
    say(ledger, seq, "A4C", shown=shown)  # the answer was lost, the page sends it again
    assert len(ledger.read("SELECT 1 FROM view WHERE source = 'person'")) == 1


def test_two_people_can_not_change_the_view_past_each_other(ledger):
    seq, _ = measured(ledger)
    shown = view.of(ledger, seq)["id"]
    say(ledger, seq, "A2C", by="AK", shown=shown)
    with pytest.raises(Stale, match="changed meanwhile"):
        say(ledger, seq, "other", by="KL", shown=shown)


def test_while_a_loop_is_being_measured_its_view_waits(ledger):
    seq = reception.record(ledger, received()).seq
    claim = analysis.claim(ledger, "engine", 10)
    looked_at(ledger, claim)
    with pytest.raises(Stale, match="being measured"):
        say(ledger, seq, "A2C")


def test_a_replaced_loop_keeps_its_view(ledger):
    seq, _ = measured(ledger)
    reception.record(ledger, received(sha256="b" * 64))
    with pytest.raises(Stale, match="sent this loop again"):
        say(ledger, seq, "A2C")


def test_a_review_names_the_view_it_was_about_and_who_had_set_it(ledger):
    seq, sha256 = measured(ledger)
    first = review.record(ledger, decision(seq, sha256), USB)
    assert (first["view"], first["view_by"]) == ("A4C", "")
    say(ledger, seq, "A2C", by="KL")
    second = review.record(ledger, decision(seq, sha256, key="k2"), USB)
    assert (second["view"], second["view_by"]) == ("A2C", "KL")


def test_a_review_of_a_view_that_has_changed_is_refused(ledger):
    seq, sha256 = measured(ledger)
    say(ledger, seq, "A2C", by="KL")
    with pytest.raises(Stale, match="the view was changed"):
        review.record(ledger, decision(seq, sha256, view="A4C"), USB)
    review.record(ledger, decision(seq, sha256, view="A2C"), USB)


def test_what_a_person_called_another_view_is_not_accepted_but_may_be_rejected(ledger):
    seq, sha256 = measured(ledger)
    say(ledger, seq, "other")
    with pytest.raises(Conflict, match="another view"):
        review.record(ledger, decision(seq, sha256), USB)
    review.record(ledger, decision(seq, sha256, decision="rejected"), USB)


def test_a_result_that_names_the_old_view_is_withdrawn_if_it_has_not_left(ledger):
    seq, sha256 = measured(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    say(ledger, seq, "A4C")  # confirms what stands: nothing changes
    assert [row["state"] for row in worklist.deliveries(ledger, seq)] == ["queued"]
    say(ledger, seq, "A2C")
    assert [row["state"] for row in worklist.deliveries(ledger, seq)] == ["withdrawn"]


def test_a_loop_of_an_earlier_release_has_no_view_and_is_reviewed_as_before(ledger):
    seq, sha256 = analysed(ledger)
    assert worklist.loop(ledger, seq)["view"] is None
    assert review.record(ledger, decision(seq, sha256), USB)["view"] == ""
