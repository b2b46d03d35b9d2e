"""The destination `dicomweb` against a real Orthanc, directly and behind a server that lies."""

import random
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pydicom
import pytest
import requests
from pydicom.uid import generate_uid

from appliance.errors import DeliveryError
from appliance.sync.archive import Archive
from appliance.sync.destinations import Absent, Proof, Unreachable
from tests.box import Box, free_port
from tests.orthanc import PASSWORD, USER, Orthanc
from tests.sync.material import write_source
from tests.sync.servers import (
    all_proven_at,
    as_original,
    orthanc,
    problems_at,
    states_at,
    with_results,
)

__all__ = ["orthanc"]
ROUNDS = 3


def archive_of(orthanc: Orthanc, url: str = "") -> Archive:
    return Archive(url or orthanc.url, USER, orthanc.password_file)


@contextmanager
def front(orthanc: Orthanc, status: int, stores: bool):
    """A server before Orthanc that answers every POST with `status`, whatever came of it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers["Content-Length"]))
            if stores:
                self._pass_on("POST", body)
            self._answer(status, b"", "text/plain")

        def do_GET(self):
            answer = self._pass_on("GET", None)
            self._answer(
                answer.status_code, answer.content, answer.headers.get("Content-Type", "text/plain")
            )

        def _pass_on(self, method, body):
            names = ("Content-Type", "Accept", "Authorization")
            headers = {name: self.headers[name] for name in names if name in self.headers}
            url = f"http://127.0.0.1:{orthanc.http_port}{self.path}"
            return requests.request(method, url, data=body, headers=headers, timeout=30)

        def _answer(self, code, content, kind):
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
        server.shutdown()


def test_an_object_is_stored_byte_for_byte_and_proven(orthanc, tmp_path):
    item = as_original(write_source(tmp_path / "a.dcm"))
    archive = archive_of(orthanc)
    archive.put(item)
    assert archive.prove(item) == Proof(item.sha256, item.size)
    assert orthanc.file(item.SOPInstanceUID) == item.path.read_bytes()


def test_a_compressed_loop_keeps_its_transfer_syntax(orthanc, real_loop):
    item = as_original(real_loop)
    archive = archive_of(orthanc)
    archive.put(item)
    assert archive.prove(item) == Proof(item.sha256, item.size)
    assert orthanc.file(item.SOPInstanceUID) == real_loop.read_bytes()


def test_what_the_archive_does_not_have_is_absent(orthanc, tmp_path):
    with pytest.raises(Absent, match="doesn't have the object"):
        archive_of(orthanc).prove(as_original(write_source(tmp_path / "a.dcm")))


def test_a_second_object_under_a_known_uid_is_found_out(orthanc, tmp_path):
    first = as_original(write_source(tmp_path / "1.dcm", SOPInstanceUID=generate_uid()))
    dataset = pydicom.dcmread(first.path)
    dataset.StudyTime = "111111"
    dataset.save_as(tmp_path / "2.dcm")
    second = as_original(tmp_path / "2.dcm")
    archive = archive_of(orthanc)
    archive.put(first)
    archive.put(second)
    assert archive.prove(first) == Proof(first.sha256, first.size)
    with pytest.raises(DeliveryError, match="holds another object under this UID"):
        archive.prove(second)


@pytest.mark.parametrize("status", [400, 409, 500])
def test_an_answer_of_failure_is_not_believed_when_the_object_is_there(orthanc, tmp_path, status):
    item = as_original(write_source(tmp_path / "a.dcm"))
    with front(orthanc, status, stores=True) as url:
        archive = archive_of(orthanc, url)
        archive.put(item)
        assert archive.prove(item) == Proof(item.sha256, item.size)
    assert orthanc.instances().count(item.SOPInstanceUID) == 1


@pytest.mark.parametrize(("status", "words"), [(400, "400 Bad Request"), (409, "409 Conflict")])
def test_an_object_that_is_not_taken_is_told_with_the_answer(orthanc, tmp_path, status, words):
    with front(orthanc, status, stores=False) as url:
        with pytest.raises(DeliveryError, match=f"answers {words} to it") as raised:
            archive_of(orthanc, url).put(as_original(write_source(tmp_path / "a.dcm")))
        assert not isinstance(raised.value, Unreachable)
        assert raised.value.retry


def test_an_answer_of_success_is_not_believed_when_nothing_is_there(orthanc, tmp_path):
    item = as_original(write_source(tmp_path / "a.dcm"))
    with front(orthanc, 200, stores=False) as url:
        archive = archive_of(orthanc, url)
        archive.put(item)
        with pytest.raises(Absent):
            archive.prove(item)


@pytest.mark.parametrize(("status", "words"), [(503, "is not ready"), (507, "is full")])
def test_a_server_in_trouble_is_a_matter_of_the_whole_destination(orthanc, tmp_path, status, words):
    with front(orthanc, status, stores=False) as url, pytest.raises(Unreachable, match=words):
        archive_of(orthanc, url).put(as_original(write_source(tmp_path / "a.dcm")))


def test_a_wrong_password_is_told_and_a_corrected_one_works_at_once(orthanc, tmp_path):
    item = as_original(write_source(tmp_path / "a.dcm"))
    secret = tmp_path / "password"
    secret.write_text("wrong")
    archive = Archive(orthanc.url, USER, secret)
    with pytest.raises(Unreachable, match="refuses the user or the password") as raised:
        archive.put(item)
    assert "wrong" not in str(raised.value)
    secret.unlink()
    with pytest.raises(Unreachable, match="No such file"):
        archive.put(item)
    secret.write_text(PASSWORD)
    archive.put(item)
    assert archive.prove(item)


@pytest.mark.parametrize("path", ["/nothing-here", "/app"])
def test_a_wrong_address_is_told(orthanc, tmp_path, path):
    url = f"http://127.0.0.1:{orthanc.http_port}{path}"
    with pytest.raises(DeliveryError, match="url"):
        archive_of(orthanc, url).put(as_original(write_source(tmp_path / "a.dcm")))


def test_an_archive_at_a_host_that_nobody_knows_is_told_as_that(tmp_path):
    archive = Archive("http://archive.invalid/dicom-web")
    with pytest.raises(Unreachable, match="doesn't answer"):
        archive.put(as_original(write_source(tmp_path / "a.dcm")))
    with pytest.raises(Unreachable, match=r"is at no known host\. Correct url"):
        archive.check()


def test_an_archive_that_is_off_is_unreachable_and_not_there(tmp_path):
    archive = Archive(f"http://127.0.0.1:{free_port()}/dicom-web")
    archive.check()
    with pytest.raises(Unreachable, match="doesn't answer"):
        archive.put(as_original(write_source(tmp_path / "a.dcm")))
    assert not archive.is_there()
    with pytest.raises(Unreachable, match="doesn't answer"):
        archive.check()


def test_an_archive_that_refuses_everything_holds_up_no_other(orthanc, tmp_path):
    with Orthanc(tmp_path / "empty") as empty, front(empty, 400, stores=False) as url:
        bad = empty.toml("bad", "dicomweb").replace(empty.url, url)
        with Box(tmp_path / "box", ["sync"], orthanc.toml("good", "dicomweb") + bad) as box:
            with_results(box, 3, [("bad", "seg"), ("good", "seg")])
            box.wait_for(lambda: all_proven_at(box, "good"), "the results that are taken")
            box.wait_for(lambda: "answers 400 Bad Request" in problems_at(box, "bad"), "a reason")
            assert states_at(box, "bad") == ["queued"] * 3
            assert PASSWORD not in box.log("sync")


def test_the_archive_killed_at_random_moments_loses_nothing_and_gets_nothing_twice(tmp_path):
    chance = random.Random(20261121)
    server = Orthanc(tmp_path / "orthanc")
    more = server.toml("archive", "dicomweb", "originals results")
    with server, Box(tmp_path / "box", ["sync"], more) as box:
        reviews = with_results(box, 12, [("archive", "seg")], ["archive"])
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0, 0.4))
            server.kill()
            box.kill("sync")
            server.start()
            box.start("sync")
        box.wait_for(lambda: all_proven_at(box, "archive"), "every object to be proven")
        uids = [loop["sop_instance_uid"] for loop in box.loops()]
        uids += [review["result_sop_instance_uid"] for review in reviews]
        assert server.instances() == sorted(uids)
        assert "DOE" not in box.log("sync")
        assert "Traceback" not in box.log("sync")
