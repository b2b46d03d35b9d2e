"""Success means kept; anything else leaves nothing behind and tells the sender."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread

from appliance.errors import LedgerError, Part10Error, SpoolError
from appliance.ledger import Ledger
from appliance.scp.arriving import ArrivingFile
from appliance.scp.store import Announced, MismatchError, NoRoomError, Store, status_of
from appliance.scu import Outcome, send
from appliance.spool import Spool, hash_file
from tests.box import Box
from tests.dcmtk import dcmtk
from tests.scp.objects import ULTRASOUND, data_set_bytes, write_object
from tests.scp.peer import EXPLICIT, Peer

CALLED = ("-aec", "ECHOCART")


def stored(box: Box, SOPInstanceUID: str) -> list[Path]:
    rows = box.ledger.read(
        "SELECT sha256 FROM instance WHERE sop_instance_uid = ? ORDER BY seq", [SOPInstanceUID]
    )
    return [box.spool.object_path(row["sha256"]) for row in rows]


def incoming(box: Box) -> list[Path]:
    return list(box.spool.incoming.iterdir())


def object_count(box: Box) -> int:
    count: int = box.ledger.read("SELECT count(*) AS n FROM instance")[0]["n"]
    return count


def store(box: Box, data: bytes, uid: str, SOPClassUID: str = ULTRASOUND) -> int | None:
    """Store a data set as a client that doesn't look at what it sends."""
    with Peer(box.dicom_port) as peer:
        peer.associate([(SOPClassUID, [EXPLICIT])])
        peer.command(SOPClassUID, uid)
        peer.data(data)
        return peer.status()


@pytest.mark.usefixtures("dcmtk")
@pytest.mark.parametrize("name", ["storescu", "echoscu", "storescp"])
def test_dcmtk_is_found_behind_the_tools_of_an_active_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    other = tmp_path / name
    other.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pynetdicom {name} "$@"\n')
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Path(dcmtk(name)).parent != tmp_path


@pytest.mark.usefixtures("dcmtk")
def test_dcmtk_echo_is_answered(receiver: Box) -> None:
    done = subprocess.run(
        [dcmtk("echoscu"), *CALLED, "127.0.0.1", str(receiver.dicom_port)], check=False
    )
    assert done.returncode == 0


@pytest.mark.usefixtures("dcmtk")
def test_dcmtk_delivers_the_same_frames(receiver: Box, real_loop: Path) -> None:
    target = [*CALLED, "127.0.0.1", str(receiver.dicom_port)]
    subprocess.run([dcmtk("storescu"), "-R", "-xy", *target, str(real_loop)], check=True)
    sent = dcmread(real_loop)
    (path, *_) = stored(receiver, sent.SOPInstanceUID)
    kept = dcmread(path)
    assert kept.PixelData == sent.PixelData
    assert kept.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID


@pytest.mark.usefixtures("dcmtk")
def test_dcmtk_delivers_every_real_file(receiver: Box, shared_data: Path) -> None:
    files = list(shared_data.rglob("*.dcm"))
    before = object_count(receiver)
    target = [*CALLED, "127.0.0.1", str(receiver.dicom_port)]
    done = subprocess.run(
        [dcmtk("dcmsend"), "-v", "--decompress-never", "--no-uid-checks", *target, *map(str, files)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    answers = [line for line in done.stdout.splitlines() + done.stderr.splitlines()
               if "Received C-STORE Response" in line]  # fmt: skip
    assert len(answers) == len(files)
    assert all("Success" in line for line in answers)
    assert object_count(receiver) > before


def test_every_real_file_is_kept_byte_for_byte(receiver: Box, shared_data: Path) -> None:
    files = {path: dcmread(path, stop_before_pixels=True) for path in shared_data.rglob("*.dcm")}
    results = send(list(files), "127.0.0.1", receiver.dicom_port)
    assert {sent.path: sent.text for sent in results} == dict.fromkeys(files, "stored")
    for path, sent in files.items():
        copies = [data_set_bytes(copy) for copy in stored(receiver, sent.SOPInstanceUID)]
        assert data_set_bytes(path) in copies


def test_a_kept_object_has_its_row_and_its_hash(receiver: Box, tmp_path: Path) -> None:
    path = write_object(tmp_path / "a.dcm")
    send([path], "127.0.0.1", receiver.dicom_port, calling_ae="CART-7")
    uid = dcmread(path).SOPInstanceUID
    (row,) = receiver.ledger.read("SELECT * FROM instance WHERE sop_instance_uid = ?", [uid])
    final = receiver.spool.object_path(row["sha256"])
    assert hash_file(final) == row["sha256"]
    assert row["size"] == final.stat().st_size
    assert (row["state"], row["patient_name"]) == ("received", "CANARY^PATIENT")
    assert (row["series_number"], row["instance_number"]) == (3, 7)
    assert (row["calling_ae_title"], row["peer"]) == ("CART-7", "127.0.0.1")
    assert incoming(receiver) == []


def test_the_same_object_again_is_success_and_no_news(receiver: Box, tmp_path: Path) -> None:
    path = write_object(tmp_path / "a.dcm")
    for _ in range(2):
        (sent,) = send([path], "127.0.0.1", receiver.dicom_port)
        assert sent.outcome is Outcome.STORED
    assert len(stored(receiver, dcmread(path).SOPInstanceUID)) == 1


def test_the_same_uid_with_other_bytes_keeps_both(receiver: Box, tmp_path: Path) -> None:
    first = write_object(tmp_path / "a.dcm", SOPInstanceUID="1.2.3.1", PatientName="ONE^A")
    second = write_object(tmp_path / "b.dcm", SOPInstanceUID="1.2.3.1", PatientName="TWO^B")
    for path in (first, second):
        (sent,) = send([path], "127.0.0.1", receiver.dicom_port)
        assert sent.outcome is Outcome.STORED
    names = [str(dcmread(path).PatientName) for path in stored(receiver, "1.2.3.1")]
    assert names == ["ONE^A", "TWO^B"]
    config = ["--config", str(receiver.config)]
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "status", *config],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "one of 2 with this UID and other bytes, a later one counts" in done.stdout
    assert "one of 2 with this UID and other bytes, this one counts" in done.stdout


@pytest.mark.parametrize("harm", ["none", "missing", "damaged"])
def test_an_object_sent_again_is_whole_and_the_log_tells_what_was_found(
    receiver: Box, tmp_path: Path, harm: str
) -> None:
    path = write_object(tmp_path / "a.dcm")
    send([path], "127.0.0.1", receiver.dicom_port)
    (final,) = stored(receiver, dcmread(path).SOPInstanceUID)
    if harm == "missing":
        final.unlink()
    elif harm == "damaged":
        final.write_bytes(final.read_bytes()[:-1] + b"?")
    (sent,) = send([path], "127.0.0.1", receiver.dicom_port)
    assert sent.outcome is Outcome.STORED
    assert hash_file(final) == final.stem
    words = "it was here already" if harm == "none" else "gone or damaged: it is whole here again"
    assert words in receiver.log("scp").splitlines()[-1]
    events = receiver.ledger.read("SELECT detail FROM event ORDER BY id")
    assert ("its file is whole again" in events[-1]["detail"]) == (harm != "none")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.999])
