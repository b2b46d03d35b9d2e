"""Searches over DICOMweb: what fits is found, and nothing else; what isn't understood is refused."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pydicom
import pytest

from tests.webui.dicomwebbox import SERIES, STUDY, Web, names, reading, way


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, real_loop: Path) -> Iterator[Web]:
    with reading(tmp_path_factory.mktemp("dicomweb"), real_loop) as web:
        yield web


@pytest.fixture(scope="module")
def real(real_loop: Path) -> pydicom.Dataset:
    return pydicom.dcmread(real_loop)


@pytest.mark.parametrize(
    "query",
    [
        "StudyInstanceUID={study}",
        "0020000D={study},1.2.3",
        "StudyInstanceUID=1.2.3%5C{study}",
        "PatientID=P-77",
        "PatientID=P-*",
        "PatientID=P-7%3F",
        "PatientName=m%C3%BCller*",
        "PatientName=M%C3%9CLLER%5E%C3%A4nne%5E%5E",
        "PatientName=*%C3%84NNE",
        "StudyDate=20260131",
        "StudyDate=20260101-20260201",
        "StudyDate=-20260131&PatientID=P-77",
        "StudyDate=20260131-",
        "StudyDate=20260131&StudyTime=08-09",
        "AccessionNumber=A%201",
        "ModalitiesInStudy=US&PatientID=P-77",
        "Modality=US&InstanceNumber=2&PatientID=P-77",
        "SOPClassUID=1.2.840.10008.5.1.4.1.1.3.1&StudyDate=20260131",
    ],
)
def test_a_search_finds_the_study(web: Web, query: str) -> None:
    found = web.find(f"/studies?{query.format(study=STUDY)}")
    assert names(found, "0020000D") == [STUDY]


@pytest.mark.parametrize(
    "query",
    [
        "PatientID=p-77",
        "PatientID=P-7",
        "PatientName=M%C3%BCller",
        "PatientName=M%25",
        "StudyDate=20260130",
        "StudyDate=20260201-&PatientID=P-77",
        "StudyDate=20260131&StudyTime=0900-",
        "ModalitiesInStudy=SR",
        "AccessionNumber=A",
        "InstanceNumber=4&PatientID=P-77",
        "StudyInstanceUID=1.2",
    ],
)
def test_a_search_finds_nothing_else(web: Web, query: str) -> None:
    assert web.find(f"/studies?{query}") == []


def test_results_have_what_the_standard_asks_for(web: Web) -> None:
    (study,) = web.client.search_for_studies(search_filters={"PatientID": "P-77"})
    assert study["00201206"]["Value"] == [1]
    assert study["00201208"]["Value"] == [3]
    assert study["00080061"]["Value"] == ["US"]
    assert study["00080056"]["Value"] == ["ONLINE"]
    assert study["00081190"]["Value"] == [f"{web.url}/studies/{STUDY}"]
    (series,) = web.client.search_for_series(STUDY)
    assert series["0020000E"]["Value"] == [SERIES]
    assert series["00201209"]["Value"] == [3]
    instances = web.client.search_for_instances(STUDY, SERIES)
    assert names(instances, "00200013") == [1, 2, 3]
    assert names(instances, "00280008") == [4, 4, 4]
    assert len(web.client.search_for_instances()) == 4
    assert len(web.client.search_for_series()) == 2
    # The newest objects first.
    assert names(web.client.search_for_studies(), "0020000D")[0] == STUDY


def test_addresses_are_those_that_a_proxy_is_reached_by(web: Web) -> None:
    _, _, body = web.ask("/studies", X_Forwarded_Proto="https", Host="localhost")
    (address,) = json.loads(body)[0]["00081190"]["Value"]
    assert address.startswith("https://localhost/dicom-web/studies/")


def test_pages_of_results_and_further_elements(web: Web) -> None:
    path = f"/studies/{STUDY}/instances"
    assert names(web.find(f"{path}?limit=2"), "00200013") == [1, 2]
    assert names(web.find(f"{path}?limit=2&offset=2"), "00200013") == [3]
    assert web.find(f"{path}?offset=3") == []
    plain = web.find(f"{path}?limit=1")[0]
    assert "00181063" not in plain
    assert "00181063" in web.find(f"{path}?limit=1&includefield=FrameTime")[0]
    assert "00181063" in web.find(f"{path}?limit=1&includefield=00080020,00181063")[0]
    assert "00186011" in web.find(f"{path}?limit=1&includefield=all")[0]


def test_fuzzy_matching_is_said_not_to_be_there(web: Web) -> None:
    status, headers, _ = web.ask("/studies?PatientName=x&fuzzymatching=true")
    assert status == HTTPStatus.OK
    assert "fuzzymatching parameter is not supported" in headers["Warning"]
    assert "Warning" not in web.ask("/studies?PatientName=x")[1]


@pytest.mark.parametrize(
    "path",
    [
        "/studies?PatientNam=x",
        "/studies?StudyDate=31.1.26",
        "/studies?limit=-1",
        "/studies?offset=many",
        "/studies?PatientID=a&00100020=b",
        "/studies?InstanceNumber=two",
        "/studies?RequestAttributesSequence.ReferencedStudySequence=x",
        "/studies?PatientName.StudyID=x",
        "/studies?RequestAttributesSequence.ReferencedStudySequence.StudyID=x",
        "/studies?SequenceOfUltrasoundRegions=x",
        "/studies/no-uid/metadata",
        "/studies/1.2/series/1.2/instances/1.2/frames/0",
        "/studies/1.2/series/1.2/instances/1.2/frames/1-3",
    ],
)
def test_what_can_not_be_understood_is_refused_with_a_sentence(
    web: Web, real: pydicom.Dataset, path: str
) -> None:
    path = path.replace("/studies/1.2/series/1.2/instances/1.2", way(real))
    status, headers, body = web.ask(path)
    assert status == HTTPStatus.BAD_REQUEST
    assert headers["Content-Type"] == "application/problem+json"
    assert json.loads(body)["detail"].endswith(".")
