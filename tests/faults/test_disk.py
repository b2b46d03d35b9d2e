"""A disk that is full, or fails: the sender is told, nothing is left, and it passes by itself."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread

from appliance.part10.meta import file_meta
from appliance.scu import Outcome, send
from tests.box import Box
from tests.scp.objects import data_set_bytes, write_object

PATHS = ("pump", pytest.param("stock", marks=pytest.mark.slow))
MB = 1_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The state directory of a box on a file system of 40 MB."""
    folder = tmp_path / "box" / "state"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "echocart-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("a small file system can't be mounted here (not root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def write_big(path: Path) -> Path:
    """An object of 50 MB."""
    data = dcmread(write_object(path))
    data.Rows, data.Columns = 50_000, 1000
    data.PixelData = bytes(50 * MB)
    data.save_as(path)
    return path


def box_on(root: Path, receive_path: str, floor_mb: int) -> Box:
    box = Box(root, ["scp"], scp=f'receive_path = "{receive_path}"')
    text = box.config.read_text()
    box.config.write_text(text.replace("space_floor_mb = 10", f"space_floor_mb = {floor_mb}"))
    return box


def objects_on_disk(box: Box) -> list[Path]:
    folders = (box.spool.incoming, box.spool.objects, box.spool.quarantine)
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def send_one(box: Box, path: Path) -> tuple[int | None, Outcome]:
    (sent,) = send([path], "127.0.0.1", box.dicom_port)
    return sent.status, sent.outcome


@pytest.mark.parametrize("receive_path", PATHS)
@pytest.mark.parametrize("floor_mb", [0, 15])
def test_a_disk_that_fills_in_the_middle_of_an_object_recovers_on_its_own(
    tmp_path: Path, small_disk: Path, receive_path: str, floor_mb: int
) -> None:
    big = write_big(tmp_path / "big.dcm")
    small = write_object(tmp_path / "small.dcm")
    with box_on(tmp_path / "box", receive_path, floor_mb) as box:
        free = shutil.disk_usage(small_disk).free
        for _ in range(3):
            status, outcome = send_one(box, big)
            assert outcome is not Outcome.STORED
            if receive_path == "pump":
                assert status == 0xA700
            box.wait_for(lambda: not objects_on_disk(box), "the partial object to be gone")
            assert box.loops() == []
        assert shutil.disk_usage(small_disk).free > free - 2 * MB  # the ledger's own
        assert send_one(box, small) == (0, Outcome.STORED)
        assert len(box.loops()) == len(objects_on_disk(box)) == 1


@pytest.mark.parametrize("receive_path", PATHS)
def test_an_object_whose_row_has_no_room_is_refused_and_gone(
    tmp_path: Path, small_disk: Path, receive_path: str
) -> None:
    path = write_object(tmp_path / "a.dcm", pixels=bytes(64 * 3000))
    with box_on(tmp_path / "box", receive_path, 0) as box:
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as stream:
            # Room for the file, none for the WAL behind it.
            stream.write(bytes(shutil.disk_usage(small_disk).free - path.stat().st_size - 20_000))
        status, outcome = send_one(box, path)
        assert outcome is not Outcome.STORED
        assert status != 0
        filler.unlink()
        assert objects_on_disk(box) == []
        assert box.loops() == []
        assert send_one(box, path) == (0, Outcome.STORED)


class Traced(Box):
    """A box whose receiver runs under strace; the log is `strace.log`."""

    def __init__(self, root: Path, receive_path: str, *options: str) -> None:
        super().__init__(root, ["scp"], scp=f'receive_path = "{receive_path}"')
        self.options = options

    def command(self, name: str) -> list[str]:
        log = str(self.root / "strace.log")
        return ["strace", "-f", "-y", "-o", log, *self.options, *super().command(name)]

    def stop(self, name: str) -> int:
        """Stop what is traced: a signal for strace would leave it running."""
        for child in psutil.Process(self.processes[name].pid).children():
            child.terminate()
        return self.processes.pop(name).wait(20)

    @property
    def calls(self) -> list[str]:
        return (self.root / "strace.log").read_text().splitlines()


CALLS = "trace=fsync,fdatasync,link,linkat,sendto,sendmsg,write"