def test_a_cut_data_set_is_refused(receiver: Box, tmp_path: Path, share: float) -> None:
    data = data_set_bytes(write_object(tmp_path / "a.dcm", SOPInstanceUID="1.2.3.2"))
    status = store(receiver, data[: int(len(data) * share)], "1.2.3.2")
    assert status is not None
    assert status & 0xF000 == 0xC000
    assert stored(receiver, "1.2.3.2") == incoming(receiver) == []


@pytest.mark.parametrize(
    "data", [b"Dear colleague, the loop is attached.\n" * 40, b"\0", b"GIF89a" + bytes(999)]
)
def test_what_is_not_dicom_is_refused(receiver: Box, data: bytes) -> None:
    status = store(receiver, data, "1.2.3.3")
    assert status is not None
    assert status & 0xF000 in (0xC000, 0xA000)
    assert stored(receiver, "1.2.3.3") == incoming(receiver) == []


def test_another_uid_than_announced_is_refused(receiver: Box, tmp_path: Path) -> None:
    data = data_set_bytes(write_object(tmp_path / "a.dcm", SOPInstanceUID="1.2.3.4"))
    assert store(receiver, data, "1.2.3.5") == 0xA900
    assert store(receiver, data, "1.2.3.4", "1.2.840.10008.5.1.4.1.1.7") == 0xA900
    assert stored(receiver, "1.2.3.4") == stored(receiver, "1.2.3.5") == incoming(receiver) == []
    assert store(receiver, data, "1.2.3.4") == 0


def test_sweeping_spares_an_object_that_is_arriving(receiver: Box, tmp_path: Path) -> None:
    data = data_set_bytes(write_object(tmp_path / "a.dcm", SOPInstanceUID="1.2.3.7"))
    with Peer(receiver.dicom_port) as slow, Peer(receiver.dicom_port) as broken:
        for peer in (slow, broken):
            peer.associate([(ULTRASOUND, [EXPLICIT])])
            peer.command(ULTRASOUND, "1.2.3.7")
            peer.data(data[:600], last=False)
        receiver.wait_for(lambda: len(incoming(receiver)) == 2, "both objects to arrive")
        broken.reset()
        receiver.wait_for(lambda: len(incoming(receiver)) == 1, "the broken one to be swept")
        slow.data(data[600:])
        assert slow.status() == 0
    assert len(stored(receiver, "1.2.3.7")) == 1


def test_below_the_space_floor_objects_are_refused(tmp_path: Path) -> None:
    box = Box(tmp_path / "box", ["scp"])
    more_than_any_disk = "space_floor_mb = 1000000000000"
    box.config.write_text(box.config.read_text().replace("space_floor_mb = 10", more_than_any_disk))
    with box:
        (sent,) = send([write_object(tmp_path / "a.dcm")], "127.0.0.1", box.dicom_port)
        assert (sent.status, sent.outcome) == (0xA700, Outcome.REFUSED)
        assert "out of space" in sent.text
        assert object_count(box) == 0
        assert [path for path in box.spool.root.rglob("*") if path.is_file()] == []


