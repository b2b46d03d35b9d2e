"""Undo: what stood before stands again, with its results, and everybody who asks is told the same."""

from itertools import count

import pytest

from appliance.ledger import (
    Ledger,
    analysis,
    audit,
    beside,
    delivery,
    expert,
    identity,
    reception,
    review,
    space,
    view,
    worklist,
)
from appliance.ledger.connection import insert
from appliance.ledger.expert import Asked
from appliance.ledger.review import SENDING, Conflict, Stale
from appliance.ledger.view import Said
from tests.ledger.test_beside import measured
from tests.ledger.test_states import analysed, decision, deliver_all, received, seal

WANTED = {
    "accepted": [("usb", "seg"), ("usb", "sr")],
    "corrected": [("usb", "seg"), ("usb", "sr"), ("central", "correction")],
}
EVERYWHERE = ["usb", "central"]
_keys = count()


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def decide(ledger, loop, what, by="AK", **more):
    if what == "corrected":
        more["measures"] = {"ef_percent": 60.0}
    made = decision(*loop, decision=what, reviewer=by, key=f"u{next(_keys)}", **more)
    return review.record(ledger, made, WANTED.get(what, []))["id"]


def standing(ledger, loop):
    found = worklist.loop(ledger, loop[0])["review"]
    return found and found["id"]


def queued(ledger, loop):
    """(review, kind) of what waits to leave."""
    rows = worklist.deliveries(ledger, loop[0])
    return {(row["review_id"], row["kind"]) for row in rows if row["state"] == "queued"}


@pytest.mark.parametrize("others", ["AK", "BB"])
def test_a_correction_stands_again_when_the_rejection_after_it_is_undone(ledger, others):
    loop = analysed(ledger)
    corrected = decide(ledger, loop, "corrected")
    decide(ledger, loop, "rejected", by=others)
    assert queued(ledger, loop) == set()
    decide(ledger, loop, "undone", by=others)
    found = worklist.loop(ledger, loop[0])["review"]
    assert (found["id"], found["decision"], found["reviewer"]) == (corrected, "corrected", "AK")
    assert queued(ledger, loop) == {(corrected, kind) for kind in ("seg", "sr", "correction")}
    assert leaving(ledger) == [loop[0]] * 3
    assert queued(ledger, loop) == set()


def test_an_accept_stands_again_when_the_correction_after_it_is_undone(ledger):
    loop = analysed(ledger)
    accepted = decide(ledger, loop, "accepted")
    decide(ledger, loop, "corrected", by="BB")
    decide(ledger, loop, "undone", by="AK")
    assert standing(ledger, loop) == accepted
    assert queued(ledger, loop) == {(accepted, "seg"), (accepted, "sr")}


def test_a_second_undo_takes_back_what_the_first_one_had_brought_back(ledger):
    loop = analysed(ledger)
    decide(ledger, loop, "corrected")
    decide(ledger, loop, "rejected")
    decide(ledger, loop, "undone")
    decide(ledger, loop, "undone", by="BB")
    assert standing(ledger, loop) is None
    assert queued(ledger, loop) == set()
    with pytest.raises(Stale, match="none to undo"):
        decide(ledger, loop, "undone")
    again = decide(ledger, loop, "accepted")
    decide(ledger, loop, "rejected")
    decide(ledger, loop, "undone")
    assert standing(ledger, loop) == again


def test_what_has_left_stays_where_it_is_and_is_not_taken_back(ledger):
    loop = analysed(ledger)
    accepted = decide(ledger, loop, "accepted")
    assert deliver_all(ledger) == ["seg", "sr"]
    rejected = decide(ledger, loop, "rejected")
    assert queued(ledger, loop) == {(rejected, "rejection")}
    decide(ledger, loop, "undone")
    assert standing(ledger, loop) == accepted
    assert queued(ledger, loop) == set()
    assert deliver_all(ledger) == []
    with pytest.raises(Stale, match="has left"):
        decide(ledger, loop, "undone")
    decide(ledger, loop, "corrected")
    assert deliver_all(ledger) == ["rejection", "seg", "sr"]


