"""Each form of segmentations against real servers: Orthanc by DICOM and DICOMweb, DCMTK's storescp."""

import json

import numpy as np
import pydicom
import pytest

from appliance.dimse import Peer
from appliance.part10 import read_header
from appliance.sync.archive import Archive
from appliance.sync.destinations import Awaited, NotTaken, Proof
from appliance.sync.form import Form
from appliance.sync.pacs import Pacs
from appliance.sync.seg import segmentation
from tests.orthanc import PASSWORD, USER, Orthanc
from tests.sync.material import AUTOMATIC, STRUCTURES, a_review, label_maps, write_source
from tests.sync.servers import orthanc
from tests.sync.test_pacs import pacs_of, storescp

__all__ = ["orthanc"]

SYNTAXES = [
    *(("BINARY", syntax) for syntax in ("explicit", "deflated")),
    *(("LABELMAP", syntax) for syntax in ("explicit", "deflated", "rle")),
]
MAPS = label_maps(8, 48, 64)


def made(folder, form, number):
    source = write_source(folder / "source.dcm")
    review = a_review(SOPInstanceUID=f"2.25.77{number}", SeriesInstanceUID=f"2.25.78{number}")
    return segmentation(
        read_header(source),
        lambda i: MAPS[i],
        range(8),
        STRUCTURES,
        AUTOMATIC,
        review,
        form=form,
    )


@pytest.fixture(scope="module")
def willing(tmp_path_factory):
    """An Orthanc that takes classes it doesn't know."""
    server = Orthanc(tmp_path_factory.mktemp("willing"))
    known = json.loads(server.configuration.read_text())
    server.configuration.write_text(json.dumps(known | {"UnknownSopClassAccepted": True}))
    with server:
        yield server


@pytest.mark.parametrize("chosen", SYNTAXES, ids="-".join)
def test_a_pacs_takes_each_form_and_answers_for_it(willing, tmp_path, chosen):
    item = made(tmp_path, Form(*chosen), SYNTAXES.index(chosen))
    pacs = pacs_of(willing.dicom_port)
    pacs.put(item)
    # It gives back no class by C-GET that it doesn't know, and offers storage commitment.
    asked = Awaited(Form(*chosen).kind.SOPClassUID, item.SOPInstanceUID)
    there = Proof(item.sha256, item.size) if chosen[0] == "BINARY" else asked
    assert pacs.prove(item) == there
    (tmp_path / "there.dcm").write_bytes(willing.file(item.SOPInstanceUID))
    there = pydicom.dcmread(tmp_path / "there.dcm")
    assert there.file_meta.TransferSyntaxUID == Form(*chosen).kind.TransferSyntaxUID
    if chosen[0] == "LABELMAP":
        assert np.array_equal(there.pixel_array, MAPS)


def test_orthanc_as_it_comes_takes_no_label_maps_by_dicom(orthanc, tmp_path):
    with pytest.raises(NotTaken, match="Label Map Segmentation Storage in Explicit"):
        pacs_of(orthanc.dicom_port).put(made(tmp_path, Form("LABELMAP"), 30))


@pytest.mark.parametrize("chosen", SYNTAXES, ids="-".join)
def test_an_archive_takes_each_form_and_gives_it_back(orthanc, tmp_path, chosen):
    item = made(tmp_path, Form(*chosen), 10 + SYNTAXES.index(chosen))
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    archive = Archive(orthanc.url, USER, password)
    archive.put(item)
    assert archive.prove(item) == Proof(item.sha256, item.size)


def test_a_class_and_a_syntax_that_a_receiver_of_today_s_debian_does_not_know_are_named(tmp_path):
    with storescp(tmp_path / "there") as port:
        pacs = Pacs(Peer("127.0.0.1", port, "ANY", "ECHOCART"))
        pacs.put(made(tmp_path, Form("BINARY"), 20))
        with pytest.raises(NotTaken, match="Deflated Explicit VR Little Endian"):
            pacs.put(made(tmp_path, Form("BINARY", "deflated"), 21))
        with pytest.raises(NotTaken, match="Label Map Segmentation Storage"):
            pacs.put(made(tmp_path, Form("LABELMAP"), 22))
