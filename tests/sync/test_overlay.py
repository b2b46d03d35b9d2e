"""The burned-in overlay as others read it: dciodvfy, pydicom, DCMTK's own decoder."""

import subprocess

import numpy as np
import pydicom
import pytest

from appliance.cine import open_cine
from appliance.errors import DeliveryError
from appliance.sync.modules import OVERLAY
from appliance.sync.overlay import overlay
from tests.dcmtk import dcmtk
from tests.phantom import cine_loop
from tests.sync.material import (
    AUTOMATIC,
    CORRECTED,
    STRUCTURES,
    a_review,
    errors_of,
    label_maps,
    saved,
)

BLUE = (86, 180, 233)  # the left ventricle's, as RGB


def burned(source, folder, maps=None, drawn=None, review=None, provenance=AUTOMATIC):
    with open_cine(source) as cine:
        if maps is None:
            maps = label_maps(cine.frames, cine.rows, cine.columns)
        indexes = range(cine.frames) if drawn is None else drawn
        made = overlay(
            cine, lambda i: maps[i], indexes, STRUCTURES, provenance, review or a_review()
        )
    return saved(made, folder)


def near(picture, colour, within=60):
    """Where a picture has about this colour: lines are one pixel wide, and compressed."""
    return np.abs(picture.astype(int) - colour).max(-1) < within


@pytest.fixture(scope="module")
def real(tmp_path_factory, real_loop):
    return burned(real_loop, tmp_path_factory.mktemp("overlay"))


def test_it_is_sound_and_says_whose_and_what_it_is(real, real_loop):
    assert errors_of(real, "MultiframeTrueColorSC") == []
    source, made = pydicom.dcmread(real_loop), pydicom.dcmread(real)
    assert made.SOPClassUID == OVERLAY.SOPClassUID
    assert made.StudyInstanceUID == source.StudyInstanceUID
    assert made.PatientID == source.PatientID
    assert made.NumberOfFrames == source.NumberOfFrames
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert made.SeriesDescription == "RESEARCH USE ONLY - Left heart burned in, accepted"
    assert "first-network 1.0.0" in made.DerivationDescription
    assert made.BurnedInAnnotation == "YES"
    assert float(made.FrameTime) == pytest.approx(float(source.FrameTime), rel=1e-3)


def test_contours_lie_where_the_masks_end_and_nothing_else_is_painted(real, real_loop):
    maps = label_maps(120, 480, 640)
    with open_cine(real_loop) as cine:
        before = cine.rgb(7)
    after = pydicom.dcmread(real).pixel_array[7]
    inside = maps[7] == 1
    edge = inside & ~(
        np.roll(inside, 1, 0)
        & np.roll(inside, -1, 0)
        & np.roll(inside, 1, 1)
        & np.roll(inside, -1, 1)
    )
    blue = near(after, BLUE)
    assert blue.sum() > 100
    rows, columns = np.nonzero(blue)
    reached = np.zeros_like(edge)
    for y in (-2, -1, 0, 1, 2):
        for x in (-2, -1, 0, 1, 2):
            reached |= np.roll(edge, (y, x), (0, 1))
    assert reached[rows, columns].mean() > 0.99
    quiet = np.s_[:60, :]  # above the hearts drawn here, and far from the words
    assert np.abs(after[quiet].astype(int) - before[quiet]).mean() < 2


def test_dcmtk_decodes_it(real, tmp_path):
    done = subprocess.run(
        [dcmtk("dcmdjpeg"), real, tmp_path / "raw.dcm"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    raw = pydicom.dcmread(tmp_path / "raw.dcm")
    assert raw.pixel_array.shape == (120, 480, 640, 3)


def test_it_tells_research_use_only_where_the_model_is_for_research(tmp_path):
    source = cine_loop(frames=2).write(tmp_path / "source.dcm")
    research = pydicom.dcmread(burned(source, tmp_path))
    released = pydicom.dcmread(
        burned(
            source,
            tmp_path,
            review=a_review(2, research_use=False),
            provenance=CORRECTED,
        )
    )
    assert released.SeriesDescription == "Left heart burned in, corrected"
    words = [picture.pixel_array[0][-40:, :, :].max(-1) > 180 for picture in (research, released)]
    assert words[0].sum() > words[1].sum() > 20


def test_frames_without_contours_and_damaged_ones_stay_and_say_so(tmp_path):
    loop = cine_loop(frames=4)
    path = loop.write(tmp_path / "source.dcm")
    maps = label_maps(4, *pydicom.dcmread(path).pixel_array.shape[1:3])
    made = pydicom.dcmread(burned(path, tmp_path, maps, drawn=[0, 1])).pixel_array
    assert len(made) == 4
    assert near(made[1], BLUE).sum() > 50
    assert near(made[2], BLUE).sum() == 0


def test_a_still_becomes_one_frame(tmp_path):
    source = cine_loop(frames=1).write(tmp_path / "source.dcm")
    path = burned(source, tmp_path)
    assert pydicom.dcmread(path).NumberOfFrames == 1
    assert errors_of(path, "MultiframeTrueColorSC") == []


def test_the_same_review_gives_the_same_bytes(tmp_path):
    source = cine_loop(frames=3).write(tmp_path / "source.dcm")
    first = burned(source, tmp_path).read_bytes()
    assert burned(source, tmp_path).read_bytes() == first


def test_a_loop_without_uids_is_refused(tmp_path):
    source = cine_loop(frames=2).write(tmp_path / "source.dcm")
    dataset = pydicom.dcmread(source)
    del dataset.SeriesInstanceUID
    dataset.save_as(source)
    with pytest.raises(DeliveryError, match="SeriesInstanceUID"):
        burned(source, tmp_path)
