import logging
import os
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from appliance import labels
from appliance.engine.worker import LEASE_S
from appliance.errors import BackendError, SpoolError
from appliance.ledger import analysis, event, worklist
from appliance.measures import Measures
from appliance.service import Stop
from tests.box import Box
from tests.phantom import cine_loop

JPEG = "1.2.840.10008.1.2.4.50"
NAME = "SECRETNAME^PATIENT"


def write(tmp_path, **kwargs):
    return cine_loop(**{"frames": 40, **kwargs}).write(tmp_path / "loop.dcm")


def test_a_loop_becomes_masks_of_all_frames_and_an_ef(bench, tmp_path):
    loop = cine_loop(frames=42, rows=480, columns=640, ejection_fraction=0.6)
    found = bench.analyse(loop.write(tmp_path / "loop.dcm"))
    assert found["state"] == "analysed"
    made = found["analysis"]
    measures = Measures.from_dict(made["measures"])
    # The network has never seen a phantom: it is a few points off, as with any stranger.
    assert measures.ef_percent == pytest.approx(60, abs=8)
    assert measures.edv_ml == pytest.approx(max(loop.volumes_ml), rel=0.15)
    drawn = labels.of_analysis(bench.ledger, bench.spool, made["id"])
    assert drawn.available == 42
    for index in (0, 15, 41):
        mine, truth = drawn.frame(index), loop.labels[index]
        both = ((mine == 1) & (truth == 1)).sum()
        assert 2 * both / ((mine == 1).sum() + (truth == 1).sum()) > 0.9
    counts = [chunk["frame_count"] for chunk in worklist.chunks(bench.ledger, made["id"])]
    assert counts == [4, 12, 16, 10]


def test_an_analysis_says_what_made_it_and_how_long_each_stage_took(bench, tmp_path, backend):
    made = bench.analyse(write(tmp_path))["analysis"]
    assert (made["engine"], made["precision"]) == (backend.name, backend.precision)
    ran = bench.model.variant(backend.name, backend.precision)
    assert made["model_sha256"] == ran.sha256
    assert [structure["label"] for structure in made["labels"]] == [1, 2, 3]
    assert set(made["timings"]["stages"]) >= {"decode", "letterbox", "infer", "post", "store"}
    assert made["quality"]["passed"]
    assert len(made["per_frame"]) == 40


def test_without_calibration_there_is_an_ef_and_no_volume(bench, tmp_path):
    made = bench.analyse(write(tmp_path, regions="outside"))["analysis"]
    assert made["measures"]["ef_percent"] is not None
    assert made["measures"]["edv_ml"] is None
    assert "outside the image" in made["measures"]["withheld"]["edv_ml"]


def test_damaged_frames_have_empty_masks_and_are_counted(bench, tmp_path):
    path = write(tmp_path, transfer_syntax=JPEG, corrupt=(5, 20))
    made = bench.analyse(path)["analysis"]
    assert made["quality"]["damaged"] == [5, 20]
    assert made["per_frame"][5] is None
    drawn = labels.of_analysis(bench.ledger, bench.spool, made["id"])
    assert not drawn.frame(5).any()
    assert drawn.frame(6).any()
    assert made["measures"]["ef_percent"] is not None


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"frames": 3}, "too short"),
        ({"frames": 12, "colour_doppler": True, "photometric": "RGB"}, "Colour Doppler"),
        ({"frames": 12, "regions": "m-mode"}, "M-mode"),
    ],
)
def test_what_cannot_be_analysed_is_kept_with_a_reason(bench, tmp_path, kwargs, reason):
    found = bench.analyse(write(tmp_path, **kwargs))
    assert found["state"] == "kept"
    assert reason in found["reason"]
    assert found["analysis"] is None


def test_no_outline_of_what_is_no_heart_is_ever_stored(bench, shared_data):
    seq = bench.receive(shared_data / "orthanc-tests" / "Issue16.dcm")
    bench.worker.work_once()
    found = bench.loop(seq)
    assert found["state"] == "kept"
    assert found["reason"].startswith("No apical four- or two-chamber view")
    assert worklist.latest_analysis(bench.ledger, seq) is None


@pytest.mark.parametrize("elements", [{"PhotometricInterpretation": "CMYK"}, {"Rows": 9000}])
def test_a_reason_is_a_whole_sentence(bench, tmp_path, elements):
    found = bench.analyse(write(tmp_path, frames=12, elements=elements))
    assert found["state"] == "kept"
    assert found["reason"].endswith(".")


