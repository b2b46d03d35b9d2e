"""A cine from DCMTK, corrected in Chromium: in the PACS, in the archive without a name, back as frames.

Two real Orthancs: one is the hospital's PACS (C-STORE, C-GET), one the central archive (DICOMweb).
"""

import shutil
import subprocess
import sys

import pydicom
import pytest
from pydicom.uid import (
    ComprehensiveSRStorage,
    SegmentationStorage,
    UltrasoundMultiFrameImageStorage,
)

from appliance import labels, masks
from appliance.config import load
from appliance.ledger import worklist
from appliance.manifest import current_model
from models import corrections
from tests.box import REPOSITORY, Box
from tests.browser import hand
from tests.dcmtk import dcmtk
from tests.orthanc import PASSWORD, USER, Orthanc
from tests.phantom import cine_loop

LV = 1
FRAMES = (6, 11)
CANARIES = ("CANARY", "Ülrike", "ZX81-PATIENT", "AK")


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    root = tmp_path_factory.mktemp("servers")
    with Orthanc(root / "pacs") as pacs, Orthanc(root / "archive") as archive:
        yield pacs, archive


@pytest.fixture(scope="module")
def box(servers, tmp_path_factory):
    pacs, archive = servers
    extra = pacs.toml("pacs", "dicom", "originals results")
    extra += archive.toml("archive", "dicomweb", "corrections")
    with Box(tmp_path_factory.mktemp("box"), extra=extra) as box:
        yield box


@pytest.fixture(scope="module")
def corrected(box, browser, tmp_path_factory):
    """One loop on its way: sent by DCMTK, two frames corrected in Chromium, everything delivered."""
    storescu = dcmtk("storescu")
    loop = cine_loop(
        frames=20,
        seed=5,
        transfer_syntax=pydicom.uid.JPEGBaseline8Bit,
        SpecificCharacterSet="ISO_IR 192",
        PatientName="CANARY^Ülrike",
        PatientID="ZX81-PATIENT",
    )
    path = loop.write(tmp_path_factory.mktemp("loop") / "loop.dcm")
    command = [storescu, "-xy", "-aec", "ECHOCART", "127.0.0.1", str(box.dicom_port)]
    subprocess.run([*command, str(path)], check=True)
    (row,) = box.wait_settled(1)
    correct(box, browser, row)
    final = ("proven", "unproven", "withdrawn", "refused")

    def delivered() -> bool:
        rows = worklist.deliveries(box.ledger, row["seq"])
        return len(rows) >= 6 and all(item["state"] in final for item in rows)

    box.wait_for(delivered, "everything to be delivered")
    return path, loop, row["seq"]


def correct(box, browser, row):
    maps = labels.of_analysis(box.ledger, box.spool, row["analysis"]["id"])
    size = {"width": 1280, "height": 800}
    with browser.new_context(base_url=box.url, viewport=size) as context:
        tab = context.new_page()
        hand.sign_in(tab, "AK", f"/loop/{row['seq']}")
        hand.open_loop(tab)
        tab.click("#correct")
        for frame in FRAMES:
            points = masks.contours(maps.frame(frame))[LV]
            x, y = points[points[:, 0].argmin()]
            hand.go_to_frame(tab, frame)
            hand.drag_by_mouse(tab, hand.place(tab, (float(x), float(y))), -24, 6)
        tab.click("#accept")
        box.wait_for(lambda: box.loops()[0]["review"], "the correction to be stored")


def by_class(server):
    objects = [server.dataset(uid) for uid in server.instances()]
    return {str(item.SOPClassUID): item for item in objects}


def errors_of(server, folder):
    """Return dciodvfy's errors for everything a server holds."""
    found = []
    for number, uid in enumerate(server.instances()):
        path = folder / f"{number}.dcm"
        path.write_bytes(server.file(uid))
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        found += [line for line in done.stderr.splitlines() if line.startswith("Error")]
    return found


def test_the_pacs_holds_the_loop_its_seg_and_its_report(servers, corrected, tmp_path):
    path, loop, _ = corrected
    held = by_class(servers[0])
    assert set(held) == {
        UltrasoundMultiFrameImageStorage,
        SegmentationStorage,
        ComprehensiveSRStorage,
    }
    sent = pydicom.dcmread(path)
    assert held[UltrasoundMultiFrameImageStorage].PixelData == sent.PixelData
    report = held[ComprehensiveSRStorage]
    assert str(report.PatientName) == "CANARY^Ülrike"
    assert report.StudyInstanceUID == loop.dataset.StudyInstanceUID
    assert report.VerificationFlag == "UNVERIFIED"
    assert "RESEARCH USE ONLY" in report.SeriesDescription
    referenced = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    uids = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in referenced}
    assert uids == {sent.SOPInstanceUID, held[SegmentationStorage].SOPInstanceUID}
    if shutil.which("dciodvfy"):
        assert errors_of(servers[0], tmp_path) == []


def test_every_delivery_is_proven(box, corrected):
    rows = worklist.deliveries(box.ledger, corrected[2])
    assert {(row["destination"], row["kind"]): row["state"] for row in rows} == {
        ("usb", "seg"): "proven",
        ("usb", "sr"): "proven",
        ("pacs", "original"): "proven",
        ("pacs", "seg"): "proven",
        ("pacs", "sr"): "proven",
        ("archive", "correction"): "proven",
    }


def test_the_archive_holds_the_correction_and_nobodys_name(servers, corrected, tmp_path):
    _path, loop, _ = corrected
    archive = servers[1]
    studies = archive.client().search_for_studies()
    assert len(studies) == 1
    uids = archive.instances()
    assert len(uids) == 4
    original = (str(loop.dataset.SOPInstanceUID), str(loop.dataset.StudyInstanceUID))
    for uid in uids:
        content = archive.file(uid)
        for word in (*CANARIES[:3], *original):
            for coding in ("utf-8", "latin-1", "utf-16-le"):
                assert word.encode(coding) not in content, f"{word} left the box"
        assert archive.dataset(uid).PatientIdentityRemoved == "YES"
    if shutil.which("dciodvfy"):
        assert errors_of(archive, tmp_path) == []


@pytest.fixture(scope="module")
def pulled(servers, corrected, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corrections")
    archive = servers[1]
    command = [sys.executable, "-m", "models.pull", "--from", archive.url, "--to", str(folder)]
    command += ["--user", USER, "--password-file", str(archive.password_file)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return folder


def test_the_corrected_frames_come_back_for_training(pulled, corrected):
    rows = corrections.rows(pulled)
    assert sorted(int(row.frame) for row in rows) == list(FRAMES)
    (made,) = {row.model_sha256 for row in rows}
    assert made in {variant.sha256 for variant in current_model().variants}


def test_a_model_that_is_added_draws_the_next_loop(box, corrected, tmp_path):
    """The released network under another name: retraining itself needs the training tools."""
    folder = tmp_path / "first-network-1.0.1"
    shutil.copytree(current_model().folder, folder)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"1.0.0"', '"1.0.1"', 1))
    for words in (["add", str(folder)], ["use", "first-network-1.0.1"]):
        command = [sys.executable, "-m", "appliance", "model", *words, "--config", str(box.config)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert load(box.config)
    next_loop = cine_loop(frames=12, seed=99, rows=240, columns=320).write(tmp_path / "next.dcm")
    command = [sys.executable, "-m", "appliance", "send", str(next_loop)]
    subprocess.run([*command, "--to", f"127.0.0.1:{box.dicom_port}"], cwd=REPOSITORY, check=True)
    row = box.wait_settled(2)[0]
    assert row["analysis"]["model_version"] == "1.0.1"
