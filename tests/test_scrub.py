"""Pixels that leave: the fan and nothing else, or nothing at all."""

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from appliance.cine import open_cine
from appliance.scrub import Refused, most_text_like, scrub, text_like_pixels
from tests.phantom import cine_loop, small_loop


def scrubbed(path):
    with open_cine(path) as cine:
        result = scrub(cine)
    result.must_be_sure()
    return result


def pictures(result, rows, columns):
    """Decode fragments as anybody would."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, len(result.fragments)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = encapsulate(list(result.fragments))
    dataset["PixelData"].is_undefined_length = True
    return dataset.pixel_array


def grey_frames(path, count):
    with open_cine(path) as cine:
        return np.stack([cine.grey(index) for index in range(count)])


def rewritten(real_loop, path, frames):
    """The real loop with other pixels."""
    dataset = pydicom.dcmread(real_loop)
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    del dataset.PlanarConfiguration
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = frames.tobytes()
    dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path)
    return path


def name_across(frames, where, level, scale=0.4, width=1):
    drawn = frames.copy()
    for frame in drawn:
        cv2.putText(frame, "DOE^JANE", where, 0, scale, int(level), width)
    return drawn


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless])
def test_pixels_outside_the_fan_are_black_and_inside_it_unchanged(tmp_path, syntax):
    loop = cine_loop(
        frames=9, transfer_syntax=syntax, photometric="RGB", banner="DOE^JANE 1961", ecg=True
    )
    path = loop.write(tmp_path / "loop.dcm")
    result = scrubbed(path)
    seen, source = pictures(result, 360, 480), grey_frames(path, 9)
    fan = result.sector.fan
    assert (source[:, ~fan] > 100).any()
    assert not seen[:, ~fan].any()
    assert np.array_equal(seen[:, fan], source[:, fan])


def test_the_real_loop_passes_and_its_orientation_dot_does_not(real_loop):
    result = scrubbed(real_loop)
    dot = np.s_[36:45, 376:385]
    with open_cine(real_loop) as cine:
        region = cine.regions[0]
        assert (cine.grey(0)[dot] > 100).all()
    assert region.x < 376 < region.x + region.width
    assert region.y < 36 < region.y + region.height
    seen = pictures(result, 480, 640)
    assert len(seen) == 120
    assert not seen[:, dot[0], dot[1]].any()
    assert not seen[:, ~result.sector.fan].any()


@pytest.mark.parametrize("level", [230, 120])
@pytest.mark.parametrize("where", [(280, 200), (230, 330), (180, 200), (440, 300)])
def test_a_name_written_over_the_heart_or_across_the_fan_s_edge_is_refused(
    tmp_path, real_loop, level, where
):
    frames = name_across(grey_frames(real_loop, 24), where, level)
    path = rewritten(real_loop, tmp_path / "named.dcm", frames)
    with pytest.raises(Refused, match="text inside"):
        scrubbed(path)


def test_a_name_in_large_fat_letters_is_refused(tmp_path, real_loop):
    frames = name_across(grey_frames(real_loop, 24), (230, 240), 200, 1.2, 5)
    with pytest.raises(Refused, match="text inside"):
        scrubbed(rewritten(real_loop, tmp_path / "named.dcm", frames))


def test_a_name_shown_for_part_of_the_loop_is_refused(tmp_path, real_loop):
    frames = grey_frames(real_loop, 48)
    frames[20:] = name_across(frames[20:], (280, 200), 200)
    with pytest.raises(Refused, match="text inside"):
        scrubbed(rewritten(real_loop, tmp_path / "named.dcm", frames))


def test_the_same_pixels_without_a_name_pass(tmp_path, real_loop):
    path = rewritten(real_loop, tmp_path / "plain.dcm", grey_frames(real_loop, 48))
    assert len(scrubbed(path).fragments) == 48


def test_a_real_loop_with_a_logo_at_the_fan_s_tip_is_refused(shared_data):
    with pytest.raises(Refused, match="text inside"):
        scrubbed(shared_data / "orthanc-tests" / "Issue16.dcm")


@pytest.mark.parametrize("size", [(120, 160), (360, 480), (600, 800)])
def test_speckle_that_stands_still_is_not_taken_for_text(size):
    loop = cine_loop(frames=16, rows=size[0], columns=size[1])
    assert text_like_pixels(list(loop.grey), loop.fan) <= most_text_like(loop.fan)


def test_a_fan_that_is_not_certain_is_refused(tmp_path):
    moving = np.zeros((9, 360, 480), np.uint8)
    for index, picture in enumerate(moving):
        cv2.circle(picture, (200 + 9 * index, 180), 90, 120, -1)
    loop = cine_loop(frames=9)
    dataset = loop.dataset
    dataset.PixelData = moving.tobytes()
    loop.write(tmp_path / "loop.dcm")
    with pytest.raises(Refused, match=r"fan (ends|can be found)"):
        scrubbed(tmp_path / "loop.dcm")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"colour_doppler": True, "photometric": "RGB"}, "Doppler"),
        ({"regions": "m-mode"}, "M-mode"),
        ({"frames": 1}, "still"),
    ],
)
def test_what_is_no_grey_loop_is_refused_in_words(tmp_path, options, reason):
    path = cine_loop(**{"frames": 9, **options}).write(tmp_path / "loop.dcm")
    with pytest.raises(Refused, match=reason):
        scrubbed(path)


def test_a_damaged_frame_is_black_and_keeps_its_place(tmp_path):
    loop = cine_loop(frames=12, transfer_syntax=JPEGBaseline8Bit, corrupt=[4])
    result = scrubbed(loop.write(tmp_path / "loop.dcm"))
    seen = pictures(result, 360, 480)
    assert result.damaged == (4,)
    assert [index for index in range(12) if not seen[index].any()] == [4]


def test_the_same_loop_gives_the_same_bytes(tmp_path):
    path = small_loop().write(tmp_path / "loop.dcm")
    assert scrubbed(path).fragments == scrubbed(path).fragments