def test_a_damaged_file_in_the_spool_is_kept_and_said(bench, tmp_path):
    seq = bench.receive(write(tmp_path))
    path = bench.spool.object_path(bench.loop(seq)["sha256"])
    path.write_bytes(path.read_bytes()[:300])
    bench.worker.work_once()
    assert bench.loop(seq)["state"] == "kept"
    assert "not a whole DICOM object" in bench.loop(seq)["reason"]


class Broken:
    """A backend that fails as a driver does."""

    name, precision = "openvino", "f32"

    def __init__(self, error):
        self.error = error

    def infer(self, frame):
        raise self.error


def test_three_failures_quarantine_a_loop_and_no_log_line_names_the_patient(
    new_bench, tmp_path, caplog
):
    bench = new_bench(Broken(ValueError(f"bad value in {NAME}")))
    seq = bench.receive(write(tmp_path, PatientName=NAME))
    states = []
    with caplog.at_level(logging.DEBUG):
        while bench.worker.work_once():
            states.append(bench.loop(seq)["state"])
    assert states == ["received", "received", "quarantined"]
    assert "ValueError in test_worker.py" in caplog.text
    assert "SECRETNAME" not in caplog.text + bench.loop(seq)["reason"]


def test_a_loop_that_breaks_the_engine_does_not_stop_the_next(new_bench, backend, tmp_path):
    bench = new_bench(Broken(BackendError("infer", "the driver is gone", "Restart")))
    bench.receive(write(tmp_path))
    while bench.worker.work_once():
        pass
    seq = bench.receive(write(tmp_path, seed=2))
    assert bench.new_worker(backend).work_once()
    assert bench.loop(seq)["state"] == "analysed"


def test_a_full_disk_is_waited_for_and_costs_no_try(bench, tmp_path, monkeypatch):
    monkeypatch.setattr("appliance.engine.worker.RETRY_S", 0.01)
    seq, real, refused = bench.receive(write(tmp_path)), bench.spool.put_chunk, []

    def full(data):
        if len(refused) < 5:
            refused.append(data)
            raise SpoolError("store label maps", "the disk is full", "Free some", retry=True)
        return real(data)

    monkeypatch.setattr(bench.spool, "put_chunk", full)
    bench.worker.work_once()
    assert bench.loop(seq)["state"] == "analysed"
    assert len(refused) == 5


@contextmanager
def small_file_system(folder, size):
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can't be mounted here (not root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_the_engine_outlives_a_ledger_that_has_no_room(tmp_path):
    with small_file_system(tmp_path / "box", "64m") as root, Box(root, services=()) as box:
        from tests.engine.conftest import Bench

        filler = root / "filler"
        box.start("engine")
        loops = Bench(box.settings.box.state_dir)  # only to receive
        seq = loops.receive(cine_loop(frames=20, rows=240, columns=320).write(tmp_path / "a.dcm"))
        _fill(filler)
        box.wait_for(lambda: "loops wait: the ledger can't be used" in box.log("engine"), "it")
        filler.unlink()
        (row,) = box.wait_settled(1)
        assert (row["seq"], row["state"]) == (seq, "analysed")
        assert box.stop("engine") == 0
        assert "Traceback" not in box.log("engine")


def _fill(path):
    with path.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(4096))


def test_a_ledger_without_room_says_nothing_against_the_loop(bench, tmp_path):
    seq = bench.receive(write(tmp_path, frames=12))
    connection = bench.ledger.db.conn
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    for _ in range(4):  # more often than a loop is tried
        connection.execute(f"PRAGMA max_page_count = {pages}")
        fill_events(bench.ledger)
        with pytest.raises(sqlite3.OperationalError, match="full"):
            bench.worker.work_once()
        connection.execute("PRAGMA max_page_count = 100000")
        bench.worker.give_back()
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    assert bench.loop(seq)["state"] == "received"
    assert bench.worker.work_once()
    assert bench.loop(seq)["state"] == "analysed"


def fill_events(ledger):
    with suppress(sqlite3.OperationalError):
        while True:
            with ledger.transaction() as db:
                event.record(db, 1, "analysis", "chunk", "")


def test_a_lost_lease_stops_the_work_and_stores_nothing_more(bench, tmp_path, backend, monkeypatch):
    monkeypatch.setattr("appliance.engine.worker.RETRY_S", 0.01)
    seq = bench.receive(write(tmp_path))

    class Stolen:
        """Loses its lease at the tenth frame, as when another engine took over."""

        name, precision = backend.name, backend.precision
        frames = 0

        def infer(self, frame):
            self.frames += 1
            if self.frames == 10:
                # On a thread of its own, as another process would have its own connection.
                with ThreadPoolExecutor(1) as other:
                    other.submit(self.steal).result()
            return backend.infer(frame)

        def steal(self):
            with bench.ledger.transaction() as db:
                db.conn.execute("UPDATE job SET owner = 'another'")

    thief = Stolen()
    bench.new_worker(thief).work_once()
    assert thief.frames < 40
    assert bench.loop(seq)["state"] == "analysing"
    assert bench.loop(seq)["analysis"] is None


