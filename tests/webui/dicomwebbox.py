"""A box that is read over DICOMweb, and what reads it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pydicom
from dicomweb_client.web import DICOMwebClient
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

from appliance import scu
from appliance.ledger import token
from tests.box import Box
from tests.phantom import cine_loop

STUDY, SERIES = generate_uid(), generate_uid()
LONG = bytes(range(256)) * 400  # 100 kB: longer than the header keeps
NAMED = {"PatientName": "MÜLLER^Änne", "PatientID": "P-77", "SpecificCharacterSet": "ISO_IR 100"}


class Web:
    """A box's DICOMweb service, and the holder of a token."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.url = f"{box.url}/dicom-web"
        self.token = token.add(box.ledger, "viewer", "test")
        self.client = DICOMwebClient(
            self.url, headers={"Authorization": f"Bearer {self.token}"}, permissive_uid=True
        )

    def ask(self, path: str, given: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body; with the token unless another is given."""
        sent = {"Authorization": f"Bearer {given or self.token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(self.url + path, headers=sent)
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def find(self, path: str) -> list[dict[str, dict[str, object]]]:
        """Return what a search finds."""
        status, _, body = self.ask(path)
        assert status == HTTPStatus.OK, body
        found: list[dict[str, dict[str, object]]] = json.loads(body)
        return found

    def arrive(self, path: Path) -> None:
        """Send a file to the box as a machine does, and wait for its row."""
        before = len(self.box.loops())
        assert all(sent.ok for sent in scu.send([path], "127.0.0.1", self.box.dicom_port))
        assert len(self.box.loops()) == before + 1


@contextmanager
def reading(root: Path, real_loop: Path) -> Iterator[Web]:
    """Start a box with the real loop in it, and a study of three phantoms."""
    with Box(root / "box", ["scp", "webui"]) as box:
        web = Web(box)
        web.arrive(real_loop)
        for number in (1, 2, 3):
            elements = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, **NAMED}
            elements |= {"StudyDate": "20260131", "StudyTime": "0830", "AccessionNumber": "A 1"}
            elements |= {"InstanceNumber": number}
            syntax = ExplicitVRLittleEndian if number == 3 else JPEGBaseline8Bit
            loop = cine_loop(
                seed=number,
                frames=4,
                rows=90,
                columns=120,
                transfer_syntax=syntax,
                elements=elements,
            )
            loop.dataset.add_new(0x00091010, "OB", LONG[:2000])
            loop.dataset.add_new(0x00091011, "OB", LONG)
            web.arrive(loop.write(root / f"{number}.dcm"))
        yield web


def uids(dataset: pydicom.Dataset) -> tuple[str, str, str]:
    return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


def way(dataset: pydicom.Dataset) -> str:
    study, series, instance = uids(dataset)
    return f"/studies/{study}/series/{series}/instances/{instance}"


def parts(headers: dict[str, str], body: bytes) -> list[tuple[str, bytes]]:
    """Content-Type and content of each part (RFC 2046 5.1)."""
    boundary = headers["Content-Type"].split("boundary=")[1].encode()
    pieces = body.split(b"--" + boundary)
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    found = []
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        assert content.endswith(b"\r\n")
        found.append((head.decode().split("Content-Type: ")[1].split("\r\n")[0], content[:-2]))
    return found


def names(found: list[dict[str, dict[str, object]]], tag: str) -> list[object]:
    return [value for one in found for value in one[tag].get("Value", [])]
