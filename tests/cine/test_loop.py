import os
import threading
from contextlib import suppress
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from appliance.cine import FrameError, jpeg, open_cine
from appliance.errors import CineError
from tests.phantom import SEPIA
from tests.phantom import small_loop as small

COLOUR = ["RGB", "YBR_FULL", "YBR_FULL_422"]
NATIVE = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]
LOSSLESS = [*NATIVE, RLELossless, JPEG2000Lossless, JPEGLSLossless]
COLOUR_ENCODINGS = [
    *product(LOSSLESS, ["RGB", "YBR_FULL"], [0, 1]),
    *product(NATIVE, ["YBR_FULL_422"], [0]),  # PS3.5 8.2 has no others
]


def sepia_of(loop, index):
    return (loop.grey[index][..., None] * np.array(SEPIA, np.float32)).round()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_grey_comes_back_to_the_bit(opened, syntax, bits):
    loop = small(transfer_syntax=syntax, bits=bits)
    cine = opened(loop)
    for index in (0, 8, 3):
        np.testing.assert_array_equal(cine.grey(index), loop.grey[index])
        np.testing.assert_array_equal(cine.rgb(index)[..., 1], loop.grey[index])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_palettes_give_their_colours(opened, syntax, bits):
    loop = small(transfer_syntax=syntax, photometric="PALETTE COLOR", bits=bits, tint=SEPIA)
    cine = opened(loop)
    assert np.abs(cine.rgb(4) - sepia_of(loop, 4)).max() <= 2
    assert cine.grey(4).shape == (120, 160)


@pytest.mark.parametrize(("syntax", "photometric", "planar"), COLOUR_ENCODINGS)
def test_colours_are_true_in_every_encoding(opened, syntax, photometric, planar):
    loop = small(transfer_syntax=syntax, photometric=photometric, planar=planar, tint=SEPIA)
    cine = opened(loop)
    difference = np.abs(cine.rgb(4).astype(int) - sepia_of(loop, 4))
    # Halved chroma is exact only where neighbours agree.
    assert difference.mean() < (4 if photometric == "YBR_FULL_422" else 1.5)
    luminance = cv2.cvtColor(sepia_of(loop, 4).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    assert np.abs(cine.grey(4).astype(int) - luminance).max() <= 3


@pytest.mark.parametrize("photometric", ["MONOCHROME2", *COLOUR])
def test_jpeg_colours_are_true_whatever_its_markers_leave_unsaid(opened, photometric):
    loop = small(transfer_syntax=JPEGBaseline8Bit, photometric=photometric, tint=SEPIA)
    cine = opened(loop)
    wanted = loop.grey[4][..., None] if photometric == "MONOCHROME2" else sepia_of(loop, 4)
    assert np.abs(cine.rgb(4).astype(int) - wanted).mean() < 5
    luminance = cv2.cvtColor(cine.rgb(4), cv2.COLOR_RGB2GRAY)
    assert np.abs(cine.grey(4).astype(int) - luminance).max() <= 4
    shown = cv2.imdecode(np.frombuffer(cine.browser_jpeg(4), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(shown[..., ::-1].astype(int) - wanted).mean() < 5


def test_jpeg_tagged_rgb_that_is_really_ybr_is_not_green(opened):
    loop = small(transfer_syntax=JPEGBaseline8Bit, photometric="YBR_FULL", tint=SEPIA)
    loop.dataset.PhotometricInterpretation = "RGB"
    cine = opened(loop)
    assert np.abs(cine.rgb(4).astype(int) - sepia_of(loop, 4)).mean() < 5


def test_unmarked_ybr_jpeg_tagged_rgb_is_told_by_its_grey(opened):
    def bare(index: int, data: bytes) -> bytes:
        # Neither JFIF nor halved chroma: nothing in the JPEG says what it is.
        picture = np.repeat(loop.grey[index][..., None], 3, axis=2)
        options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        encoded = cv2.imencode(".jpg", picture, options)[1].tobytes()
        assert encoded[2:4] == b"\xff\xe0"
        return encoded[:2] + encoded[4 + int.from_bytes(encoded[4:6], "big") :]

    loop = small()
    tagged = small(transfer_syntax=JPEGBaseline8Bit, photometric="RGB", change_frame=bare)
    cine = opened(tagged)
    assert jpeg.read_info(cine.encoded(0)).colour_unsaid
    assert np.abs(cine.rgb(0).astype(int) - loop.grey[0][..., None]).mean() < 4


def test_browser_gets_the_carts_own_bytes_where_it_shows_them_right(opened):
    cine = opened(small(transfer_syntax=JPEGBaseline8Bit, photometric="YBR_FULL_422"))
    assert cine.browser_jpeg(2) == cine.encoded(2)
    unmarked = opened(small(transfer_syntax=JPEGBaseline8Bit, photometric="RGB"))
    shown = unmarked.browser_jpeg(2)
    assert jpeg.read_info(shown).adobe_transform == 0
    assert shown.endswith(unmarked.encoded(2)[2:])


def test_halved_chroma_written_at_three_bytes_a_pixel_is_read(opened):
    loop = small(photometric="YBR_FULL", tint=SEPIA)
    loop.dataset.PhotometricInterpretation = "YBR_FULL_422"
    cine = opened(loop)
    assert cine.frames == 9
    assert np.abs(cine.rgb(8).astype(int) - sepia_of(loop, 8)).mean() < 1.5


def test_big_endian_words_of_8_bit_samples_are_put_in_order(opened):
    loop = small(transfer_syntax=ExplicitVRBigEndian)
    swapped = np.frombuffer(loop.dataset.PixelData, np.uint8).reshape(-1, 2)[:, ::-1]
    loop.dataset.PixelData = swapped.tobytes()
    loop.dataset["PixelData"].VR = "OW"
    np.testing.assert_array_equal(opened(loop).grey(3), loop.grey[3])


@pytest.mark.parametrize("offsets", [True, False])
@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless, JPEGLSLossless])
def test_frames_are_put_together_from_their_fragments(opened, syntax, pieces, offsets):
    loop = small(transfer_syntax=syntax, fragments_per_frame=pieces, offsets=offsets)
    cine = opened(loop)
    assert cine.frames == 9
    assert np.abs(cine.grey(8).astype(int) - loop.grey[8]).mean() < 4


@pytest.mark.parametrize("declared", [5, 12])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, RLELossless])
def test_a_wrong_frame_count_gives_the_frames_there_are(opened, syntax, declared):
    cine = opened(small(transfer_syntax=syntax, declared_frames=declared, offsets=False))
    assert cine.frames == 9
    assert cine.grey(8).shape == (120, 160)
    assert f"9 frames, not the {declared}" in cine.notes[0]


