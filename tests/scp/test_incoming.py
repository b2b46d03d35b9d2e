"""An object that arrives in pieces: kept whole and durable, or nothing of it is left."""

import random
import sqlite3
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom.dsutils import create_file_meta

from appliance.ledger import Ledger, quarantine
from appliance.part10.meta import file_meta
from appliance.scp.store import Announced, Store
from appliance.spool import Spool, hash_file
from tests.scp.objects import ULTRASOUND, data_set_bytes, write_object


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    ledger = Ledger(tmp_path / "state")
    yield Store(Spool(tmp_path / "state"), ledger, 0)
    ledger.close()


def announced(path: Path, **changed: str) -> Announced:
    data = dcmread(path, stop_before_pixels=True)
    said = {"SOPInstanceUID": str(data.SOPInstanceUID), "SOPClassUID": str(data.SOPClassUID)}
    return Announced(**{**said, **changed}, calling_ae_title="CART", peer="10.0.0.1")


def arrive(store: Store, path: Path, size: int = 131_000, **changed: str) -> tuple[int, str]:
    incoming = store.begin(announced(path, **changed), ExplicitVRLittleEndian)
    data, buffer = data_set_bytes(path), bytearray(size)
    for start in range(0, len(data), size):
        part = data[start : start + size]
        buffer[: len(part)] = part  # one buffer for all fragments, as the network has it
        incoming.write(memoryview(buffer)[: len(part)])
    return incoming.finish()


def everything(store: Store) -> list[Path]:
    return [
        path for path in store.spool.root.rglob("*.*") if path.is_file() and "lock" not in path.name
    ]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def rows(store: Store) -> list[dict]:
    return store.ledger.read("SELECT * FROM instance ORDER BY seq")


@pytest.mark.parametrize("SOPInstanceUID", ["1.2.3.4", "1.2.3.45"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGBaseline8Bit])
def test_both_ways_of_receiving_begin_a_file_with_the_same_bytes(SOPInstanceUID, syntax):
    stock = BytesIO()
    stock.write(bytes(128) + b"DICM")
    meta = create_file_meta(
        sop_class_uid=ULTRASOUND, sop_instance_uid=SOPInstanceUID, transfer_syntax=syntax
    )
    write_file_meta_info(stock, meta)
    assert file_meta(ULTRASOUND, SOPInstanceUID, syntax) == stock.getvalue()


@pytest.mark.parametrize("size", [777, 40_000, 131_000, 5_000_000])
def test_fragments_of_any_size_make_the_same_kept_file(store, tmp_path, size):
    pixels = random.Random(7).randbytes(64 * 60_000)  # hashed beside its reception
    path = write_object(tmp_path / "a.dcm", pixels=pixels)
    assert arrive(store, path, size) == (0, "")
    (row,) = rows(store)
    kept = store.spool.object_path(row["sha256"])
    assert everything(store) == [kept]
    assert (hash_file(kept), kept.stat().st_size) == (row["sha256"], row["size"])
    assert data_set_bytes(kept) == data_set_bytes(path)


def test_an_object_dropped_leaves_nothing(store, tmp_path):
    path = write_object(tmp_path / "a.dcm", pixels=bytes(64 * 60_000))
    before = descriptors()
    for share in (0.0, 0.3, 1.0):
        incoming = store.begin(announced(path), ExplicitVRLittleEndian)
        data = data_set_bytes(path)
        incoming.write(data[: int(len(data) * share)])
        incoming.drop()
    assert descriptors() == before
    assert everything(store) == rows(store) == []


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.9999])
def test_a_cut_data_set_is_refused_and_gone(store, tmp_path, share):
    path = write_object(tmp_path / "a.dcm", pixels=bytes(64 * 30_000))
    incoming = store.begin(announced(path), ExplicitVRLittleEndian)
    data = data_set_bytes(path)
    incoming.write(data[: int(len(data) * share)])
    status, comment = incoming.finish()
    assert status & 0xF000 in (0xC000, 0xA000)
    assert comment
    assert rows(store) == []
    assert [path for path in everything(store) if path.parent != store.spool.quarantine] == []


