"""A directory of drawn frames: what is written is read, and what is broken is named."""

import csv

import cv2
import numpy as np
import pytest

from models import corrections
from models.corrections import CorrectionsError, add, check, read, rows
from tests.models.drawings import directory, drawn, drawn_frames


@pytest.fixture(scope="module")
def frames():
    return drawn_frames(loops=1, frames=3)


@pytest.fixture
def folder(tmp_path, frames):
    add(tmp_path / "corrections", frames)
    return tmp_path / "corrections"


def first(folder, kind):
    stem = rows(folder)[0].stem
    return folder / kind / f"{stem}.{'webp' if kind == 'images' else 'png'}"


def test_what_is_written_is_read_to_the_pixel(folder, frames):
    back = list(read(folder))
    assert [item.row for item in back] == [item.row for item in frames]
    for mine, theirs in zip(back, frames, strict=True):
        assert np.array_equal(mine.image, theirs.image)
        assert np.array_equal(mine.mask, theirs.mask)
    assert check(folder) == []


def test_the_same_frames_again_are_not_there_twice(folder, frames):
    assert add(folder, frames) == 0
    assert len(rows(folder)) == 3
    assert len(list((folder / "images").iterdir())) == 3


def test_it_has_every_column_of_the_layout(folder):
    with (folder / "frames.csv").open(newline="") as table:
        names = next(csv.reader(table))
    camus = ["patient", "view", "phase", "split", "rows", "cols", "spacing_mm"]
    assert names[:7] == camus
    assert {"sop_hash", "frame", "model_sha256", "reviewer_role", "parent", "source"} <= set(names)


def test_a_later_decision_about_a_loop_replaces_the_earlier_one(tmp_path, frames):
    image, mask = frames[0].image, frames[0].mask
    other = np.where(mask == 3, 0, mask).astype(np.uint8)
    add(tmp_path, [drawn(image, mask, decision="1"), drawn(image, mask, patient="b")])
    assert add(tmp_path, [drawn(image, other, decision="10")]) == 1
    assert add(tmp_path, [drawn(image, mask, decision="9")]) == 0, "an earlier one, pulled late"
    assert sorted(row.decision for row in rows(tmp_path)) == ["", "10"]
    assert len(list((tmp_path / "masks").iterdir())) == 2
    assert check(tmp_path) == []


def test_a_cut_short_addition_leaves_it_readable_and_is_made_up_for(tmp_path, frames):
    def cut_short():
        yield frames[0]
        raise KeyboardInterrupt

    add(tmp_path, [frames[1]])
    with pytest.raises(KeyboardInterrupt):
        add(tmp_path, cut_short())
    assert check(tmp_path) == []
    assert len(list(read(tmp_path))) == 1
    assert add(tmp_path, frames) == 2
    assert check(tmp_path) == []


def remove_mask(folder):
    first(folder, "masks").unlink()
    return first(folder, "masks").name, "missing"


def draw_label_4(folder):
    path = first(folder, "masks")
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    mask[0, 0] = 4
    cv2.imwrite(str(path), mask)
    return path.name, "label 4"


def spoil_image(folder):
    path = first(folder, "images")
    path.write_bytes(path.read_bytes()[:40])
    return path.name, "not an image"


def empty_image(folder):
    first(folder, "images").write_bytes(b"")
    return first(folder, "images").name, "not an image"


def shrink_mask(folder):
    cv2.imwrite(str(first(folder, "masks")), np.zeros((9, 7), np.uint8))
    return first(folder, "masks").name, "7x9"


@pytest.mark.parametrize(
    "damage", [remove_mask, draw_label_4, spoil_image, empty_image, shrink_mask]
)
def test_each_mistake_is_one_line_that_names_the_file_and_what_to_do(folder, damage):
    name, what = damage(folder)
    (line,) = check(folder)
    assert name in line
    assert what in line
    assert "frames.csv" in line, "what to do"
    with pytest.raises(CorrectionsError, match=what):
        list(read(folder))


def test_no_table_and_a_line_without_a_patient_are_said(tmp_path, folder):
    with pytest.raises(CorrectionsError, match=r"frames\.csv can't be read"):
        rows(tmp_path)
    table = folder / "frames.csv"
    table.write_text(table.read_text() + ",,,,\n")
    with pytest.raises(CorrectionsError, match="line 5 lacks"):
        rows(folder)


def test_the_layout_of_camus_is_read_too(shared_data):
    frame = next(read(shared_data / "camus", "validation"))
    assert frame.row.sop_hash == ""
    assert frame.image.shape == frame.mask.shape
    assert corrections.LARGEST_LABEL >= frame.mask.max() > 0


def test_a_phantom_directory_holds_twelve(tmp_path):
    assert len(rows(directory(tmp_path))) == 12
