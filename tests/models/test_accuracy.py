import csv
import json

import cv2
import numpy as np
import pytest

from appliance.config import Engine
from appliance.engine.backend import open_backend
from appliance.manifest import current_model
from models import accuracy
from tests.phantom import cine_loop


@pytest.fixture
def directory(tmp_path):
    """A directory of drawn frames, as `data/camus` is laid out."""
    loop = cine_loop(frames=4, rate_hz=8, rows=360, columns=480)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    with (tmp_path / "frames.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["patient", "view", "phase", "split"])
        for index in range(4):
            split = "train" if index == 3 else "validation"
            writer.writerow([f"phantom{index}", "4CH", "ED", split])
            stem = f"phantom{index}_4CH_ED"
            picture = cv2.imencode(".webp", loop.grey[index], [cv2.IMWRITE_WEBP_QUALITY, 101])[1]
            (tmp_path / "images" / f"{stem}.webp").write_bytes(picture.tobytes())
            cv2.imwrite(str(tmp_path / "masks" / f"{stem}.png"), loop.labels[index])
    return tmp_path


def test_only_validation_frames_are_measured(directory, model):
    backend = open_backend(model, Engine(backend="onnxruntime"))
    found = accuracy.measure(backend, model, directory)
    assert found.frames == 3
    assert found.dice["Left ventricle"] > 0.9


def test_figures_are_written_and_nothing_else_changes(directory, model, tmp_path):
    copy = tmp_path / "model"
    copy.mkdir()
    before = json.loads((model.folder / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(before))
    elsewhere = model.model_copy()
    elsewhere._folder = copy
    made = accuracy.Accuracy(backend="openvino", data="test", frames=3, dice={"Left atrium": 0.5})
    accuracy.write(elsewhere, {"bf16": [made]})
    after = json.loads((copy / "manifest.json").read_text())
    assert after["variants"][1]["accuracy"][0]["dice"] == {"Left atrium": 0.5}
    after["variants"][1]["accuracy"] = before["variants"][1]["accuracy"]
    assert after == before


def test_without_the_data_it_says_so_and_changes_nothing(tmp_path, capsys):
    assert accuracy.main(["--camus", str(tmp_path / "nowhere"), "--write"]) == 0
    assert "nothing to measure" in capsys.readouterr().out


def test_dice_counts_each_structure_and_two_absences_agree():
    one, other = np.zeros((2, 10, 10), np.uint8)
    one[:5], other[:4] = 1, 1
    assert accuracy.dice(one, other, (1, 2)) == [pytest.approx(80 / 90), 1.0]


@pytest.fixture(scope="module")
def model():
    return current_model()