def position(calls: list[str], pattern: str, after: int = -1) -> int:
    """Where the first matching call is behind another one; its end, if it was interrupted."""
    for index in range(after + 1, len(calls)):
        if re.search(pattern, calls[index]):
            if "<unfinished" not in calls[index]:
                return index
            thread, name = calls[index].split()[0], re.search(r"(\w+)\(", calls[index]).group(1)
            return position(calls, rf"^{thread} .*<\.\.\. {name} resumed", index)
    raise AssertionError(f"no call like {pattern} after {after}:\n" + "\n".join(calls[-40:]))


@pytest.mark.usefixtures("strace_installed")
@pytest.mark.parametrize("receive_path", PATHS)
def test_success_leaves_after_file_folder_and_row_are_on_disk(
    tmp_path: Path, receive_path: str
) -> None:
    path = write_object(tmp_path / "a.dcm", pixels=bytes(64 * 30_000))
    with Traced(tmp_path / "box", receive_path, "-e", CALLS) as box:
        assert send_one(box, path) == (0, Outcome.STORED)
    # What comes before is the receiver's proof to itself: a C-ECHO and a few bytes.
    calls = box.calls[position(box.calls, r"fsync\(.*scp\.alive") + 1 :]
    file = position(calls, r"fsync\(\d+<.*/spool/incoming/")
    link = position(calls, r"link(at)?\(.*/spool/incoming/.*/spool/objects/", file)
    folder = position(calls, r"fsync\(\d+<.*/spool/objects/[0-9a-f]{2}>", link)
    commit = position(calls, r"f(data)?sync\(\d+<.*/ledger.db-wal>", folder)
    # C-STORE-RSP (0x8001) in a P-DATA-TF; strace shows the bytes of a command field as octal.
    answer = position(calls, r"(sendto|sendmsg|write)\(\d+<(TCP|socket)", commit)
    assert file < link < folder < commit < answer
    accepted = position(calls, r"(sendto|sendmsg|write)\(\d+<(TCP|socket)")
    between = [call for call in calls[accepted + 1 : commit] if re.search(r"<(TCP|socket)", call)]
    assert not [call for call in between if re.search(r"(sendto|sendmsg|write)\(", call)]


EIO = {
    "the file": ["-e", "inject=fsync:error=EIO:when=1"],  # the first of all
    "the folder": ["-P", "{spool}/objects/{first}", "-e", "inject=fsync:error=EIO"],
    "the row": ["-P", "{spool}/../ledger.db-wal", "-e", "inject=fsync,fdatasync:error=EIO"],
}


def final_name(path: Path) -> str:
    """The SHA-256 that an object will be kept under."""
    data = dcmread(path, stop_before_pixels=True)
    meta = file_meta(data.SOPClassUID, data.SOPInstanceUID, data.file_meta.TransferSyntaxUID)
    return sha256(meta + data_set_bytes(path)).hexdigest()


@pytest.mark.usefixtures("strace_installed")
@pytest.mark.parametrize("receive_path", PATHS)
@pytest.mark.parametrize("where", EIO)
def test_a_disk_that_answers_eio_is_told_and_leaves_nothing(
    tmp_path: Path, receive_path: str, where: str
) -> None:
    """The disk's own error, injected into the system call that makes one of them durable."""
    path = write_object(tmp_path / "a.dcm", pixels=bytes(64 * 30_000))
    names = {"spool": tmp_path / "box" / "state" / "spool", "first": final_name(path)[:2]}
    options = [os.path.normpath(o.format(**names)) if "{" in o else o for o in EIO[where]]
    box = Traced(tmp_path / "box", receive_path, "-e", "trace=fsync,fdatasync", *options)
    box.spool.make_object_folders()
    with box:
        status, outcome = send_one(box, path)
        assert status == 0x0110
        assert outcome is not Outcome.STORED
        assert any("INJECTED" in call for call in box.calls)
        assert objects_on_disk(box) == []
        assert box.loops() == []
        box.stop("scp")
        box.options = ("-e", "trace=fsync")
        box.start("scp")
        assert send_one(box, path) == (0, Outcome.STORED)
        assert len(box.loops()) == len(objects_on_disk(box)) == 1
