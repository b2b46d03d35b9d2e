"""A back-up taken while the box works is consistent, restores whole, and holds no key."""

import threading
from pathlib import Path

import pytest

from appliance.errors import LedgerError
from appliance.ledger import user
from appliance.upkeep.backup import back_up, ledgers, restore
from tests.upkeep.material import Kept


@pytest.fixture
def box(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "box")


def elsewhere(box: Kept) -> Kept:
    """An empty box on another machine: the same file, another state directory."""
    return Kept(box.root.parent / "other")


def test_a_back_up_restores_to_the_same_reviews_objects_and_users(box, tmp_path):
    box.reviewed(1)
    box.receive(2)
    done = back_up(box.settings, box.config, tmp_path / "backups")
    assert done.missing == []
    new = elsewhere(box)
    new.fold()
    restored = restore(new.settings, tmp_path / "backups", replace=True)
    assert (restored.missing, restored.damaged) == ([], [])
    new = new.again()
    assert new.reviews() == box.reviews()
    assert [row["initials"] for row in user.listed(new.ledger)] == ["AK"]
    assert new.verdict() == ""
    assert new.command("fsck").stdout == "ledger and spool fit together\n"


def test_everything_a_back_up_names_is_in_it_although_objects_arrive_meanwhile(box, tmp_path):
    going = threading.Event()

    def arrive() -> None:
        n = 100
        while not going.is_set():
            box.receive(n := n + 1)
        box.ledger.close()

    thread = threading.Thread(target=arrive)
    thread.start()
    try:
        for _ in range(3):
            done = back_up(box.settings, box.config, tmp_path / "backups")
            assert done.missing == []
    finally:
        going.set()
        thread.join()


def test_the_second_back_up_copies_only_what_is_new(box, tmp_path):
    box.reviewed(1)
    first = back_up(box.settings, box.config, tmp_path / "backups")
    again = back_up(box.settings, box.config, tmp_path / "backups")
    assert first.files >= 3
    assert again.files == 0


def test_no_key_is_in_a_back_up(box, tmp_path):
    box.reviewed(1)
    secrets = {
        "upstream.key": b"canary of one",
        "webui.key": b"canary of two",
        "tls/key.pem": b"canary three",
    }
    for name, content in secrets.items():
        path = box.state / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    back_up(box.settings, box.config, tmp_path / "backups")
    for path in (tmp_path / "backups").rglob("*"):
        if path.is_file():
            assert not any(content in path.read_bytes() for content in secrets.values()), path


def test_a_back_up_of_a_damaged_object_says_so_when_it_is_restored(box, tmp_path):
    box.receive(1)
    back_up(box.settings, box.config, tmp_path / "backups")
    (copy,) = (tmp_path / "backups" / "objects").rglob("*.dcm")
    content = copy.read_bytes()
    copy.unlink()  # a link of the original
    copy.write_bytes(b"?" + content[1:])
    new = elsewhere(box)
    new.fold()
    assert restore(new.settings, tmp_path / "backups", replace=True).damaged == [copy.name]


def test_restoring_over_a_ledger_must_be_asked_for(box, tmp_path):
    back_up(box.settings, box.config, tmp_path / "backups")
    with pytest.raises(LedgerError, match="holds a ledger"):
        restore(box.settings, tmp_path / "backups")


def test_a_changed_back_up_is_not_restored(box, tmp_path):
    back_up(box.settings, box.config, tmp_path / "backups")
    (copy,) = ledgers(tmp_path / "backups")
    with copy.open("r+b") as stream:
        stream.seek(9000)
        stream.write(b"changed")
    with pytest.raises(LedgerError, match="isn't what was written"):
        restore(box.settings, tmp_path / "backups", replace=True)


def test_an_object_missing_in_the_spool_is_told(box, tmp_path):
    box.receive(1)
    (path,) = box.spool.objects.rglob("*.dcm")
    path.unlink()
    told = box.command("backup", str(tmp_path / "backups"))
    assert told.returncode == 1
    assert path.name in told.stderr


def test_a_back_up_inside_the_state_directory_is_refused(box):
    with pytest.raises(LedgerError, match="lies in the state directory"):
        back_up(box.settings, box.config, box.state / "backups")
