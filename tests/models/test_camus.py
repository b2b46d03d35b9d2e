"""Both layouts of CAMUS: the same hearts, the same splits, and bad files named before training."""

import csv
import gzip
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from models import camus
from models.camus import BETWEEN, TEST_PATIENTS, check, checked, checksum, open_dataset
from models.corrections import CorrectionsError
from models.data import geometry_of, letterboxed, map_spacing
from tests.models.drawings import directory
from tests.phantom import cine_loop

SPACING = (0.4, 0.3)  # mm down the rows, across the columns: not square, so that a mix-up shows
PATIENTS = {"patient0001": "training", "patient0200": "validation", "patient0027": "testing"}
HALF_CYCLE = 5


@pytest.fixture(scope="module")
def loop():
    return cine_loop(frames=HALF_CYCLE, rate_hz=10, rows=120, columns=160)


def nifti(path: Path, frames: np.ndarray) -> None:
    """Write [frames, rows, columns] as the makers do: across, away from the probe, time."""
    import nibabel

    zooms = (SPACING[1], SPACING[0], 1.0)
    stored = frames.T if len(frames) > 1 else frames[0].T
    image = nibabel.Nifti1Image(stored, np.diag([-zooms[0], -zooms[1], 1.0, 1.0]))
    image.header.set_zooms(zooms[: stored.ndim])
    nibabel.save(image, path)


def write_makers(folder: Path, loop) -> Path:
    """Three patients, one of each split, as `CAMUS_public` is laid out."""
    split = folder / "database_split"
    split.mkdir(parents=True)
    for name, kind in PATIENTS.items():
        (split / f"subgroup_{kind}.txt").write_text(f"{name}\n")
        home = folder / "database_nifti" / name
        home.mkdir(parents=True)
        for view in ("2CH", "4CH"):
            info = f"ED: 1\nES: {HALF_CYCLE}\nNbFrame: {HALF_CYCLE}\nSex: F\nImageQuality: Good\n"
            (home / f"Info_{view}.cfg").write_text(info)
            for part, some in (
                ("ED", slice(0, 1)),
                ("ES", slice(-1, None)),
                ("half_sequence", slice(None)),
            ):
                nifti(home / f"{name}_{view}_{part}.nii.gz", loop.grey[some])
                nifti(home / f"{name}_{view}_{part}_gt.nii.gz", loop.labels[some])
    return folder


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, loop):
    return write_makers(tmp_path_factory.mktemp("camus") / "CAMUS_public", loop)


@pytest.fixture
def makers(pristine, tmp_path):
    shutil.copytree(pristine, tmp_path / "CAMUS_public")
    return tmp_path / "CAMUS_public"


def home(folder, patient="patient0001"):
    return folder / "database_nifti" / patient


@pytest.mark.models
def test_the_makers_frames_are_read_apex_up_with_their_spacing(pristine, loop):
    dataset = open_dataset(pristine)
    (frame,) = [f for f in dataset.frames("train") if (f.view, f.phase) == ("4CH", "ES")]
    drawn = frame.load()
    assert np.array_equal(drawn.image, loop.grey[-1])
    assert np.array_equal(drawn.mask, loop.labels[-1])
    assert drawn.spacing == pytest.approx(SPACING)
    assert open_dataset(pristine / "database_nifti").patients == dataset.patients


@pytest.mark.models
def test_pixels_that_are_not_square_become_so_in_the_networks_square(pristine):
    drawn = open_dataset(pristine).frames("train")[0].load()
    geometry = geometry_of(drawn)
    assert geometry.scale_y / geometry.scale_x == pytest.approx(SPACING[0] / SPACING[1], rel=0.01)
    assert map_spacing(drawn) == pytest.approx(SPACING[0] / geometry.scale_y, rel=0.01)
    image, mask = letterboxed(drawn)
    assert image.shape == mask.shape == (384, 384)


@pytest.mark.models
def test_half_cycles_give_the_frames_between_and_only_when_asked(pristine, loop):
    dataset = open_dataset(pristine)
    assert len(dataset.frames("train")) == 4
    more = dataset.frames("train", between=True)
    between = [frame for frame in more if frame.phase == BETWEEN]
    assert [frame.index for frame in between] == [1, 2, 3] * 2
    assert np.array_equal(between[1].load().image, loop.grey[2])
    assert np.array_equal(between[1].load().mask, loop.labels[2])
    assert len({frame.stem for frame in more}) == len(more)


