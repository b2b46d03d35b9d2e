"""State changes on the real file: what races, what repeats, what must never change."""

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import LedgerError
from appliance.ledger import (
    Ledger,
    analysis,
    clock,
    delivery,
    identity,
    lease,
    outbox,
    reception,
    review,
    worklist,
)
from appliance.ledger.analysis import Claim, Opened
from appliance.ledger.reception import Received
from appliance.ledger.review import Conflict, Decision, Stale

USB = [("usb", "seg")]
OPENED = Opened("net", "1.0.0", "f" * 64, "openvino", "f32", {}, 8, {}, {}, [{"label": 1}])


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def received(uid: str = "1.2.3", sha256: str = "a" * 64, **more: str) -> Received:
    fields = {"PatientID": "P1", "StudyInstanceUID": "1.9", **more}
    return Received(uid, "1.2.840.1", "1.2.840.2", sha256, 100, "CART", "127.0.0.1", **fields)


def analysed(ledger: Ledger, what: Received | None = None) -> tuple[int, str]:
    seq = reception.record(ledger, what or received()).seq
    claim = analysis.claim(ledger, "engine", 10)
    assert claim is not None
    assert claim.seq == seq
    return seq, seal(ledger, claim)


def seal(ledger: Ledger, claim: Claim) -> str:
    analysis_id = analysis.open(ledger, claim, OPENED)
    analysis.add_chunk(ledger, claim, analysis_id, 0, 8, "c" * 64)
    return analysis.seal(
        ledger,
        claim,
        analysis_id,
        measures={"ef_percent": 55},
        per_frame=[],
        quality={},
        timings={},
    )


def decision(seq: int, sha256: str, **more: str) -> Decision:
    plain = {"decision": "accepted", "reviewer": "AK", "key": "k1", "patient_id": "P1", **more}
    return Decision(seq=seq, analysis_sha256=sha256, **plain)


def test_the_same_object_twice_is_one_row_and_one_job(ledger):
    first = reception.record(ledger, received())
    again = reception.record(ledger, received())
    assert (again.seq, again.duplicate) == (first.seq, True)
    assert len(worklist.loops(ledger)) == 1
    assert analysis.claim(ledger, "e", 10) is not None
    assert analysis.claim(ledger, "e", 10) is None


def test_the_same_uid_with_other_bytes_keeps_both_and_the_newest_is_current(ledger):
    old = reception.record(ledger, received())
    new = reception.record(ledger, received(sha256="b" * 64))
    assert new.differs
    assert not worklist.loop(ledger, old.seq)["current"]
    assert worklist.loop(ledger, new.seq)["current"]


def test_what_could_not_be_analysed_is_again_once_its_file_is_whole(ledger):
    seq = reception.record(ledger, received()).seq
    claim = analysis.claim(ledger, "engine", 60)
    analysis.keep(ledger, claim, "The file is damaged.")
    assert analysis.claim(ledger, "engine", 60) is None
    reception.whole_again(ledger, seq)
    reading = analysis.claim(ledger, "engine", 60)
    assert reading.seq == seq
    reception.whole_again(ledger, seq)  # while the engine reads the damaged file
    with pytest.raises(LedgerError):
        analysis.keep(ledger, reading, "The file is damaged.")
    seal(ledger, analysis.claim(ledger, "engine", 60))
    reception.whole_again(ledger, seq)
    assert analysis.claim(ledger, "engine", 60) is None
    assert worklist.loop(ledger, seq)["state"] == "analysed"