def test_asked_to_stop_the_worker_ends_between_two_chunks_and_loses_nothing(
    bench, backend, tmp_path
):
    seq = bench.receive(write(tmp_path))
    bench.stop.set()
    bench.worker.work_once()
    assert bench.loop(seq)["state"] == "received"
    assert bench.loop(seq)["analysis"] is None
    assert analysis.recover(bench.ledger) == 0  # nothing was left behind to recover
    bench.stop = Stop()
    bench.new_worker(backend).work_once()
    assert bench.loop(seq)["state"] == "analysed"


def test_nothing_waiting_is_no_work(bench):
    assert not bench.worker.work_once()


def test_the_lease_outlasts_the_slowest_chunk():
    assert LEASE_S > 8 * 2  # frames of a chunk, seconds of a frame on a very slow CPU


def test_the_same_loop_analysed_twice_gives_the_same_masks(bench, tmp_path):
    first = bench.analyse(write(tmp_path))["analysis"]
    again = bench.analyse(
        cine_loop(frames=40, elements={"SeriesDescription": "again"}).write(tmp_path / "b.dcm")
    )["analysis"]
    chunks = [
        [row["sha256"] for row in worklist.chunks(bench.ledger, one["id"])]
        for one in (first, again)
    ]
    assert chunks[0] == chunks[1]
    assert first["sha256"] != again["sha256"], "an analysis is of one object"


def test_killed_at_any_moment_the_engine_comes_back_and_finishes(tmp_path):
    """kill -9 at several moments of the work: every loop ends analysed, each exactly once."""
    with Box(tmp_path, services=()) as box:
        from tests.engine.conftest import Bench

        loops = Bench(box.settings.box.state_dir)  # only to receive
        seqs = [
            loops.receive(cine_loop(frames=60, seed=seed).write(tmp_path / f"{seed}.dcm"))
            for seed in range(2)
        ]
        box.start("engine")
        box.wait_for(lambda: worklist.latest_analysis(box.ledger, seqs[1]), "the first masks")
        box.kill("engine")
        box.start("engine")
        box.wait_for(lambda: worklist.latest_analysis(box.ledger, seqs[0]), "the first masks")
        box.kill("engine")
        box.start("engine")
        rows = box.wait_settled(2)
        assert [row["state"] for row in rows] == ["analysed"] * 2
        for row in rows:
            made = labels.of_analysis(box.ledger, box.spool, row["analysis"]["id"])
            assert made.available == 60
        sealed = box.ledger.read("SELECT seq FROM analysis WHERE state = 'sealed'")
        assert sorted(row["seq"] for row in sealed) == sorted(seqs)
        assert box.stop("engine") == 0
        assert "Traceback" not in box.log("engine")


def claimed(bench):
    found = analysis.claim(bench.ledger, "engine-test", 60)
    return found and found.seq


def test_the_loop_in_view_comes_first_then_the_newest_and_new_masks_for_old_ones_last(
    bench, tmp_path
):
    analysed = bench.receive(write(tmp_path, frames=16))
    assert bench.worker.work_once()
    with bench.ledger.transaction() as db:
        db.execute("UPDATE job SET state = 'queued', tries = 0 WHERE seq = ?", [analysed])
    loops = [bench.receive(write(tmp_path, frames=9, seed=seed)) for seed in range(3)]
    analysis.put_in_view(bench.ledger, loops[1])
    analysis.put_in_view(bench.ledger, loops[1])
    assert analysis.behind(bench.ledger) == 4
    order = [claimed(bench) for _ in range(5)]
    assert order == [loops[1], loops[2], loops[0], analysed, None]
    assert analysis.behind(bench.ledger) == 0
    assert bench.ledger.read("SELECT * FROM in_view") == []


def test_an_old_analysis_that_is_looked_at_comes_before_a_new_loop(bench, tmp_path):
    analysed = bench.receive(write(tmp_path, frames=16))
    assert bench.worker.work_once()
    with bench.ledger.transaction() as db:
        db.execute("UPDATE job SET state = 'queued', tries = 0 WHERE seq = ?", [analysed])
    bench.receive(write(tmp_path, frames=9, seed=1))
    analysis.put_in_view(bench.ledger, analysed)
    assert claimed(bench) == analysed