def test_an_object_without_a_row_has_no_file(store, tmp_path):
    path = write_object(tmp_path / "a.dcm")
    break_job = "CREATE TRIGGER no_job BEFORE INSERT ON job BEGIN SELECT RAISE(ABORT, 'full'); END"
    store.ledger.db.conn.execute(break_job)
    assert arrive(store, path)[0] == 0x0110
    assert everything(store) == rows(store) == []
    store.ledger.db.conn.execute("DROP TRIGGER no_job")
    assert arrive(store, path) == (0, "")


def test_an_object_that_fails_takes_no_other_with_it(store, tmp_path):
    """Rows that wait together are committed together; one that can't be written goes alone."""
    paths = [write_object(tmp_path / f"{n}.dcm", SOPInstanceUID=f"1.2.{n}") for n in range(8)]
    store.ledger.db.conn.execute(
        "CREATE TRIGGER no_four BEFORE INSERT ON instance WHEN NEW.sop_instance_uid = '1.2.4'"
        " BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with sqlite3.connect(store.ledger.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")  # so that all of them wait for the one writer
        answers: dict[int, int] = {}
        threads = [
            threading.Thread(target=lambda n=n: answers.update({n: arrive(store, paths[n])[0]}))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        threads[0].join(0.5)
        other.execute("COMMIT")
        for thread in threads:
            thread.join()
    other.close()
    assert answers == {n: 0x0110 if n == 4 else 0 for n in range(8)}
    kept = {row["sha256"] for row in rows(store)}
    assert len(kept) == 7
    assert {path.stem for path in everything(store)} == kept


def test_while_the_ledger_cannot_be_read_a_linked_object_waits_for_its_row(store, tmp_path):
    path = write_object(tmp_path / "a.dcm")
    connection = store.ledger.db.conn
    connection.execute("ALTER TABLE instance RENAME TO away")
    assert arrive(store, path)[0] == 0x0110
    store.sweep()
    assert len(list(store.spool.incoming.iterdir())) == 1
    connection.execute("ALTER TABLE away RENAME TO instance")
    store.sweep()
    (row,) = rows(store)
    assert everything(store) == [store.spool.object_path(row["sha256"])]


def test_the_same_object_from_many_at_once_is_one(store, tmp_path):
    path = write_object(tmp_path / "a.dcm", pixels=bytes(64 * 20_000))
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(arrive(store, path)[0])) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [0] * 6
    assert len(rows(store)) == len(everything(store)) == 1


def test_another_object_than_announced_is_put_aside_once(store, tmp_path):
    path = write_object(tmp_path / "a.dcm", SOPInstanceUID="1.2.3.4")
    for _ in range(2):
        status, comment = arrive(store, path, SOPInstanceUID="1.2.3.5")
        assert (status, comment) == (
            0xA900,
            "SOPInstanceUID in the data set is not the announced one",
        )
    assert rows(store) == []
    (refused,) = quarantine.listed(store.ledger)
    assert refused["announced_sop_instance_uid"] == "1.2.3.5"
    assert refused["sop_instance_uid"] == "1.2.3.4"
    assert everything(store) == [store.spool.quarantine_path(refused["sha256"])]
    assert arrive(store, path) == (0, "")  # as what it is, it is kept


def test_what_is_put_aside_is_bounded(store, tmp_path, monkeypatch):
    monkeypatch.setattr("appliance.scp.quarantine.MOST", 3)
    for n in range(5):
        path = write_object(tmp_path / f"{n}.dcm", SOPInstanceUID=f"1.2.3.{n}")
        arrive(store, path, SOPInstanceUID="1.9")
    names = {path.stem for path in store.spool.quarantine.iterdir()}
    assert len(names) == 3
    assert {row["sha256"] for row in quarantine.listed(store.ledger)} == names
    assert quarantine.listed(store.ledger)[0]["sop_instance_uid"] == "1.2.3.4"


def test_no_room_is_told_at_the_end_and_holds_no_file_until_then(tmp_path):
    ledger = Ledger(tmp_path / "state")
    store = Store(Spool(tmp_path / "state"), ledger, 10**18)
    path = write_object(tmp_path / "a.dcm")
    incoming = store.begin(announced(path), ExplicitVRLittleEndian)
    incoming.write(data_set_bytes(path))
    assert everything(store) == []
    assert incoming.finish() == (0xA700, "out of space on the box")
    ledger.close()
