"""A correction that may show a name stays, until somebody of the right role has looked at it."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from appliance import pins
from appliance.cli import app
from appliance.config import load
from appliance.errors import ApplianceError, LedgerError
from appliance.ledger import Ledger, audit, restored, upstream, user, worklist
from appliance.ledger.upstream import Facts
from appliance.spool import Spool
from appliance.sync.courier import Courier
from appliance.sync.folder import Folder
from appliance.sync.outgoing import Outgoing
from appliance.upkeep import records
from tests.box import REPOSITORY
from tests.phantom import cine_loop
from tests.sync.canary import in_grey, shows_the_word, written_on
from tests.sync.material import reviewed

PIN = "802461"


class Desk:
    """A box with one correction that shows a word inside its fan, and a folder for corrections."""

    def __init__(self, root):
        self.root, self.there = root, root / "there"
        self.there.mkdir()
        self.config = root / "echocart.toml"
        self.config.write_text(
            f'[box]\nae_title = "BOX"\nstate_dir = "{root / "state"}"\n[[destination]]\n'
            f'name = "archive"\nkind = "folder"\npath = "{self.there}"\ngets = ["corrections"]\n'
        )
        settings = load(self.config)
        self.ledger, self.spool = Ledger(root / "state"), Spool(root / "state")
        for initials, role in (("EX", "expert"), ("SO", "sonographer")):
            user.add(self.ledger, initials, [role], pins.hashed(PIN), "test")
        outgoing = Outgoing(self.ledger, self.spool, settings)
        self.courier = Courier(self.ledger, "archive", Folder(self.there), outgoing)

    def correct(self, place=(170, 200), **more):
        loop = cine_loop(frames=12, PatientID="P1", **more)
        frames = written_on(loop.grey, (4, 20))
        frames = written_on(frames, place) if place else frames
        source = self.root / "source.dcm"
        pydicom.dcmwrite(source, in_grey(loop.dataset, frames), enforce_file_format=True)
        changed = {2: np.roll(loop.labels[2], 5)}
        wanted = [("archive", "correction")]
        review = reviewed(self.ledger, self.spool, source, loop.labels, wanted, changed)
        self.run()
        return review

    def run(self):
        while self.courier.deliver_next():
            pass

    def state(self, review):
        (row,) = worklist.deliveries(self.ledger, review["seq"])
        return row["state"]

    def echocart(self, *words, given=""):
        """Run the command in this process: one of its own takes seconds."""
        arguments = ["correction", *words, "--config", str(self.config)]
        done = CliRunner().invoke(app, arguments, input=given)
        if isinstance(done.exception, ApplianceError):
            return subprocess.CompletedProcess(words, 1, done.output, str(done.exception))
        assert done.exception is None, done.exception
        return subprocess.CompletedProcess(words, done.exit_code, done.output, "")

    def typed(self, *words):
        command = [sys.executable, "-m", "appliance", "correction", *words]
        return subprocess.run(
            [*command, "--config", self.config],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def release(self, review, code, initials="EX", pin=PIN):
        words = ("release", str(review["seq"]), "--seen", code, "--as", initials)
        return self.echocart(*words, "--pin-from-stdin", given=f"{pin}\n")

    def code(self, review):
        told = self.echocart("show", str(review["seq"]), "--to", str(self.root / "look.png"))
        return told.stdout.split("--seen ")[1].split()[0]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_a_correction_in_doubt_leaves_only_after_somebody_has_looked(desk):
    review = desk.correct()
    assert desk.state(review) == "refused"
    assert f"loop {review['seq']}" in (told := desk.typed("list").stdout)
    assert "text inside" in told
    done = desk.release(review, desk.code(review))
    assert done.returncode == 0, done.stderr
    desk.run()
    assert desk.state(review) == "proven"
    files = [pydicom.dcmread(path) for path in desk.there.rglob("*.dcm")]
    assert sorted(file.Modality for file in files) == ["SEG", "SEG", "SR", "US"]
    assert desk.echocart("list").stdout == "none is kept back\n"


def test_a_picture_that_can_not_be_written_is_told_in_one_line(desk):
    review = desk.correct()
    done = desk.typed("show", str(review["seq"]), "--to", str(desk.root))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{desk.root} can't be written (Is a directory). Name another file." in done.stderr


def test_the_picture_shows_what_would_leave_and_nothing_outside_the_fan(desk):
    review = desk.correct()
    desk.code(review)
    picture = cv2.imread(str(desk.root / "look.png"), cv2.IMREAD_GRAYSCALE)
    assert picture.shape == (4 * 360, 2 * 480)
    darkest, brightest = picture[:360, :480], picture[:360, 480:]
    assert shows_the_word(darkest[None])
    assert not brightest[:30, :200].any()


@pytest.mark.parametrize(
    ("initials", "pin", "code", "says"),
    [
        ("SO", PIN, None, "may not decide"),
        ("EX", "135790", None, "PIN"),
        ("XX", PIN, None, "PIN"),
        ("EX", PIN, "000000000000", "another picture"),
    ],
)
def test_only_an_expert_with_a_pin_releases_what_was_seen(desk, initials, pin, code, says):
    review = desk.correct()
    done = desk.release(review, code or desk.code(review), initials, pin)
    assert done.returncode == 1
    assert says in done.stderr
    desk.run()
    assert desk.state(review) == "refused"
    assert not list(desk.there.rglob("*.dcm"))


def test_a_release_is_in_the_audit_with_who_and_what(desk):
    review = desk.correct()
    digest = desk.code(review)
    desk.release(review, digest)
    (row,) = desk.ledger.read("SELECT * FROM audit WHERE what = 'release correction'")
    assert (row["who"], row["subject"]) == ("EX", f"loop {review['seq']}")
    assert json.loads(row["detail"])["pixels"].startswith(digest)
    assert audit.verify(desk.ledger).problem == ""


def test_one_that_somebody_keeps_is_told_with_who_and_may_still_be_released(desk):
    review = desk.correct()
    with pytest.raises(LedgerError, match="may not decide"):
        upstream.keep(desk.ledger, review["seq"], "SO")
    for _ in range(2):
        upstream.keep(desk.ledger, review["seq"], "EX")
    assert "EX has looked: it stays" in desk.echocart("list").stdout
    rows = desk.ledger.read("SELECT who, subject FROM audit WHERE what = 'keep correction'")
    assert [tuple(row.values()) for row in rows] == [("EX", f"loop {review['seq']}")]
    assert audit.verify(desk.ledger).problem == ""
    desk.run()
    assert desk.state(review) == "refused"
    assert desk.release(review, desk.code(review)).returncode == 0
    desk.run()
    assert desk.state(review) == "proven"


def test_other_pixels_than_those_seen_stay(desk):
    review = desk.correct()
    upstream.release(desk.ledger, review["seq"], "00" * 32, "EX")
    desk.run()
    assert desk.state(review) == "refused"


def test_what_could_not_leave_whoever_looked_is_not_shown(desk):
    review = desk.correct(place=None, regions="m-mode")
    assert desk.state(review) == "refused"
    done = desk.typed("show", str(review["seq"]), "--to", str(desk.root / "look.png"))
    assert done.returncode == 1
    assert "M-mode" in done.stderr
    assert not (desk.root / "look.png").exists()


def test_what_is_not_kept_back_can_not_be_released(desk):
    review = desk.correct(place=None)
    assert desk.state(review) == "proven"
    with pytest.raises(LedgerError, match="refused"):
        upstream.release(desk.ledger, review["seq"], "00" * 32, "EX")
    done = desk.echocart("show", str(review["seq"]), "--to", str(desk.root / "look.png"))
    assert (done.returncode, "kept back" in done.stderr) == (1, True)


def test_who_decided_is_noted_by_role_with_the_decision(desk):
    review = desk.correct(place=None)
    assert upstream.facts(desk.ledger, review["id"]) == Facts("", None, None)  # AK is no user
    assert upstream.facts(desk.ledger, 999) == Facts()


def test_role_and_time_outlive_the_ledger(desk):
    review = desk.correct(place=None)
    path = records.write(desk.ledger, desk.spool, review["id"])
    other = Ledger(desk.root / "other")
    with desk.ledger.transaction() as db:
        assert db.conn.execute("SELECT count(*) FROM review_facts").fetchone()[0] == 1
    kept = records.read(path)
    kept["facts"][0].update(role="expert", seconds=41, strokes=7)
    assert restored.review(other, kept)
    (row,) = other.read("SELECT id FROM review")
    assert upstream.facts(other, row["id"]) == Facts("expert", 41, 7)
