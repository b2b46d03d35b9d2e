"""Who goes when: overtaking, several at once, pauses, hours, a spared line, refusals that are shown."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless

from appliance import certificates
from appliance.config import Box as BoxSection
from appliance.config import Folder as FolderSetting
from appliance.config import Settings
from appliance.deliveries import account, in_words
from appliance.ledger import Ledger, audit, clock, delivery, destination
from appliance.spool import Spool
from appliance.sync import courier as courier_module
from appliance.sync.archive import Archive
from appliance.sync.brake import Brake
from appliance.sync.courier import Courier, Shared
from appliance.sync.folder import Folder
from appliance.sync.gate import Gate
from appliance.sync.outgoing import Outgoing
from appliance.sync.pacs import Pacs
from tests.box import REPOSITORY, Box, free_port
from tests.sync.material import analysed, label_maps, reviewed, write_source
from tests.sync.servers import as_original, orthanc, states_at, with_results
from tests.sync.test_pacs import pacs_of, storescp

__all__ = ["orthanc"]


class Queue:
    """A ledger whose outbox is gone through by couriers to a folder."""

    def __init__(self, root: Path, **setting) -> None:
        self.root = root
        self.stick = root / "stick"
        self.stick.mkdir()
        self.ledger, self.spool = Ledger(root / "state"), Spool(root / "state")
        box = BoxSection(ae_title="A", state_dir=root / "state")
        self.setting = FolderSetting(name="usb", kind="folder", path=self.stick, **setting)
        self.settings = Settings(box=box, destination=(self.setting,))
        self.outgoing = Outgoing(self.ledger, self.spool, self.settings)
        self.order: list[tuple[int, str]] = []
        self.courier = self.make(Folder(self.stick))

    def make(self, place: Folder, **more) -> Courier:
        gate = Gate(self.ledger, self.setting)
        return Courier(self.ledger, "usb", place, self._objects, is_open=gate.is_open, **more)

    def _objects(self, claimed):
        self.order.append((claimed.seq, claimed.kind))
        return self.outgoing(claimed)

    def accept(self, number: int, **more) -> int:
        source = write_source(self.root / f"{number}.dcm")
        maps = label_maps(8, 48, 64, number)
        wanted = [("usb", "seg"), ("usb", "sr")]
        return reviewed(self.ledger, self.spool, source, maps, wanted, **more)["seq"]

    def run(self, most: int = 1000) -> None:
        while most and self.courier.deliver_next():
            most -= 1

    def time_passes(self) -> None:
        self.courier.shared.ahead_at -= courier_module.OVERTAKES_S

    def told(self) -> str:
        return "\n".join(in_words(account(self.settings, self.ledger)))


@pytest.fixture
def queue(tmp_path):
    return Queue(tmp_path)


def test_a_fresh_decision_overtakes_with_its_loop_and_the_oldest_go_on(queue):
    old = [queue.accept(number, originals=["usb"]) for number in range(5)]
    queue.courier.shared = Shared()  # as if the service had just started
    queue.run(1)
    fresh = queue.accept(5, originals=["usb"])
    queue.run(1)
    queue.time_passes()
    queue.run(3)
    assert queue.order == [
        *[(old[0], "original"), (old[1], "original")],
        *[(fresh, "original"), (fresh, "seg"), (fresh, "sr")],
    ]
    queue.order.clear()
    queue.courier.shared.ahead_at = time.monotonic() + 3600
    queue.run()
    assert queue.order[:3] == [(seq, "original") for seq in old[2:]]
    assert [seq for seq, _ in queue.order[3:]] == [seq for seq in old for _ in "ab"]


def test_what_was_tried_before_comes_in_its_old_place_once_it_is_due(queue):
    seqs = [queue.accept(number) for number in range(4)]
    queue.courier.shared.ahead_at = time.monotonic() + 3600
    postponed = "UPDATE outbox SET next_try_at = ?, next_try_boot_id = ? WHERE seq = ?"
    now, boot = clock.boot_seconds(), clock.boot_id()
    queue.ledger.db.conn.execute(postponed, [now + 3600, boot, seqs[0]])
    queue.ledger.db.conn.execute(postponed, [now - 1, boot, seqs[1]])
    queue.ledger.db.conn.execute(postponed, [now + 3600, "an earlier boot", seqs[3]])
    queue.run()
    assert queue.order == [(seq, kind) for seq in seqs[1:] for kind in ("seg", "sr")]
    queue.order.clear()
    queue.ledger.db.conn.execute(postponed, [now - 1, boot, seqs[0]])
    queue.run()
    assert queue.order == [(seqs[0], "seg"), (seqs[0], "sr")]


def test_rows_that_wait_for_their_next_try_are_not_gone_through(queue):
    """A thousand of them cost a look nothing; SQLite counts the rows that it visits."""

    def steps():
        counted = []
        connection = queue.ledger.db.conn
        connection.set_progress_handler(lambda: counted.append(1) and None, 10)
        try:
            assert delivery.claim(queue.ledger, "other", 60.0, ["usb"]) is None
        finally:
            connection.set_progress_handler(None, 0)
        return len(counted)

    seq = queue.accept(0)
    wait = "UPDATE outbox SET next_try_at = 1e12, next_try_boot_id = ?"
    queue.ledger.db.conn.execute(wait, [clock.boot_id()])
    few = steps()
    row = queue.ledger.read_one("SELECT * FROM outbox WHERE kind = 'seg'")
    names = [name for name in row if name not in ("id", "review_id", "destination", "kind")]
    for number in range(1000):
        queue.ledger.db.conn.execute(
            f"INSERT INTO outbox (review_id, kind, destination, {', '.join(names)})"
            f" SELECT review_id, 'kind{number}', destination, {', '.join(names)} FROM outbox"
            " WHERE seq = ? AND kind = 'seg'",
            [seq],
        )
    assert steps() < 2 * few


def test_decisions_of_days_ago_do_not_overtake(queue):
    seqs = [queue.accept(number) for number in range(3)]
    queue.ledger.db.conn.execute("DROP TRIGGER review_is_never_changed")
    queue.ledger.db.conn.execute("UPDATE review SET decided_boot_id = 'an earlier boot'")
    queue.time_passes()
    queue.run()
    assert [seq for seq, _ in queue.order] == [seq for seq in seqs for _ in "ab"]


def test_as_many_are_under_way_as_are_allowed_and_never_two_of_one_loop(queue):
    for number in range(2):
        queue.accept(number)
    meet = threading.Barrier(2)
    under_way: list[str] = []

    class Meeting(Folder):
        """Lets the first two objects go on only together."""

        def put(self, result):
            under_way.append(result.StudyInstanceUID)
            if len(under_way) <= 2:
                meet.wait(60)
            super().put(result)

    shared, place = Shared(), Meeting(queue.stick)
    couriers = [queue.make(place, number=number, shared=shared) for number in range(2)]

    def work(courier: Courier) -> None:
        while set(states(queue)) != {"proven"}:
            courier.deliver_next()

    threads = [threading.Thread(target=work, args=(courier,)) for courier in couriers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert set(states(queue)) == {"proven"}
    assert under_way[0] != under_way[1], "two objects of one loop at once"


def states(queue: Queue) -> list[str]:
    return [row["state"] for row in queue.ledger.read("SELECT state FROM outbox")]


def test_two_contents_of_one_uid_are_never_under_way_together(queue):
    for number in range(2):
        source = write_source(queue.root / f"{number}.dcm", SOPInstanceUID="1.2.3")
        analysed(queue.ledger, queue.spool, source, label_maps(8, 48, 64, number), ["usb"])
    first = delivery.claim(queue.ledger, "a", 60, ["usb"])
    assert delivery.claim(queue.ledger, "b", 60, ["usb"]) is None
    delivery.unproven(queue.ledger, first, "")
    assert delivery.claim(queue.ledger, "b", 60, ["usb"]) is not None


def test_a_pause_stops_deliveries_is_shown_and_audited_and_ends(queue):
    destination.pause(queue.ledger, "usb", "ada", "the share is moved")
    queue.accept(1)
    queue.run()
    assert set(states(queue)) == {"queued"}
    assert "paused by ada" in queue.told()
    assert "the share is moved" in queue.told()
    destination.resume(queue.ledger, "usb", "ada")
    queue.run()
    assert set(states(queue)) == {"proven"}
    assert "paused" not in queue.told()
    done = [(row["who"], row["what"], row["subject"]) for row in audit.listed(queue.ledger)]
    assert ("ada", "pause destination", "usb") in done
    assert ("ada", "resume destination", "usb") in done


def test_a_pause_of_one_destination_is_no_other_ones(queue):
    destination.pause(queue.ledger, "usb2", "ada")
    destination.pause(queue.ledger, "us", "ada")
    assert set(destination.paused(queue.ledger)) == {"us", "usb2"}
    queue.accept(1)
    queue.run()
    assert set(states(queue)) == {"proven"}


def test_outside_its_hours_a_destination_waits_and_says_until_when(tmp_path):
    now = time.localtime()
    hour = (now.tm_hour + 3) % 24
    queue = Queue(tmp_path, hours=[f"{hour:02}:00-{hour:02}:30"])
    queue.accept(1)
    queue.run()
    assert set(states(queue)) == {"queued"}
    assert f"{hour:02}:00" in queue.told()
    assert "scheduled" in queue.told()


def test_the_account_counts_what_became_of_each_object(queue):
    queue.accept(1)
    queue.run(1)
    leased = delivery.claim(queue.ledger, "a", 60, ["usb"])
    queue.accept(2)
    (row,) = account(queue.settings, queue.ledger)
    assert (row["proven"], row["in_flight"], row["waiting"]) == (1, 1, 2)
    assert row["oldest"]
    delivery.postpone(queue.ledger, leased, "it says no", 60, "permission")
    (row,) = account(queue.settings, queue.ledger)
    assert (row["not_taken"], row["waiting"]) == (1, 3)
    assert row["problems"] == [{"problem": "it says no", "state": "queued", "objects": 1}]
    queue.ledger.db.conn.execute("UPDATE outbox SET destination = 'gone' WHERE id = 1")
    gone = account(queue.settings, queue.ledger)[1]
    assert (gone["name"], gone["kind"], gone["proven"]) == ("gone", "", 1)


def test_a_destination_that_is_gone_is_told_with_its_next_try(queue, monkeypatch):
    monkeypatch.setattr(courier_module, "back_off", lambda tries: 77.0)
    away = queue.stick.rename(queue.root / "pocket")
    queue.accept(1)
    queue.run()
    (row,) = account(queue.settings, queue.ledger)
    assert "is not there" in row["resting"]["problem"]
    assert 0 < row["resting"]["next_try_s"] <= 77
    assert "tried again at" in queue.told()
    away.rename(queue.stick)
    queue.run()
    (row,) = account(queue.settings, queue.ledger)
    assert (row["resting"], row["proven"]) == (None, 2)


def test_a_syntax_that_the_destination_refuses_is_shown_as_such(tmp_path):
    with storescp(tmp_path / "there", "+x=") as port:
        extra = (
            f'[[destination]]\nname = "pacs"\nkind = "dicom"\nhost = "127.0.0.1"\n'
            f'port = {port}\ncalled_ae = "ANY"\ngets = ["originals"]\n'
        )
        box = Box(tmp_path / "box", ["sync"], extra)
        with box:
            source = write_source(tmp_path / "a.dcm")
            dataset = pydicom.dcmread(source)
            dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
            dataset.save_as(source)
            analysed(box.ledger, box.spool, source, label_maps(8, 48, 64), ["pacs"])

            def refused() -> bool:
                rows = account(box.settings, box.ledger)
                return next(row for row in rows if row["name"] == "pacs")["not_taken"] == 1

            box.wait_for(refused, "the refusal")
            command = [sys.executable, "-m", "appliance", "status", "--deliveries", "--config"]
            done = subprocess.run(
                [*command, box.config], cwd=REPOSITORY, capture_output=True, text=True
            )
            assert "1 are not taken there" in done.stdout
            assert "refuses Ultrasound Multi-frame Image Storage in JPEG 2000" in done.stdout
            assert states_at(box, "pacs") == ["queued"], "it is tried again for ever"


def test_a_pacs_that_speaks_tls_only_gets_its_objects(tmp_path):
    site = tmp_path / "tls"
    certificates.make_authority(site, "Room 3")
    certificates.issue(site, "box", "ECHOCART", ["127.0.0.1"])
    certificates.issue(site, "pacs", "PACS")
    pair = ("+tls", str(site / "pacs.key"), str(site / "pacs.pem"))
    scp = (
        f'tls_port = {free_port()}\ntls_certificate = "{site / "box.pem"}"\n'
        f'tls_key = "{site / "box.key"}"\ntls_ca = "{site / "ca.pem"}"'
    )
    there = tmp_path / "there"
    with storescp(there, *pair, "+cf", str(site / "ca.pem")) as port:
        extra = (
            f'[[destination]]\nname = "pacs"\nkind = "dicom"\nhost = "127.0.0.1"\n'
            f'port = {port}\ncalled_ae = "PACS"\ngets = ["originals"]\ntls = true\n'
        )
        with Box(tmp_path / "box", ["sync"], extra, scp=scp) as box:
            source = write_source(tmp_path / "a.dcm")
            analysed(box.ledger, box.spool, source, label_maps(8, 48, 64), ["pacs"])
            box.wait_for(lambda: states_at(box, "pacs") == ["unproven"], "the original")
    assert len(list(there.iterdir())) == 1


MEGABYTE = 1_000_000
LEAST_S = 0.7  # of 1 MB at 8 Mbit/s; a quarter of a second may leave at once


@pytest.fixture
def large(tmp_path):
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    pixels = {**bits, "SamplesPerPixel": 1, "PixelData": b"\0" * MEGABYTE}
    item = as_original(write_source(tmp_path / "large.dcm", **pixels))
    assert item.size > MEGABYTE
    return item


def test_the_cap_holds_towards_a_folder_a_pacs_and_an_archive(tmp_path, large, orthanc):
    (tmp_path / "stick").mkdir()
    access = (orthanc.url, "box", orthanc.password_file)
    peer = pacs_of(orthanc.dicom_port)._peer
    for place in (
        Folder(tmp_path / "stick", Brake(8)),
        Pacs(peer, brake=Brake(8)),
        Archive(*access, brake=Brake(8)),
    ):
        began = time.monotonic()
        place.put(large)
        assert time.monotonic() - began > LEAST_S, type(place)
        place.prove(large)


def test_two_who_share_a_cap_are_not_faster_than_one():
    brake = Brake(8)
    began = time.monotonic()
    threads = [threading.Thread(target=lambda: [brake(16384) for _ in range(32)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began > LEAST_S


def test_a_service_with_several_couriers_delivers_everything_once(tmp_path, orthanc):
    extra = orthanc.toml("pacs", "dicom", "originals results") + "at_once = 4\n"
    before = set(orthanc.instances())
    with Box(tmp_path / "box", ["sync"], extra) as box:
        reviews = with_results(box, 8, [("pacs", "seg"), ("pacs", "sr")], ["pacs"])
        box.wait_for(lambda: set(states_at(box, "pacs")) == {"proven"}, "all")
        uids = [loop["sop_instance_uid"] for loop in box.loops()]
        uids += [review["result_sop_instance_uid"] for review in reviews]
        there = [uid for uid in orthanc.instances() if uid not in before]
        assert len(there) == 24
        assert set(uids) <= set(there)
        assert "Traceback" not in box.log("sync")
