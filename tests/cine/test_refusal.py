from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from appliance.cine import open_cine
from appliance.errors import ApplianceError
from appliance.sector import find_sector
from tests.phantom import SEPIA, region
from tests.phantom import small_loop as small


def view_code(value, meaning):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
    return {"elements": {"ViewCodeSequence": [code]}}


TWO_REGIONS = [region((0, 0, 78, 119), (0.1, 0.1)), region((80, 0, 78, 119), (0.1, 0.1))]

REFUSED = [
    ({"frames": 1}, "A still image"),
    ({"frames": 3}, "Only 3 frames"),
    ({"frames": 1, "elements": {"NumberOfFrames": 40}}, "The loop is damaged: of the 40 frames"),
    ({"frames": 3, "elements": {"NumberOfFrames": 40}}, "The loop is damaged: of the 40 frames"),
    ({"regions": "doppler"}, "Spectral Doppler"),
    ({"regions": "m-mode"}, "M-mode"),
    ({"elements": {"ImageType": ["ORIGINAL", "PRIMARY", "", "0002"]}}, "M-mode"),
    ({"elements": {"ImageType": ["ORIGINAL", "PRIMARY", "", "0011"]}}, "Colour Doppler"),
    ({"elements": {"ImageType": ["ORIGINAL", "PRIMARY", "", "0041"]}}, "3D data"),
    ({"elements": {"ImageType": ["DERIVED", "PRIMARY", "VOLUME"]}}, "3D data"),
    ({"elements": {"VolumetricProperties": "VOLUME"}}, "3D data"),
    ({"elements": {"ContrastBolusAgent": "SonoVue"}}, "Contrast echo"),
    ({"regions": TWO_REGIONS}, "Several pictures side by side"),
    (view_code("399139001", "Parasternal long axis"), "Parasternal long axis, as the machine says"),
    (view_code("399339008", "Apical long axis"), "Apical long axis, as the machine says"),
    ({"elements": {"ViewName": "PLAX"}}, "Long axis view, as the machine says"),
    ({"elements": {"Modality": "CT"}}, "Not an echo image"),
    ({"elements": {"PixelData": None}}, "No image"),
    ({"photometric": "RGB", "colour_doppler": True}, "Colour Doppler"),
    ({"photometric": "YBR_FULL", "colour_doppler": True, "tint": SEPIA}, "Colour Doppler"),
    (
        {
            "photometric": "YBR_FULL_422",
            "colour_doppler": True,
            "transfer_syntax": JPEGBaseline8Bit,
            "frames": 10,
        },
        "Colour Doppler",
    ),
]


@pytest.mark.parametrize(("options", "words"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_no_grey_loop_is_refused_in_plain_words(opened, options, words):
    assert opened(small(**options)).refusal().startswith(words)


@pytest.mark.parametrize(
    "options",
    [
        view_code("399214001", "Apical four chamber"),
        view_code("G-A19B", "Apical two chamber"),
        view_code("1", "Something of the vendor's own"),
        {"elements": {"ViewName": "4CH"}},
        {"elements": {"ContrastBolusAgent": ""}},
        {"elements": {"ContrastBolusAgent": "NONE"}},
        {"elements": {"StageName": "REST", "ViewName": "A4C", "NumberOfStages": 4}},
        {"regions": [region((0, 0, 160, 120), (0.1, 0.1)), region((150, 0, 10, 120), (0.1, 0.1))]},
    ],
    ids=lambda options: str(options)[:60],
)
def test_what_a_machine_says_of_an_apical_loop_refuses_nothing(opened, options):
    assert opened(small(rows=360, columns=480, **options)).refusal() is None


def replaced(loop, pictures):
    """A grey loop with other pictures in it: uint8[frames, rows, columns]."""
    loop.dataset.NumberOfFrames, loop.dataset.Rows, loop.dataset.Columns = pictures.shape
    loop.dataset.PixelData = np.ascontiguousarray(pictures).tobytes()
    loop.dataset.pop("SequenceOfUltrasoundRegions", None)
    return loop


def test_a_still_stored_as_a_loop_is_refused_though_its_clock_runs(opened):
    loop = small(rows=240, columns=320, frames=12)
    pictures = np.repeat(loop.grey[:1], 12, axis=0)
    for index, picture in enumerate(pictures):
        cv2.putText(picture, f"14:05:{index:02}", (4, 12), 0, 0.3, 200)
    assert opened(replaced(loop, pictures)).refusal().startswith("A still image, stored as a loop")


@pytest.mark.parametrize("down", [1, 2])
def test_stress_echo_screens_are_refused(opened, down):
    loop = small(rows=240, columns=320, frames=12)
    panel = loop.grey
    across = np.concatenate([panel, np.roll(panel, 3, axis=0)], axis=2)
    screen = np.concatenate([across] * down, axis=1)
    assert opened(replaced(loop, screen)).refusal().startswith("Several pictures")


@pytest.mark.parametrize("options", [{}, {"banner": "GAIN 60 DEPTH 15"}, {"ecg": True}])
def test_one_fan_is_one_picture_whatever_stands_beside_it(opened, options):
    loop = small(rows=240, columns=320, frames=12, photometric="RGB", **options)
    assert opened(loop).refusal() is None


def test_philips_volumes_hidden_in_a_loop_are_refused(opened):
    loop = small()
    for group in (0x200D, 0x3001):
        loop.dataset.private_block(group, "Philips US", create=True).add_new(1, "LO", "x")
    assert opened(loop).refusal().startswith("3D data")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"photometric": "RGB"},
        {"photometric": "RGB", "tint": SEPIA},
        {"photometric": "YBR_FULL_422", "tint": (0.6, 0.8, 1.0)},
        {"photometric": "PALETTE COLOR", "tint": SEPIA},
        {"photometric": "RGB", "ecg": True, "banner": "PLA Gen"},
        {"photometric": "YBR_FULL_422", "transfer_syntax": JPEGBaseline8Bit, "ecg": True},
    ],
    ids=str,
)
def test_tints_traces_and_text_are_no_colour_doppler(opened, options):
    assert opened(small(rows=360, columns=480, **options)).refusal() is None


