"""Every study of an archive is listed, however many there are and however it pages them."""

import http.server
import json
import threading
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest

from models.archive import Archive
from tests.orthanc import USER, Orthanc
from tests.phantom import cine_loop

MANY = 230  # more than two of a hundred, which many servers take for a page


def described(archive):
    return list(archive.studies("Echocart correction"))


def test_orthanc_s_studies_are_listed_whole(tmp_path):
    path = cine_loop(frames=1, rows=32, columns=32).write(tmp_path / "loop.dcm")
    dataset = pydicom.dcmread(path)
    dataset.Modality, dataset.StudyDescription = "SEG", "Echocart correction of net 1"
    with Orthanc(tmp_path / "orthanc") as server:
        client = server.client()
        for number in range(1, MANY + 1):
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"1.2.{number}", f"1.3.{number}"
            dataset.SOPInstanceUID = f"1.4.{number}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            client.store_instances([dataset])
        found = described(Archive(server.url, USER, server.password_file))
    assert sorted(found) == sorted(f"1.2.{number}" for number in range(1, MANY + 1))


@contextmanager
def server_of(page):
    """Serve QIDO-RS; `page` gives the part of all studies that an offset asks for."""
    studies = [
        {
            "0020000D": {"vr": "UI", "Value": [f"1.2.{number}"]},
            "00081030": {"vr": "LO", "Value": ["Echocart correction of net 1"]},
        }
        for number in range(1, MANY + 1)
    ]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = parse_qs(urlsplit(self.path).query)
            body = json.dumps(page(studies, int(asked.get("offset", ["0"])[0]))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "page",
    [
        lambda studies, offset: studies[offset : offset + 100],
        lambda studies, offset: studies,
        lambda studies, offset: studies[max(0, offset - 10) : offset + 50],
    ],
    ids=["a hundred at a time", "all, whatever the offset", "pages that overlap"],
)
def test_a_server_that_pages_by_itself_is_asked_until_nothing_is_new(page):
    with server_of(page) as url:
        found = described(Archive(url))
    assert sorted(found) == sorted(f"1.2.{number}" for number in range(1, MANY + 1))
