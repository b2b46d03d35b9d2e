"""Files imported by the page: kept like an echo machine's, or refused with a sentence."""

import http.client
import itertools
from contextlib import closing
from hashlib import sha256
from http import HTTPStatus
from io import BytesIO
from json import loads
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom import dcmread
from pydicom.uid import JPEGBaseline8Bit, MediaStorageDirectoryStorage

from appliance import carts, scu
from appliance.ledger import audit, worklist
from tests.box import Box
from tests.phantom import cine_loop
from tests.webui.reviewbox import Page, enrol

_seeds = itertools.count(9000)


def post(page: Page, body: bytes, **headers: str) -> tuple[int, Any]:
    given = {"X-CSRFToken": page.token, "Content-Type": "application/octet-stream", **headers}
    status, answered, text = page.ask("/api/imports", body, given)
    if status >= HTTPStatus.BAD_REQUEST:
        assert answered["Content-Type"] == "application/problem+json"
    return status, loads(text)


def _signed(page: Page) -> dict[str, str]:
    cookie = "; ".join(f"{item.name}={item.value}" for item in page.cookies)
    return {"Cookie": cookie, "X-CSRFToken": page.token}


@pytest.fixture
def still(tmp_path: Path) -> bytes:
    """A DICOM file that the box has never seen."""
    return _file(tmp_path).read_bytes()


def _file(folder: Path, **options: Any) -> Path:
    seed = next(_seeds)
    loop = cine_loop(seed=seed, frames=1, transfer_syntax=JPEGBaseline8Bit, **options)
    return loop.write(folder / f"{seed}.dcm")


def test_an_imported_file_is_kept_as_an_echo_machines_would_be(
    box: Box, page: Page, tmp_path: Path
) -> None:
    path = _file(tmp_path)
    status, answer = post(page, path.read_bytes())
    assert status == HTTPStatus.CREATED
    imported = worklist.loop(box.ledger, answer["seq"])
    assert imported is not None
    assert (imported["calling_ae_title"], imported["peer"]) == ("ECHOCART", "127.0.0.1")
    kept = box.spool.object_path(imported["sha256"])
    assert sha256(kept.read_bytes()).hexdigest() == imported["sha256"]
    assert kept.read_bytes().endswith(path.read_bytes()[-1000:])
    # The same file by C-STORE from elsewhere is the same object, to the byte.
    scu.send([path], "127.0.0.1", box.dicom_port, called_ae="ECHOCART")
    assert box.loops()[0]["seq"] == answer["seq"]
    assert page.ask(answer["url"])[0] == HTTPStatus.OK


def test_a_file_imported_twice_is_kept_once_and_said_so(box: Box, page: Page, still: bytes) -> None:
    first = post(page, still)[1]
    status, answer = post(page, still)
    assert (status, answer["outcome"], answer["seq"]) == (HTTPStatus.OK, "known", first["seq"])
    assert "already" in answer["said"]


def test_a_file_is_taken_without_preamble_and_prefix(page: Page, still: bytes) -> None:
    status, first = post(page, still[128:])
    assert status == HTTPStatus.CREATED
    status, again = post(page, still[132:])
    assert (status, again["seq"]) == (HTTPStatus.OK, first["seq"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"some text of a report", "isn't a DICOM file"),
        (b"PK\x03\x04 and so on", "ZIP"),
        (b"%PDF-1.7", "PDF"),
        (b"\xff\xd8\xff\xe0 JFIF", "JPEG picture"),
        (b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", "no DICOM file header"),
        (bytes(128) + b"DICM" + b"\xff" * 64, "isn't a"),
        (bytes(128) + b"DICM", "isn't a"),
    ],
)
def test_what_is_no_dicom_file_is_refused_in_words(
    box: Box, page: Page, body: bytes, said: str
) -> None:
    before = len(box.loops())
    status, problem = post(page, body)
    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert said in problem["detail"]
    assert problem["detail"].endswith(".")
    assert len(box.loops()) == before


