import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from appliance.errors import SpoolError
from appliance.spool import Spool, write_durably


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def incoming(spool: Spool, data: bytes, name: str = "a") -> Path:
    path = spool.incoming / name
    path.write_bytes(data)
    return path


def test_adopt_gives_the_file_its_content_as_name_and_leaves_the_incoming_one(spool):
    path = incoming(spool, b"loop")
    adopted = spool.adopt(path)
    assert adopted.sha256 == sha256(b"loop").hexdigest()
    assert adopted.path == spool.object_path(adopted.sha256)
    assert adopted.path.read_bytes() == b"loop"
    assert adopted.size == 4
    assert path.exists()


def test_the_same_content_twice_is_one_file(spool):
    first = spool.adopt(incoming(spool, b"loop", "a"))
    second = spool.adopt(incoming(spool, b"loop", "b"))
    assert first == second
    assert len(list(first.path.parent.iterdir())) == 1


def test_the_same_content_again_heals_a_damaged_first_copy(spool):
    adopted = spool.adopt(incoming(spool, b"loop", "a"))
    adopted.path.unlink()
    adopted.path.write_bytes(b"rot!")
    again = spool.adopt(incoming(spool, b"loop", "b"))
    assert again.path.read_bytes() == b"loop"
    assert len(list(again.path.parent.iterdir())) == 1


@pytest.mark.parametrize(("call", "words"), [("fsync", "Input/output error")])
def test_adopt_leaves_nothing_under_the_final_name_when_a_sync_fails(
    tmp_path, call, words, strace_installed
):
    """The disk's own error, injected into the real system call."""
    script = (
        "import sys; from pathlib import Path; from appliance.spool import Spool\n"
        "from appliance.errors import SpoolError\n"
        f"s = Spool(Path({str(tmp_path)!r})); p = s.incoming / 'a'; p.write_bytes(b'x')\n"
        "try: s.adopt(p)\n"
        "except SpoolError as e: print(e, e.retry)\n"
    )
    strace = ("strace", "-f", "-o", "/dev/null")
    for when in (1, 2, 3):  # the file, the new directory's parent, the directory
        done = subprocess.run(
            [*strace, "-e", f"inject={call}:error=EIO:when={when}", sys.executable, "-c", script],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[1],
            check=True,
        )
        assert words in done.stdout
        assert "False" in done.stdout  # a failing disk is not cured by trying again
        assert not list((tmp_path / "spool" / "objects").rglob("*.dcm"))
        for folder in (tmp_path / "spool" / "objects").iterdir():
            folder.rmdir()


def test_a_chunk_comes_back_as_it_was_put(spool):
    name = spool.put_chunk(b"labels")
    assert spool.read_chunk(name) == b"labels"
    assert spool.put_chunk(b"labels") == name


def test_a_damaged_chunk_is_refused(spool):
    name = spool.put_chunk(b"labels")
    spool.chunk_path(name).write_bytes(b"labelz")
    with pytest.raises(SpoolError, match="has changed on disk"):
        spool.read_chunk(name)


def test_a_missing_chunk_is_said_in_words(spool):
    with pytest.raises(SpoolError, match="No such file"):
        spool.read_chunk("0" * 64)


def test_a_write_that_fails_leaves_no_trace(tmp_path):
    folder = tmp_path / "full"
    folder.mkdir()
    with pytest.raises(TypeError):
        write_durably(folder / "a", "not bytes")  # type: ignore[arg-type]
    assert list(folder.iterdir()) == []


def test_a_spool_that_can_not_be_made_names_the_folder(tmp_path):
    (tmp_path / "spool").write_text("a file in the way")
    with pytest.raises(SpoolError, match="spool"):
        Spool(tmp_path)
