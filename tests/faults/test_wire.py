"""A wire that breaks, and peers that are silent, slow or lie: each costs its own association only."""

import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.ledger import caller
from tests.box import Box
from tests.faults.impatient import ImpatientBox
from tests.faults.wire import (
    ABORTED,
    ACCEPTED,
    VERIFICATION,
    Holdings,
    command_set,
    conversation,
    echo,
    echo_request,
)
from tests.scp.objects import ULTRASOUND, data_set_bytes, write_object
from tests.scp.peer import ABORT, EXPLICIT, IMPLICIT, Peer

REPEATS = [5, pytest.param(100, marks=pytest.mark.slow)]
MEMORY = 8_000_000  # bytes a peer may make the receiver grow by
MAXIMUM_PDU = 131072


@pytest.fixture(scope="module", params=["pump", "stock"])
def receiver(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Box]:
    line = f'receive_path = "{request.param}"'
    with Box(tmp_path_factory.mktemp("receiver"), ["scp"], scp=line) as box:
        yield box


@pytest.fixture(scope="module")
def pumped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with Box(tmp_path_factory.mktemp("pumped"), ["scp"]) as box:
        yield box


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with ImpatientBox(tmp_path_factory.mktemp("impatient"), ["scp"]) as box:
        yield box


def count(box: Box, SOPInstanceUID: str) -> int:
    rows = box.ledger.read("SELECT 1 FROM instance WHERE sop_instance_uid = ?", [SOPInstanceUID])
    return len(rows)


def end_by_abort(peer: Peer) -> None:
    peer.socket.sendall(ABORT)


def end_by_reset(peer: Peer) -> None:
    peer.reset()


def end_by_half_close(peer: Peer) -> None:
    peer.socket.shutdown(socket.SHUT_WR)
    while peer.socket.recv(1 << 16):
        pass  # to the receiver's own close


def end_by_close(peer: Peer) -> None:
    peer.socket.close()


ENDS = [end_by_abort, end_by_reset, end_by_half_close, end_by_close]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("repeats", REPEATS)
def test_a_connection_that_ends_at_any_byte_leaves_nothing(
    receiver: Box, tmp_path: Path, end: Callable[[Peer], None], repeats: int
) -> None:
    draw = random.Random(f"{end.__name__} {repeats}")
    uid = f"1.2.3.{draw.randrange(10**9)}"
    talk, object_ends = conversation(tmp_path, uid)
    holdings = Holdings(receiver)
    for _ in range(repeats * 4):
        cut = draw.choice([draw.randrange(1, object_ends), draw.randrange(1, 700)])
        print(f"cut after {cut} of {len(talk)} bytes")
        with Peer(receiver.dicom_port) as peer, contextlib.suppress(ConnectionError):
            peer.socket.sendall(talk[:cut])
            end(peer)
    holdings.require_back()
    assert count(receiver, uid) == 0


def test_an_object_that_is_whole_when_its_sender_half_closes_is_kept_and_answered(
    pumped: Box, tmp_path: Path
) -> None:
    talk, object_ends = conversation(tmp_path, "1.2.3.70")
    with Peer(pumped.dicom_port) as peer:
        peer.socket.sendall(talk[:object_ends])
        peer.socket.shutdown(socket.SHUT_WR)
        assert peer.read_pdu()[0] == ACCEPTED
        assert peer.status() == 0
    assert count(pumped, "1.2.3.70") == 1


def associated(box: Box) -> Peer:
    peer = Peer(box.dicom_port)
    answer = peer.associate([(VERIFICATION, [IMPLICIT]), (ULTRASOUND, [EXPLICIT])])
    assert answer[0] == ACCEPTED
    return peer


def pour(peer: Peer, data: bytes, megabytes: int) -> None:
    """Send as much of it as the other side takes."""
    peer.socket.settimeout(5)
    with contextlib.suppress(OSError):
        for _ in range(megabytes):
            peer.socket.sendall(data)


def last_pdu(peer: Peer) -> int | None:
    """Return the type of the last PDU before the connection ended."""
    peer.socket.settimeout(60)
    kind = None
    while pdu := peer.read_pdu():
        kind = pdu[0]
    return kind


