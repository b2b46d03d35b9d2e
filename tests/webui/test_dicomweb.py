"""The box as a DICOMweb server, asked by dicomweb-client with a token, and by hand."""

import hashlib
import io
import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from appliance.ledger import audit, delivery, identity, reception, token
from appliance.part10 import read_header
from appliance.purge import Purge
from tests.phantom import cine_loop
from tests.webui.dicomwebbox import LONG, SERIES, STUDY, Web, parts, reading, uids, way
from tests.webui.reviewbox import Page, enrol


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, real_loop: Path) -> Iterator[Web]:
    with reading(tmp_path_factory.mktemp("dicomweb"), real_loop) as web:
        yield web


@pytest.fixture(scope="module")
def real(real_loop: Path) -> pydicom.Dataset:
    return pydicom.dcmread(real_loop)


def test_a_client_gets_the_real_loop_byte_for_byte(web: Web, real_loop: Path) -> None:
    original = real_loop.read_bytes()
    dataset = pydicom.dcmread(io.BytesIO(original))
    status, headers, body = web.ask(way(dataset))
    assert status == HTTPStatus.OK
    assert int(headers["Content-Length"]) == len(body)
    ((kind, content),) = parts(headers, body)
    assert kind == "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50"
    kept = web.box.loops()[-1]
    assert hashlib.sha256(content).hexdigest() == kept["sha256"]
    got = web.client.retrieve_instance(*uids(dataset), media_types=(("application/dicom", "*"),))
    assert got == dataset
    assert got.PixelData == dataset.PixelData
    status, headers, alone = web.ask(way(dataset), Accept="application/dicom")
    assert (status, alone) == (HTTPStatus.OK, content)
    assert headers["Content-Type"].startswith("application/dicom;")


def test_frames_are_the_files_own_fragments(web: Web, real: pydicom.Dataset) -> None:
    fragments = list(generate_frames(real.PixelData, number_of_frames=120))
    wanted = [1, 60, 120, 2]
    for media in (None, ("image/jpeg",), (("application/octet-stream", "*"),)):
        got = web.client.retrieve_instance_frames(*uids(real), wanted, media_types=media)
        assert got == [fragments[number - 1] for number in wanted]
    status, headers, body = web.ask(f"{way(real)}/frames/7", Accept="image/jpeg")
    assert (status, body) == (HTTPStatus.OK, fragments[6])
    assert headers["Content-Type"] == "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
    status, headers, body = web.ask(f"{way(real)}/bulkdata/7FE00010")
    assert [content for _, content in parts(headers, body)] == fragments


def test_native_frames_are_cut_out_of_the_pixel_data(web: Web) -> None:
    (third,) = web.find(f"/instances?StudyInstanceUID={STUDY}&InstanceNumber=3")
    instance = third["00080018"]["Value"][0]
    dataset = web.client.retrieve_instance(STUDY, SERIES, instance, (("application/dicom", "*"),))
    size = len(dataset.PixelData) // 4
    got = web.client.retrieve_instance_frames(STUDY, SERIES, instance, [2, 4])
    assert got == [dataset.PixelData[size : 2 * size], dataset.PixelData[3 * size : 4 * size]]


def test_a_study_and_a_series_come_whole(web: Web) -> None:
    for path in (f"/studies/{STUDY}", f"/studies/{STUDY}/series/{SERIES}"):
        status, headers, body = web.ask(path)
        assert status == HTTPStatus.OK
        assert int(headers["Content-Length"]) == len(body)
        got = parts(headers, body)
        hashes = [hashlib.sha256(content).hexdigest() for _, content in got]
        rows = [row for row in web.box.loops() if row["study_instance_uid"] == STUDY]
        assert sorted(hashes) == sorted(row["sha256"] for row in rows)
        for kind, content in got:
            syntax = pydicom.dcmread(io.BytesIO(content)).file_meta.TransferSyntaxUID
            assert kind == f"application/dicom; transfer-syntax={syntax}"