def test_a_rejection_whose_note_has_left_is_not_undone(ledger):
    loop = analysed(ledger)
    decide(ledger, loop, "accepted")
    deliver_all(ledger)
    rejected = decide(ledger, loop, "rejected")
    assert deliver_all(ledger) == ["rejection"]
    with pytest.raises(Stale, match="has left"):
        decide(ledger, loop, "undone")
    assert standing(ledger, loop) == rejected


def test_what_was_decided_on_another_view_does_not_stand_again(ledger):
    loop = measured(ledger, "1.1")
    decide(ledger, loop, "accepted")
    view.say(ledger, Said(loop[0], "A2C", "KL", view.of(ledger, loop[0])["id"]))
    decide(ledger, loop, "rejected")
    decide(ledger, loop, "undone")
    assert standing(ledger, loop) is None
    assert queued(ledger, loop) == set()


def test_what_was_decided_on_an_earlier_analysis_does_not_stand_again(ledger):
    loop = analysed(ledger)
    decide(ledger, loop, "accepted")
    with ledger.transaction() as db:
        db.conn.execute("UPDATE job SET state = 'queued'")
    anew = loop[0], seal(ledger, analysis.claim(ledger, "e", 10))
    decide(ledger, anew, "rejected")
    decide(ledger, anew, "undone")
    assert standing(ledger, anew) is None
    assert queued(ledger, anew) == set()


def test_an_accept_does_not_rise_again_against_what_was_said_of_the_patient(ledger):
    loop = analysed(ledger)
    decide(ledger, loop, "accepted")
    decide(ledger, loop, "rejected")
    reception.record(ledger, received(uid="1.2.4", sha256="b" * 64, PatientID="P2"))
    identity.say(ledger, identity.Said(loop[0], "KL", frozenset({"P1", "P2"}), "P2"))
    decide(ledger, loop, "undone")
    assert standing(ledger, loop) is None
    assert queued(ledger, loop) == set()


def test_an_undo_of_an_earlier_release_leaves_nothing_in_force(ledger):
    loop = analysed(ledger)
    decide(ledger, loop, "accepted")
    last = worklist.review(ledger, decide(ledger, loop, "rejected"))
    with ledger.transaction() as db:
        names = ("seq", "analysis_id", "analysis_sha256", "patient_id", "reviewer", "at")
        names += ("reason", "result_sop_instance_uid", "result_series_instance_uid")
        plain = {name: last[name] for name in names}
        more = {"measures": "{}", "geometry": "{}", "parent": last["id"]}
        insert(db, "review", {**plain, **more, "decision": "undone", "key": "earlier"})
    assert standing(ledger, loop) is None
    with pytest.raises(Stale, match="none to undo"):
        decide(ledger, loop, "undone")


def test_no_review_is_changed_by_an_undo(ledger):
    loop = analysed(ledger)
    decide(ledger, loop, "corrected")
    decide(ledger, loop, "rejected")
    before = worklist.reviews(ledger, loop[0])
    decide(ledger, loop, "undone")
    after = worklist.reviews(ledger, loop[0])
    assert after[:2] == before
    assert after[2]["restores"] == before[0]["id"]
    assert audit.verify(ledger).problem == ""


HISTORIES = [
    (["accepted"], "accepted"),
    (["accepted", "rejected"], "rejected"),
    (["accepted", "undone"], None),
    (["corrected", "rejected", "undone"], "corrected"),
    (["rejected", "accepted", "undone"], "rejected"),
    (["accepted", "corrected", "undone", "undone"], None),
    (["accepted", "undone", "rejected", "undone"], None),
    (["accepted", "corrected", "undone", "rejected", "undone"], "accepted"),
]


