"""`echocart send`: every file's fate is known, its bytes are untouched, one bad file stops no other."""

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import JPEGBaseline8Bit

from appliance import certificates
from appliance.dimse import text_of
from appliance.errors import ApplianceError
from appliance.scu import Outcome, Sent, batches, send
from tests.box import Box, free_port
from tests.dcmtk import dcmtk
from tests.scp.objects import PRIVATE_CLASS, data_set_bytes, write_object

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with Box(tmp_path_factory.mktemp("receiver"), ["scp"]) as box:
        yield box


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """DCMTK's receiver on a free port."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen([dcmtk("storescp"), *options, "-od", folder, str(port)])
    try:
        while not listens(port):
            assert process.poll() is None
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@pytest.mark.usefixtures("dcmtk")
def test_dcmtk_receives_the_data_set_byte_for_byte(tmp_path: Path, real_loop: Path) -> None:
    out = tmp_path / "received"
    with storescp(out, "+xa", "+B", "-uf") as port:  # +B: writes what arrives
        (sent,) = send([real_loop], HOST, port)
        assert sent.outcome is Outcome.STORED
    (copy,) = out.iterdir()
    assert data_set_bytes(copy) == data_set_bytes(real_loop)


@pytest.mark.usefixtures("dcmtk")
def test_a_syntax_the_receiver_does_not_take_is_said(tmp_path: Path) -> None:
    jpeg = write_object(tmp_path / "jpeg.dcm", TransferSyntaxUID=JPEGBaseline8Bit)
    plain = write_object(tmp_path / "plain.dcm")
    with storescp(tmp_path / "received", "+xe") as port:
        refused, stored = send([jpeg, plain], HOST, port)
    assert (refused.outcome, refused.ok, refused.status) == (Outcome.REFUSED, False, None)
    assert "Ultrasound Image Storage in JPEG Baseline" in refused.text
    assert stored.ok


def test_a_directory_is_sent_with_all_below_it(receiver: Box, tmp_path: Path) -> None:
    (tmp_path / "exam" / "deep").mkdir(parents=True)
    first = write_object(tmp_path / "exam" / "a.dcm")
    second = write_object(tmp_path / "exam" / "deep" / "no-suffix", PRIVATE_CLASS)
    results = send([tmp_path / "exam"], HOST, receiver.dicom_port)
    assert [(sent.path, sent.text) for sent in results] == [(first, "stored"), (second, "stored")]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"Dear colleague, this is a letter.", "isn't a DICOM file"),
        (b"", "isn't a DICOM file"),
        (bytes(128) + b"DICM" + b"\xff" * 40, "isn't a"),
        (bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0\0\0\0\0", "isn't a whole DICOM file"),
        (bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0", "isn't a"),
    ],
)
def test_a_file_that_is_not_dicom_is_said_and_the_others_go(
    receiver: Box, tmp_path: Path, content: bytes, text: str
) -> None:
    odd = tmp_path / "letter.txt"
    odd.write_bytes(content)
    good = write_object(tmp_path / "good.dcm")
    results = send([odd, good], HOST, receiver.dicom_port)
    fates = {sent.path: sent for sent in results}
    assert fates[odd].outcome is Outcome.NOT_DICOM
    assert fates[odd].text.startswith(text)
    assert "\n" not in fates[odd].text
    assert fates[good].ok


def test_a_missing_file_is_said(receiver: Box, tmp_path: Path) -> None:
    (sent,) = send([tmp_path / "gone.dcm"], HOST, receiver.dicom_port)
    assert (sent.ok, sent.text) == (False, "can't be read: No such file or directory")


def test_a_dicomdir_is_skipped(receiver: Box, tmp_path: Path) -> None:
    path = write_object(tmp_path / "DICOMDIR", "1.2.840.10008.1.3.10")
    (sent,) = send([path], HOST, receiver.dicom_port)
    assert (sent.outcome, sent.ok) == (Outcome.SKIPPED, True)


def test_a_refused_file_does_not_stop_the_next(receiver: Box, tmp_path: Path) -> None:
    cut = write_object(tmp_path / "a-cut.dcm")
    cut.write_bytes(cut.read_bytes()[:-1000])
    good = write_object(tmp_path / "b-good.dcm")
    seen: list[Sent] = []
    results = send([cut, good], HOST, receiver.dicom_port, on_progress=seen.append)
    assert seen == results
    assert [sent.status for sent in results] == [0xC000, 0]
    assert "can't understand" in results[0].text


def test_more_kinds_than_one_association_holds_are_sent(receiver: Box, tmp_path: Path) -> None:
    files = [write_object(tmp_path / f"{n}.dcm", f"1.2.826.9.{n}") for n in range(130)]
    assert [len(part) for part in batches({path: (path.name, "") for path in files})] == [128, 2]
    assert all(sent.ok for sent in send(files, HOST, receiver.dicom_port))


def test_nobody_there_is_an_error_with_a_hint(tmp_path: Path) -> None:
    path = write_object(tmp_path / "a.dcm")
    with pytest.raises(ApplianceError, match="no DICOM receiver answers") as caught:
        send([path], HOST, free_port())
    assert caught.value.retry


@pytest.mark.usefixtures("dcmtk")
def test_a_receiver_that_refuses_the_association_is_named(tmp_path: Path) -> None:
    path = write_object(tmp_path / "a.dcm")
    refusing = storescp(tmp_path / "received", "--refuse")
    with refusing as port, pytest.raises(ApplianceError, match="refuses the association"):
        send([path], HOST, port)


@pytest.mark.usefixtures("dcmtk")
def test_a_receiver_that_ends_the_connection_is_said_for_each_file(tmp_path: Path) -> None:
    files = [write_object(tmp_path / f"{n}.dcm") for n in range(2)]
    with storescp(tmp_path / "received", "--abort-during") as port:
        results = send(files, HOST, port)
    assert [sent.text for sent in results] == [
        "the receiver ended the connection without an answer"
    ] * 2


@pytest.mark.parametrize(
    ("status", "check"),
    [
        (0x0000, lambda text: text == "stored"),
        (0xB000, lambda text: text.startswith("stored, with a warning")),
        (0xA700, lambda text: "out of space" in text and "0xA700" in text),
        (0xC211, lambda text: "can't understand" in text),
        (0x0122, lambda text: "class" in text),
        (0x0FFF, lambda text: text == "refused (status 0x0FFF)"),
    ],
)
def test_each_status_has_words(status: int, check: Callable[[str], bool]) -> None:
    assert check(text_of(status))


def test_a_file_keeps_its_identity(receiver: Box, real_loop: Path) -> None:
    send([real_loop], HOST, receiver.dicom_port)
    uid = dcmread(real_loop, stop_before_pixels=True).SOPInstanceUID
    assert uid in {row["sop_instance_uid"] for row in receiver.loops()}


def test_a_port_that_speaks_something_else_is_said(tmp_path: Path) -> None:
    certificates.make_authority(tmp_path, "site")
    certificates.issue(tmp_path, "box", "ECHOCART", [HOST])
    port = free_port()
    files = {"certificate": "box.pem", "key": "box.key", "ca": "ca.pem"}
    lines = [f'tls_{name} = "{tmp_path / file}"' for name, file in files.items()]
    scp = "\n".join([f"tls_port = {port}", *lines])
    with Box(tmp_path / "box", ["scp"], scp=scp), pytest.raises(ApplianceError) as told:
        send([write_object(tmp_path / "a.dcm")], HOST, port)
    assert f"{HOST}:{port} takes the connection, and does not answer" in str(told.value)
    assert "may be a TLS port" in str(told.value)
