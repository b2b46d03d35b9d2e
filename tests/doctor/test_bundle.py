"""The support file tells how a box stands, and holds nothing that identifies a patient."""

import tarfile
from pathlib import Path

import pytest

from appliance.doctor import Asked, diagnose
from appliance.doctor.bundle import Mask, hashed, write
from tests.upkeep.material import Kept

# One for each place that a patient's data can get to; each is a word that the program also knows,
# or digits: what an allow-list of words alone would let through.
CANARIES = {
    "patient_id": "4711808193",
    "patient_name": "May^Young^Stone",
    "patient_birth_date": "19610402",
    "series_description": "Quixotic Lv",
    "content_date_time": "20261120101500",
    "study_instance_uid": "1.2.826.0.1.999.1",
    "sop_instance_uid": "1.2.826.0.1.999.2",
    "series_instance_uid": "1.2.826.0.1.999.3",
}
LOG = [
    "echocart-scp: WARNING an object was not kept: Zwingli^Ulrich 1961-04-02",
    "echocart-scp: INFO kept object 12 of 4711808193 named May Young",
    "echocart-sync: ERROR 1.2.826.0.1.999.2 was refused by archive",
]


@pytest.fixture
def box(tmp_path: Path) -> Kept:
    box = Kept(tmp_path / "box")
    box.reviewed(1)
    box.receive(2)
    changes = ", ".join(f"{name} = :{name}" for name in CANARIES)
    box.ledger.db.conn.execute(f"UPDATE instance SET {changes} WHERE seq = 1", CANARIES)
    box.ledger.db.conn.execute(
        "UPDATE outbox SET problem = 'the PACS says: Quixotic May 4711808193', tries = 3"
    )
    box.ledger.db.conn.execute(
        "INSERT INTO draft (seq, reviewer, analysis_sha256, content, at)"
        " VALUES (1, 'AK', 'x', 'Quixotic', '')"
    )
    (tmp_path / "run.log").write_text("\n".join(LOG))
    return box


def content(box: Kept, tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "support.tar.gz"
    write(path, Asked.of(box.config)[0], diagnose(box.config), [tmp_path / "run.log"])
    with tarfile.open(path) as archive:
        return {
            Path(item.name).name: archive.extractfile(item).read().decode()  # type: ignore[union-attr]
            for item in archive
        }


def test_no_identifying_value_of_ledger_spool_or_logs_is_in_it(box, tmp_path):
    parts = content(box, tmp_path)
    secret = [*CANARIES.values(), "Quixotic", "Zwingli", "Ulrich", "Young", "Stone", "1961-04-02"]
    secret += ["CANARY-ID", "CANARY^PATIENT", "1.2.826.0.1", str(box.state)]
    for name, text in parts.items():
        assert [value for value in secret if value in text] == [], name
    assert "12 of" in parts["log.txt"]


def test_it_tells_what_support_needs(box, tmp_path):
    parts = content(box, tmp_path)
    assert hashed(CANARIES["sop_instance_uid"]) in parts["box.json"]
    assert f"uid:{hashed(CANARIES['sop_instance_uid'])} was refused" in parts["log.txt"]
    assert "an object was not kept" in parts["log.txt"]
    assert '"name": "ledger"' in parts["findings.json"]
    assert '"pydicom"' in parts["versions.json"]


def test_a_box_whose_ledger_is_gone_still_gives_one(box, tmp_path):
    box.fold()
    (box.state / "ledger.db").write_bytes(b"\xff" * 8192)
    parts = content(box, tmp_path)
    assert "the ledger can't be read" in parts["box.json"]
    assert "Zwingli" not in parts["log.txt"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("kept object 12", "kept object 12"),
        ("kept object 1234567", "kept object #"),
        ("DOE-SMITH^JANE", "#-#^#"),
        ("Müller was analysed", "# was analysed"),
    ],
)
def test_words_that_are_not_the_program_s_own_are_hidden(line, shown):
    assert Mask(["Doe", "Jane"])(line) == shown


def test_the_command_writes_it_and_its_exit_status_tells(box, tmp_path):
    told = box.command("doctor", "--bundle", str(tmp_path / "a.tar.gz"))
    assert told.returncode in (1, 2)
    assert tarfile.is_tarfile(tmp_path / "a.tar.gz")
    assert (tmp_path / "a.tar.gz").stat().st_mode & 0o077 == 0
