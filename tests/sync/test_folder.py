"""The destination `folder`: whole files or none, and never a directory that isn't there."""

import hashlib
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.sync.destinations import Absent, Proof, Unreachable
from appliance.sync.folder import Folder
from appliance.sync.originals import Original
from appliance.sync.seg import Part10


def a_result(uid: str = "2.25.7", study: str = "1.2.3", size: int = 300_000) -> Part10:
    parts = (b"head of " + uid.encode(), memoryview(bytes(range(250)) * (size // 250)))
    whole = b"".join(parts)
    return Part10(uid, study, parts, hashlib.sha256(whole).hexdigest(), len(whole))


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_result_lies_under_its_study_and_is_read_back(tmp_path):
    result = a_result()
    folder = Folder(tmp_path)
    folder.put(result)
    assert folder.prove(result) == Proof(result.sha256, result.size)
    assert files_below(tmp_path) == ["1.2.3/2.25.7.dcm"]
    assert (tmp_path / "1.2.3/2.25.7.dcm").read_bytes() == b"".join(result.parts)


def test_the_same_result_again_leaves_the_file_as_it_is(tmp_path):
    folder = Folder(tmp_path)
    folder.put(a_result())
    before = (tmp_path / "1.2.3/2.25.7.dcm").stat()
    folder.put(a_result())
    after = (tmp_path / "1.2.3/2.25.7.dcm").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_damaged_file_and_a_half_written_one_are_healed(tmp_path):
    study = tmp_path / "1.2.3"
    study.mkdir()
    (study / "2.25.7.dcm").write_bytes(b"cut")
    (study / ".2.25.7.dcm.part").write_bytes(b"left by a kill")
    folder = Folder(tmp_path)
    folder.put(a_result())
    assert folder.prove(a_result()).sha256 == a_result().sha256
    assert files_below(tmp_path) == ["1.2.3/2.25.7.dcm"]


def test_a_stick_that_gives_back_other_bytes_is_found_out(tmp_path):
    folder = Folder(tmp_path)
    folder.put(a_result())
    path = tmp_path / "1.2.3/2.25.7.dcm"
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    with pytest.raises(Absent, match="other bytes") as raised:
        folder.prove(a_result())
    assert raised.value.retry


def test_what_is_not_there_is_told_from_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(Absent, match="doesn't hold it"):
        Folder(tmp_path).prove(a_result())
    with pytest.raises(Unreachable, match="is not there"):
        Folder(tmp_path / "stick").prove(a_result())


def an_original(tmp_path: Path, content: bytes, uid: str = "1.2.9") -> Original:
    sha256 = hashlib.sha256(content).hexdigest()
    path = tmp_path / f"{sha256}.dcm"
    path.write_bytes(content)
    return Original(uid, "1.2.3", (memoryview(content),), sha256, len(content), path)


def test_an_original_that_came_again_with_other_content_lies_beside_the_first(tmp_path):
    folder = Folder(tmp_path / "stick")
    folder.path.mkdir()
    first, second = an_original(tmp_path, b"first"), an_original(tmp_path, b"second")
    for item in (first, second, first, second):
        folder.put(item)
        assert folder.prove(item) == Proof(item.sha256, item.size)
    assert files_below(folder.path) == [
        f"1.2.3/1.2.9-{second.sha256[:16]}.dcm",
        "1.2.3/1.2.9.dcm",
    ]


@pytest.mark.parametrize("uid", ["../../up", "", "..", "a/b"])
def test_the_uid_of_an_original_never_leads_out_of_the_folder(tmp_path, uid):
    inside = tmp_path / "inside"
    inside.mkdir()
    folder = Folder(inside)
    item = an_original(tmp_path, b"bytes", uid)
    folder.put(item)
    assert folder.prove(item).size == 5
    (written,) = files_below(inside)
    assert written.startswith("1.2.3/object-")


def test_a_folder_that_is_gone_is_never_made(tmp_path):
    with pytest.raises(Unreachable, match=r"stick/results is not there.*Plug in") as raised:
        Folder(tmp_path / "stick" / "results").put(a_result())
    assert raised.value.retry
    assert files_below(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "results").write_text("not a directory")
    with pytest.raises(Unreachable, match="is not a directory"):
        Folder(tmp_path / "results").put(a_result())


def test_a_folder_that_may_not_be_written_is_told():
    # Not even root makes directories there.
    with pytest.raises(Unreachable, match=r"may not be written|is read-only"):
        Folder(Path("/sys")).put(a_result())


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path):
    with no_file_larger_than(100_000), pytest.raises(Unreachable, match="too large") as raised:
        Folder(tmp_path).put(a_result())
    assert raised.value.retry
    assert files_below(tmp_path) == []


def test_a_full_folder_is_told_and_takes_the_result_once_there_is_room(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system can't be mounted here (not root)")
    try:
        (tmp_path / "films").write_bytes(b"x" * 100_000)
        with pytest.raises(Unreachable, match=r"is full\. Make room"):
            Folder(tmp_path).put(a_result(size=200_000))
        assert files_below(tmp_path) == ["films"]
        (tmp_path / "films").unlink()
        Folder(tmp_path).put(a_result(size=200_000))
        assert files_below(tmp_path) == ["1.2.3/2.25.7.dcm"]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("study", ["../../etc", "/etc", "..", "1.2/3", "", "1" * 65, "1.2\n"])
def test_what_a_source_says_never_leads_out_of_the_folder(tmp_path, study):
    inside = tmp_path / "inside"
    inside.mkdir()
    Folder(inside).put(a_result(study=study))
    (written,) = files_below(tmp_path)
    assert written.startswith("inside/study-")
    assert os.sep not in written.removeprefix("inside/").split("/2.25.7.dcm")[0]