@pytest.mark.models
def test_unpacked_files_and_float_images_are_the_same_frames(makers, loop):
    path = home(makers) / "patient0001_2CH_ED.nii.gz"
    nifti(path, loop.grey[:1].astype(np.float32))
    for packed in (path, path.with_name("patient0001_2CH_ED_gt.nii.gz")):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    drawn = open_dataset(makers).frames("train")[0].load()
    assert np.array_equal(drawn.image, loop.grey[0])
    assert check(open_dataset(makers)) == []


@pytest.mark.models
def test_a_test_patient_is_never_a_training_patient(makers):
    for split, patient in (
        ("train", "patient0001"),
        ("validation", "patient0200"),
        ("test", "patient0027"),
    ):
        assert {f.patient for f in open_dataset(makers).frames(split, between=True)} == {patient}
    split = makers / "database_split"
    (split / "subgroup_training.txt").write_text("patient0001\npatient0027\n")
    (split / "subgroup_testing.txt").write_text("")
    with pytest.raises(CorrectionsError, match="patient0027, a test patient of CAMUS, is in train"):
        open_dataset(makers)


def a_patient_who_is_not_there(split):
    with (split / "subgroup_training.txt").open("a") as file:
        file.write("patient0002\n")
    return "subgroup_training.txt names patient0002, who is not in"


def a_patient_in_two(split):
    with (split / "subgroup_validation.txt").open("a") as file:
        file.write("patient0001\n")
    return "subgroup_validation.txt names patient0001, who is in train too"


def a_patient_in_none(split):
    (split / "subgroup_validation.txt").write_text("")
    return "patient0200 is in none"


def no_split_file(split):
    (split / "subgroup_testing.txt").unlink()
    return "subgroup_testing.txt can't be read"


@pytest.mark.models
@pytest.mark.parametrize(
    "damage", [a_patient_who_is_not_there, a_patient_in_two, a_patient_in_none, no_split_file]
)
def test_a_wrong_split_file_is_one_line(makers, damage):
    words = damage(makers / "database_split")
    with pytest.raises(CorrectionsError) as caught:
        open_dataset(makers)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def no_mask(folder, loop):
    path = folder / "patient0001_4CH_ED_gt.nii.gz"
    path.unlink()
    return path, "is missing"


def label_4(folder, loop):
    path = folder / "patient0001_4CH_ED_gt.nii.gz"
    nifti(path, np.where(loop.labels[:1] == 3, 4, loop.labels[:1]).astype(np.uint8))
    return path, "the label 4"


def half_a_label(folder, loop):
    path = folder / "patient0001_4CH_ED_gt.nii.gz"
    nifti(path, loop.labels[:1] * np.float32(0.5))
    return path, "the label 0.5"


def not_a_number(folder, loop):
    path = folder / "patient0001_2CH_ES.nii.gz"
    image = loop.grey[-1:].astype(np.float32)
    image[0, 5, 5] = np.nan
    nifti(path, image)
    return path, "1 pixels that are no number"


def too_bright(folder, loop):
    path = folder / "patient0001_2CH_ES.nii.gz"
    nifti(path, loop.grey[-1:].astype(np.int16) * 16)
    return path, "holds values from"


def cut_short(folder, loop):
    path = folder / "patient0001_2CH_ED.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path, "cut short"


def unpacked_and_cut_short(folder, loop):
    packed = folder / "patient0001_2CH_ED.nii.gz"
    path = packed.with_suffix("")
    path.write_bytes(gzip.decompress(packed.read_bytes())[:5000])
    mask = folder / "patient0001_2CH_ED_gt.nii.gz"
    mask.with_suffix("").write_bytes(gzip.decompress(mask.read_bytes()))
    return path, "cut short"


def no_nifti(folder, loop):
    path = folder / "patient0001_2CH_ED.nii.gz"
    path.write_bytes(b"<html>Log in first</html>")
    return path, "no NIfTI"


def other_size(folder, loop):
    path = folder / "patient0001_4CH_half_sequence_gt.nii.gz"
    nifti(path, loop.labels[:, :-1])
    return path, "160x119x5, its image 160x120x5"


@pytest.mark.models
@pytest.mark.parametrize(
    "damage",
    [
        *(no_mask, label_4, half_a_label, not_a_number, too_bright, cut_short),
        *(unpacked_and_cut_short, no_nifti, other_size),
    ],
)
def test_training_does_not_start_on_bad_nifti_and_one_line_says_why(makers, loop, damage):
    path, words = damage(home(makers), loop)
    (line,) = check(open_dataset(makers))
    assert str(path) in line
    assert words in line
    assert "download" in line.lower(), "what to do"
    assert "\n" not in line
    with pytest.raises(CorrectionsError, match=words):
        checked(makers)


