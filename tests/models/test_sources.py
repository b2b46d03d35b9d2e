"""Which frames of a retraining teach, watch and prove."""

from dataclasses import replace

import pytest

from models import corrections
from models.sources import FEWEST, Sources
from tests.models.drawings import drawn_frames

pytestmark = pytest.mark.models


def test_a_heart_that_was_corrected_does_not_judge_what_is_forgotten(tmp_path):
    frames = drawn_frames(loops=2, frames=2)
    corrections.add(tmp_path / "corrected", frames[:2])
    kept = [replace(item, row=replace(item.row, split="validation")) for item in frames]
    corrections.add(tmp_path / "original", kept)
    watched = Sources.checked(tmp_path / "corrected", [tmp_path / "original"]).watched
    assert {frame.patient for frame in watched} == {"phantom1"}


def sources(folder, each):
    """Corrections that teach and that are set aside, originals that teach and that are watched."""
    places = [("corrected", "train"), ("corrected", "validation")]
    places += [("original", "train"), ("original", "validation")]
    frames = drawn_frames(loops=len(places), frames=each)
    for number, (name, split) in enumerate(places):
        part = frames[number * each : (number + 1) * each]
        rows = [replace(item, row=replace(item.row, split=split)) for item in part]
        corrections.add(folder / name, rows)
    return Sources.checked(folder / "corrected", [folder / "original"])


def test_what_proves_a_precision_has_not_calibrated_it(tmp_path):
    proof = sources(tmp_path, FEWEST // 2).proof
    assert len(proof.calibration) == len(proof.judges) == FEWEST
    judges = {image.tobytes() for image, _ in proof.judges}
    assert not judges & {image.tobytes() for image in proof.calibration}
    assert {image.shape for image in proof.calibration} == {(1, 1, 384, 384)}


def test_too_few_frames_kept_out_prove_nothing(tmp_path):
    assert sources(tmp_path, FEWEST // 2 - 1).proof is None
