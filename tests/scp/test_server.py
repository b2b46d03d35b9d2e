"""The receiver as a process: it starts or says why not, recovers, stops in time, and stays alive."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appliance.scu import Outcome, send
from appliance.spool import Spool
from tests.box import REPOSITORY, Box
from tests.scp.objects import ULTRASOUND, data_set_bytes, write_object
from tests.scp.peer import EXPLICIT, IMPLICIT, RELEASE, Peer

VERIFICATION = "1.2.840.10008.1.1"
ACCEPTED = 2  # A-ASSOCIATE-AC (PS3.8 9.3)


def start_and_fail(box: Box) -> list[str]:
    """Start the receiver, which must end by itself; return what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "appliance.scp", "--config", str(box.config)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    return done.stderr.splitlines()


def test_a_taken_port_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    box = Box(tmp_path, ["scp"])
    with socket.socket() as other:
        other.bind(("127.0.0.1", box.dicom_port))
        other.listen()
        (line,) = start_and_fail(box)
    assert f"127.0.0.1:{box.dicom_port}: Address already in use" in line
    assert "scp.port" in line


@pytest.mark.parametrize("host", ["203.0.113.9", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_one_line(tmp_path: Path, host: str) -> None:
    box = Box(tmp_path, ["scp"])
    box.config.write_text(box.config.read_text().replace('host = "127.0.0.1"', f'host = "{host}"'))
    (line,) = start_and_fail(box)
    assert host in line
    assert "scp.host" in line


def test_a_start_settles_what_a_crash_left(tmp_path: Path, receive_path: str) -> None:
    box = Box(tmp_path / "box", ["scp"], scp=receive_path)
    spool = Spool(box.settings.box.state_dir)
    linked, partial = spool.incoming / "linked.dcm", spool.incoming / "partial.dcm"
    write_object(linked, SOPInstanceUID="1.2.3.1")
    adopted = spool.adopt(linked)
    partial.write_bytes(linked.read_bytes()[:500])
    with box:
        (row,) = box.loops()
        assert row["sop_instance_uid"] == "1.2.3.1"
        assert adopted.path.is_file()
        assert list(spool.incoming.iterdir()) == []
        assert "recovered: 1 objects recorded, 1 partial files removed" in box.log("scp")


def test_a_stop_lets_an_arriving_object_finish(tmp_path: Path, receive_path: str) -> None:
    data = data_set_bytes(write_object(tmp_path / "a.dcm", SOPInstanceUID="1.2.3.2"))
    with Box(tmp_path / "box", ["scp"], scp=receive_path) as box, Peer(box.dicom_port) as peer:
        peer.associate([(ULTRASOUND, [EXPLICIT])])
        peer.command(ULTRASOUND, "1.2.3.2")
        peer.data(data[:1000], last=False)
        box.wait_for(lambda: list(box.spool.incoming.iterdir()), "the object to arrive")
        box.processes["scp"].terminate()
        box.wait_for(lambda: _refuses(box.dicom_port), "the port to close")
        peer.data(data[1000:])
        assert peer.status() == 0
        assert box.stop("scp") == 0
        assert len(box.loops()) == 1


def _refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_stop_does_not_wait_for_peers_that_are_silent(tmp_path: Path, receive_path: str) -> None:
    with Box(tmp_path, ["scp"], scp=receive_path) as box:
        inside, between, unasked = (Peer(box.dicom_port) for _ in range(3))
        for peer in (inside, between):
            peer.associate([(ULTRASOUND, [EXPLICIT])])
            peer.command(ULTRASOUND, "1.2.3.3")
        # P-DATA-TF of 8192 bytes: one fragment, of which a few bytes come.
        inside.socket.sendall(b"\4\0\0\0\x20\0" + b"\0\0\x1f\xfc\1\0" + b"the beginning")
        unasked.socket.sendall(b"\1\0")
        box.wait_for(lambda: len(list(box.spool.incoming.iterdir())) == 2, "both to arrive")
        started = time.monotonic()
        assert box.stop("scp") == 0  # waits 20 s at most
        print(f"stopped after {time.monotonic() - started:.1f} s")
        assert list(box.spool.incoming.iterdir()) == []
        for peer in (inside, between, unasked):
            peer.socket.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: box\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(300),  # a TLS ClientHello
        bytes(range(256)) * 16,
        b"\x01\0\0\0\0\x04\0\1\0\0",  # an A-ASSOCIATE-RQ that ends before its AE titles
        b"\x04\0\0\0\0\x06\0\0\0\x02\1\3",  # P-DATA before any association
    ],
)
def test_garbage_ends_its_own_connection_only(
    receiver: Box, tmp_path: Path, garbage: bytes
) -> None:
    with Peer(receiver.dicom_port) as peer:
        peer.socket.sendall(garbage)
        (sent,) = send([write_object(tmp_path / "a.dcm")], "127.0.0.1", receiver.dicom_port)
    assert sent.outcome is Outcome.STORED
    assert "Traceback" not in receiver.log("scp")


def test_half_open_connections_do_not_keep_others_out(receiver: Box, tmp_path: Path) -> None:
    half_open = [Peer(receiver.dicom_port) for _ in range(30)]
    for peer in half_open:
        peer.socket.sendall(b"\1\0\0")
    (sent,) = send([write_object(tmp_path / "a.dcm")], "127.0.0.1", receiver.dicom_port)
    assert sent.outcome is Outcome.STORED
    for peer in half_open:
        peer.socket.close()


def test_silent_connections_are_no_associations(tmp_path: Path, receive_path: str) -> None:
    with Box(tmp_path, ["scp"], scp=receive_path) as box:
        silent = [Peer(box.dicom_port) for _ in range(60)]  # more than maximum_associations
        with Peer(box.dicom_port) as peer:
            assert peer.associate([(VERIFICATION, [IMPLICIT])])[0] == ACCEPTED
        for one in silent:
            one.socket.close()
        with Peer(box.dicom_port) as peer:
            assert peer.associate([(VERIFICATION, [IMPLICIT])])[0] == ACCEPTED


def test_a_release_is_answered(receiver: Box) -> None:
    with Peer(receiver.dicom_port) as peer:
        peer.associate([(ULTRASOUND, [EXPLICIT])])
        peer.socket.sendall(RELEASE)
        assert peer.read_pdu()[0] == 6  # A-RELEASE-RP