def test_two_engines_never_get_the_same_loop(tmp_path):
    ledger = Ledger(tmp_path)
    for number in range(20):
        reception.record(ledger, received(uid=f"1.2.{number}"))
    claims: list[int] = []

    def work(owner: str) -> None:
        own = Ledger(tmp_path)
        while claim := analysis.claim(own, owner, 60):
            claims.append(claim.seq)

    threads = [threading.Thread(target=work, args=(f"e{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claims) == list(range(1, 21))


def test_an_engine_that_lost_its_lease_can_store_nothing(ledger):
    reception.record(ledger, received())
    slow = analysis.claim(ledger, "slow", -1)  # its lease is over at once
    fast = analysis.claim(ledger, "fast", 10)
    assert slow is not None
    assert fast is not None
    assert not analysis.renew(ledger, slow, 10)
    with pytest.raises(LedgerError, match="lease"):
        analysis.open(ledger, slow, OPENED)
    seal(ledger, fast)
    assert worklist.loop(ledger, 1)["state"] == "analysed"


def test_three_failures_set_a_loop_aside_visibly(ledger):
    seq = reception.record(ledger, received()).seq
    states = []
    while claim := analysis.claim(ledger, "e", 10):
        states.append(analysis.fail(ledger, claim, "the decoder gave up"))
    assert states == ["received", "received", "quarantined"]
    assert "the decoder gave up" in worklist.loop(ledger, seq)["reason"]


def test_a_loop_that_kills_the_engine_each_time_is_set_aside(ledger):
    seq = reception.record(ledger, received()).seq
    for _ in range(3):
        assert analysis.claim(ledger, "e", 600) is not None
        assert analysis.recover(ledger) == 1
    assert analysis.claim(ledger, "e", 600) is None
    assert worklist.loop(ledger, seq)["state"] == "quarantined"


def test_a_power_cut_says_nothing_against_the_loop(ledger):
    reception.record(ledger, received())
    for _ in range(5):
        assert analysis.claim(ledger, "e", 600) is not None
        ledger.db.conn.execute("UPDATE job SET boot_id = 'an earlier boot'")
        analysis.recover(ledger)
    assert worklist.loop(ledger, 1)["state"] == "received"


def test_an_engine_that_is_stopped_gives_the_loop_back_uncounted(ledger):
    reception.record(ledger, received())
    for _ in range(5):
        claim = analysis.claim(ledger, "e", 600)
        assert claim is not None
        assert claim.tries == 1
        analysis.release(ledger, claim, "the engine was stopped")
    assert worklist.loop(ledger, 1)["state"] == "received"


def test_masks_of_a_loop_that_was_then_refused_are_never_shown(ledger):
    reception.record(ledger, received())
    claim = analysis.claim(ledger, "e", 600)
    assert claim is not None
    analysis.open(ledger, claim, OPENED)
    assert worklist.latest_analysis(ledger, 1) is not None
    analysis.keep(ledger, claim, "No four-chamber heart.")
    assert worklist.latest_analysis(ledger, 1) is None


def test_the_hash_of_an_analysis_covers_its_measures(ledger):
    _, first = analysed(ledger)
    _, second = analysed(ledger, received(uid="1.2.4", sha256="b" * 64))
    assert first != second


def test_a_review_is_stored_with_its_deliveries(ledger):
    seq, sha256 = analysed(ledger)
    row = review.record(ledger, decision(seq, sha256), [("usb", "seg"), ("share", "seg")])
    assert row["decision"] == "accepted"
    states = [(d["destination"], d["state"]) for d in worklist.deliveries(ledger, seq)]
    assert states == [("usb", "queued"), ("share", "queued")]


def test_the_same_key_is_the_same_review(ledger):
    seq, sha256 = analysed(ledger)
    first = review.record(ledger, decision(seq, sha256), USB)
    assert review.record(ledger, decision(seq, sha256), USB) == first
    assert len(worklist.reviews(ledger, seq)) == 1
    assert len(worklist.deliveries(ledger, seq)) == 1


@pytest.mark.parametrize("changed", ["analysis_sha256", "patient_id"])
def test_a_review_of_what_is_no_longer_shown_is_refused(ledger, changed):
    seq, sha256 = analysed(ledger)
    with pytest.raises(Stale):
        review.record(ledger, replace(decision(seq, sha256), **{changed: "other"}), USB)
    assert worklist.reviews(ledger, seq) == []


def test_a_review_of_an_object_that_came_again_is_refused(ledger):
    seq, sha256 = analysed(ledger)
    reception.record(ledger, received(sha256="b" * 64))
    with pytest.raises(Stale, match="sent this loop again"):
        review.record(ledger, decision(seq, sha256), USB)


def test_a_study_of_two_patients_blocks_accept_but_not_reject(ledger):
    seq, sha256 = analysed(ledger)
    reception.record(ledger, received(uid="1.2.4", sha256="b" * 64, PatientID="P2"))
    with pytest.raises(Conflict, match="two patients"):
        review.record(ledger, decision(seq, sha256), USB)
    review.record(ledger, decision(seq, sha256, decision="rejected"), USB)
    assert worklist.deliveries(ledger, seq) == []


def test_a_study_sent_again_under_one_patient_can_be_accepted(ledger):
    """The patient corrected, the study sent again, and somebody has confirmed the change."""
    reception.record(ledger, received(PatientID="P2"))
    reception.record(ledger, received(uid="1.2.4", sha256="b" * 64))
    assert {row["patients"] for row in worklist.loops(ledger)} == {2}
    first, sha256 = analysed(ledger, received(sha256="c" * 64))
    reception.record(ledger, received(uid="1.2.4", sha256="d" * 64))
    told = worklist.loop(ledger, first)["told"]
    assert told == "the machine has sent this study again with another patient (ID differs)"
    with pytest.raises(Conflict, match="another patient"):
        review.record(ledger, decision(first, sha256), USB)
    identity.say(ledger, identity.Said(first, "AK", frozenset({"P1", "P2"}), "P1"))
    review.record(ledger, decision(first, sha256), USB)
    assert worklist.loop(ledger, first)["review"]["decision"] == "accepted"


def test_an_object_that_comes_back_after_another_content_is_current_again(ledger):
    seq, sha256 = analysed(ledger)
    between = reception.record(ledger, received(sha256="b" * 64))
    back = reception.record(ledger, received())
    assert (back.seq, back.duplicate) == (seq, True)
    assert worklist.loop(ledger, seq)["current"]
    assert not worklist.loop(ledger, between.seq)["current"]
    review.record(ledger, decision(seq, sha256), USB)
    last = reception.record(ledger, received(sha256="d" * 64))
    assert worklist.loop(ledger, last.seq)["current"]
    assert not worklist.loop(ledger, seq)["current"]


def test_what_was_decided_on_a_replaced_object_waits_for_nothing(ledger):
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    new, _ = analysed(ledger, received(sha256="b" * 64, PatientName="ROE^JANE"))
    (ended,) = worklist.loop(ledger, seq)["deliveries"]
    assert (ended["state"], ended["problem"]) == ("withdrawn", outbox.REPLACED)
    assert delivery.claim(ledger, "courier", 10, ["usb"]) is None
    assert worklist.loop(ledger, new)["deliveries"] == []


def test_it_goes_out_when_the_object_stands_again(ledger):
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    analysed(ledger, received(sha256="b" * 64))
    reception.record(ledger, received())
    assert worklist.loop(ledger, seq)["current"]
    leased = delivery.claim(ledger, "courier", 10, ["usb"])
    assert leased is not None
    assert leased.seq == seq


def test_what_a_person_took_back_stays_so_when_the_object_stands_again(ledger):
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    review.record(ledger, decision(seq, sha256, decision="undone", key="k2"), USB)
    analysed(ledger, received(sha256="b" * 64))
    reception.record(ledger, received())
    assert [row["state"] for row in worklist.loop(ledger, seq)["deliveries"]] == ["withdrawn"]


def test_a_loop_without_a_study_can_only_be_rejected(ledger):
    seq, sha256 = analysed(ledger, received(StudyInstanceUID=""))
    for sending in ("accepted", "corrected"):
        with pytest.raises(Conflict, match="sent no study with this loop"):
            review.record(ledger, decision(seq, sha256, decision=sending), USB)
    review.record(ledger, decision(seq, sha256, decision="rejected"), USB)


def test_a_decision_is_refused_when_somebody_decided_since_the_page_was_opened(ledger):
    seq, sha256 = analysed(ledger)
    unseen = replace(decision(seq, sha256), newest_review=0)
    first = review.record(ledger, unseen, USB)
    assert review.record(ledger, unseen, USB) == first, "the same key is the same decision"
    with pytest.raises(Stale, match="somebody has decided on this loop since you opened it"):
        review.record(ledger, replace(unseen, key="k2"), USB)
    undo = decision(seq, sha256, key="k3", decision="undone")
    undone = review.record(ledger, replace(undo, newest_review=first["id"]), USB)
    with pytest.raises(Stale, match="somebody has decided"):
        review.record(ledger, replace(unseen, key="k4", newest_review=first["id"]), USB)
    again = review.record(ledger, replace(unseen, key="k5", newest_review=undone["id"]), USB)
    assert again["parent"] == undone["id"]
    review.record(ledger, decision(seq, sha256, key="k6"), USB)  # an older page says nothing


def receive_many(ledger: Ledger) -> None:
    for number in range(1000):
        reception.record(ledger, received(uid=f"1.2.{number}"))


def test_a_ledger_that_was_full_works_again_in_the_same_thread(ledger):
    pages = ledger.db.conn.execute("PRAGMA page_count").fetchone()[0]
    ledger.db.conn.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        receive_many(ledger)
    ledger.db.conn.execute("PRAGMA max_page_count = 100000")
    assert not reception.record(ledger, received(uid="1.2.2000")).duplicate


def test_a_second_review_names_its_parent_and_withdraws_what_has_not_left(ledger):
    seq, sha256 = analysed(ledger)
    first = review.record(ledger, decision(seq, sha256), USB)
    second = review.record(ledger, decision(seq, sha256, key="k2", decision="corrected"), USB)
    assert second["parent"] == first["id"]
    assert [d["state"] for d in worklist.deliveries(ledger, seq)] == ["withdrawn", "queued"]
    assert second["result_sop_instance_uid"] != first["result_sop_instance_uid"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE review SET decision = 'rejected'",
        "DELETE FROM review",
        "UPDATE analysis SET measures = '{}'",
        "DELETE FROM analysis",
    ],
)
def test_the_database_itself_refuses_to_change_an_answer(ledger, statement):
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), [])
    with pytest.raises(sqlite3.IntegrityError, match="immutable"):
        ledger.db.conn.execute(statement)


