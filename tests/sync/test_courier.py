"""The outbox on a real ledger: in order, never given up, never twice."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from appliance.ledger import Ledger, worklist
from appliance.spool import Spool
from appliance.sync import courier as courier_module
from appliance.sync.courier import LONGEST_BACK_OFF_S, Courier, back_off
from appliance.sync.folder import Folder
from appliance.sync.results import Results
from appliance.sync.server import summary
from tests.sync.material import label_maps, masks_of, reviewed, write_source


class Desk:
    """A ledger, a spool, a stick and the courier between them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stick = root / "stick"
        self.stick.mkdir()
        self.ledger, self.spool = Ledger(root / "state"), Spool(root / "state")
        self.results = Results(self.ledger, self.spool, "Room 3")
        self.courier = self.restarted()

    def restarted(self) -> Courier:
        return Courier(self.ledger, {"usb": Folder(self.stick)}, self.results.build)

    def review(self, number=0, **more):
        source = write_source(self.root / f"source{number}.dcm")
        return reviewed(self.ledger, self.spool, source, label_maps(8, 48, 64, number), **more)

    def run(self):
        while self.courier.deliver_next():
            pass

    def delivery(self, review):
        rows = worklist.deliveries(self.ledger, review["seq"])
        return next(row for row in rows if row["review_id"] == review["id"])

    def states(self, *reviews):
        return [self.delivery(review)["state"] for review in reviews]

    def files(self):
        return sorted(self.stick.rglob("*.dcm"))


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture
def patient_courier(monkeypatch):
    """Waits between tries become so long that only a reason to wake ends them."""
    monkeypatch.setattr(courier_module, "back_off", lambda tries: 1000.0)


def test_an_accepted_loop_lies_in_the_folder_with_the_masks_that_were_accepted(desk):
    review = desk.review()
    desk.run()
    (path,) = desk.files()
    loop = worklist.loop(desk.ledger, review["seq"])
    assert path.stem == review["result_sop_instance_uid"]
    masks = masks_of(path, loop["sop_instance_uid"], range(1, 9))
    assert np.array_equal(masks, label_maps(8, 48, 64, 0))
    row = desk.delivery(review)
    assert (row["state"], row["size"]) == ("proven", path.stat().st_size)
    result = pydicom.dcmread(path)
    assert result.ContentCreatorName == "AK"
    assert result.StationName == "Room 3"
    assert result.ContentLabel == "RESEARCH USE"


def test_a_correction_is_in_the_masks_and_named_as_one(desk):
    changed = np.full((48, 64), 3, np.uint8)
    review = desk.review(corrected={2: changed})
    desk.run()
    (path,) = desk.files()
    uid = worklist.loop(desk.ledger, review["seq"])["sop_instance_uid"]
    expected = label_maps(8, 48, 64, 0)
    expected[2] = changed
    assert np.array_equal(masks_of(path, uid, range(1, 9)), expected)
    assert pydicom.dcmread(path).SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_states_go_queued_sent_proven_each_once(desk):
    review = desk.review()
    desk.run()
    events = worklist.history(desk.ledger, review["seq"])
    states = [event["state"] for event in events if event["subject"] == "delivery:usb"]
    assert states == ["queued", "sent", "proven"]


def test_results_wait_for_an_unplugged_stick_and_go_when_it_is_back(desk, patient_courier):
    away = desk.root / "pocket"
    desk.stick.rename(away)
    reviews = [desk.review(number) for number in range(3)]
    desk.run()
    assert not desk.stick.exists()
    assert desk.states(*reviews) == ["queued"] * 3
    assert "is not there" in desk.delivery(reviews[0])["problem"]
    assert "is not there" in summary(desk.ledger, ["usb"])
    tries = [desk.delivery(review)["tries"] for review in reviews]
    assert tries == [1, 0, 0], "one result tries the stick, the others wait behind it"
    away.rename(desk.stick)
    desk.run()
    assert desk.states(*reviews) == ["proven"] * 3
    assert summary(desk.ledger, ["usb"]) == "every result is delivered"


def test_the_oldest_goes_first_after_a_time_without_the_stick(desk, patient_courier):
    away = desk.root / "pocket"
    desk.stick.rename(away)
    reviews = [desk.review(number) for number in range(3)]
    desk.run()
    away.rename(desk.stick)
    assert desk.courier.deliver_next()
    assert desk.states(*reviews) == ["proven", "queued", "queued"]


def test_a_result_that_can_not_be_built_holds_no_other_back(desk, patient_courier):
    broken, whole = desk.review(0), desk.review(1)
    loop = worklist.loop(desk.ledger, broken["seq"])
    desk.spool.object_path(loop["sha256"]).write_bytes(b"rotten")
    desk.run()
    assert desk.states(broken, whole) == ["queued", "proven"]
    assert "DICOM" in desk.delivery(broken)["problem"]


def test_a_fault_of_ours_is_told_without_its_text(desk, patient_courier):
    def build(claimed):
        raise ValueError("DOE^JANE")

    desk.courier = Courier(desk.ledger, {"usb": Folder(desk.stick)}, build)
    review = desk.review()
    desk.run()
    problem = desk.delivery(review)["problem"]
    assert "ValueError" in problem
    assert "DOE" not in problem


def test_a_destination_taken_out_of_the_configuration_keeps_its_results(desk):
    review = desk.review(destinations=["pacs"])
    desk.run()
    assert desk.states(review) == ["queued"]
    assert "1 waiting for pacs (no longer in the configuration" in summary(desk.ledger, ["usb"])


def test_what_was_sent_and_not_proven_is_proven_and_not_written_again(desk):
    review = desk.review()
    desk.run()
    (path,) = desk.files()
    inode = path.stat().st_ino
    # As if the service had been killed before the proof was recorded.
    desk.ledger.db.conn.execute("UPDATE outbox SET state = 'sent'")
    desk.courier = desk.restarted()
    desk.run()
    assert desk.states(review) == ["proven"]
    assert [file.stat().st_ino for file in desk.files()] == [inode]


def test_back_off_grows_to_five_minutes_and_no_further():
    assert all(0 <= back_off(1) <= 2 for _ in range(50))
    assert all(0 <= back_off(10**6) <= LONGEST_BACK_OFF_S for _ in range(50))
    assert max(back_off(30) for _ in range(200)) > LONGEST_BACK_OFF_S / 2
