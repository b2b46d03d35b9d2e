"""The outbox on a real ledger: in order, never given up, never twice."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pydicom
import pytest

from appliance.config import Box, Settings
from appliance.deliveries import account, in_words
from appliance.errors import DeliveryError, LedgerError
from appliance.ledger import Ledger, audit, delivery, destination, worklist
from appliance.spool import Spool
from appliance.status import instances
from appliance.sync import courier as courier_module
from appliance.sync.courier import LONGEST_BACK_OFF_S, Courier, back_off
from appliance.sync.destinations import Unproven
from appliance.sync.folder import Folder
from appliance.sync.outgoing import MustStay, Outgoing
from appliance.sync.seg import Part10
from appliance.sync.server import summary
from tests.sync.material import analysed, label_maps, masks_of, reviewed, write_source


def an_object(uid: str) -> Part10:
    return Part10.of(uid, "1.2.3", (b"object ", uid.encode()))


class Desk:
    """A ledger, a spool, a stick and the courier between them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stick = root / "stick"
        self.stick.mkdir()
        self.ledger, self.spool = Ledger(root / "state"), Spool(root / "state")
        box = Box(ae_title="A", state_dir=root / "state", station_name="Room 3")
        self.outgoing = Outgoing(self.ledger, self.spool, Settings(box=box))
        self.courier = self.restarted()

    def restarted(self) -> Courier:
        return Courier(self.ledger, "usb", Folder(self.stick), self.outgoing)

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

    desk.courier = Courier(desk.ledger, "usb", Folder(desk.stick), build)
    review = desk.review()
    desk.run()
    problem = desk.delivery(review)["problem"]
    assert "ValueError" in problem
    assert "DOE" not in problem


def test_a_destination_taken_out_of_the_configuration_keeps_its_results(desk):
    review = desk.review(wanted=[("pacs", "seg")])
    desk.run()
    assert desk.states(review) == ["queued"]
    assert "1 waiting for pacs (no longer in the configuration" in summary(desk.ledger, ["usb"])
    destination.rests(desk.ledger, "pacs", "deliver to a PACS: it is off.", 3600)
    nothing_configured = Settings(box=Box(ae_title="A", state_dir=desk.root / "state"))
    said = in_words(account(nothing_configured, desk.ledger))
    assert said[0] == "pacs: 1 waiting"
    assert said[-1].startswith("  no longer in the configuration: put it back under this name")
    assert "tried again" not in " ".join(said), "nobody tries what isn't configured"


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


def test_a_destination_that_can_not_prove_it_is_told_as_such_and_not_tried_again(desk):
    class Mailbox(Folder):
        """Takes everything and gives nothing back."""

        def prove(self, result):
            return Unproven("it gives nothing back")

    desk.courier = Courier(desk.ledger, "usb", Mailbox(desk.stick), desk.outgoing)
    review = desk.review()
    desk.run()
    (account,) = instances(desk.ledger, {"usb"})
    (row,) = account["deliveries"]
    assert (row["kind"], row["state"], row["tries"]) == ("seg", "unproven", 1)
    assert row["problem"] == "it gives nothing back"
    assert [path.stem for path in desk.files()] == [review["result_sop_instance_uid"]]


def test_what_was_never_put_is_put_although_nothing_can_be_proven(desk, patient_courier):
    class Mailbox(Folder):
        """Takes everything but the first, and gives nothing back."""

        full = True

        def put(self, result):
            if self.full:
                self.full = False
                raise DeliveryError("deliver", "it is full", "Wait.")
            super().put(result)

        def prove(self, result):
            return Unproven("it gives nothing back")

    desk.courier = Courier(desk.ledger, "usb", Mailbox(desk.stick), desk.outgoing)
    review = desk.review()
    desk.run()
    assert desk.states(review) == ["queued"]
    desk.ledger.db.conn.execute("UPDATE outbox SET next_try_at = 0")
    desk.run()
    assert desk.states(review) == ["unproven"]
    assert len(desk.files()) == 1


def test_what_must_stay_is_refused_for_good_and_the_reason_is_visible(desk):
    def objects(claimed):
        raise MustStay("send a correction", "the fan isn't certain", "It stays in the box.")

    desk.courier = Courier(desk.ledger, "usb", Folder(desk.stick), objects)
    review = desk.review(wanted=[("usb", "correction")])
    desk.run()
    row = desk.delivery(review)
    assert (row["state"], row["problem"], row["tries"]) == ("refused", "the fan isn't certain", 1)
    assert desk.files() == []


def test_a_model_that_measures_nothing_sends_masks_and_says_why_no_report(desk):
    review = desk.review(wanted=[("usb", "seg"), ("usb", "sr")], drawn=[2, 3])
    desk.run()
    rows = {row["kind"]: row for row in worklist.deliveries(desk.ledger, review["seq"])}
    assert (rows["seg"]["state"], rows["sr"]["state"]) == ("proven", "refused")
    assert "other structures than the apical heart" in rows["sr"]["problem"]