def test_a_postponed_delivery_waits_for_its_time_and_is_never_given_up(ledger):
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    for tries in range(1, 8):
        leased = delivery.claim(ledger, "c", 10, ["usb"])
        assert leased is not None
        assert leased.tries == tries
        delivery.postpone(ledger, leased, "the stick is not there", 0)
    leased = delivery.claim(ledger, "c", 10, ["usb"])
    assert leased is not None
    delivery.postpone(ledger, leased, "the stick is not there", 3600)
    assert delivery.claim(ledger, "c", 10, ["usb"]) is None
    assert worklist.deliveries(ledger, seq)[0]["problem"] == "the stick is not there"


def test_after_a_restart_of_the_machine_a_postponed_delivery_is_due(ledger):
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    leased = delivery.claim(ledger, "c", 10, ["usb"])
    assert leased is not None
    delivery.postpone(ledger, leased, "away", 3600)
    ledger.db.conn.execute("UPDATE outbox SET next_try_boot_id = 'an earlier boot'")
    assert delivery.claim(ledger, "c", 10, ["usb"]) is not None


def test_a_killed_courier_tries_the_same_object_again(ledger):
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    first = delivery.claim(ledger, "c", 600, ["usb"])
    assert delivery.claim(ledger, "c", 600, ["usb"]) is None
    delivery.recover(ledger)
    second = delivery.claim(ledger, "c", 600, ["usb"])
    assert first is not None
    assert second is not None
    assert second.result_uid == first.result_uid


