from io import BytesIO

import numpy as np
import openvino
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from appliance.cine import open_cine
from appliance.manifest import current_model
from appliance.sector import find_sector, letterbox
from tests.phantom import cine_loop


@pytest.fixture(scope="module")
def network():
    """The released network, by OpenVINO: uint8 map in, label map out."""
    model = current_model()
    path = next(model.folder.glob("*.onnx"))
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda frame: compiled({0: frame[None, None]})["labels"][0]


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seed": 1, "transfer_syntax": JPEGBaseline8Bit, "ejection_fraction": 0.35},
        {"seed": 2, "rows": 480, "columns": 640, "regions": "missing", "ejection_fraction": 0.65},
        {"seed": 3, "rows": 430, "columns": 480, "pixel_aspect": 0.8},
        {"seed": 4, "rows": 240, "columns": 320, "transfer_syntax": JPEG2000Lossless},
    ],
    ids=str,
)
def test_the_network_sees_the_drawn_heart(tmp_path, network, options):
    loop = cine_loop(frames=12, rate_hz=12, **options)
    found, true = [], []
    with open_cine(loop.write(tmp_path / "a.dcm")) as cine:
        geometry = find_sector(cine).geometry
        for index in range(cine.frames):
            labels = network(letterbox(cine.grey(index), geometry))
            truth = letterbox(np.uint8(255) * (loop.labels[index] == 1), geometry) > 127
            assert dice(labels == 1, truth) > 0.9
            for label in (2, 3):
                truth_of = letterbox(np.uint8(255) * (loop.labels[index] == label), geometry) > 127
                assert dice(labels == label, truth_of) > 0.75
            found.append((labels == 1).sum())
            true.append(truth.sum())
    assert np.corrcoef(found, true)[0, 1] > 0.98


def test_equal_parameters_make_equal_files():
    assert cine_loop(frames=3, seed=7).bytes() == cine_loop(frames=3, seed=7).bytes()
    assert cine_loop(frames=3, seed=7).bytes() != cine_loop(frames=3, seed=8).bytes()


def test_a_changed_name_keeps_the_instance():
    one, other = cine_loop(frames=1), cine_loop(frames=1, PatientName="OTHER^NAME")
    assert one.dataset.SOPInstanceUID == other.dataset.SOPInstanceUID
    assert one.bytes() != other.bytes()


def test_the_volume_curve_reaches_the_ejection_fraction():
    loop = cine_loop(frames=21, rate_hz=20, heart_rate=60, ejection_fraction=0.4, depth_cm=16)
    volumes = np.array(loop.volumes_ml)
    assert 1 - volumes.min() / volumes.max() == pytest.approx(0.4)
    assert (volumes.argmax(), volumes.argmin()) == (0, 10)
    assert 50 < volumes.max() < 150


def test_the_masks_hold_the_volume_the_formula_says():
    loop = cine_loop(frames=1, rows=720, columns=960, depth_cm=15)
    # Disks across the cavity's own long axis, counted from its pixels.
    y, x = np.nonzero(loop.labels[0] == 1)
    points = np.stack([x, y], axis=1) * np.array(loop.mm_per_px) / 10
    centred = points - points.mean(axis=0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, 1]
    along = centred @ axis
    heights, edges = np.histogram(along, bins=40)
    step = edges[1] - edges[0]
    widths = heights * np.prod(loop.mm_per_px) / 100 / step
    assert np.sum(np.pi / 4 * widths**2 * step) == pytest.approx(loop.volumes_ml[0], rel=0.03)


def test_structures_touch_and_lie_in_the_fan():
    loop = cine_loop(frames=2)
    assert set(np.unique(loop.labels)) == {0, 1, 2, 3}
    assert not loop.labels[:, ~loop.fan].any()
    assert not loop.grey[:, ~loop.fan].any()


def test_the_file_is_read_by_pydicom():
    loop = cine_loop(frames=4, transfer_syntax=JPEG2000Lossless)
    read = pydicom.dcmread(BytesIO(loop.bytes()))
    np.testing.assert_array_equal(read.pixel_array, loop.grey)