@pytest.mark.parametrize(("history", "stands"), HISTORIES)
def test_whoever_asks_what_stands_is_told_the_same(ledger, history, stands):
    four, two = measured(ledger, "1.1"), measured(ledger, "1.2", "A2C")
    for what in history:
        newest = decide(ledger, four, what)
    found = worklist.loop(ledger, four[0])["review"]
    assert (found and found["decision"]) == stands
    assert worklist.study(ledger, "1.9")[0]["review"] == found
    assert {number for number, _ in queued(ledger, four)} == (
        {found["id"]} if sends(stands) else set()
    )
    second = decide(ledger, two, "accepted")
    pair = beside.other_view(ledger, second)
    assert (pair and pair["review"]["decision"]) == (stands if sends(stands) else None)
    today = measured(ledger, "3.3", StudyInstanceUID="2.1", ContentDateTime="20261120")
    decide(ledger, two, "undone")
    told = beside.earlier(ledger, worklist.loop(ledger, today[0]))
    assert [row["ef_percent"] for row in told] == expected_ef(stands)
    decide(ledger, two, "rejected")
    # The study is closed, and what was decided leaves, once each loop of it is decided.
    decided = stands is not None
    assert (delivery.claim(ledger, "c", 10, EVERYWHERE) is not None) == sends(stands)
    third = measured(ledger, "1.3", "A2C")
    decide(ledger, third, "accepted")
    assert (third[0] in leaving(ledger)) == decided
    asked = Asked(four[0], "AK", four[1], newest, "e1")
    if decided:
        with pytest.raises(Conflict, match="decided on"):
            expert.ask(ledger, asked)
    else:
        expert.ask(ledger, asked)


def sends(stands):
    return stands in SENDING


def expected_ef(stands):
    return {"accepted": [55.0], "corrected": [60.0]}.get(stands, [])


def leaving(ledger):
    found = []
    while leased := delivery.claim(ledger, "c2", 10, EVERYWHERE):
        delivery.sent(ledger, leased)
        delivery.proven(ledger, leased, "e" * 64, 5)
        found.append(leased.seq)
    return found


@pytest.mark.parametrize(("history", "stands"), HISTORIES)
def test_so_are_those_who_ask_for_a_patient_or_for_a_loop_that_comes_back(ledger, history, stands):
    loop = analysed(ledger)
    for what in history:
        decide(ledger, loop, what)
    before = queued(ledger, loop)
    reception.record(ledger, received(sha256="9" * 64))
    assert queued(ledger, loop) == set()
    reception.record(ledger, received())
    assert queued(ledger, loop) == before
    reception.record(ledger, received(uid="1.2.4", sha256="b" * 64, PatientID="P2"))
    said = identity.Said(loop[0], "KL", frozenset({"P1", "P2"}), "P2")
    if sends(stands):
        with pytest.raises(Conflict, match="accepted as another patient's"):
            identity.say(ledger, said)
    else:
        identity.say(ledger, said)


@pytest.mark.parametrize(("history", "stands"), HISTORIES)
def test_so_is_who_makes_room(ledger, history, stands):
    loops = []
    for number, study in enumerate(["1.8", "1.9"]):
        what = received(f"1.2.{number}", str(number) * 64, StudyInstanceUID=study)
        seq = reception.record(ledger, what, ["archive"]).seq
        loops.append((seq, seal(ledger, analysis.claim(ledger, "e", 10))))
    while leased := delivery.claim(ledger, "c", 10, ["archive"]):
        delivery.sent(ledger, leased)
        digest = worklist.loop(ledger, leased.seq)["sha256"]
        delivery.proven(ledger, leased, digest, 100)
    for what in history:
        decide(ledger, loops[0], what)
    decide(ledger, loops[1], "rejected")
    leaving(ledger)
    first, second = (loop[0] for loop in loops)
    order = [first, second] if stands else [second, first]
    assert [row["seq"] for row in space.may_leave(ledger, 10)] == order