def test_rendered_frames_are_jpegs_that_show_the_loop(web: Web, real: pydicom.Dataset) -> None:
    fragments = list(generate_frames(real.PixelData, number_of_frames=120))
    got = web.client.retrieve_instance_frames_rendered(*uids(real), [3], ("image/jpeg",))
    assert picture(got).shape[:2] == (real.Rows, real.Columns)
    difference = np.abs(picture(got).astype(int) - picture(fragments[2]))
    assert difference.mean() < 8
    first = web.client.retrieve_instance_rendered(*uids(real), ("image/jpeg",))
    assert picture(first).shape == picture(got).shape
    native = web.find(f"/instances?StudyInstanceUID={STUDY}&InstanceNumber=3")[0]
    instance = native["00080018"]["Value"][0]
    got = web.client.retrieve_instance_rendered(STUDY, SERIES, instance, ("image/jpeg",))
    assert picture(got).shape[:2] == (90, 120)


def picture(jpeg: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def test_metadata_are_the_header_and_point_at_what_is_long(web: Web, real_loop: Path) -> None:
    header = read_header(real_loop).dataset
    said = web.client.retrieve_instance_metadata(*uids(header))
    dataset = pydicom.Dataset.from_json(said, lambda _tag, _vr, _uri: b"")
    for keyword in ("PatientName", "StudyDate", "NumberOfFrames", "FrameTime", "Rows"):
        assert dataset.get(keyword) == header.get(keyword), keyword
    assert dataset.SequenceOfUltrasoundRegions == header.SequenceOfUltrasoundRegions
    assert said["7FE00010"]["BulkDataURI"].endswith("/bulkdata/7FE00010")
    assert said["00083002"]["Value"] == ["1.2.840.10008.1.2.4.50"]
    all_of_them = web.client.retrieve_study_metadata(STUDY)
    assert [one["00200013"]["Value"] for one in all_of_them] == [[1], [2], [3]]
    assert all_of_them[0]["00100010"]["Value"] == [{"Alphabetic": "MÜLLER^Änne"}]
    assert all_of_them[0]["00080005"]["Value"] == ["ISO_IR 192"]
    for tag, content in (("00091010", LONG[:2000]), ("00091011", LONG)):
        assert list(web.client.retrieve_bulkdata(all_of_them[0][tag]["BulkDataURI"])) == [content]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1'),
        ("", 'multipart/related; type="image/png"'),
        ("/frames/1", 'multipart/related; type="image/jp2"'),
        ("/frames/1,2", "image/jpeg"),
        (
            "/frames/1",
            'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.70',
        ),
        ("/rendered", "image/png"),
        ("/metadata", 'multipart/related; type="application/dicom+xml"'),
    ],
)
def test_a_form_the_box_does_not_have_is_not_acceptable(
    web: Web, real: pydicom.Dataset, path: str, wanted: str
) -> None:
    status, _, body = web.ask(way(real) + path, Accept=wanted)
    assert status == HTTPStatus.NOT_ACCEPTABLE
    assert json.loads(body)["detail"].startswith("Ask for ")


def test_the_best_liked_form_is_sent(web: Web, real: pydicom.Dataset) -> None:
    liked = 'image/jp2, image/jpeg;q=0.5, multipart/related; type="application/octet-stream";q=0.9'
    status, headers, _ = web.ask(f"{way(real)}/frames/1", Accept=liked)
    assert status == HTTPStatus.OK
    assert headers["Content-Type"].startswith('multipart/related; type="application/octet-stream"')
    # As OHIF writes it, without the quotes.
    viewers = "multipart/related; type=application/octet-stream; transfer-syntax=*"
    status, headers, body = web.ask(f"{way(real)}/frames/1", Accept=viewers)
    assert status == HTTPStatus.OK
    ((kind, _),) = parts(headers, body)
    assert kind == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.50"
    asked = web.ask(f"{way(real)}/metadata?accept=application/json", Accept="image/png")
    assert asked[1]["Content-Type"] == "application/json"


def test_what_a_client_has_is_not_sent_again(web: Web, real: pydicom.Dataset) -> None:
    for path in ("", "/frames/1", "/metadata", "/rendered", "/bulkdata/7FE00010"):
        status, headers, _ = web.ask(way(real) + path)
        assert status == HTTPStatus.OK
        again, known, body = web.ask(way(real) + path, If_None_Match=headers["ETag"])
        assert (again, body) == (HTTPStatus.NOT_MODIFIED, b"")
        assert known["ETag"] == headers["ETag"]
        assert headers["Cache-Control"] == "private, no-cache"
        other = web.ask(way(real) + path, If_None_Match='"another"')
        assert other[0] == HTTPStatus.OK


