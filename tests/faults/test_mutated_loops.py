"""Real files, broken in many ways: each ends analysed or kept with a reason, and the engine lives on."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from appliance.ledger import reception
from tests.box import LOADED_MACHINE_S, Box
from tests.faults.mutants import Original, mutant

MEMORY = 600_000_000  # bytes of the engine, whatever comes
NAMES = [
    *("dcm4che/US-PAL-8-10x-echo.dcm", "orthanc-tests/1.2.840.10008.1.2.4.50.dcm"),
    *("orthanc-tests/Implicit-vr-us-palette.dcm", "orthanc-tests/Issue16.dcm"),
    *("pydicom-data/JPGLosslessP14SV1_1s_1f_8b.dcm", "pydicom-data/OBXXXX1A.dcm"),
    *("pydicom-data/OBXXXX1A_2frame.dcm", "pydicom-data/OBXXXX1A_rle.dcm"),
    *("pydicom-data/OBXXXX1A_rle_2frame.dcm", "pydicom-data/US1_J2KI.dcm"),
    *("pydicom-data/US1_J2KR.dcm", "pydicom-data/US1_UNCR.dcm", "pydicom-data/color-pl.dcm"),
    *("pydicom-data/color-px.dcm", "pydicom-data/color3d_jpeg_baseline.dcm"),
    *("pydicom-data/gdcm-US-ALOKA-16.dcm", "pydicom/ExplVR_BigEnd.dcm"),
    *("pydicom/examples_jpeg2k.dcm", "pydicom/examples_palette.dcm"),
    *("pydicom/examples_rgb_color.dcm", "pydicom/examples_ybr_color.dcm"),
    *("weasis-dicom-tools/ybr422-raw.dcm", "weasis-dicom-tools/ybrFull-RLE.dcm"),
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with Box(tmp_path_factory.mktemp("mutants"), ["engine"]) as box:
        yield box


def put(box: Box, data: bytes, uid: str) -> int:
    """Straight into the spool: the receiver would refuse many, but disks change bytes later."""
    incoming = box.spool.incoming / "object"
    incoming.write_bytes(data)
    adopted = box.spool.adopt(incoming)
    received = reception.Received(
        SOPInstanceUID=uid,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1",
        StudyInstanceUID="1.2.3",
        SeriesInstanceUID="1.2.3.4",
        TransferSyntaxUID="1.2.840.10008.1.2.1",
        sha256=adopted.sha256,
        size=adopted.size,
        calling_ae_title="TEST",
        peer="127.0.0.1",
    )
    return reception.record(box.ledger, received).seq


def analyse(box: Box, path: Path, seeds: range) -> None:
    """Give the engine the mutants of one file, and hold what it made of each."""
    original = Original.read(path)
    before = box.processes["engine"].pid
    uid = f"1.2.3.{NAMES.index(f'{path.parent.name}/{path.name}')}"
    sent = {put(box, mutant(original, seed), f"{uid}.{seed}"): seed for seed in seeds}
    waiting = dict(sent)
    end = time.monotonic() + LOADED_MACHINE_S + 2 * len(sent)
    while waiting:
        assert time.monotonic() < end, f"{path.name}: still waiting: {sorted(waiting.values())}"
        assert box.processes["engine"].poll() is None, f"died: one of {sorted(waiting.values())}"
        for seq in list(waiting):
            [found] = box.ledger.read("SELECT state, reason FROM instance WHERE seq = ?", [seq])
            if found["state"] not in ("received", "analysing"):
                assert found["state"] in ("analysed", "kept"), (waiting[seq], dict(found))
                assert (found["state"] == "kept") == bool(found["reason"]), waiting[seq]
                del waiting[seq]
        time.sleep(0.05)
    assert box.processes["engine"].pid == before
    assert peak(before) < MEMORY


def peak(pid: int) -> int:
    """The most memory a process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return psutil.Process(pid).memory_info().rss


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_file_is_analysed_or_kept_with_a_reason(engine, shared_data, name):
    analyse(engine, shared_data / name, range(10))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_broken_two_hundred_ways_never_ends_the_engine(engine, shared_data, name):
    analyse(engine, shared_data / name, range(10, 210))


def test_every_real_file_is_broken_here(shared_data):
    assert {str(path.relative_to(shared_data)) for path in shared_data.rglob("*.dcm")} == set(NAMES)
