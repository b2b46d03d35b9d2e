"""Results over DICOMweb: the very bytes that were delivered, as long as the decision stands."""

import numpy as np
import pydicom
import pytest

from appliance.ledger import Ledger, review, served, worklist
from appliance.ledger.review import Decision
from appliance.spool import Spool
from appliance.sync.kept import Kept
from tests.box import Box
from tests.phantom import cine_loop
from tests.sync.material import masks_of, reviewed
from tests.webui.dicomwebbox import Web, names, parts, way

WANTED = [("usb", "seg"), ("usb", "sr"), ("usb", "overlay"), ("maps", "seg"), ("maps", "sr")]
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class Reviewed:
    """A box with an accepted loop whose results have arrived in two folders."""

    def __init__(self, box: Box) -> None:
        self.box, self.web = box, Web(box)
        self.loop = cine_loop(
            frames=4, rows=90, columns=120, elements={"PatientID": "P1", "StudyDate": "20260131"}
        )
        source = self.loop.write(box.root / "source.dcm")
        self.review = reviewed(box.ledger, box.spool, source, self.loop.labels, WANTED)
        self.study = str(self.loop.dataset.StudyInstanceUID)
        self.wait()

    def wait(self) -> None:
        def done() -> bool:
            rows = worklist.deliveries(self.box.ledger, self.review["seq"])
            return all(row["state"] in ("proven", "withdrawn") for row in rows)

        self.box.wait_for(done, "the deliveries")

    def delivered(self) -> dict[str, bytes]:
        folders = (self.box.usb, self.box.root / "maps")
        paths = [path for folder in folders for path in folder.rglob("*.dcm")]
        return {path.stem: path.read_bytes() for path in paths}

    def served(self) -> set[str]:
        found = self.web.find(f"/studies/{self.study}/instances")
        return set(names(found, "00080018")) - {str(self.loop.dataset.SOPInstanceUID)}