def test_what_is_not_here_is_not_found(web: Web, real: pydicom.Dataset) -> None:
    study, series, _ = uids(real)
    for path in (
        "/studies/1.2.3",
        f"/studies/{study}/series/1.2.3/metadata",
        f"/studies/{study}/series/{series}/instances/1.2.3/frames/1",
        f"{way(real)}/frames/121",
        f"{way(real)}/bulkdata/00091099",
        f"{way(real)}/bulkdata/00186011/9/00186012",
        f"{way(real)}/bulkdata/nothing",
        "/nothing",
    ):
        status, headers, _ = web.ask(path)
        assert (status, headers["Content-Type"]) == (
            HTTPStatus.NOT_FOUND,
            "application/problem+json",
        ), path


def test_nobody_reads_without_a_token_or_a_session(web: Web, real: pydicom.Dataset) -> None:
    for given in ("wrong", web.token[:-1], web.token + "x"):
        status, headers, body = web.ask("/studies", given)
        assert status == HTTPStatus.UNAUTHORIZED
        assert headers["WWW-Authenticate"].startswith("Bearer")
        assert headers["Content-Type"] == "application/problem+json"
        assert b"P-77" not in body
    nobody = Page(web.box, "")
    assert nobody.ask(f"/dicom-web{way(real)}")[0] == HTTPStatus.UNAUTHORIZED
    assert Page(web.box, "AK").ask(f"/dicom-web{way(real)}/frames/1")[0] == HTTPStatus.OK
    enrol(web.box, "TE", "biomed")
    assert Page(web.box, "TE").ask("/dicom-web/studies")[0] == HTTPStatus.FORBIDDEN


def test_a_token_opens_nothing_else(web: Web) -> None:
    given = {"Authorization": f"Bearer {web.token}"}
    page = Page(web.box, "")
    assert page.ask("/api/studies", headers=given)[0] == HTTPStatus.UNAUTHORIZED
    assert b"P-77" not in page.ask("/", headers=given)[2]
    status, _, _ = page.ask("/dicom-web/studies", b"{}", given)
    assert status in (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.BAD_REQUEST)


def test_a_removed_token_opens_nothing(web: Web) -> None:
    made = token.add(web.box.ledger, "guest", "test")
    assert web.ask("/studies", made)[0] == HTTPStatus.OK
    token.remove(web.box.ledger, "guest", "test")
    assert web.ask("/studies", made)[0] == HTTPStatus.UNAUTHORIZED


def test_who_read_what_is_audited_once_and_names_no_patient(
    web: Web, real: pydicom.Dataset
) -> None:
    made = token.add(web.box.ledger, "reader", "test")
    for _ in range(3):
        assert web.ask("/studies?PatientID=P-77", made)[0] == HTTPStatus.OK
        assert web.ask(f"{way(real)}/frames/1", made)[0] == HTTPStatus.OK
        assert web.ask(f"/studies/{STUDY}/metadata", made)[0] == HTTPStatus.OK
    rows = [row for row in audit.listed(web.box.ledger) if row["who"] == "token reader"]
    told = [(row["what"], row["subject"], row["detail"]) for row in reversed(rows)]
    assert told == [
        ("dicomweb search", "studies", {"keys": ["PatientID"]}),
        ("dicomweb read", "loop 1", {"kind": "frames"}),
        ("dicomweb read", "3 loops", {"kind": "metadata", "loops": [2, 3, 4]}),
    ]
    assert "P-77" not in json.dumps(rows)
    assert audit.verify(web.box.ledger).problem == ""


