"""A damaged ledger is set aside when a service starts; what was confirmed is in the new one."""

import sqlite3
from pathlib import Path

import pytest

from appliance.errors import LedgerError
from appliance.ledger import Ledger, cart, outbox, reception, user
from appliance.ledger.connection import DAMAGE_MARK
from appliance.upkeep import damage, rebuild, records, snapshot
from tests.upkeep.material import DAMAGES, Kept, no_header


@pytest.fixture
def box(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "box")


def deliveries(box: Kept) -> list[tuple[object, ...]]:
    rows = box.ledger.read("SELECT review_id, kind, state FROM outbox ORDER BY id")
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("copied", [True, False], ids=["copy", "no-copy"])
def test_every_confirmed_review_and_object_is_in_the_ledger_that_takes_its_place(box, how, copied):
    box.reviewed(1)
    if copied:
        snapshot.take(box.state)
    box.reviewed(2, "rejected")
    box.receive(3)
    before = box.reviews()
    box.fold()
    DAMAGES[how](box.state / "ledger.db")

    damage.hold(box.state).close()

    box = Kept(box.root)
    assert box.reviews() == before
    found = rebuild.record_found(box.ledger, box.spool)
    assert (found.recorded, found.damaged) == (1, 0)
    assert reception.current(box.ledger, "1.2.3") is not None
    assert box.verdict() == ""
    assert not (box.state / DAMAGE_MARK).exists()
    (aside,) = (box.state / "damaged").iterdir()
    assert (aside / "ledger.db").exists()
    if copied:
        assert [row["initials"] for row in user.listed(box.ledger)] == ["AK"]
        assert [row["calling_ae"] for row in cart.decided(box.ledger)] == ["VIVID"]


def test_rows_that_a_lost_write_ahead_log_held_come_back_from_the_spool(box):
    box.fold()
    box = Kept(box.root)
    box.reviewed(1)
    before = box.reviews()
    folded = (box.state / "ledger.db").read_bytes()
    box.ledger.close()
    (box.state / "ledger.db").write_bytes(folded)
    (box.state / "ledger.db-wal").unlink(missing_ok=True)

    damage.hold(box.state).close()

    box = Kept(box.root)
    assert box.reviews() == before
    assert not (box.state / "damaged").exists()


def test_a_whole_ledger_is_left_alone(box):
    box.reviewed(1)
    box.fold()
    content = (box.state / "ledger.db").read_bytes()
    damage.hold(box.state).close()
    assert (box.state / "ledger.db").read_bytes() == content


def test_what_was_delivered_before_a_correction_is_still_told_from_what_was_not(box):
    seq, sha256 = box.analysed(1)
    first = box.decide(seq, sha256, "first", "accepted")
    box.ledger.db.conn.execute("UPDATE outbox SET state = 'proven', tries = 1")
    second = box.decide(seq, sha256, "second", "accepted")
    damage.replace(box.state, None)
    box = box.again()
    assert damage.put_back(box.ledger, box.spool) == (2, 0)
    assert deliveries(box) == [
        (first, "seg", "unproven"),
        (first, "sr", "unproven"),
        (second, "rejection", "queued"),
        (second, "seg", "queued"),
        (second, "sr", "queued"),
    ]
    with box.ledger.transaction() as db:
        assert outbox.has_left(db, second), "whether it has left can't be told: it counts as left"


def test_a_result_withdrawn_before_it_left_stays_withdrawn(box):
    seq, sha256 = box.analysed(1)
    first = box.decide(seq, sha256, "first", "accepted")
    second = box.decide(seq, sha256, "second", "rejected")
    damage.replace(box.state, None)
    box = box.again()
    damage.put_back(box.ledger, box.spool)
    assert deliveries(box) == [(first, "seg", "withdrawn"), (first, "sr", "withdrawn")]
    assert [row[0] for row in box.reviews()] == [first, second]


def test_a_copy_that_rotted_is_not_taken(box):
    box.reviewed(1)
    before = box.reviews()
    copy = snapshot.take(box.state)
    with copy.open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"rotten")
    box.fold()
    no_header(box.state / "ledger.db")
    done = damage.mend(box.state)
    assert (done.from_copy, done.reviews) == (False, 1)
    assert Kept(box.root).reviews() == before


def test_a_review_s_file_that_was_changed_is_refused_and_the_others_are_read(box):
    box.reviewed(1)
    box.reviewed(2)
    first, _ = records.names(box.spool)
    path = box.spool.reviews / first
    path.write_bytes(path.read_bytes()[:-20])
    damage.replace(box.state, None)
    box = box.again()
    assert damage.put_back(box.ledger, box.spool) == (1, 1)


def test_an_object_purged_since_its_review_is_not_promised_again(box):
    box.reviewed(1)
    for path in box.spool.objects.rglob("*.dcm"):
        path.unlink()
    damage.replace(box.state, None)
    box = box.again()
    damage.put_back(box.ledger, box.spool)
    (row,) = box.ledger.read("SELECT purged_at FROM instance")
    assert row["purged_at"]


def test_of_objects_with_one_uid_the_last_received_counts_again(box):
    box.receive(1, b"\x01" * 4096)
    box.receive(1, b"\x02" * 4096)
    newest = reception.current(box.ledger, "1.2.1")
    (row,) = box.ledger.read("SELECT sha256 FROM instance WHERE seq = ?", [newest])
    damage.replace(box.state, None)
    box = box.again()
    # The newer one comes in again before the older is found.
    found = rebuild.without_row(box.ledger, box.spool)
    assert [path.stem == row["sha256"] for path in found] == [False, True]
    rebuild.record_found(box.ledger, box.spool)
    now = reception.current(box.ledger, "1.2.1")
    (again,) = box.ledger.read("SELECT sha256 FROM instance WHERE seq = ?", [now])
    assert again == row


def test_nobody_repairs_a_ledger_that_a_service_holds(box):
    place = damage.hold(box.state)
    with pytest.raises(LedgerError, match="running"):
        damage.alone(box.state, "recover the ledger")
    place.close()
    damage.alone(box.state, "recover the ledger").close()


def test_whoever_reads_damage_marks_it_for_all(box):
    box.reviewed(1)
    box.fold()
    ledger = Ledger(box.state)
    ledger.db  # noqa: B018  # connected before it happens
    DAMAGES["bytes flipped"](box.state / "ledger.db")
    names = [
        row["name"] for row in ledger.read("SELECT name FROM sqlite_master WHERE type = 'table'")
    ]
    every = " UNION ALL ".join(f"SELECT count(*) FROM {name} NOT INDEXED" for name in names[:30])
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        ledger.read(every)
    assert (box.state / DAMAGE_MARK).exists()


def test_recover_rebuilds_from_the_spool_alone_and_says_what_is_lost(box):
    box.reviewed(1)
    box.receive(2)
    snapshot.take(box.state)
    before = box.reviews()
    box.ledger.close()
    told = box.command("recover", "--spool-alone")
    assert told.returncode == 0, told.stderr
    assert "put back: 1 reviews, 1 objects" in told.stdout
    assert "not known any more: users" in told.stdout
    assert user.listed(Ledger(box.state)) == []
    assert Kept(box.root).reviews() == before