@pytest.mark.parametrize("said", ["0", "-3", None])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGBaseline8Bit])
def test_a_loop_that_does_not_say_its_frames_is_no_still_image(opened, syntax, said):
    cine = opened(small(frames=12, transfer_syntax=syntax, elements={"NumberOfFrames": said}))
    assert cine.frames == 12
    assert cine.refusal() is None
    assert cine.notes == (
        "The machine didn't say how many frames there are; the 12 found are used.",
    )


def test_a_still_image_that_does_not_say_its_frames_stays_one(opened):
    cine = opened(small(frames=1, elements={"NumberOfFrames": None}))
    assert (cine.frames, cine.notes) == (1, ())
    assert "still image" in cine.refusal()


def test_native_pixels_shorter_than_announced_give_their_whole_frames(opened):
    cine = opened(small(declared_frames=12))
    assert cine.frames == 9
    assert cine.notes


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless, JPEGLSLossless])
def test_a_corrupt_frame_spoils_only_itself(opened, syntax):
    cine = opened(small(transfer_syntax=syntax, corrupt=[4]))
    with pytest.raises(FrameError) as caught:
        cine.grey(4)
    assert caught.value.index == 4
    with pytest.raises(FrameError):
        cine.rgb(4)
    with pytest.raises(FrameError):
        cine.browser_jpeg(4)
    assert cine.grey(5).any()
    assert cine.refusal() is None


