"""Any bytes at all: no crash, nothing kept that was not whole, and nothing left behind."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom.uid import generate_uid

from appliance import part10
from appliance.spool import hash_file
from tests.box import Box
from tests.faults.wire import VERIFICATION, Holdings, Recorder, command_set, conversation
from tests.scp.objects import ULTRASOUND, data_set_bytes, write_object
from tests.scp.peer import EXPLICIT, IMPLICIT, Peer

MEMORY = 16_000_000  # for all examples together: an allocator's slack, not a leak
SLOW_S = 600.0
QUICK = settings(
    max_examples=100,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=400, derandomize=False)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with Box(tmp_path_factory.mktemp("fuzz"), ["scp"]) as box:
        yield box


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An association with one small C-STORE, as it should be."""
    data, _ = conversation(tmp_path_factory.mktemp("talk"), generate_uid(), 64 * 40)
    return data


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("data") / "a.dcm"
    return data_set_bytes(write_object(path, SOPInstanceUID="1.2.3.80"))


def say(box: Box, data: bytes) -> None:
    """Send bytes without regard to what is answered, then end the sending."""
    with Peer(box.dicom_port) as peer, contextlib.suppress(OSError):
        peer.socket.settimeout(30)
        peer.socket.sendall(data)
        peer.socket.shutdown(socket.SHUT_WR)
        while peer.socket.recv(1 << 16):
            pass


mutations = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat", "number"]),
        st.integers(0, 1 << 20),
        st.binary(min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=6,
)


def mutate(data: bytes, steps: list[tuple[str, int, bytes]]) -> bytes:
    changed = bytearray(data)
    for what, place, value in steps:
        # Half of them early, where the lengths and the commands are.
        at = place % (len(changed) + 1) if place % 2 else place % min(800, len(changed) + 1)
        if what == "flip" and at < len(changed):
            changed[at] ^= value[0] or 1
        elif what == "cut":
            del changed[at : at + value[0]]
        elif what == "insert":
            changed[at:at] = value
        elif what == "repeat":
            changed[at:at] = changed[at : at + 8 * value[0]]
        elif what == "number":
            changed[at : at + 4] = struct.pack(">L", value[0] << (value[-1] % 25))
    return bytes(changed)


pdus = st.builds(
    lambda kind, length, body: (
        struct.pack(">BxL", kind, len(body) if length is None else length) + body
    ),
    st.integers(0, 8),
    st.one_of(st.none(), st.integers(0, 1 << 18)),
    st.binary(max_size=200),
)
elements = st.dictionaries(
    st.sampled_from([0x2, 0x3, 0x100, 0x110, 0x120, 0x700, 0x800, 0x900, 0x1000, 0x1001, 0x1008]),
    st.one_of(
        st.sampled_from([ULTRASOUND.encode(), b"1.2.840.10008.1.20.1", b"1.2.3\0"]),
        st.sampled_from([1, 0x20, 0x21, 0x30, 0x100, 0x130, 0x140, 0x8001, 0x8030, 0xFFF, 0x101]),
        st.binary(max_size=70),
    ),
)
fragments = st.builds(
    lambda context, header, body: (
        struct.pack(">BxLLBB", 4, len(body) + 6, len(body) + 2, context, header) + body
    ),
    st.sampled_from([1, 3, 5, 0, 255]),
    st.integers(0, 4),
    st.one_of(st.binary(max_size=300), st.builds(command_set, elements)),
)


def associated(contents: bytes) -> bytes:
    """The bytes of an association request, then others."""
    with Recorder() as peer:
        peer.associate(
            [
                (VERIFICATION, [IMPLICIT]),
                (ULTRASOUND, [EXPLICIT]),
                ("1.2.840.10008.1.20.1", [IMPLICIT]),
            ]
        )
        return peer.written() + contents


def run_all(box: Box, talk: bytes, data_set: bytes, profile: settings) -> None:
    @profile
    @given(mutations)
    def changed_conversations(steps: list[tuple[str, int, bytes]]) -> None:
        say(box, mutate(talk, steps))

    @profile
    @given(st.lists(pdus, max_size=5))
    def any_pdus(parts: list[bytes]) -> None:
        say(box, b"".join(parts))

    @profile
    @given(st.lists(st.one_of(fragments, pdus), max_size=6))
    def any_messages(parts: list[bytes]) -> None:
        say(box, associated(b"".join(parts)))

    @profile
    @given(mutations)
    def changed_data_sets(steps: list[tuple[str, int, bytes]]) -> None:
        with Peer(box.dicom_port) as peer:
            peer.associate([(ULTRASOUND, [EXPLICIT])])
            peer.command(ULTRASOUND, "1.2.3.80")
            peer.data(mutate(data_set, steps) or b"\0")
            assert peer.status() is not None  # whatever it is, the sender hears

    for test in (changed_conversations, any_pdus, any_messages, changed_data_sets):
        test()


def require_whole(box: Box) -> None:
    for row in box.ledger.read("SELECT sha256 FROM instance"):
        path = box.spool.object_path(row["sha256"])
        assert hash_file(path) == row["sha256"]
        part10.read_header(path)


def test_any_bytes_are_survived(receiver: Box, talk: bytes, data_set: bytes) -> None:
    holdings = Holdings(receiver)
    run_all(receiver, talk, data_set, QUICK)
    holdings.require_back()
    require_whole(receiver)
    assert holdings.growth() < MEMORY


@pytest.mark.slow
def test_any_bytes_are_survived_for_ten_minutes(
    receiver: Box, talk: bytes, data_set: bytes
) -> None:
    run_all(receiver, talk, data_set, LONG)  # SQLite's caches are full from here on
    holdings = Holdings(receiver)
    end = time.monotonic() + SLOW_S
    rounds = 0
    while time.monotonic() < end:
        run_all(receiver, talk, data_set, LONG)
        rounds += 1
    print(f"{rounds} rounds of {4 * LONG.max_examples} examples")
    holdings.require_back()
    require_whole(receiver)
    assert holdings.growth() < MEMORY
