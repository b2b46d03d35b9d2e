"""Files that promise more than they hold: refused before the memory is spent."""

import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.phantom import small_loop as small

# Opens each file it is told, asks for the reason, reads three frames; says what memory that took.
READER = """
import sys
from pathlib import Path
import cv2, numpy, pydicom.pixels.decoders, openjpeg, rle, jpeg_ls
from appliance.cine import open_cine
from appliance.errors import ApplianceError
def peak():
    # Not ru_maxrss: that starts with what the parent had.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
for line in sys.stdin:
    before = peak()
    try:
        with open_cine(Path(line.strip())) as cine:
            said = cine.refusal()
            for index in range(min(3, cine.frames)):
                try:
                    cine.rgb(index)
                except ApplianceError:
                    pass
    except ApplianceError as error:
        said = error.subject
    print(peak() - before, said, flush=True)
"""
MEMORY = 60_000_000  # bytes more than before
SECONDS = 60  # of processor, for all of them


@pytest.fixture(scope="module")
def reader() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", READER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS)),
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def read(reader):
    """What is said of a file; fails when that takes much memory, time or the process."""

    def one(path: Path, memory: int = MEMORY) -> str:
        reader.stdin.write(f"{path}\n")
        reader.stdin.flush()
        answer = reader.stdout.readline()
        assert answer, "the process died"
        grown, said = answer.strip().split(" ", 1)
        assert int(grown) < memory
        return said

    return one


def as_sent(path: Path, loop, change=lambda data: data) -> Path:
    path.write_bytes(change(loop.bytes()))
    return path


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless, JPEGLSLossless, JPEG2000Lossless],
)
def test_two_thousand_million_frames(read, tmp_path, syntax):
    loop = small(transfer_syntax=syntax, declared_frames=2**31 - 1, rows=240, columns=320)
    assert read(loop.write(tmp_path / "a.dcm")) == "None"  # the nine there are, are used


SYNTAXES = [
    *(ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless),
    *(JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1),
]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_picture_of_65535_by_65535(read, tmp_path, syntax):
    loop = small(transfer_syntax=syntax)
    loop.dataset.Rows = loop.dataset.Columns = 65535
    assert "size" in read(loop.write(tmp_path / "a.dcm"))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_largest_picture_that_is_believed_without_pixels_to_fill_it(read, tmp_path, syntax):
    loop = small(transfer_syntax=syntax, elements={"Rows": 2304, "Columns": 4096})
    said = read(loop.write(tmp_path / "a.dcm"))
    assert "damaged" in said or "still image" in said


@pytest.mark.parametrize(
    ("syntax", "start", "place"),
    [
        (JPEGBaseline8Bit, b"\xff\xc0", 5),
        (JPEGLosslessSV1, b"\xff\xc3", 5),
        (JPEGLSLossless, b"\xff\xf7", 5),
        (JPEG2000Lossless, b"\xff\x51", 8),
    ],
)
def test_a_codestream_larger_than_the_picture(read, tmp_path, syntax, start, place):
    def grown(_: int, data: bytes) -> bytes:
        at = data.index(start) + place
        return data[:at] + b"\x40\x00" + data[at + 2 :]

    loop = small(transfer_syntax=syntax, change_frame=grown)
    assert "damaged" in read(loop.write(tmp_path / "a.dcm"))


def test_a_jpeg_2000_of_sixteen_thousand_components(read, tmp_path):
    def grown(_: int, data: bytes) -> bytes:
        at = data.index(b"\xff\x51") + 38
        return data[:at] + b"\x40\x00" + data[at + 2 :]

    loop = small(transfer_syntax=JPEG2000Lossless, change_frame=grown)
    assert "damaged" in read(loop.write(tmp_path / "a.dcm"))


def test_a_jpeg_that_is_drawn_ten_thousand_times(read, tmp_path):
    def again(_: int, data: bytes) -> bytes:
        scan = data.index(b"\xff\xda")
        return data[:scan] + data[scan:-2][:200] * 10_000 + b"\xff\xd9"

    loop = small(transfer_syntax=JPEGBaseline8Bit, change_frame=again)
    assert "damaged" in read(loop.write(tmp_path / "a.dcm"))


@pytest.mark.parametrize("length", [0x7FFFFFF0, 0xFFFFFFF0, 0xFFFFFFFF])
def test_fragments_that_run_far_beyond_the_file(read, tmp_path, length):
    def changed(data: bytes) -> bytes:
        item = data.rindex(b"\xfe\xff\x00\xe0") + 4
        return data[:item] + struct.pack("<L", length) + data[item + 4 :]

    loop = small(transfer_syntax=JPEGBaseline8Bit, offsets=False)
    assert "cut" in read(as_sent(tmp_path / "a.dcm", loop, changed))


def test_a_million_empty_fragments(read, tmp_path):
    empty = b"\xfe\xff\x00\xe0" + bytes(4)

    def changed(data: bytes) -> bytes:
        end = data.rindex(b"\xfe\xff\xdd\xe0")
        return data[:end] + empty * 1_100_000 + data[end:]

    loop = small(transfer_syntax=RLELossless, offsets=False)
    assert "pieces" in read(as_sent(tmp_path / "a.dcm", loop, changed))


@pytest.mark.parametrize("depth", [40, 60, 20_000])
def test_sequences_in_sequences(read, tmp_path, depth):
    opening = b"\x18\x00\x11\x60SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    loop = small(rows=240, columns=320, regions="missing")

    def changed(data: bytes) -> bytes:
        at = data.index(b"\x28\x00\x02\x00US")
        return data[:at] + opening * depth + closing * depth + data[at:]

    said = read(as_sent(tmp_path / "a.dcm", loop, changed))
    assert said == "None" if depth == 40 else "nested" in said


def test_a_data_set_that_inflates_a_thousandfold(read, tmp_path):
    loop = small(transfer_syntax=DeflatedExplicitVRLittleEndian)
    loop.dataset.add_new(0x00291010, "OB", bytes(300_000_000))
    assert "too large" in read(loop.write(tmp_path / "a.dcm"), memory=360_000_000)


def test_twenty_thousand_regions(read, tmp_path):
    item = Dataset()
    item.RegionSpatialFormat = 1
    loop = small(rows=240, columns=320, elements={"SequenceOfUltrasoundRegions": [item] * 20_000})
    read(loop.write(tmp_path / "a.dcm"))
