"""`echocart fsck` names what is missing, changed or foreign, and nothing else."""

from pathlib import Path

import pytest

from appliance.upkeep.fsck import examine
from tests.upkeep.material import Kept, no_header


@pytest.fixture
def box(tmp_path: Path) -> Kept:
    box = Kept(tmp_path / "box")
    box.reviewed(1)
    box.receive(2)
    return box


def faults(box: Kept, *, content: bool = True) -> list[tuple[str, str]]:
    return [(one.kind, one.subject) for one in examine(box.ledger, box.spool, content=content)]


def file_of(box: Kept, seq: int) -> Path:
    (row,) = box.ledger.read("SELECT sha256 FROM instance WHERE seq = ?", [seq])
    return box.spool.object_path(row["sha256"])


def test_a_whole_box_has_no_fault(box):
    assert faults(box) == []


def test_a_missing_object_is_named(box):
    file_of(box, 2).unlink()
    assert faults(box) == [("missing", "object 2")]


def test_bytes_changed_in_place_are_found_by_their_hash_alone(box):
    path = file_of(box, 2)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert faults(box, content=False) == []
    assert faults(box) == [("changed", "object 2")]


def test_label_maps_that_are_gone_are_named_by_their_analysis(box):
    (chunk,) = (path for path in box.spool.chunks.rglob("*") if path.is_file())
    chunk.unlink()
    assert faults(box) == [("missing", "analysis 1")]


def test_a_result_that_was_kept_and_is_gone_or_changed_is_named_by_its_review(box):
    box.ledger.db.conn.execute(
        "INSERT INTO result_object (kind, form, sop_class_uid, sop_instance_uid,"
        " series_instance_uid, transfer_syntax_uid, sha256, at, review_id, number, modality,"
        " series_number, size, purged_at)"
        " VALUES ('seg', '', '1', '2', '3', '4', ?, '', 1, 0, 'SEG', 1, 1, '')",
        ["e" * 64],
    )
    assert faults(box) == [("missing", "review 1")]
    path = box.spool.result_path("e" * 64)
    path.parent.mkdir()
    path.write_bytes(b"other")
    assert faults(box) == [("changed", "review 1")]


def test_an_object_without_a_row_is_foreign(box):
    path = file_of(box, 2)
    box.ledger.db.conn.executescript(
        "PRAGMA foreign_keys = OFF; DELETE FROM job WHERE seq = 2; DELETE FROM event WHERE seq = 2;"
        "DELETE FROM instance WHERE seq = 2"
    )
    assert faults(box) == [("foreign", path.name)]


def test_a_review_without_a_file_and_a_file_without_a_review_are_told(box):
    (path,) = box.spool.reviews.iterdir()
    path.rename(path.with_name("00000009-000000000000.json.gz"))
    found = faults(box)
    assert ("review", "review 1") in found
    assert ("review", "00000009-000000000000.json.gz") in found


def test_a_changed_review_is_told(box):
    box.ledger.db.conn.executescript(
        "DROP TRIGGER review_is_never_changed; UPDATE review SET reviewer = 'XX'"
    )
    assert [kind for kind, _ in faults(box)] == ["audit"]


def test_a_ledger_that_can_t_be_opened_is_told_in_a_line(box):
    box.fold()
    no_header(box.state / "ledger.db")
    told = box.command("fsck")
    assert told.returncode == 1
    assert told.stdout.startswith("ledger")
    assert "Traceback" not in told.stderr


def test_the_command_exits_1_and_names_no_patient(box):
    file_of(box, 2).unlink()
    told = box.command("fsck", "--json")
    assert told.returncode == 1
    assert '"kind": "missing"' in told.stdout
    assert "CANARY" not in told.stdout