def test_a_result_for_a_destination_that_is_gone_stays(ledger):
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    assert delivery.claim(ledger, "c", 10, ["share"]) is None
    assert delivery.claim(ledger, "c", 10, []) is None
    assert worklist.deliveries(ledger, seq)[0]["state"] == "queued"


def test_a_change_wakes_the_other_services(tmp_path):
    mine, other = Ledger(tmp_path), Ledger(tmp_path)
    mine.wait_for_change(lambda _: False, 0.1)
    assert not mine.wait_for_change(lambda _: False, 0.05)
    reception.record(other, received())
    assert mine.wait_for_change(lambda _: False, 5)


def test_a_file_that_is_no_database_is_said_in_words(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"not a database at all, but long enough" * 50)
    with pytest.raises(LedgerError, match="open the ledger"):
        Ledger(tmp_path)


def test_an_original_goes_at_once_and_before_the_results_of_its_loop(ledger):
    seq = reception.record(ledger, received(), originals=["pacs"]).seq
    first = delivery.claim(ledger, "c", 10, ["pacs"], closes_after_s=600)
    assert first is not None
    assert (first.kind, first.review_id, first.seq) == ("original", None, seq)
    delivery.postpone(ledger, first, "away", 0)
    claim = analysis.claim(ledger, "e", 10)
    assert claim is not None
    review.record(ledger, decision(seq, seal(ledger, claim)), [("pacs", "seg")])
    again = delivery.claim(ledger, "c", 10, ["pacs"])
    assert again is not None
    assert again.kind == "original"
    delivery.sent(ledger, again)
    delivery.proven(ledger, again, "e" * 64, 5)
    result = delivery.claim(ledger, "c", 10, ["pacs"])
    assert result is not None
    assert result.kind == "seg"


def test_results_wait_until_the_study_is_closed(ledger):
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    assert delivery.claim(ledger, "c", 10, ["usb"], closes_after_s=600) is None  # it just came
    other, other_sha256 = analysed(ledger, received(uid="1.2.4", sha256="b" * 64))
    assert delivery.claim(ledger, "c", 10, ["usb"]) is None  # a loop of it is not decided
    review.record(ledger, decision(other, other_sha256, key="k2", decision="rejected"), [])
    assert delivery.claim(ledger, "c", 10, ["usb"]) is not None


def _arrived_long_ago(ledger: Ledger) -> None:
    with ledger.transaction() as db:
        db.execute("UPDATE instance SET received_boot_s = received_boot_s - 3600")