@pytest.fixture(scope="module")
def reviewed_box(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    (root / "maps").mkdir()
    extra = (
        f'[[destination]]\nname = "maps"\nkind = "folder"\npath = "{root / "maps"}"\n'
        'seg_type = "LABELMAP"\nseg_syntax = "rle"\nseg_objects = "each"\n'
    )
    with Box(root, ["webui", "sync"], extra) as box:
        yield Reviewed(box)


def test_every_result_is_found_and_its_bytes_are_those_that_were_delivered(reviewed_box):
    delivered = reviewed_box.delivered()
    assert len(delivered) == 7  # SEG, SR and overlay; three label maps and their report
    assert reviewed_box.served() == set(delivered)
    for uid, content in delivered.items():
        dataset = pydicom.dcmread(reviewed_box.box.root / "source.dcm", stop_before_pixels=True)
        (found,) = reviewed_box.web.find(f"/instances?SOPInstanceUID={uid}")
        series = found["0020000E"]["Value"][0]
        path = f"/studies/{dataset.StudyInstanceUID}/series/{series}/instances/{uid}"
        status, headers, body = reviewed_box.web.ask(path, Accept=DICOM)
        assert status == 200, body
        ((_, part),) = parts(headers, body)
        assert part == content


def test_a_result_is_found_by_what_it_is_and_whose_it_is(reviewed_box):
    web, study = reviewed_box.web, reviewed_box.study
    found = web.find("/series?Modality=SEG&PatientID=P1")
    assert len(found) == 2
    assert {item["0020000D"]["Value"][0] for item in found} == {study}
    (label_maps,) = [item for item in found if item["00201209"]["Value"] == [3]]
    (series,) = label_maps["0020000E"]["Value"]
    assert len(web.find(f"/studies/{study}/series/{series}/instances")) == 3
    (whole,) = web.find(f"/studies?StudyInstanceUID={study}")
    assert {"SEG", "SR", "OT"} <= set(whole["00080061"]["Value"])
    assert whole["00201208"]["Value"] == [8]
    label_map = "1.2.840.10008.5.1.4.1.1.66.7"
    assert len(web.find(f"/instances?SOPClassUID={label_map}")) == 3
    assert len(web.find("/studies?Modality=SR")) == 1
    assert web.find("/instances?Modality=SEG&PatientID=P2") == []


def test_metadata_and_frames_of_a_result_are_read_by_dicomweb_client(reviewed_box, tmp_path):
    web, study = reviewed_box.web, reviewed_box.study
    for found in web.find("/instances?Modality=SEG"):
        series, uid = (found[tag]["Value"][0] for tag in ("0020000E", "00080018"))
        metadata = web.client.retrieve_instance_metadata(study, series, uid)
        assert metadata["00620002"]["Value"][-1]["00620005"]["Value"]
        dataset = web.client.retrieve_instance(
            study, series, uid, media_types=(("application/dicom", "*"),)
        )
        assert str(dataset.SOPInstanceUID) == uid
        if dataset.SegmentationType == "LABELMAP":
            encoded = web.client.retrieve_instance_frames(
                study, series, uid, [1, 2], media_types=("application/octet-stream",)
            )
            assert len(encoded) == 2
            continue
        path = tmp_path / "seg.dcm"
        dataset.save_as(path, enforce_file_format=True)
        source = str(reviewed_box.loop.dataset.SOPInstanceUID)
        assert np.array_equal(masks_of(path, source, range(1, 5)), reviewed_box.loop.labels)


def test_an_overlay_is_shown_as_any_loop(reviewed_box):
    (found,) = reviewed_box.web.find("/instances?Modality=OT")
    series, uid = (found[tag]["Value"][0] for tag in ("0020000E", "00080018"))
    path = f"/studies/{reviewed_box.study}/series/{series}/instances/{uid}"
    status, headers, body = reviewed_box.web.ask(f"{path}/frames/1/rendered", Accept="image/jpeg")
    assert (status, body[:2]) == (200, b"\xff\xd8")
    assert headers["Content-Type"] == "image/jpeg"


def test_nobody_reads_a_result_without_a_token(reviewed_box):
    status, _, _ = reviewed_box.web.ask(way(reviewed_box.loop.dataset), given="none")
    assert status == 401


def test_what_a_later_decision_replaced_is_served_no_more(reviewed_box):
    box, before = reviewed_box.box, reviewed_box.served()
    known = reviewed_box.review
    decided = review.record(
        box.ledger,
        Decision(
            seq=known["seq"],
            analysis_sha256=known["analysis_sha256"],
            patient_id="P1",
            decision="accepted",
            reviewer="BM",
            key="again",
        ),
        [("usb", "seg"), ("usb", "sr")],
    )
    assert not reviewed_box.served() & before, "a decision that has not left is not served either"
    reviewed_box.wait()
    after = reviewed_box.served()
    assert len(after) == 2
    assert decided["result_sop_instance_uid"] in after
    assert not after & before
    old = next(iter(before))
    assert reviewed_box.web.find(f"/instances?SOPInstanceUID={old}") == []
    # The rejection note that went before them is no result.
    assert reviewed_box.web.find("/series?Modality=KO") == []


def test_a_file_removed_to_make_room_is_gone_and_the_search_still_knows_it(reviewed_box):
    box = reviewed_box.box
    wanted = reviewed_box.served()
    kept = Kept(Ledger(box.settings.box.state_dir), Spool(box.settings.box.state_dir))
    while kept.drop(1 << 40):
        pass
    assert not list(box.spool.results.rglob("*.dcm"))
    assert reviewed_box.served() == wanted
    rows = served.of_study(box.ledger, reviewed_box.study)
    for row in (row for row in rows if "is_result" in row):
        path = f"/studies/{reviewed_box.study}/series/{row['series_instance_uid']}"
        path += f"/instances/{row['sop_instance_uid']}"
        status, _, body = reviewed_box.web.ask(path, Accept=DICOM)
        assert status == 410, body