def test_a_file_that_is_cut_short_is_refused_and_leaves_nothing(
    box: Box, page: Page, still: bytes
) -> None:
    before = len(box.loops())
    status, problem = post(page, still[: len(still) // 2])
    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert "damaged" in problem["detail"]
    assert len(box.loops()) == before
    assert not list(box.spool.incoming.iterdir())


def test_a_file_whose_header_names_another_object_is_put_aside(
    box: Box, page: Page, tmp_path: Path
) -> None:
    path = _file(tmp_path)
    data = path.read_bytes()
    uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID).encode()
    another = uid[:-2] + (b"11" if not uid.endswith(b"11") else b"22")
    status, problem = post(page, data.replace(uid, another, 1))
    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert "put aside" in problem["detail"]
    assert list(box.spool.quarantine.iterdir())


def test_a_dicomdir_is_passed_over(page: Page, still: bytes) -> None:
    directory = dcmread(BytesIO(still), stop_before_pixels=True)
    directory.SOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    written = BytesIO()
    directory.save_as(written)
    status, answer = post(page, written.getvalue())
    assert (status, answer["outcome"], answer["seq"]) == (HTTPStatus.OK, "skipped", None)


def test_an_upload_that_breaks_off_leaves_nothing(box: Box, page: Page, still: bytes) -> None:
    before = len(box.loops())
    headers = {**_signed(page), "Content-Length": str(len(still))}
    with closing(http.client.HTTPConnection("127.0.0.1", box.http_port, timeout=60)) as sender:
        sender.request("POST", "/api/imports", still[: len(still) // 2], headers)
    assert post(page, still)[0] == HTTPStatus.CREATED
    assert len(box.loops()) == before + 1


def test_a_body_longer_than_a_reviews_is_taken_here_alone(page: Page, box: Box) -> None:
    long = bytes(128) + b"DICM" + bytes(5 << 20)
    assert post(page, long)[0] == HTTPStatus.UNPROCESSABLE_ENTITY
    headers = {"Content-Type": "application/json", "Content-Length": str(len(long))}
    with closing(http.client.HTTPConnection("127.0.0.1", box.http_port, timeout=60)) as sender:
        sender.request("POST", "/api/loops/1/reviews", b"{", {**_signed(page), **headers})
        assert sender.getresponse().status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize("roles", [("biomed",), ("admin",)])
def test_who_sees_no_patients_imports_none(box: Box, still: bytes, roles: tuple[str]) -> None:
    initials = {"biomed": "BI", "admin": "AD"}[roles[0]]
    enrol(box, initials, *roles)
    assert post(Page(box, initials), still)[0] == HTTPStatus.FORBIDDEN


def test_without_reception_nothing_is_kept_and_the_page_says_so(
    box: Box, page: Page, still: bytes
) -> None:
    box.stop("scp")
    try:
        status, problem = post(page, still)
        assert status == HTTPStatus.SERVICE_UNAVAILABLE
        assert "reception doesn't run" in problem["detail"]
    finally:
        box.start("scp")
    assert post(page, still)[0] == HTTPStatus.CREATED


def test_a_box_with_paired_carts_takes_its_own_imports_and_no_imitators(
    tmp_path: Path, still: bytes
) -> None:
    cart = '[[cart]]\nname = "one"\ncalling_ae = "VIVID"\n'
    with Box(tmp_path / "box", services=("scp", "webui"), extra=cart) as box:
        assert post(Page(box), still)[0] == HTTPStatus.CREATED
        known = carts.known(box.settings, box.ledger)
        for peer, why in (("127.0.0.1", ""), ("10.1.2.3", "no cart is paired")):
            call = carts.Call("ECHOCART", "ECHOCART", peer, tls=False)
            assert carts.admit(box.settings, known, call).why.startswith(why)
        call = carts.Call("ECHOCART", "OTHER", "127.0.0.1", tls=False)
        assert carts.admit(box.settings, known, call).why


def test_a_large_file_is_streamed_not_held(box: Box, page: Page, tmp_path: Path) -> None:
    master = psutil.Process(box.processes["webui"].pid)
    data = _file(tmp_path).read_bytes()
    # A private element of 200 MB in front of nothing: whole, and larger than the page's memory.
    length = 200 << 20
    element = b"\xff\xff\x10\x00LO\x04\x00TEST\xff\xff\x00\x10OB\x00\x00"
    before = max(child.memory_info().rss for child in master.children())
    body = data + element + length.to_bytes(4, "little") + bytes(length)
    status, answer = post(page, body)
    assert status == HTTPStatus.CREATED, answer
    after = max(child.memory_info().rss for child in master.children())
    assert after - before < length / 2


def test_an_import_is_in_the_audit_without_a_patient(box: Box, page: Page, tmp_path: Path) -> None:
    answer = post(page, _file(tmp_path, PatientName="SECRETIVE^A").read_bytes())[1]
    row = audit.listed(box.ledger, 1)[0]
    assert (row["who"], row["what"], row["subject"]) == ("AK", "import", f"loop {answer['seq']}")
    assert "SECRETIVE" not in str(row) + box.log("webui")
