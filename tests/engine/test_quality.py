import cv2
import numpy as np
import pytest

from appliance.cine import open_cine
from appliance.engine.pipeline import Stages, fan_on_map, run
from appliance.engine.quality import judge
from appliance.sector import find_sector
from appliance.sector.geometry import letterbox
from tests.phantom import cine_loop


def verdict(backend, path):
    """The gate's verdict on a loop, through the whole pipeline."""
    with open_cine(path) as cine:
        frames = run(cine, find_sector(cine), backend, lambda _: None, Stages())
    return judge([f.shape for f in frames if f.shape], len(frames))


@pytest.mark.parametrize(
    "heart",
    [
        {},
        {"heart_rate": 110, "ejection_fraction": 0.35, "seed": 3},
        {"rows": 600, "columns": 800, "ejection_fraction": 0.7, "seed": 5},
        {"pixel_aspect": 0.8, "seed": 6},
        {"rate_hz": 15, "ejection_fraction": 0.65, "seed": 7},
        {"depth_cm": 18, "ejection_fraction": 0.15, "seed": 8},
    ],
)
def test_a_heart_passes(backend, tmp_path, heart):
    path = cine_loop(frames=16, **heart).write(tmp_path / "loop.dcm")
    found = verdict(backend, path)
    assert found.passed, found


def test_real_apical_loops_pass(backend, shared_data):
    for name in ("pydicom-data/color3d_jpeg_baseline.dcm", "pydicom/examples_ybr_color.dcm"):
        found = verdict(backend, shared_data / name)
        assert found.passed, found


def test_a_childs_heart_in_another_view_is_refused(backend, shared_data):
    found = verdict(backend, shared_data / "orthanc-tests" / "Issue16.dcm")
    assert found.reason.startswith("No apical heart could be recognised")


class Turned:
    """The network, on frames changed first."""

    def __init__(self, backend, change):
        self.name, self.precision = backend.name, backend.precision
        self._backend, self._change = backend, change

    def infer(self, frame):
        return self._backend.infer(np.ascontiguousarray(self._change(frame)))


RNG = np.random.default_rng(0)


def probe_in_air(frame):
    rings = 200 * np.exp(-np.arange(384) / 60)[:, None]
    noise = RNG.gamma(1.2, 10, frame.shape)
    return np.where(frame > 0, np.clip(rings + noise, 0, 255), 0).astype(np.uint8)


def speckle(frame):
    noise = cv2.GaussianBlur(RNG.gamma(1.2, 60, frame.shape), (0, 0), 1.5)
    return np.where(frame > 0, np.clip(noise, 0, 255), 0).astype(np.uint8)


@pytest.mark.parametrize(
    "change",
    [probe_in_air, speckle, np.flipud, np.rot90, np.zeros_like],
    ids=["probe in air", "speckle", "upside down", "on its side", "black"],
)
def test_what_is_no_upright_heart_is_refused(backend, tmp_path, change):
    path = cine_loop(frames=16).write(tmp_path / "loop.dcm")
    found = verdict(Turned(backend, change), path)
    assert not found.passed, found


def test_frames_in_the_wrong_order_are_refused(backend, real_loop):
    with open_cine(real_loop) as cine:
        sector = find_sector(cine)
        order = RNG.permutation(60)
        pictures = iter([letterbox(cine.grey(int(i)), sector.geometry) for i in order])
        cine.frames = len(order)
        shuffled = Turned(backend, lambda _: next(pictures))
        frames = run(cine, sector, shuffled, lambda _: None, Stages())
    assert "jump" in judge([f.shape for f in frames if f.shape], len(frames)).reason


def test_a_loop_that_is_mostly_damaged_is_refused(backend, tmp_path):
    loop = cine_loop(frames=16, transfer_syntax="1.2.840.10008.1.2.4.50", corrupt=range(2, 12))
    found = verdict(backend, loop.write(tmp_path / "loop.dcm"))
    assert found.reason == "Most frames of this loop are damaged."


def test_nothing_seen_is_refused():
    assert not judge([], 0).passed


def test_the_fan_on_the_map_is_the_letterboxed_fan(tmp_path):
    loop = cine_loop(frames=8, rows=360, columns=480)
    with open_cine(loop.write(tmp_path / "loop.dcm")) as cine:
        fan = fan_on_map(find_sector(cine))
    assert fan.shape == (384, 384)
    assert 0.4 < fan.mean() < 0.9