def test_a_disk_that_fails_in_the_middle_of_an_object_leaves_nothing(tmp_path: Path) -> None:
    big = write_object(tmp_path / "a.dcm", pixels=bytes(64 * 48000))
    with Box(tmp_path / "box", ["scp"]) as box:
        process = psutil.Process(box.processes["scp"].pid)
        _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (1_000_000, hard))  # write() fails as on a full disk
        (sent,) = send([big], "127.0.0.1", box.dicom_port)
        assert not sent.ok
        box.wait_for(lambda: not incoming(box), "the partial object to be swept")
        assert box.loops() == []
        process.rlimit(psutil.RLIMIT_FSIZE, (hard, hard))
        (sent,) = send([big], "127.0.0.1", box.dicom_port)
        assert sent.outcome is Outcome.STORED


def test_the_log_holds_no_patient_data(receiver: Box, tmp_path: Path) -> None:
    path = write_object(tmp_path / "a.dcm", SOPInstanceUID="1.2.3.8", PatientName="CANARY^X")
    data = data_set_bytes(path)
    send([path], "127.0.0.1", receiver.dicom_port)
    store(receiver, data, "1.2.3.9")
    store(receiver, data[:-100], "1.2.3.8")
    log = receiver.log("scp")
    assert "not kept" in log
    assert "CANARY" not in log
    assert "Traceback" not in log


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Store]:
    """A store without its network, to break the disk and the ledger below it."""
    ledger = Ledger(tmp_path / "state")
    yield Store(Spool(tmp_path / "state"), ledger, 0)
    ledger.close()


def arrive(local: Store, path: Path) -> tuple[Path, Announced]:
    data = dcmread(path)
    file = local.spool.incoming / "arriving.dcm"
    shutil.copy(path, file)
    return file, Announced(str(data.SOPInstanceUID), str(data.SOPClassUID), "CART", "10.0.0.1")


def keep(local: Store, path: Path, announced: Announced) -> None:
    with ThreadPoolExecutor() as hashing:
        local.keep(ArrivingFile.opened(path, hashing), announced)


def test_a_ledger_that_takes_no_row_is_a_failure(local: Store, tmp_path: Path) -> None:
    file, announced = arrive(local, write_object(tmp_path / "a.dcm"))
    local.ledger.db.conn.execute("ALTER TABLE instance RENAME TO gone")
    with pytest.raises(LedgerError) as caught:
        keep(local, file, announced)
    assert status_of(caught.value) == 0x0110


def test_a_spool_that_can_not_link_is_a_failure(local: Store, tmp_path: Path) -> None:
    file, announced = arrive(local, write_object(tmp_path / "a.dcm"))
    shutil.rmtree(local.spool.objects)
    local.spool.objects.write_bytes(b"a file where the folder was")
    with pytest.raises(SpoolError) as caught:
        keep(local, file, announced)
    assert status_of(caught.value) == 0x0110


def test_each_kind_of_failure_has_its_status() -> None:
    said = ("store", "it failed", "Look.")
    assert status_of(NoRoomError(*said, retry=True)) == 0xA700
    assert status_of(SpoolError(*said, retry=True)) == 0xA700  # ENOSPC, EDQUOT
    assert status_of(SpoolError(*said)) == 0x0110  # EIO
    assert status_of(MismatchError(*said)) == 0xA900
    assert status_of(Part10Error(*said)) == 0xC000
    assert status_of(LedgerError(*said)) == 0x0110


def test_recovery_records_what_was_linked_and_removes_what_was_partial(
    local: Store, tmp_path: Path
) -> None:
    file, _ = arrive(local, write_object(tmp_path / "a.dcm", SOPInstanceUID="1.2.3.10"))
    adopted = local.spool.adopt(file)  # killed here: no row yet
    partial = local.spool.incoming / "partial.dcm"
    partial.write_bytes(file.read_bytes()[:900])
    whole = local.spool.incoming / "whole.dcm"
    whole.write_bytes(write_object(tmp_path / "b.dcm").read_bytes())
    assert local.recover() == (1, 2)
    rows = local.ledger.read("SELECT sop_instance_uid, sha256 FROM instance")
    assert rows == [{"sop_instance_uid": "1.2.3.10", "sha256": adopted.sha256}]
    assert list(local.spool.incoming.iterdir()) == []
    assert adopted.path.is_file()


def test_recovery_of_an_object_with_its_row_changes_nothing(local: Store, tmp_path: Path) -> None:
    file, announced = arrive(local, write_object(tmp_path / "a.dcm"))
    kept = tmp_path / "state" / "second-name"
    kept.hardlink_to(file)
    keep(local, file, announced)
    kept.rename(file)  # killed after the row, before the name was gone
    before = local.ledger.read("SELECT * FROM instance")
    assert local.recover() == (1, 0)
    assert local.ledger.read("SELECT * FROM instance") == before
    assert not file.exists()