@pytest.mark.parametrize("kind", range(9))
@pytest.mark.parametrize("length", [MAXIMUM_PDU + 1, 0xFFFFFFFF])
def test_a_pdu_longer_than_advertised_is_cut(pumped: Box, kind: int, length: int) -> None:
    holdings = Holdings(pumped)
    largest = 0
    for begin in (Peer, lambda _: associated(pumped)):
        with begin(pumped.dicom_port) as peer:
            peer.socket.sendall(struct.pack(">BxL", kind, length))
            pour(peer, bytes(1_000_000), 64)
            largest = max(largest, holdings.growth())
            assert last_pdu(peer) in (ABORTED, None)  # None: the reset overtook it
    assert largest < MEMORY
    holdings.require_back()


def test_a_pdu_as_long_as_advertised_is_taken(receiver: Box, tmp_path: Path) -> None:
    path = write_object(
        tmp_path / "a.dcm", SOPInstanceUID="1.2.3.71", pixels=bytes(64 * 2047 - 1024)
    )
    data = data_set_bytes(path)
    with associated(receiver) as peer:
        peer.command(ULTRASOUND, "1.2.3.71", context=3)
        first = MAXIMUM_PDU - 6
        assert len(data) > first - 4000
        peer.fragment(data[:first], 2 if len(data) <= first else 0, context=3)
        if len(data) > first:
            peer.fragment(data[first:], 2, context=3)
        assert peer.status() == 0


