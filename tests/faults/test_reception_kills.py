"""kill -9 of the receiver at any moment and byte: what was acknowledged is there, once, and whole."""

import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread

from appliance import part10
from appliance.errors import ApplianceError
from appliance.scu import Outcome, send
from appliance.spool import hash_file
from tests.box import Box
from tests.scp.objects import ULTRASOUND, data_set_bytes, write_object
from tests.scp.peer import EXPLICIT, Peer

ROUNDS, MORE_ROUNDS = 5, 100
PATHS = ("pump", "stock")
SEEDS = [
    pytest.param(seed, marks=[pytest.mark.slow] if seed >= ROUNDS else [])
    for seed in range(MORE_ROUNDS)
]
FILES = 12  # for each sender; about 1 MB each: a kill lands inside an object as often as between


def _objects(folder: Path) -> list[Path]:
    folder.mkdir()
    noise = random.Random(folder.name)
    return [
        write_object(folder / f"{n}.dcm", pixels=noise.randbytes(64 * 16000)) for n in range(FILES)
    ]


def _stream(box: Box, files: list[Path], acknowledged: set[Path]) -> None:
    """Send one object after the other until the receiver is gone."""
    try:
        send(
            files,
            "127.0.0.1",
            box.dicom_port,
            on_progress=lambda s: acknowledged.add(s.path) if s.status == 0 else None,
        )
    except ApplianceError:
        return  # it was killed: the association can't be opened again


def _verify(box: Box, acknowledged: set[Path]) -> None:
    rows = box.ledger.read("SELECT seq, sop_instance_uid, sha256, size FROM instance")
    hashes = {row["sop_instance_uid"]: row["sha256"] for row in rows}
    assert len(hashes) == len(rows), "an object was recorded twice"
    for path in acknowledged:
        uid = dcmread(path, stop_before_pixels=True).SOPInstanceUID
        assert uid in hashes, "an acknowledged object has no row"
        copy = box.spool.object_path(hashes[uid])
        assert data_set_bytes(copy) == data_set_bytes(path)
    for row in rows:
        copy = box.spool.object_path(row["sha256"])
        assert (hash_file(copy), copy.stat().st_size) == (row["sha256"], row["size"])
    for copy in box.spool.objects.rglob("*.dcm"):
        part10.read_header(copy)  # nothing partial under a final name
        assert copy.stem == hash_file(copy)
    assert list(box.spool.incoming.iterdir()) == []


def _box(root: Path, receive_path: str) -> Box:
    return Box(root, ["scp"], scp=f'receive_path = "{receive_path}"')


@pytest.mark.parametrize("receive_path", PATHS)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_acknowledged_object_is_lost_by_a_kill(
    tmp_path: Path, seed: int, receive_path: str
) -> None:
    moment = random.Random(seed).uniform(0.02, 0.25)
    senders = [_objects(tmp_path / f"cart-{n}") for n in range(2)]
    acknowledged: set[Path] = set()
    with _box(tmp_path / "box", receive_path) as box:
        threads = [
            threading.Thread(target=_stream, args=(box, files, acknowledged)) for files in senders
        ]
        for thread in threads:
            thread.start()
        threads[0].join(moment)
        box.kill("scp")
        for thread in threads:
            thread.join(60)
        print(f"seed {seed}: killed after {moment:.3f} s, {len(acknowledged)} acknowledged")
        box.start("scp")
        _verify(box, acknowledged)
        everything = [path for files in senders for path in files]
        again = send(everything, "127.0.0.1", box.dicom_port)
        assert [sent for sent in again if sent.outcome is not Outcome.STORED] == []
        _verify(box, set(everything))
        assert len(box.loops()) == len(everything)


class Fuse:
    """A socket that lets so many bytes through; then something happens, and it is at its end."""

    def __init__(self, real: socket.socket, left: int, then: Callable[[], None]) -> None:
        self.real, self.left, self.then = real, left, then

    def sendall(self, data: bytes) -> None:
        self.real.sendall(data[: self.left])
        self.left -= len(data)
        if self.left <= 0:
            self.then()
            raise ConnectionResetError

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


def _one_by_one(peer: Peer, files: list[Path], acknowledged: set[Path]) -> None:
    for path in files:
        try:
            peer.command(ULTRASOUND, str(dcmread(path, stop_before_pixels=True).SOPInstanceUID))
            peer.data(data_set_bytes(path))
        except ConnectionResetError:
            return
        if peer.status() == 0:
            acknowledged.add(path)
    raise AssertionError("everything was sent: the receiver was not killed")


@pytest.mark.parametrize("receive_path", PATHS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_kill_at_a_byte_leaves_whole_objects_only(
    tmp_path: Path, seed: int, receive_path: str
) -> None:
    chance = random.Random(seed)
    files = _objects(tmp_path / "cart")[:4]
    size = sum(path.stat().st_size for path in files)
    acknowledged: set[Path] = set()
    with _box(tmp_path / "box", receive_path) as box:
        with Peer(box.dicom_port) as peer:
            peer.associate([(ULTRASOUND, [EXPLICIT])])
            fuse = Fuse(peer.socket, chance.randrange(1, size), lambda: box.kill("scp"))
            peer.socket = fuse  # type: ignore[assignment]
            _one_by_one(peer, files, acknowledged)
        box.start("scp")
        _verify(box, acknowledged)
        # The last byte of an object may be the one: kept, and not acknowledged any more.
        assert len(acknowledged) <= len(box.loops()) <= len(acknowledged) + 1