STILL = "A still image"
REAL = {
    "US-PAL-8-10x-echo.dcm": "Colour Doppler",
    "1.2.840.10008.1.2.4.50.dcm": STILL,
    "2023-04-21-RLEPlanarConfigurationYBR_FULL.dcm": STILL,
    "Implicit-vr-us-palette.dcm": STILL,
    "Issue16.dcm": None,
    "Issue164.dcm": None,
    "Issue19.dcm": STILL,
    "JPGLosslessP14SV1_1s_1f_8b.dcm": STILL,
    "OBXXXX1A.dcm": STILL,
    "OBXXXX1A_2frame.dcm": "Only 2 frames",
    "OBXXXX1A_expb_2frame.dcm": "Only 2 frames",
    "OBXXXX1A_rle.dcm": STILL,
    "OBXXXX1A_rle_2frame.dcm": "Only 2 frames",
    "US1_J2KI.dcm": STILL,
    "US1_J2KR.dcm": STILL,
    "US1_UNCR.dcm": STILL,
    "color-pl.dcm": STILL,
    "color-px.dcm": STILL,
    "color3d_jpeg_baseline.dcm": None,
    "gdcm-US-ALOKA-16.dcm": STILL,
    "gdcm-US-ALOKA-16_big.dcm": STILL,
    "ExplVR_BigEnd.dcm": STILL,
    "examples_jpeg2k.dcm": STILL,
    "examples_palette.dcm": STILL,
    "examples_rgb_color.dcm": STILL,
    "examples_ybr_color.dcm": None,
    "palette-multiframe-jpeg-ls.dcm": "Colour Doppler",
    "ybr422-raw.dcm": STILL,
    "ybrFull-RLE.dcm": STILL,
}


def test_every_real_file_is_usable_or_refused_for_the_right_reason(shared_data: Path):
    paths = sorted(shared_data.glob("*/*.dcm"))
    assert {path.name for path in paths} <= REAL.keys()
    for path in paths:
        with open_cine(path) as cine:
            wanted, refusal = REAL[path.name], cine.refusal()
            assert (refusal or "").startswith(wanted or ""), path.name
            assert (refusal is None) == (wanted is None), path.name
            assert cine.grey(cine.frames - 1).shape == (cine.rows, cine.columns)
            assert cine.rgb(0).std() > 1


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, RLELossless])
def test_damaged_files_end_in_words_never_in_a_traceback(tmp_path, syntax):
    whole = small(transfer_syntax=syntax, photometric="RGB", regions="ecg").bytes()
    choose = np.random.default_rng(3)
    path = tmp_path / "a.dcm"
    for _ in range(60):
        data = np.frombuffer(whole, np.uint8).copy()
        places = np.concatenate([choose.integers(132, 3000, 3), choose.integers(0, data.size, 20)])
        data[places] = choose.integers(0, 256, places.size)
        path.write_bytes(data.tobytes())
        try:
            with open_cine(path) as cine:
                if cine.refusal() is None:
                    find_sector(cine)
        except ApplianceError as error:
            assert "PHANTOM" not in str(error)  # noqa: PT017