def test_a_correction_of_several_objects_is_proven_when_all_are(desk, patient_courier):
    parts = [an_object(f"2.25.{number}") for number in (1, 2, 3)]

    class Flaky(Folder):
        """Refuses the second object once."""

        refusals = 1
        taken: ClassVar[list[str]] = []

        def put(self, result):
            if result is parts[1] and self.refusals:
                self.refusals -= 1
                raise DeliveryError("deliver", "not now", "Later.")
            super().put(result)
            self.taken.append(result.SOPInstanceUID)

    flaky = Flaky(desk.stick)
    desk.courier = Courier(desk.ledger, "usb", flaky, lambda claimed: parts)
    review = desk.review(wanted=[("usb", "correction")])
    desk.run()
    assert desk.states(review) == ["sent"], "something has left, it isn't proven"
    desk.ledger.db.conn.execute("UPDATE outbox SET next_try_at = 0")
    desk.run()
    row = desk.delivery(review)
    assert (row["state"], row["size"]) == ("proven", sum(part.size for part in parts))
    assert flaky.taken == ["2.25.1", "2.25.2", "2.25.3"], "in order, each once"


def test_that_something_of_a_delivery_has_left_is_written_once_a_try(desk):
    parts = [an_object(f"2.25.{number}") for number in (1, 2, 3)]
    desk.courier = Courier(desk.ledger, "usb", Folder(desk.stick), lambda claimed: parts)
    review = desk.review(wanted=[("usb", "correction")])
    desk.run()
    events = worklist.history(desk.ledger, review["seq"])
    states = [event["state"] for event in events if event["subject"] == "delivery:usb"]
    assert states == ["queued", "sent", "proven"]
    assert [row["what"] for row in audit.listed(desk.ledger)].count("export") == 1


def test_a_courier_whose_lease_was_lost_hands_over_no_further_object(desk):
    parts = [an_object(f"2.25.{number}") for number in (1, 2, 3)]

    class Taken(Folder):
        """While the second object is written, another courier gets the lease."""

        taken = 0

        def put(self, result):
            super().put(result)
            self.taken += 1
            if result is parts[1]:
                desk.ledger.db.conn.execute("UPDATE outbox SET owner = 'another'")

    taken = Taken(desk.stick)
    desk.courier = Courier(desk.ledger, "usb", taken, lambda claimed: parts)
    review = desk.review(wanted=[("usb", "correction")])
    with pytest.raises(LedgerError, match="was lost"):
        desk.run()
    assert taken.taken == 2
    assert desk.states(review) == ["sent"]


def test_an_original_goes_at_once_byte_for_byte_and_before_its_result(desk):
    source = write_source(desk.root / "source.dcm")
    content = source.read_bytes()
    maps = label_maps(8, 48, 64)
    seq, _ = analysed(desk.ledger, desk.spool, source, maps, originals=["usb"])
    desk.run()
    (path,) = desk.files()
    assert path.read_bytes() == content
    (row,) = worklist.deliveries(desk.ledger, seq)
    assert (row["kind"], row["state"], row["size"]) == ("original", "proven", len(content))


def test_a_damaged_original_is_never_forwarded(desk, patient_courier):
    source = write_source(desk.root / "source.dcm")
    seq, _ = analysed(desk.ledger, desk.spool, source, label_maps(8, 48, 64), originals=["usb"])
    loop = worklist.loop(desk.ledger, seq)
    kept = desk.spool.object_path(loop["sha256"])
    kept.write_bytes(kept.read_bytes()[:-1] + b"X")
    desk.run()
    assert desk.files() == []
    (row,) = worklist.deliveries(desk.ledger, seq)
    assert "damaged" in row["problem"]


def test_a_result_waits_until_its_study_is_closed(desk):
    review = desk.review()
    desk.courier.closes_after_s = 3600.0
    desk.run()
    assert desk.states(review) == ["queued"]
    desk.courier.closes_after_s = 0.0
    desk.run()
    assert desk.states(review) == ["proven"]


def test_a_courier_frees_its_own_leases_only(desk):
    desk.review(wanted=[("usb", "seg"), ("pacs", "seg")])
    for name in ("usb", "pacs"):
        assert delivery.claim(desk.ledger, f"sync:{name}", 60, [name]) is not None
    assert delivery.recover(desk.ledger, "sync:usb") == 1
    assert delivery.claim(desk.ledger, "sync:pacs", 60, ["pacs"]) is None
    assert delivery.recover(desk.ledger) == 1


def test_back_off_grows_to_five_minutes_and_no_further():
    assert all(0 <= back_off(1) <= 2 for _ in range(50))
    assert all(0 <= back_off(10**6) <= LONGEST_BACK_OFF_S for _ in range(50))
    assert max(back_off(30) for _ in range(200)) > LONGEST_BACK_OFF_S / 2