def test_results_wait_for_the_quiet_time_after_the_last_decision(ledger, monkeypatch):
    now = clock.boot_seconds() + 10_000
    for module in (review, lease):
        monkeypatch.setattr(module, "boot_seconds", lambda: now)
    seq, sha256 = analysed(ledger)
    other, other_sha256 = analysed(ledger, received(uid="1.2.4", sha256="b" * 64))
    _arrived_long_ago(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    review.record(ledger, decision(other, other_sha256, key="k2"), USB)
    assert delivery.claim(ledger, "c", 10, ["usb"], closes_after_s=600) is None
    review.record(ledger, decision(seq, sha256, key="k3", decision="undone"), USB)
    now += 400
    review.record(ledger, decision(seq, sha256, key="k4", decision="rejected"), USB)
    now += 400
    assert delivery.claim(ledger, "c", 10, ["usb"], closes_after_s=600) is None
    now += 201
    assert delivery.claim(ledger, "c", 10, ["usb"], closes_after_s=600).seq == other


def test_a_decision_can_be_undone_until_its_result_leaves(ledger):
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    review.record(ledger, decision(seq, sha256, key="k2", decision="undone"), USB)
    assert worklist.loop(ledger, seq)["review"] is None
    assert [d["state"] for d in worklist.deliveries(ledger, seq)] == ["withdrawn"]
    assert delivery.claim(ledger, "c", 10, ["usb"]) is None
    with pytest.raises(Stale, match="none to undo"):
        review.record(ledger, decision(seq, sha256, key="k3", decision="undone"), USB)
    review.record(ledger, decision(seq, sha256, key="k4"), USB)
    leased = delivery.claim(ledger, "c", 10, ["usb"])
    assert leased is not None
    with pytest.raises(Stale, match="has left"):
        review.record(ledger, decision(seq, sha256, key="k5", decision="undone"), USB)
    delivery.sent(ledger, leased)
    with pytest.raises(Stale, match="has left"):
        review.record(ledger, decision(seq, sha256, key="k6", decision="undone"), USB)


def deliver_all(ledger: Ledger) -> list[str]:
    kinds = []
    while leased := delivery.claim(ledger, "c", 10, ["usb"]):
        delivery.sent(ledger, leased)
        delivery.proven(ledger, leased, "e" * 64, 5)
        kinds.append(leased.kind)
    return kinds


def test_what_has_arrived_is_rejected_before_its_successor_arrives(ledger):
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    assert deliver_all(ledger) == ["seg"]
    review.record(ledger, decision(seq, sha256, key="k2", decision="corrected"), USB)
    assert deliver_all(ledger) == ["rejection", "seg"]
    review.record(ledger, decision(seq, sha256, key="k3", decision="rejected"), USB)
    assert deliver_all(ledger) == ["rejection"]
    review.record(ledger, decision(seq, sha256, key="k4", decision="rejected"), USB)
    assert deliver_all(ledger) == []  # nothing stands there any more


def test_what_was_tried_may_have_arrived_and_is_rejected_too(ledger):
    """A courier killed between handing over and saying so leaves such a row."""
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    assert delivery.claim(ledger, "c", 600, ["usb"]) is not None
    delivery.recover(ledger)
    with pytest.raises(Stale, match="has left"):
        review.record(ledger, decision(seq, sha256, key="k2", decision="undone"), USB)
    review.record(ledger, decision(seq, sha256, key="k3", decision="corrected"), USB)
    assert deliver_all(ledger) == ["rejection", "seg"]


def test_an_original_that_a_destination_refuses_holds_nothing_back(ledger):
    seq = reception.record(ledger, received(), originals=["pacs"]).seq
    original = delivery.claim(ledger, "c", 10, ["pacs"])
    assert original is not None
    delivery.postpone(ledger, original, "refuses this syntax", 3600)
    claim = analysis.claim(ledger, "e", 10)
    assert claim is not None
    review.record(ledger, decision(seq, seal(ledger, claim)), [("pacs", "seg")])
    result = delivery.claim(ledger, "c", 10, ["pacs"])
    assert result is not None
    assert result.kind == "seg"


def test_what_must_not_leave_is_refused_for_good_and_says_why(ledger):
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), USB)
    leased = delivery.claim(ledger, "c", 10, ["usb"])
    assert leased is not None
    delivery.refuse(ledger, leased, "the sector is not certain")
    assert delivery.claim(ledger, "c", 10, ["usb"]) is None
    (row,) = worklist.deliveries(ledger, seq)
    assert (row["state"], row["problem"]) == ("refused", "the sector is not certain")
