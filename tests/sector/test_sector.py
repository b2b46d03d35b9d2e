import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import JPEGBaseline8Bit

from appliance.cine import open_cine
from appliance.errors import SectorError
from appliance.sector import MAP_SIZE, Geometry, calibration, find_sector, letterbox
from tests.phantom import cine_loop, region


def sector_of(tmp_path: Path, **options):
    loop = cine_loop(**{"frames": 20, **options})
    with open_cine(loop.write(tmp_path / "loop.dcm")) as cine:
        sector = find_sector(cine)
        return loop, sector, calibration(cine, sector)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@st.composite
def geometries(draw) -> Geometry:
    rows, columns = draw(st.integers(40, 900)), draw(st.integers(40, 1200))
    width, height = draw(st.integers(8, columns)), draw(st.integers(8, rows))
    x, y = draw(st.integers(0, columns - width)), draw(st.integers(0, rows - height))
    aspect = draw(st.sampled_from([0.5, 0.8, 1.0, 1.25]))
    return Geometry.fit(rows, columns, (x, y, width, height), aspect)


@given(geometries(), st.floats(0, 1), st.floats(0, 1))
def test_points_go_to_the_map_and_come_back(geometry, across, down):
    point = np.array([[across * geometry.columns, down * geometry.rows]])
    np.testing.assert_allclose(geometry.to_source(geometry.to_map(point)), point, atol=1e-6)


@given(geometries())
def test_the_box_fills_the_map_from_edge_to_edge(geometry):
    corners = np.array(
        [
            [geometry.x - 0.5, geometry.y - 0.5],
            [geometry.x + geometry.width - 0.5, geometry.y + geometry.height - 0.5],
        ]
    )
    width, height = geometry.inner
    wanted = np.array([[0, 0], [width, height]]) - 0.5 + [geometry.pad_x, geometry.pad_y]
    np.testing.assert_allclose(geometry.to_map(corners), wanted, atol=1e-6)
    assert max(width, height) == MAP_SIZE
    assert abs(geometry.pad_x + width + geometry.pad_x - MAP_SIZE) <= 1


@given(geometries())
def test_a_stored_geometry_is_the_same_geometry(geometry):
    assert Geometry.from_dict(json.loads(json.dumps(geometry.to_dict()))) == geometry


def test_identity_moves_nothing():
    geometry = Geometry.identity(30, 50)
    points = np.array([[3.25, 7.5]])
    np.testing.assert_array_equal(geometry.to_map(points), points)


def test_a_dot_is_found_where_the_geometry_says():
    grey = np.zeros((300, 400), np.uint8)
    grey[120:124, 210:214] = 255
    geometry = Geometry.fit(300, 400, (100, 20, 200, 250), 0.8)
    picture = letterbox(grey, geometry)
    y, x = np.nonzero(picture > 127)
    found = geometry.to_source(np.array([[x.mean(), y.mean()]]))
    np.testing.assert_allclose(found, [[211.5, 121.5]], atol=0.3)


def test_letterbox_is_the_training_one():
    grey = np.random.default_rng(0).integers(0, 255, (500, 350), np.uint8)
    geometry = Geometry.fit(500, 350, (0, 0, 350, 500))
    scale = MAP_SIZE / 500
    width, height = round(350 * scale), round(500 * scale)
    wanted = np.zeros((MAP_SIZE, MAP_SIZE), np.uint8)
    left = (MAP_SIZE - width) // 2
    wanted[:, left : left + width] = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(letterbox(grey, geometry), wanted)


def test_letterbox_blackens_what_lies_outside_the_fan():
    grey = np.full((100, 100), 200, np.uint8)
    fan = np.zeros((100, 100), np.bool_)
    fan[:, :50] = True
    picture = letterbox(grey, Geometry.fit(100, 100, (0, 0, 100, 100)), fan)
    assert picture[:, :190].min() == 200
    assert picture[:, 195:].max() == 0


@pytest.mark.parametrize("regions", ["trusted", "ecg", "zero", "one"])
def test_a_region_that_fits_gives_the_box(tmp_path, regions):
    loop, sector, _ = sector_of(tmp_path, regions=regions, ecg=True, banner="NAME 12345")
    assert sector.source == "region"
    assert sector.certain
    assert overlap(sector.fan, loop.fan) > 0.93


@pytest.mark.parametrize("regions", ["missing", "outside"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rows": 480, "columns": 640, "seed": 4},
        {"rows": 240, "columns": 320, "seed": 5},
        {"transfer_syntax": JPEGBaseline8Bit, "ecg": True, "banner": "NAME 12345"},
        {"photometric": "RGB", "ecg": True, "banner": "NAME 12345"},
    ],
    ids=str,
)
def test_without_a_usable_region_the_pixels_give_the_fan(tmp_path, regions, options):
    loop, sector, scale = sector_of(tmp_path, regions=regions, **options)
    assert sector.source == "pixels"
    assert sector.certain
    assert overlap(sector.fan, loop.fan) > 0.93
    assert not scale.trusted