@pytest.mark.models
def test_a_broken_info_file_is_named(makers):
    (home(makers) / "Info_4CH.cfg").write_text("ImageQuality: Good\n")
    with pytest.raises(CorrectionsError, match=r"Info_4CH\.cfg has no ED, ES and NbFrame"):
        open_dataset(makers)
    (home(makers) / "Info_4CH.cfg").write_text("ED: 1\nES: 9\nNbFrame: 9\n")
    (line,) = check(open_dataset(makers))
    assert "has 5 frames" in line


@pytest.mark.models
def test_the_command_says_all_mistakes_and_nothing_but_figures_when_well(makers, loop, capsys):
    assert camus.main([str(makers)]) == 0
    assert "1 train" in capsys.readouterr().out
    no_mask(home(makers), loop)
    not_a_number(home(makers), loop)
    assert camus.main([str(makers)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.models
def test_the_checksum_is_of_the_content_not_of_the_place(pristine, makers):
    whole = checksum(open_dataset(pristine))
    assert checksum(open_dataset(makers)) == whole
    test = home(makers, "patient0027") / "patient0027_4CH_ED.nii.gz"
    test.write_bytes(b"other")
    assert checksum(open_dataset(makers)) == whole, "what isn't used doesn't count"
    used = home(makers) / "patient0001_4CH_ED_gt.nii.gz"
    used.write_bytes(used.read_bytes() + b"\0")
    assert checksum(open_dataset(makers)) != whole


@pytest.fixture
def table(tmp_path, loop):
    """A directory of `frames.csv`, with rows to add to."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()

    def write(*rows):
        with (tmp_path / "frames.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["patient", "view", "phase", "split", "spacing_mm"])
            for row in rows:
                writer.writerow(row)
                stem = "_".join(row[:3])
                picture = cv2.imencode(".webp", loop.grey[0], [cv2.IMWRITE_WEBP_QUALITY, 101])[1]
                (tmp_path / "images" / f"{stem}.webp").write_bytes(picture.tobytes())
                cv2.imwrite(str(tmp_path / "masks" / f"{stem}.png"), loop.labels[0])
        return tmp_path

    return write


def test_a_table_of_frames_is_the_same_kind_of_data_set(table, loop):
    dataset = open_dataset(
        table(
            ("patient0001", "4CH", "ED", "train", "0.31"),
            ("patient0200", "2CH", "ED", "validation", ""),
        )
    )
    (frame,) = dataset.frames("train")
    assert np.array_equal(frame.load().image, loop.grey[0])
    assert frame.load().spacing == (0.31, 0.31)
    assert dataset.frames("validation")[0].load().spacing is None
    assert check(dataset) == []


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [("patient0027", "4CH", "ED", "train", "")],
            "patient0027, a test patient of CAMUS, is in train",
        ),
        (
            [
                ("patient0001", "4CH", "ED", "train", ""),
                ("patient0001", "4CH", "ES", "validation", ""),
            ],
            "patient0001 is in train and validation",
        ),
        ([("patient0001", "4CH", "ED", "tests", "")], "is in 'tests'"),
        ([("patient0001", "4CH", "ED", "train", "")] * 2, "patient0001_4CH_ED twice"),
    ],
)
def test_a_wrong_table_is_one_line(table, rows, words):
    folder = table(*rows)
    with pytest.raises(CorrectionsError) as caught:
        open_dataset(folder)
    assert words in str(caught.value)
    assert "frames.csv" in str(caught.value)


def test_a_spacing_that_is_none_is_named(table):
    folder = table(("patient0001", "4CH", "ED", "train", "0.3 mm"))
    (line,) = check(open_dataset(folder))
    assert "spacing_mm '0.3 mm'" in line


def test_a_corrections_directory_is_opened_too(tmp_path):
    dataset = open_dataset(directory(tmp_path))
    assert len(dataset.frames("train")) == 12
    assert checked(tmp_path).patients == {"train": 3}


def test_what_is_no_data_set_is_said(tmp_path):
    with pytest.raises(CorrectionsError, match="is no data set"):
        open_dataset(tmp_path)


def test_the_packed_camus_has_the_official_split(shared_data):
    dataset = open_dataset(shared_data / "camus")
    assert dataset.patients == {"train": 400, "validation": 50}
    assert not TEST_PATIENTS & {frame.patient for frame in dataset.every}
    assert len(TEST_PATIENTS) == 50
