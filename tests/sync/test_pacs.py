"""The destination `dicom` against real servers: Orthanc and DCMTK's storescp."""

import signal
import socket
import ssl
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
import pytest
import requests
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from appliance.cine import open_cine
from appliance.dimse import Peer
from appliance.errors import DeliveryError
from appliance.scu import send
from appliance.sync.destinations import Absent, Proof, Unproven, Unreachable
from appliance.sync.overlay import overlay
from appliance.sync.pacs import Pacs
from tests.box import REPOSITORY, Box, free_port
from tests.dcmtk import dcmtk
from tests.orthanc import PASSWORD, USER, Orthanc
from tests.sync.material import AUTOMATIC, STRUCTURES, a_review, write_source
from tests.sync.servers import (
    all_proven_at,
    as_original,
    data_set_of,
    orthanc,
    problems_at,
    states_at,
    with_results,
)

__all__ = ["orthanc"]


def pacs_of(port: int, called: str = "ORTHANC", calling: str = "ECHOCART") -> Pacs:
    return Pacs(Peer("127.0.0.1", port, called, calling))


@contextmanager
def storescp(folder: Path, *options: str):
    """DCMTK's receiver: it knows no C-GET."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen([dcmtk("storescp"), *options, "-od", folder, str(port)])
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def test_an_object_is_stored_byte_for_byte_and_proven(orthanc, tmp_path):
    item = as_original(write_source(tmp_path / "a.dcm"))
    pacs = pacs_of(orthanc.dicom_port)
    pacs.put(item)
    assert pacs.prove(item) == Proof(item.sha256, item.size)
    (tmp_path / "there.dcm").write_bytes(orthanc.file(item.SOPInstanceUID))
    assert data_set_of(tmp_path / "there.dcm") == data_set_of(item.path)


def test_a_compressed_loop_keeps_its_frames_although_the_pacs_writes_it_its_own_way(
    orthanc, tmp_path, real_loop
):
    item = as_original(real_loop)
    pacs = pacs_of(orthanc.dicom_port)
    pacs.put(item)
    assert pacs.prove(item) == Proof(item.sha256, item.size)
    there = tmp_path / "there.dcm"
    there.write_bytes(orthanc.file(item.SOPInstanceUID))
    assert data_set_of(there) != data_set_of(real_loop), "Orthanc no longer rewrites sequences"
    dataset = pydicom.dcmread(there)
    assert dataset.PixelData == pydicom.dcmread(real_loop).PixelData
    assert dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit


def test_an_overlay_is_taken_and_given_back(orthanc, tmp_path, real_loop):
    with open_cine(real_loop) as cine:
        made = overlay(
            cine, lambda _: np.ones((480, 640), np.uint8), [0], STRUCTURES, AUTOMATIC, a_review(8)
        )
    pacs = pacs_of(orthanc.dicom_port)
    pacs.put(made)
    assert pacs.prove(made) == Proof(made.sha256, made.size)


def test_what_the_pacs_does_not_have_is_absent(orthanc, tmp_path):
    with pytest.raises(Absent, match="doesn't have the object"):
        pacs_of(orthanc.dicom_port).prove(as_original(write_source(tmp_path / "a.dcm")))


def test_a_second_object_under_a_known_uid_is_found_out_although_the_status_is_success(
    orthanc, tmp_path
):
    uid = generate_uid()
    first = as_original(write_source(tmp_path / "1.dcm", SOPInstanceUID=uid))
    dataset = pydicom.dcmread(first.path)
    dataset.StudyTime = "111111"
    dataset.save_as(tmp_path / "2.dcm")
    second = as_original(tmp_path / "2.dcm")
    pacs = pacs_of(orthanc.dicom_port)
    pacs.put(first)
    pacs.put(second)
    assert isinstance(pacs.prove(first), Proof)
    with pytest.raises(DeliveryError, match="holds another object under this UID"):
        pacs.prove(second)


@pytest.mark.parametrize(
    ("changed", "accepted"),
    [({"PatientID": "HOSPITAL-1", "AccessionNumber": "4711"}, True), ({"Rows": "47"}, False)],
)
def test_a_pacs_may_correct_whose_object_it_is_and_nothing_else(
    orthanc, tmp_path, changed, accepted
):
    item = as_original(write_source(tmp_path / "a.dcm"))
    pacs = pacs_of(orthanc.dicom_port)
    pacs.put(item)
    base = f"http://127.0.0.1:{orthanc.http_port}"
    session = requests.Session()
    session.auth = (USER, PASSWORD)
    found = session.post(f"{base}/tools/lookup", data=item.SOPInstanceUID).json()[0]["ID"]
    keep = ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"]
    body = {"Replace": {"PatientID": "P1", **changed}, "Keep": keep, "Force": True}
    modified = session.post(f"{base}/instances/{found}/modify", json=body)
    assert modified.ok, modified.text
    session.delete(f"{base}/instances/{found}")
    assert session.post(f"{base}/instances", data=modified.content).ok
    if accepted:
        assert isinstance(pacs.prove(item), Proof)
    else:
        with pytest.raises(DeliveryError, match="another object"):
            pacs.prove(item)


def test_a_pacs_that_gives_nothing_back_is_told_as_such(tmp_path, real_loop):
    item = as_original(real_loop)
    with storescp(tmp_path / "there", "+xa", "+B") as port:
        pacs = pacs_of(port)
        pacs.put(item)
        assert pacs.prove(item) == Unproven(
            f"ORTHANC at 127.0.0.1:{port} doesn't offer to give anything back by C-GET"
        )
    (copy,) = (tmp_path / "there").iterdir()
    assert data_set_of(copy) == data_set_of(item.path)


def test_a_class_the_pacs_refuses_is_named(tmp_path):
    profile = tmp_path / "storescp.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[[PresentationContexts]]\n[Ultrasound]\n"
        "PresentationContext1 = UltrasoundMultiframeImageStorage\\Plain\n"
        "[[Profiles]]\n[Default]\nPresentationContexts = Ultrasound\n"
    )
    segmentation = as_original(
        write_source(tmp_path / "seg.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    )
    with storescp(tmp_path / "there", "-xf", str(profile), "Default") as port:
        words = "refuses Segmentation Storage in Explicit VR Little Endian"
        with pytest.raises(DeliveryError, match=words) as raised:
            pacs_of(port).put(segmentation)
        assert not isinstance(raised.value, Unreachable)
        pacs_of(port).put(as_original(write_source(tmp_path / "us.dcm")))


@pytest.mark.parametrize("names", [{"called": "WRONG"}, {"calling": "WRONG"}])
def test_a_wrong_ae_title_is_a_matter_of_the_whole_destination(orthanc, tmp_path, names):
    pacs = pacs_of(orthanc.dicom_port, **names)
    with pytest.raises(Unreachable, match=r"refuses the association of .*AE title"):
        pacs.put(as_original(write_source(tmp_path / "a.dcm")))
    assert pacs.is_there()


def test_a_pacs_that_is_off_is_unreachable_and_not_there(tmp_path):
    pacs = pacs_of(free_port())
    pacs.check()
    with pytest.raises(Unreachable, match="no DICOM receiver answers"):
        pacs.put(as_original(write_source(tmp_path / "a.dcm")))
    assert not pacs.is_there()
    with pytest.raises(Unreachable, match="doesn't answer"):
        pacs.check()


def test_a_host_that_nobody_knows_is_told_in_every_try(tmp_path):
    pacs = Pacs(Peer("pacs.invalid", 104, "PACS", "ECHOCART"))
    with pytest.raises(Unreachable, match=r"pacs\.invalid is not a known host\. Check the address"):
        pacs.put(as_original(write_source(tmp_path / "a.dcm")))
    with pytest.raises(Unreachable, match=r"pacs\.invalid is not a known host\. Check the address"):
        pacs.check()


def test_tls_to_a_port_without_it_is_not_told_as_nobody_there(orthanc, tmp_path):
    peer = Peer("127.0.0.1", orthanc.dicom_port, "ORTHANC", "ECHOCART")
    pacs = Pacs(peer, secure=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    with pytest.raises(Unreachable, match=r"takes the connection, .*may be a port without TLS"):
        pacs.put(as_original(write_source(tmp_path / "a.dcm")))


def test_originals_and_results_wait_for_a_pacs_that_is_off_and_hold_up_no_stick(tmp_path):
    server = Orthanc(tmp_path / "orthanc")
    more = server.toml("pacs", "dicom", "originals results")
    with Box(tmp_path / "box", ["sync"], more) as box:
        reviews = with_results(box, 2, [("usb", "seg"), ("pacs", "seg")], ["pacs"])
        box.wait_for(lambda: all_proven_at(box, "usb"), "the stick's results")
        box.wait_for(lambda: "no DICOM receiver answers" in problems_at(box, "pacs"), "the reason")
        assert states_at(box, "pacs") == ["queued"] * 4
        with server:
            box.wait_for(lambda: all_proven_at(box, "pacs"), "the PACS's results")
            uids = [loop["sop_instance_uid"] for loop in box.loops()]
            uids += [review["result_sop_instance_uid"] for review in reviews]
            assert server.instances() == sorted(uids)


def test_a_loop_that_a_machine_sends_is_in_the_pacs_before_anybody_reviews_it(
    orthanc, tmp_path, real_loop
):
    with Box(tmp_path, ["scp", "sync"], orthanc.toml("pacs", "dicom", "originals")) as box:
        (sent,) = send([real_loop], "127.0.0.1", box.dicom_port, "CART", "ECHOCART")
        assert sent.ok
        box.wait_for(lambda: states_at(box, "pacs") == ["proven"], "the original")
        done = subprocess.run(
            [sys.executable, "-m", "appliance", "status", "--config", box.config],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert "pacs original proven" in done.stdout
    uid = str(pydicom.dcmread(real_loop, stop_before_pixels=True).SOPInstanceUID)
    assert orthanc.instances().count(uid) == 1


def test_a_server_that_never_answers_holds_up_no_stick(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        more = (
            f'[[destination]]\nname = "pacs"\nkind = "dicom"\nhost = "127.0.0.1"\n'
            f'port = {port}\ncalled_ae = "SILENT"\n'
        )
        with Box(tmp_path, ["sync"], more) as box:
            with_results(box, 3, [("pacs", "seg"), ("usb", "seg")])
            box.wait_for(lambda: all_proven_at(box, "usb"), "the stick's results", 25)
            assert states_at(box, "pacs") == ["queued"] * 3
            assert box.stop("sync") == 0
