"""The view gate on the box: what it lets through, what it refuses, and what a person may overrule."""

import cv2
import numpy as np
import pytest

from appliance.cine import open_cine
from appliance.engine.view import NOT_APICAL, UNKNOWN, ViewGate, shrunk
from appliance.ledger import view, worklist
from appliance.ledger.view import Said
from appliance.masks import decode_chunk
from appliance.sector import find_sector
from tests.phantom import cine_loop, on_its_head

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def gate(model):
    return ViewGate(model)


def seen(gate, path):
    with open_cine(path) as cine:
        return gate.look(cine, find_sector(cine))


@pytest.mark.parametrize(
    "heart",
    [
        {},
        {"heart_rate": 110, "ejection_fraction": 0.35, "seed": 3},
        {"rows": 600, "columns": 800, "ejection_fraction": 0.7, "seed": 5},
        {"pixel_aspect": 0.8, "seed": 6},
        {"depth_cm": 18, "ejection_fraction": 0.15, "seed": 8},
    ],
)
def test_a_drawn_four_chamber_heart_is_apical(gate, tmp_path, heart):
    found = seen(gate, cine_loop(frames=16, **heart).write(tmp_path / "loop.dcm"))
    assert found.reason == "", found


def test_a_strangers_four_chamber_loops_are_a4c(gate, shared_data):
    for name in ("pydicom-data/color3d_jpeg_baseline.dcm", "pydicom/examples_ybr_color.dcm"):
        assert seen(gate, shared_data / name).view == "A4C", name


def test_a_childs_heart_in_another_view_is_refused(gate, shared_data):
    assert seen(gate, shared_data / "orthanc-tests" / "Issue16.dcm").reason == NOT_APICAL


def noise(frame):
    return RNG.integers(0, 255, frame.shape, np.uint8)


def text(frame):
    page = np.zeros_like(frame)
    for row in range(8, 96, 10):
        cv2.putText(page, "EF 55 EDV 96", (2, row), 0, 0.3, 230)
    return page


def m_mode(frame):
    return np.repeat(frame[:, 48:49], 96, axis=1)


@pytest.mark.parametrize(
    "change", [np.flipud, np.rot90, np.zeros_like, noise, text, m_mode], ids=lambda f: f.__name__
)
def test_what_is_no_upright_heart_is_refused(gate, real_loop, change):
    with open_cine(real_loop) as cine:
        geometry = find_sector(cine).geometry
        from appliance.sector import letterbox

        frames = [shrunk(letterbox(cine.grey(i), geometry)) for i in cine.sampled(8)]
    found = gate.judge([np.ascontiguousarray(change(frame)) for frame in frames])
    assert found.reason == NOT_APICAL, found


def test_without_a_readable_frame_nothing_is_apical(gate):
    assert gate.judge([]).reason == NOT_APICAL


def test_a_model_that_tells_no_views_refuses_nothing(model):
    old = model.model_copy(update={"view": None})
    assert ViewGate(old).judge([]) == UNKNOWN
    assert UNKNOWN.reason == ""


def turned(bench, tmp_path):
    """A loop of a heart on its head, received and refused."""
    loop = on_its_head(cine_loop(frames=24, heart_rate=80))
    return bench.analyse(loop.write(tmp_path / "turned.dcm"))


def say(bench, seq, name):
    view.say(bench.ledger, Said(seq, name, "AK", view.of(bench.ledger, seq)["id"]))


def test_another_view_is_kept_and_nothing_is_drawn_of_it(bench, tmp_path):
    found = turned(bench, tmp_path)
    assert (found["state"], found["reason"]) == ("kept", NOT_APICAL)
    assert found["view"]["view"] == "other"
    assert found["view"]["by"] == bench.model.view.sha256
    assert bench.ledger.read("SELECT 1 FROM analysis") == []


def test_what_a_person_calls_a4c_is_measured_and_its_doubt_is_told(bench, tmp_path):
    seq = turned(bench, tmp_path)["seq"]
    say(bench, seq, "A4C")
    assert bench.worker.work_once()
    found = bench.loop(seq)
    assert (found["state"], found["view"]["view"]) == ("analysed", "A4C")
    assert found["view"]["source"] == "person"
    assert found["analysis"]["quality"]["word"] == "doubtful"
    assert any(note.startswith("Doubtful") for note in found["analysis"]["quality"]["notes"])


def test_a_person_mends_no_loop_in_which_no_ventricle_is_found(bench, tmp_path):
    loop = cine_loop(frames=24)
    speckle = RNG.gamma(1.2, 40, loop.grey.shape).clip(0, 255).astype(np.uint8)
    loop.dataset.PixelData = np.where(loop.grey > 0, speckle, 0).tobytes()
    seq = bench.analyse(loop.write(tmp_path / "speckle.dcm"))["seq"]
    say(bench, seq, "A4C")
    assert bench.worker.work_once()
    found = bench.loop(seq)
    assert found["state"] == "kept"
    assert found["reason"].startswith("No apical heart could be recognised")


def test_each_analysis_says_what_its_view_was_taken_for(bench, tmp_path):
    found = bench.analyse(cine_loop(frames=16).write(tmp_path / "loop.dcm"))
    assert found["view"]["source"] == "model"
    assert 0.5 < found["view"]["certainty"] <= 1
    assert set(found["view"]["figures"]) == {"A4C", "A2C", "other", "apical", "distance"}
    assert "view" in found["analysis"]["timings"]["stages"]


def test_certainty_is_kept_for_each_frame_block_for_block_and_per_structure(bench, tmp_path):
    made = bench.analyse(cine_loop(frames=20).write(tmp_path / "loop.dcm"))["analysis"]
    for chunk in worklist.chunks(bench.ledger, made["id"]):
        data = bench.spool.read_chunk(chunk["certainty_sha256"])
        maps = decode_chunk(data, chunk["frame_count"])
        assert maps.shape[1:] == (96, 96)
        assert maps.max() == 255
        assert len(data) < 1500 * chunk["frame_count"]
    for row in made["per_frame"]:
        assert len(row["certainty"]) == 3
        assert all(0 < share <= 1 for share in row["certainty"])
        assert row["doubt"] == ""


def test_frames_that_can_not_be_a_hearts_are_named_and_give_no_ed_or_es(
    new_bench, backend, tmp_path
):
    class Blinking:
        """The network, whose atrium is lost on every other frame, and always around ES."""

        name, precision = backend.name, backend.precision
        frame = -1

        def infer(self, picture):
            self.frame += 1
            found = backend.infer(picture)
            if self.frame % 2:
                found.labels[found.labels == 3] = 0
            return found

    bench = new_bench(Blinking())
    loop = cine_loop(frames=40, heart_rate=70).write(tmp_path / "loop.dcm")
    made = bench.analyse(loop)["analysis"]
    assert made["quality"]["doubtful"] == list(range(1, 40, 2))
    assert made["per_frame"][1]["doubt"] == "No left atrium at the ventricle's base."
    measures = made["measures"]
    assert measures["ef_percent"] is not None
    assert measures["ed_frame"] % 2 == measures["es_frame"] % 2 == 0
