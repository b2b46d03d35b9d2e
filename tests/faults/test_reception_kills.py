"""kill -9 of the receiver at random moments: what was acknowledged is there, once, and whole."""

import random
import threading
from pathlib import Path

import pytest
from pydicom import dcmread

from appliance import part10
from appliance.errors import ApplianceError
from appliance.scu import Outcome, send
from appliance.spool import hash_file
from tests.box import Box
from tests.scp.objects import data_set_bytes, write_object

ROUNDS = 5
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


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_no_acknowledged_object_is_lost_by_a_kill(tmp_path: Path, seed: int) -> None:
    moment = random.Random(seed).uniform(0.02, 0.25)
    senders = [_objects(tmp_path / f"cart-{n}") for n in range(2)]
    acknowledged: set[Path] = set()
    with Box(tmp_path / "box", ["scp"]) as box:
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
        assert {sent.outcome for sent in again} == {Outcome.STORED}
        _verify(box, set(everything))
        assert len(box.loops()) == len(everything)