def test_the_newest_object_of_a_uid_is_served_and_a_doubtful_patient_is_not(
    web: Web, tmp_path: Path
) -> None:
    study = generate_uid()
    elements = {"StudyInstanceUID": study, "PatientID": "ONE", "PatientName": "A^B"}
    options = {"frames": 2, "rows": 90, "columns": 120, "transfer_syntax": JPEGBaseline8Bit}
    loop = cine_loop(seed=50, elements=elements, **options)
    web.arrive(loop.write(tmp_path / "first.dcm"))
    loop.dataset.SeriesDescription = "sent again"
    web.arrive(loop.write(tmp_path / "again.dcm"))
    (only,) = web.client.retrieve_study_metadata(study)
    assert only["0008103E"]["Value"] == ["sent again"]
    assert web.find(f"/studies?StudyInstanceUID={study}")[0]["00201208"]["Value"] == [1]

    other = cine_loop(seed=51, elements={**elements, "PatientID": "TWO"}, **options)
    web.arrive(other.write(tmp_path / "other.dcm"))
    assert web.find(f"/studies?StudyInstanceUID={study}") == []
    assert web.find("/studies?PatientID=ONE") == []
    status, _, body = web.ask(f"/studies/{study}")
    assert status == HTTPStatus.NOT_FOUND
    assert "in doubt" in json.loads(body)["detail"]

    seq = web.box.loops()[0]["seq"]
    shown = frozenset(["ONE", "TWO"])
    identity.say(web.box.ledger, identity.Said(seq, "AK", shown, "ONE"))
    (only,) = web.client.retrieve_study_metadata(study)
    assert only["00100020"]["Value"] == ["ONE"]
    assert web.ask(way(other.dataset))[0] == HTTPStatus.NOT_FOUND


def test_a_quarantined_object_is_not_served(web: Web, tmp_path: Path) -> None:
    loop = cine_loop(
        seed=60, frames=2, rows=90, columns=120, elements={"StudyInstanceUID": "1.2.60"}
    )
    web.arrive(loop.write(tmp_path / "loop.dcm"))
    assert len(web.find("/studies?StudyInstanceUID=1.2.60")) == 1
    with web.box.ledger.transaction() as db:
        db.conn.execute(
            "UPDATE instance SET state = 'quarantined' WHERE study_instance_uid = '1.2.60'"
        )
    assert web.find("/studies?StudyInstanceUID=1.2.60") == []
    assert web.ask(way(loop.dataset))[0] == HTTPStatus.NOT_FOUND


def test_a_purged_object_is_said_to_be_in_the_archive(web: Web, tmp_path: Path) -> None:
    loop = cine_loop(
        seed=70, frames=2, rows=90, columns=120, elements={"StudyInstanceUID": "1.2.70"}
    )
    incoming = loop.write(web.box.spool.root / "purged.dcm")  # `incoming` is swept
    adopted = web.box.spool.adopt(incoming)
    incoming.unlink()
    dataset, ledger = loop.dataset, web.box.ledger
    received = reception.Received(
        SOPInstanceUID=dataset.SOPInstanceUID,
        SOPClassUID=dataset.SOPClassUID,
        TransferSyntaxUID=dataset.file_meta.TransferSyntaxUID,
        sha256=adopted.sha256,
        size=adopted.size,
        calling_ae_title="CART",
        peer="10.0.0.1",
        StudyInstanceUID="1.2.70",
        SeriesInstanceUID=dataset.SeriesInstanceUID,
        PatientID="P-70",
    )
    seq = reception.record(ledger, received, ["pacs"]).seq
    ledger.db.conn.execute("UPDATE instance SET state = 'analysed' WHERE seq = ?", [seq])
    claimed = delivery.claim(ledger, "test", 60.0, ["pacs"])
    assert claimed is not None
    delivery.proven(ledger, claimed, adopted.sha256, adopted.size)
    assert len(Purge(web.box.settings, ledger, web.box.spool).some(1)) == 1
    (study,) = web.find("/studies?PatientID=P-70")
    assert study["00080056"]["Value"] == ["UNAVAILABLE"]
    (said,) = web.client.retrieve_study_metadata("1.2.70")
    assert said["00080056"]["Value"] == ["UNAVAILABLE"]
    for path in ("", "/frames/1", "/rendered", "/bulkdata/00091010"):
        status, _, body = web.ask(way(dataset) + path)
        assert status == HTTPStatus.GONE
        assert json.loads(body)["detail"].startswith("Kept in the archive pacs, removed here on 20")
