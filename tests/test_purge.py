"""Files leave only for room, oldest first, and only what an archive has proven to hold."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.config import load
from appliance.errors import SpoolError
from appliance.ledger import Ledger, commitment, delivery, reception, space, worklist
from appliance.purge import Purge
from appliance.spool import Spool
from tests.box import REPOSITORY
from tests.scp.objects import write_object

MB = 1_000_000


class Kept:
    """A ledger and a spool with objects, as reception leaves them."""

    def __init__(self, root: Path, scp: str = "") -> None:
        self.config = root / "echocart.toml"
        self.config.write_text(
            f'[box]\nae_title = "ECHOCART"\nstate_dir = "{root / "state"}"\n'
            f"[scp]\nspace_floor_mb = 0\n{scp}\n"
        )
        self.settings = load(self.config)
        self.ledger, self.spool = Ledger(root / "state"), Spool(root / "state")
        self.root = root

    @property
    def purge(self) -> Purge:
        return Purge(self.settings, self.ledger, self.spool)

    def object(self, n: int, state: str = "kept", originals: tuple[str, ...] = ("pacs",)) -> int:
        source = self.root / f"{n}.dcm"
        if not source.exists():
            write_object(source, SOPInstanceUID=f"1.2.{n}")
        adopted = self.spool.adopt(Path(shutil.copy(source, self.spool.incoming)))
        (self.spool.incoming / source.name).unlink()
        received = reception.Received(
            SOPInstanceUID=f"1.2.{n}",
            SOPClassUID="1.2",
            TransferSyntaxUID="1.2.840.10008.1.2.1",
            sha256=adopted.sha256,
            size=adopted.size,
            calling_ae_title="CART",
            peer="10.0.0.1",
        )
        seq = reception.record(self.ledger, received, originals).seq
        self.state(seq, state)
        return seq

    def state(self, seq: int, state: str) -> None:
        self.ledger.db.conn.execute("UPDATE instance SET state = ? WHERE seq = ?", [state, seq])

    def prove(self, seq: int, at: str = "pacs", sha256: str = "") -> None:
        while claimed := delivery.claim(self.ledger, "test", 60.0, [at]):
            row = worklist.loop(self.ledger, claimed.seq)
            assert row is not None
            if claimed.seq == seq:
                delivery.proven(self.ledger, claimed, sha256 or row["sha256"], row["size"])
                delivery.recover(self.ledger)
                return

    def path(self, seq: int) -> Path:
        row = worklist.loop(self.ledger, seq)
        assert row is not None
        return self.spool.object_path(row["sha256"])

    def here(self, *seqs: int) -> list[bool]:
        return [self.path(seq).exists() for seq in seqs]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_only_what_an_archive_has_proven_leaves(kept):
    proven, sent, other = kept.object(1), kept.object(2), kept.object(3)
    kept.prove(proven)
    kept.prove(other, sha256="00" * 32)  # other bytes than are here
    gone = kept.purge.some(10**12)
    assert [one.seq for one in gone] == [proven]
    assert kept.here(proven, sent, other) == [False, True, True]
    assert kept.purge.some(10**12) == []


def test_without_an_archive_nothing_leaves(kept):
    seqs = [kept.object(n, originals=()) for n in range(3)]
    assert kept.purge.some(10**12) == kept.purge.plan(10**12) == []
    assert all(kept.here(*seqs))


@pytest.mark.parametrize("state", ["received", "analysing"])
def test_what_the_engine_still_needs_stays(kept, state):
    seq = kept.object(1, state)
    kept.prove(seq)
    assert kept.purge.some(10**12) == []
    kept.state(seq, "kept")
    assert len(kept.purge.some(10**12)) == 1


def test_what_another_destination_still_waits_for_stays(kept):
    seq = kept.object(1, originals=("pacs", "archive"))
    kept.prove(seq, "pacs")
    assert kept.purge.some(10**12) == []
    kept.prove(seq, "archive")
    (gone,) = kept.purge.some(10**12)
    assert gone.kept_in == "pacs,archive"


def test_what_was_committed_to_a_cart_stays_until_an_archive_has_proven_it(kept):
    seq = kept.object(1)
    asked = commitment.Request("9.9", "CART", "ECHOCART", "10.0.0.1", False, [("1.2", "1.2.1")])
    commitment.request(kept.ledger, asked)
    assert commitment.promised(kept.ledger, seq)
    assert kept.purge.some(10**12) == []
    assert kept.here(seq) == [True]
    kept.prove(seq)
    assert len(kept.purge.some(10**12)) == 1


def test_the_oldest_go_first_and_no_more_than_asked_for(kept):
    seqs = [kept.object(n) for n in range(4)]
    for seq in seqs:
        kept.prove(seq)
    size = kept.path(seqs[0]).stat().st_size
    assert [one.seq for one in kept.purge.plan(size + 1)] == seqs[:2]
    assert [one.seq for one in kept.purge.some(size + 1)] == seqs[:2]
    assert kept.here(*seqs) == [False, False, True, True]


def test_what_nobody_has_decided_on_goes_last(kept):
    undecided, kept_only = kept.object(1, "analysed"), kept.object(2)
    kept.prove(undecided), kept.prove(kept_only)
    assert [one.seq for one in kept.purge.plan(10**12)] == [kept_only, undecided]


def test_the_row_says_where_it_is_kept_and_since_when_it_is_gone(kept):
    seq = kept.object(1)
    kept.prove(seq)
    frames = kept.spool.frames_path(kept.path(seq).stem)
    frames.write_bytes(b"made once")
    kept.purge.some(1)
    row = worklist.loop(kept.ledger, seq)
    assert row["kept_in"] == "pacs"
    assert row["purged_at"].endswith("Z")
    assert not frames.exists()
    last = worklist.history(kept.ledger, seq)[-1]
    assert (last["state"], last["detail"]) == ("purged", "kept in pacs")


def test_an_object_sent_again_is_here_again(kept):
    seq = kept.object(1)
    kept.prove(seq)
    kept.purge.some(1)
    assert kept.object(1) == seq
    row = worklist.loop(kept.ledger, seq)
    assert (row["purged_at"], row["kept_in"], kept.here(seq)) == ("", "", [True])


@pytest.mark.parametrize("marked", [True, False])
def test_a_purge_cut_short_is_finished_or_taken_back(kept, marked):
    seq, other = kept.object(1), kept.object(2)
    kept.prove(seq), kept.prove(other)
    path = kept.path(seq)
    path.rename(kept.spool.leaving / path.name)  # killed here, or after the row
    if marked:
        assert space.purged(kept.ledger, seq)
        kept.purge.some(1)  # the oldest that is here: the other one
    else:
        kept.purge.some(0)
    assert list(kept.spool.leaving.iterdir()) == []
    assert kept.here(seq) == [not marked]
    assert bool(worklist.loop(kept.ledger, seq)["purged_at"]) == marked


def test_a_file_that_the_disk_has_lost_holds_nothing_up(kept):
    lost, other = kept.object(1), kept.object(2)
    kept.prove(lost), kept.prove(other)
    kept.path(lost).unlink()
    assert [one.seq for one in kept.purge.some(10**12)] == [lost, other]


def test_a_folder_that_can_not_be_written_is_said(kept):
    seq = kept.object(1)
    kept.prove(seq)
    shutil.rmtree(kept.spool.leaving)
    kept.spool.leaving.write_bytes(b"a file in the way")
    with pytest.raises((SpoolError, NotADirectoryError)):
        kept.purge.some(1)
    assert kept.here(seq) == [True]


def test_room_is_asked_for_below_twice_the_floor_and_above_the_ceiling(tmp_path):
    free = shutil.disk_usage(tmp_path).free // MB
    assert Kept(folder(tmp_path, "a"), f"space_ceiling_mb = {free}").purge.wanted() == 0
    low = Kept(folder(tmp_path, "b"))
    low.config.write_text(low.config.read_text().replace("floor_mb = 0", f"floor_mb = {free}"))
    low.settings = load(low.config)
    assert low.purge.wanted() == pytest.approx(1.5 * free * MB, rel=0.1)
    high = Kept(folder(tmp_path, "c"), "space_ceiling_mb = 1")
    seq = high.object(1)
    high.ledger.db.conn.execute("UPDATE instance SET size = 3000000 WHERE seq = ?", [seq])
    assert high.purge.wanted() == 3 * MB - 0.95 * MB


def folder(root: Path, name: str) -> Path:
    (root / name).mkdir()
    return root / name


def echocart(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "appliance", *map(str, arguments)]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout


def test_the_command_says_what_would_go_and_then_removes_it(kept):
    seq = kept.object(1)
    kept.prove(seq)
    for _ in range(2):
        told = echocart("purge", "--dry-run", "--mb", 1, "--config", kept.config)
        assert "1 objects" in told
        assert "would go" in told
        assert kept.here(seq) == [True]
    told = echocart("purge", "--mb", 1, "--config", kept.config)
    assert "kept in pacs" in told
    assert kept.here(seq) == [False]
    assert "kept in pacs, removed here" in echocart("status", "--config", kept.config)


def test_the_command_says_why_the_others_stay(kept):
    seqs = [kept.object(n) for n in range(3)]
    kept.prove(seqs[0]), kept.state(seqs[0], "received")
    kept.prove(seqs[1])
    told = echocart("purge", "--mb", 1, "--config", kept.config)
    assert "1 objects, 0.0 MB removed" in told
    assert told.endswith(
        "1 MB are wanted. Objects that stay: 1 that no archive has proven to hold,"
        " 1 that the engine has not looked at\n"
    )
    kept.state(seqs[0], "kept")
    kept.prove(seqs[2])
    told = echocart("purge", "--mb", 1, "--config", kept.config)
    assert told.endswith("1 MB are wanted. No other object is here\n")


def test_what_a_destination_waits_for_is_counted_apart(kept):
    kept.prove(kept.object(1, originals=("pacs", "archive")), "pacs")
    assert space.staying(kept.ledger) == {"unproven": 0, "unseen": 0, "awaited": 1}