def test_a_region_over_something_else_is_not_believed(tmp_path):
    corner = region((0, 0, 160, 120), (0.05, 0.05))
    loop, sector, scale = sector_of(tmp_path, regions=[corner])
    assert sector.source == "pixels"
    assert overlap(sector.fan, loop.fan) > 0.93
    assert scale.reason == "The machine's calibration belongs to another part of the picture."


def test_a_region_with_text_in_it_is_cut_to_the_fan(tmp_path):
    whole = region((0, 0, 480, 360), (0.048, 0.048))
    loop, sector, scale = sector_of(tmp_path, regions=[whole], banner="NAME 12345", ecg=True)
    assert sector.source == "region"
    assert overlap(sector.fan, loop.fan) > 0.93
    assert scale.trusted


def test_corrupt_frames_do_not_hide_the_fan(tmp_path):
    syntax = JPEGBaseline8Bit
    loop, sector, _ = sector_of(tmp_path, transfer_syntax=syntax, corrupt=[0, 7, 19])
    assert overlap(sector.fan, loop.fan) > 0.93


def test_non_square_pixels_are_evened_out(tmp_path):
    loop, sector, scale = sector_of(tmp_path, pixel_aspect=0.8, rows=430, columns=480)
    geometry = sector.geometry
    assert geometry.scale_x / geometry.scale_y == pytest.approx(1 / 0.8, rel=0.01)
    assert (scale.mm_per_px_x, scale.mm_per_px_y) == pytest.approx(loop.mm_per_px)


def test_a_black_loop_has_no_fan(tmp_path):
    loop = cine_loop(frames=8, regions="missing")
    loop.dataset.PixelData = bytes(len(loop.dataset.PixelData))
    with open_cine(loop.write(tmp_path / "a.dcm")) as cine, pytest.raises(SectorError):
        find_sector(cine)


def test_a_trusted_calibration_is_the_phantoms(tmp_path):
    loop, _, scale = sector_of(tmp_path, depth_cm=17.5)
    assert scale.trusted
    assert (scale.mm_per_px_x, scale.mm_per_px_y) == pytest.approx(loop.mm_per_px)
    assert scale.reason == ""


BOX = (20, 18, 440, 330)
DOUBTED = [
    ("missing", "The machine sent no calibration for this picture."),
    ("outside", "The machine's calibration lies outside the image."),
    ("zero", "The machine's calibration is empty."),
    ("one", "The machine's calibration is a placeholder."),
    ([region(BOX, (0.048, 0.048), units=(0, 0))], "not in centimetres"),
    ([region(BOX, (0.0048, 0.0048))], "cm deep"),
    ([region(BOX, (0.3, 0.3))], "cm deep"),
    ([region(BOX, (0.048, 0.048)), region(BOX, (0.03, 0.03))], "several calibrations"),
    ([region((20, 18, 440, 400), (0.048, 0.048))], "lies outside the image"),
]


@pytest.mark.parametrize(("regions", "words"), DOUBTED, ids=[words for _, words in DOUBTED])
def test_a_doubtful_calibration_gives_no_size_and_says_why(tmp_path, regions, words):
    _, _, scale = sector_of(tmp_path, regions=regions)
    assert not scale.trusted
    assert words in scale.reason
    assert scale.mm_per_px_x is None
    assert scale.aspect == 1.0


def test_two_pixel_shapes_are_not_trusted(tmp_path):
    regions = [region(BOX, (0.048, 0.048))]
    _, _, scale = sector_of(tmp_path, regions=regions, elements={"PixelAspectRatio": [4, 3]})
    assert scale.reason == "The machine gives two different pixel shapes."


def test_the_real_loops_fan_lies_in_its_region_and_leaves_the_text_out(real_loop: Path):
    with open_cine(real_loop) as cine:
        sector = find_sector(cine)
        scale = calibration(cine, sector)
    assert sector.source == "region"
    assert scale.mm_per_px_x == pytest.approx(0.5105, rel=1e-3)
    y, x = np.nonzero(sector.fan)
    assert 84 <= x.min() < 200
    assert 440 < x.max() <= 595
    assert 31 <= y.min() < 70
    assert 380 < y.max() <= 414


def test_the_stale_region_of_the_reduced_loop_is_not_used(shared_data: Path):
    with open_cine(shared_data / "pydicom" / "examples_ybr_color.dcm") as cine:
        sector = find_sector(cine)
        scale = calibration(cine, sector)
    assert sector.source == "pixels"
    assert sector.certain
    assert scale.reason == "The machine's calibration lies outside the image."