def crowded_request() -> bytes:
    """The longest A-ASSOCIATE-RQ that is read, full of the smallest presentation contexts."""
    context = struct.pack(">BxHB3xBxHBxH", 0x20, 12, 1, 0x30, 0, 0x40, 0)
    body = struct.pack(">HH", 1, 0) + b"ECHOCART".ljust(16) + b"PEER".ljust(16) + bytes(32)
    body += context * ((MAXIMUM_PDU - len(body)) // len(context))
    return struct.pack(">BxL", 1, len(body)) + body


def test_an_association_request_full_of_contexts_costs_little_memory(pumped: Box) -> None:
    holdings = Holdings(pumped)
    largest = 0
    for _ in range(5):
        with Peer(pumped.dicom_port) as peer:
            peer.socket.sendall(crowded_request())
            with contextlib.suppress(OSError):
                peer.socket.recv(1)
            largest = max(largest, holdings.growth())
    assert largest < MEMORY
    holdings.require_back()


def test_commands_and_data_sets_without_end_are_cut(pumped: Box) -> None:
    holdings = Holdings(pumped)
    with associated(pumped) as peer:  # a command set in fragments, none the last
        fragment = struct.pack(">BxLLBB", 4, 60006, 60002, 1, 1) + bytes(60000)
        pour(peer, fragment, 1000)
        assert last_pdu(peer) in (ABORTED, None)
    with associated(pumped) as peer:  # a C-FIND-RQ whose identifier has no end
        command = command_set({2: ULTRASOUND.encode() + b"\0", 0x100: 0x20, 0x110: 1, 0x800: 1})
        peer.fragment(command, 3, context=3)
        fragment = struct.pack(">BxLLBB", 4, 60006, 60002, 3, 0) + bytes(60000)
        pour(peer, fragment, 1000)
        assert last_pdu(peer) in (ABORTED, None)
    with associated(pumped) as peer:  # answers that nobody has asked for
        command = command_set({2: VERIFICATION.encode() + b"\0", 0x100: 0x8030, 0x120: 1,
                               0x800: 0x101, 0x900: 0})  # fmt: skip
        pour(peer, command_pdu(1, command), 100_000)
        assert last_pdu(peer) in (ABORTED, None)
    assert holdings.growth() < MEMORY
    holdings.require_back()


SILENCES = {
    "before the request": b"",
    "in the request's header": b"\1\0\0",
    "in the request": b"\1\0\0\0\0\x90\0\1\0\0ECHOCART",
}


@pytest.mark.parametrize("sent", SILENCES.values(), ids=SILENCES)
def test_silence_before_the_association_is_cut(impatient: Box, sent: bytes) -> None:
    holdings = Holdings(impatient)
    with Peer(impatient.dicom_port) as peer:
        peer.socket.sendall(sent)
        assert last_pdu(peer) == ABORTED
    holdings.require_back()


def silent_when_idle(peer: Peer, data: bytes) -> None:
    pass


def silent_in_a_header(peer: Peer, data: bytes) -> None:
    peer.socket.sendall(b"\4\0\0")


def silent_in_a_command(peer: Peer, data: bytes) -> None:
    peer.socket.sendall(b"\4\0\0\0\x20\0" + b"\0\0\x1f\xfc\3\1" + b"\0\0")


def silent_after_the_command(peer: Peer, data: bytes) -> None:
    peer.command(ULTRASOUND, "1.2.3.72", context=3)


def silent_between_fragments(peer: Peer, data: bytes) -> None:
    silent_after_the_command(peer, data)
    peer.data(data[:9000], last=False, context=3)


def silent_in_a_fragment(peer: Peer, data: bytes) -> None:
    silent_between_fragments(peer, data)
    peer.socket.sendall(b"\4\0\0\0\x20\0" + b"\0\0\x1f\xfc\3\0" + bytes(99))


@pytest.mark.parametrize(
    "fall_silent",
    [
        silent_when_idle,
        silent_in_a_header,
        silent_in_a_command,
        silent_after_the_command,
        silent_between_fragments,
        silent_in_a_fragment,
    ],
)
def test_silence_of_an_association_is_cut(
    impatient: Box, tmp_path: Path, fall_silent: Callable[[Peer, bytes], None]
) -> None:
    data = data_set_bytes(write_object(tmp_path / "a.dcm", pixels=bytes(64 * 400)))
    holdings = Holdings(impatient)
    with associated(impatient) as peer:
        fall_silent(peer, data)
        assert last_pdu(peer) == ABORTED
    holdings.require_back()
    assert count(impatient, "1.2.3.72") == 0
    assert "PEER from 127.0.0.1 was cut: it was silent or too slow" in impatient.log("scp")


def drips(data: bytes, size: int) -> Iterator[bytes]:
    """The data set in fragments of a few bytes, each a whole PDU."""
    for at in range(0, len(data), size):
        part = data[at : at + size]
        yield struct.pack(">BxLLBB", 4, len(part) + 6, len(part) + 2, 3, 0) + part


def is_cut(peer: Peer, pieces: Iterator[bytes]) -> bool:
    """Send a piece now and then; tell whether the other side had enough of it before the end."""
    peer.socket.setblocking(False)
    for piece in pieces:
        time.sleep(0.1)
        with contextlib.suppress(BlockingIOError):
            if not peer.socket.recv(1 << 16):
                return True
        try:
            peer.socket.sendall(piece)
        except (ConnectionError, BlockingIOError):
            return True
    return False


def test_a_drip_of_bytes_is_cut(impatient: Box, tmp_path: Path) -> None:
    talk, _ = conversation(tmp_path, "1.2.3.73", 4096)
    holdings = Holdings(impatient)
    with Peer(impatient.dicom_port) as peer:
        assert is_cut(peer, (bytes([byte]) for byte in talk))
    with associated(impatient) as peer:
        peer.command(ULTRASOUND, "1.2.3.73", context=3)
        (pdu,) = drips(bytes(4000), 4000)
        assert is_cut(peer, (bytes([byte]) for byte in pdu))
    holdings.require_back()


def test_a_drip_of_small_pdus_is_cut(impatient: Box, tmp_path: Path) -> None:
    data = data_set_bytes(write_object(tmp_path / "a.dcm"))
    holdings = Holdings(impatient)
    with associated(impatient) as peer:
        peer.command(ULTRASOUND, "1.2.3.74", context=3)
        assert is_cut(peer, drips(data, 4))
    holdings.require_back()


def test_a_sender_that_is_only_slow_is_waited_for(impatient: Box, tmp_path: Path) -> None:
    path = write_object(tmp_path / "a.dcm", SOPInstanceUID="1.2.3.75", pixels=bytes(64 * 3000))
    data = data_set_bytes(path)
    with associated(impatient) as peer:
        peer.command(ULTRASOUND, "1.2.3.75", context=3)
        for pdu in drips(data[:-1], 4000):  # several times the longest silence in all
            time.sleep(0.1)
            peer.socket.sendall(pdu)
        peer.fragment(data[-1:], 2, context=3)
        assert peer.status() == 0


def test_c_echo_is_answered_within_a_second_while_50_connections_are_half_open(
    pumped: Box, tmp_path: Path
) -> None:
    talk, object_ends = conversation(tmp_path, "1.2.3.76")
    beginnings = [b"", b"\1", talk[:50], b"\x16\x03\x01\x02", talk[: object_ends // 2]]
    holdings = Holdings(pumped)
    with contextlib.ExitStack() as stack:
        for number in range(50):
            peer = stack.enter_context(Peer(pumped.dicom_port))
            peer.socket.sendall(beginnings[number % len(beginnings)])
        assert any(_echo_within(pumped.dicom_port, 1.0) for _ in range(10))
    holdings.require_back()


def _echo_within(port: int, seconds: float) -> bool:
    started = time.monotonic()
    return echo(port) and time.monotonic() - started < seconds


def require_closed(peer: Peer) -> None:
    peer.socket.settimeout(60)
    with contextlib.suppress(ConnectionResetError):
        assert peer.socket.recv(1) == b""


def test_one_address_with_100_silent_connections_keeps_only_itself_out(tmp_path: Path) -> None:
    with Box(tmp_path, ["scp"]) as box, contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(Peer(box.dicom_port, "127.0.0.2"))
        require_closed(stack.enter_context(Peer(box.dicom_port, "127.0.0.2")))
        assert echo(box.dicom_port)
        row = box.wait_for(lambda: caller.turned_away(box.ledger), "it to be listed")[0]
        words = "100 connections without an association were open"
        assert (row["peer"], row["why"]) == ("127.0.0.2", words)
        assert f"a connection from 127.0.0.2 ended: {words}" in box.log("scp")


def test_connections_beyond_200_that_ask_for_nothing_are_turned_away(tmp_path: Path) -> None:
    with Box(tmp_path, ["scp"]) as box, contextlib.ExitStack() as stack:
        busy = stack.enter_context(associated(box))
        silent = [
            stack.enter_context(Peer(box.dicom_port, address))
            for address in ("127.0.0.1", "127.0.0.2")
            for _ in range(100)
        ]
        beyond = stack.enter_context(Peer(box.dicom_port, "127.0.0.3"))
        require_closed(beyond)
        busy.fragment(echo_request(), 3)
        assert busy.status() == 0
        for peer in silent:
            peer.socket.close()
        box.wait_for(lambda: echo(box.dicom_port), "room for a new association")


def command_pdu(context: int, command: bytes) -> bytes:
    return struct.pack(">BxLLBB", 4, len(command) + 6, len(command) + 2, context, 3) + command


_STORE = command_set({2: b"1.2.3\0", 0x100: 1, 0x110: 1, 0x800: 1, 0x1000: b"1.2.3\0"})
GARBAGE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: box\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(300),
    "zeros": bytes(4096),
    "every byte": bytes(range(256)) * 16,
    "a second request": struct.pack(">BxL", 1, 4) + bytes(4),
    "an answer to a request": struct.pack(">BxL", 2, 4) + bytes(4),
    "a release of three bytes": struct.pack(">BxL", 5, 3) + bytes(3),
    "no fragment": struct.pack(">BxL", 4, 0),
    "a fragment past its PDU": struct.pack(">BxLLBB", 4, 6, 99, 1, 3) + bytes(97),
    "a fragment without header": struct.pack(">BxLLH", 4, 6, 0, 0),
    "data before a command": struct.pack(">BxLLBB", 4, 8, 4, 3, 0) + bytes(2),
    "a context that was not accepted": command_pdu(77, _STORE),
    "an object in the context of C-ECHO": command_pdu(1, _STORE),
    "a message that there is not": command_pdu(3, command_set({0x100: 0x77, 0x800: 0x101})),
    "a command that ends in an element": struct.pack(">BxLLBB", 4, 11, 7, 3, 3) + b"\0\0\0\0\4",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_in_an_association_ends_it(pumped: Box, garbage: bytes) -> None:
    holdings = Holdings(pumped)
    with associated(pumped) as peer:
        peer.socket.sendall(garbage)
        assert last_pdu(peer) in (ABORTED, None)
    holdings.require_back()
