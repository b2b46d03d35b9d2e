"""Searches look at an index, not at files."""

from urllib.parse import quote

import pydicom
import pytest
from pydicom.uid import generate_uid

from appliance.ledger import described
from appliance.webui import dicomweb_index
from tests.box import Box
from tests.phantom import cine_loop
from tests.sync.material import reviewed
from tests.webui.dicomwebbox import Web, names

# PS3.18 tables 10.6.1-5: what a server must match by.
REQUIRED = {
    "StudyDate": "20260131",
    "StudyTime": "0830",
    "AccessionNumber": "A 1",
    "ModalitiesInStudy": "US",
    "ReferringPhysicianName": "REF*",
    "PatientName": "DOE*",
    "PatientID": "P1",
    "StudyID": "7",
    "Modality": "US",
    "SeriesNumber": "4",
    "PerformedProcedureStepStartDate": "20260131",
    "PerformedProcedureStepStartTime": "0831",
    "RequestAttributesSequence.RequestedProcedureID": "R 7",
    "00400275.00400009": "S*",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1",
    "InstanceNumber": "3",
}


def a_loop(seed: int = 0, **changed: str):
    elements = {name: value.replace("*", "^X") for name, value in REQUIRED.items()}
    del elements["ModalitiesInStudy"]
    item = pydicom.Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepID = "R 7", "S 8"
    elements |= {"RequestAttributesSequence": [item]}
    del elements["RequestAttributesSequence.RequestedProcedureID"]
    del elements["00400275.00400009"]
    elements |= {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), **changed}
    return cine_loop(seed=seed, frames=2, rows=32, columns=48, elements=elements)


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    with Box(tmp_path_factory.mktemp("index"), ["scp", "webui"]) as box:
        web = Web(box)
        other = {"StudyDate": "20250101", "AccessionNumber": "B 2", "PatientID": "P2"}
        for number, loop in enumerate((a_loop(), a_loop(1, **other))):
            web.arrive(loop.write(box.root / f"{number}.dcm"))
        yield web


def test_each_required_key_is_answered_without_a_file(web):
    found = web.find("/studies")
    assert len(found) == 2
    objects = web.box.spool.objects
    aside = objects.with_name("aside")
    objects.rename(aside)
    try:
        for keyword, value in REQUIRED.items():
            results = web.find(f"/instances?{keyword}={quote(value)}")
            accession = names(results, "00080050")
            assert "A 1" in accession, keyword
        nested = "RequestAttributesSequence.RequestedProcedureID"
        assert web.find(f"/series?{nested}=R%208") == []
        assert names(web.find("/studies?StudyDate=20260101-"), "00080050") == ["A 1"]
        assert names(web.find("/studies?StudyDate=-20251231"), "00080050") == ["B 2"]
        assert names(web.find("/studies?AccessionNumber=B*"), "00080050") == ["B 2"]
        assert web.find("/studies?StudyDate=20260131&AccessionNumber=B%202") == []
        assert web.find("/series?StudyDate=20240101") == []
    finally:
        aside.rename(objects)


def test_the_index_is_made_as_objects_come_and_not_by_the_first_search(web):
    web.box.wait_for(lambda: not described.missing(web.box.ledger, 1), "the index")
    loop = a_loop(2, AccessionNumber="C 3")
    web.arrive(loop.write(web.box.root / "later.dcm"))
    web.box.wait_for(lambda: not described.missing(web.box.ledger, 1), "the later object")
    assert names(web.find("/studies?AccessionNumber=C%203"), "00080050") == ["C 3"]


def test_an_index_that_is_lost_is_made_anew(web):
    before = web.find("/studies")
    with web.box.ledger.transaction() as db:
        db.conn.execute("DELETE FROM described")
    assert web.find("/studies") == before


def test_a_file_that_can_not_be_read_is_found_by_what_the_ledger_knows(tmp_path):
    with Box(tmp_path, ()) as box:
        loop = a_loop()
        maps = loop.labels
        reviewed(box.ledger, box.spool, loop.write(tmp_path / "a.dcm"), maps, [])
        (path,) = box.spool.objects.rglob("*.dcm")
        path.write_bytes(b"damaged")
        assert dicomweb_index.bring_up_to_date(box.ledger, box.spool) == 1
        assert dicomweb_index.bring_up_to_date(box.ledger, box.spool) == 0
        (content,) = described.of(box.ledger, [path.stem]).values()
        assert content == {}