@pytest.mark.parametrize(
    "change",
    [
        lambda _, data: data[: len(data) // 2],
        lambda *_: b"\0\0",
        lambda _, data: data.replace((120).to_bytes(2, "big"), (60000).to_bytes(2, "big"), 1),
    ],
    ids=["cut", "empty", "announces gigabytes"],
)
def test_damaged_frames_are_refused_before_they_are_decoded(opened, change):
    cine = opened(small(transfer_syntax=JPEGBaseline8Bit, change_frame=change, offsets=False))
    with pytest.raises(FrameError):
        cine.grey(0)
    assert "damaged" in cine.refusal()


def test_broken_lossless_jpeg_headers_end_no_process(real_loop: Path, tmp_path):
    data = (real_loop.parent / "JPGLosslessP14SV1_1s_1f_8b.dcm").read_bytes()
    start = data.rindex(b"\xff\xd8\xff\xe0")
    path = tmp_path / "a.dcm"
    for place, value in [(2, 253), (5, 25), (19, 77), (43, 77)]:  # GDCM died of each
        changed = bytearray(data)
        changed[start + place] = value
        path.write_bytes(changed)
        with open_cine(path) as cine, suppress(FrameError):
            cine.grey(0)


def test_frames_may_be_read_from_several_threads(opened):
    loop = small(transfer_syntax=JPEGLSLossless, frames=24)
    cine = opened(loop)
    wrong = []

    def read(first: int) -> None:
        for index in range(first, 24, 4):
            if not np.array_equal(cine.grey(index), loop.grey[index]):
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_frame_is_held_after_it_was_read(opened):
    cine = opened(small(frames=60, rows=480, columns=640))
    before = _resident()
    for index in range(cine.frames):
        cine.grey(index)
    # All frames together are 18 MB.
    assert _resident() - before < 9_000_000


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Rows": 0}, "size"),
        ({"Columns": 60000}, "size"),
        ({"PhotometricInterpretation": "CMYK"}, "kind"),
        ({"BitsAllocated": 32}, "kind"),
        ({"SamplesPerPixel": 3}, "contradicts"),
    ],
)
def test_impossible_pixels_are_refused_on_opening(tmp_path, elements, words):
    loop = small(frames=2)
    for keyword, value in elements.items():
        setattr(loop.dataset, keyword, value)
    with pytest.raises(CineError, match=words):
        open_cine(loop.write(tmp_path / "a.dcm"))


@pytest.mark.parametrize(
    ("timing", "source", "hz"),
    [
        ("FrameTime", "FrameTime", 25.0),
        ("FrameTimeVector", "FrameTimeVector", 25.0),
        ("CineRate", "CineRate", 25.0),
        ("missing", "assumed", 30.0),
    ],
)
def test_frame_times_come_from_what_the_machine_gives(opened, timing, source, hz):
    cine = opened(small(timing=timing, rate_hz=25))
    assert cine.timing.source == source
    assert cine.timing.rate_hz == pytest.approx(hz, rel=1e-3)
    assert len(cine.timing.frame_times_ms) == 9
    assert bool(cine.timing.note) == (source == "assumed")


def test_uneven_frame_times_are_kept(opened):
    vector = ["0", "40", "40", "80", "40", "40", "40", "40", "40"]
    cine = opened(small(timing="FrameTimeVector", elements={"FrameTimeVector": vector}))
    assert cine.timing.frame_times_ms[:5] == (0, 40, 80, 160, 200)


def test_a_vector_that_does_not_fit_gives_way_to_frame_time(opened):
    elements = {"FrameTimeVector": ["0", "40"], "FrameTime": "20"}
    assert opened(small(elements=elements)).timing.source == "FrameTime"


def test_disagreeing_frame_rates_are_said(opened):
    cine = opened(small(rate_hz=25, elements={"CineRate": 50}))
    assert cine.timing.rate_hz == pytest.approx(25)
    assert "25 and 50" in cine.notes[0]


@pytest.mark.parametrize(("sizes", "aspect"), [([536, 670], 0.8), ([4, 3], 4 / 3), ([0, 0], 1.0)])
def test_pixel_aspect_is_height_over_width(opened, sizes, aspect):
    cine = opened(small(elements={"PixelAspectRatio": sizes}))
    assert cine.pixel_aspect == pytest.approx(aspect)


def test_colours_of_one_picture_agree_in_all_its_encodings(shared_data: Path):
    with (
        open_cine(shared_data / "pydicom-data" / "US1_UNCR.dcm") as plain,
        open_cine(shared_data / "pydicom-data" / "US1_J2KR.dcm") as reversible,
        open_cine(shared_data / "pydicom-data" / "color-pl.dcm") as planes,
        open_cine(shared_data / "pydicom-data" / "color-px.dcm") as pixels,
    ):
        assert np.abs(plain.rgb(0).astype(int) - reversible.rgb(0)).mean() < 1
        np.testing.assert_array_equal(planes.rgb(0), pixels.rgb(0))


def test_the_real_loop_without_an_offset_table_opens(real_loop: Path):
    with open_cine(real_loop) as cine:
        assert (cine.frames, cine.rows, cine.columns) == (120, 480, 640)
        assert cine.timing.rate_hz == pytest.approx(30, rel=1e-3)
        assert cine.refusal() is None
        assert cine.browser_jpeg(119) == cine.encoded(119)
        assert cine.encoded(119)[:2] == b"\xff\xd8"
