"""Training from a recipe: what it writes, how it goes on after a kill, what it refuses."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from models import corrections
from tests.box import LOADED_MACHINE_S, REPOSITORY
from tests.models.drawings import drawn_frames

pytestmark = pytest.mark.models

TINY = """
name = "tiny"
[network]
family = "frame"
filters = [8, 8, 8, 8, 8]
deep = [0, 0, 0, 1, 1]
subpixel = true
[training]
epochs = {epochs}
cool_down = 1
batch = 2
learning_rate = 1e-3
weight_decay = 1e-4
warm_up = 2
average = 0.5
supervision = [0.2, 0.2]
sides = [{{side = 192, share = 1.0}}]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three hearts; one of them judges."""
    folder = tmp_path_factory.mktemp("drawn")
    corrections.add(folder, drawn_frames(loops=3, frames=2, split="train"))
    table = folder / "frames.csv"
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["split"] = "validation" if row["patient"] == "phantom2" else "train"
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def recipe(folder, epochs=3, text=TINY):
    path = folder / "tiny.toml"
    path.write_text(text.format(epochs=epochs))
    return path


def command(data, out, recipe):
    return [
        *(sys.executable, "-m", "models.train", "--camus", str(data), "--out", str(out)),
        *("--recipe", str(recipe), "--workers", "0", "--threads", "1", "--accelerator", "cpu"),
    ]


def train(*arguments):
    return subprocess.run(command(*arguments), cwd=REPOSITORY, capture_output=True, text=True)


def weights(out):
    import torch

    return torch.load(out / "network.pt", weights_only=True)["state"]


def test_a_killed_training_goes_on_to_the_very_same_weights(data, tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    done = train(data, straight, recipe(tmp_path))
    assert done.returncode == 0, done.stderr
    running = subprocess.Popen(
        command(data, broken, recipe(tmp_path)), cwd=REPOSITORY, stderr=subprocess.PIPE
    )
    end = time.monotonic() + LOADED_MACHINE_S
    while not (broken / "last.ckpt").exists() and time.monotonic() < end:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not (broken / "network.pt").exists()
    again = train(data, broken, recipe(tmp_path))
    assert again.returncode == 0, again.stderr
    mine, theirs = weights(straight), weights(broken)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        np.testing.assert_allclose(theirs[name].numpy(), value.numpy(), atol=1e-6, err_msg=name)
    assert (straight / "curve.csv").read_text() == (broken / "curve.csv").read_text()
    with (broken / "curve.csv").open() as stream:
        epochs = [row["epoch"] for row in csv.DictReader(stream) if row["dice"] and row["loss"]]
    assert epochs == ["0", "1", "2"]
    assert "epoch 3 of 3: dice" in again.stderr
    lineage = json.loads((straight / "lineage.json").read_text())
    assert len(lineage["data_sha256"]) == 64
    assert lineage["validation"]["dice"] > 0
    assert lineage["recipe"]["training"]["epochs"] == 3


def test_a_folder_of_other_work_is_not_gone_on_with(data, tmp_path):
    out = tmp_path / "out"
    assert train(data, out, recipe(tmp_path, epochs=1)).returncode == 0
    refused = train(data, out, recipe(tmp_path, epochs=2))
    assert refused.returncode == 1
    assert f"{out} holds a training with another recipe" in refused.stderr


def test_training_never_starts_on_bad_data(data, tmp_path):
    bad = tmp_path / "bad"
    subprocess.run(["cp", "-r", data, bad], check=True)
    victim = sorted((bad / "masks").iterdir())[0]
    victim.unlink()
    refused = train(bad, tmp_path / "out", recipe(tmp_path))
    assert refused.returncode == 1
    assert str(victim) in refused.stderr
    assert len(refused.stderr.strip().splitlines()[-1]) < 400
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("average = 0.5", "average = 2"), "training.average"),
        (("batch = 2", "bach = 2"), "training.bach"),
        (('family = "frame"', 'family = "transformer"'), "network.family"),
        (("[training]", "[training"), "isn't valid TOML"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(tmp_path, change, says):
    from models.recipe import RecipeError, load

    with pytest.raises(RecipeError, match=says.replace(".", r"\.")):
        load(str(recipe(tmp_path, text=TINY.replace(*change))))


def test_the_repositorys_recipes_are_whole():
    from models.recipe import FOLDER, load

    assert {load(path.stem).name for path in FOLDER.glob("*.toml")} == {"frame", "reference"}


def test_the_rate_rises_stays_and_falls_to_zero():
    from models.recipe import load

    training = load("frame").training
    rates = [training.rate(step, 100) for step in range(training.epochs * 100)]
    level = (training.epochs - training.cool_down) * 100
    assert rates[0] == 1 / training.warm_up
    assert set(rates[training.warm_up : level]) == {1.0}
    assert rates[-1] == pytest.approx(1 / (training.cool_down * 100))


@pytest.mark.parametrize(
    ("released", "deep"),
    [
        ("first-network-1.0.0", (0, 0, 1, 2, 2)),
        ("frame-1.0.0", (0, 0, 1, 2, 2)),
        ("frame-1.0.0", (0, 0, 0, 2, 2)),
    ],
)
def test_a_grown_network_begins_with_the_answers_of_the_one_it_grew_from(released, deep):
    import torch

    from appliance.manifest import current_model
    from models.data import letterboxed
    from models.graph import load
    from models.network import Architecture, folded, from_onnx, grown
    from models.training import predict

    manifest = current_model(released)
    start = from_onnx(load(manifest.folder / manifest.variants[0].file))
    boxed = [letterboxed(frame)[0] for frame in drawn_frames(loops=2, frames=2)]
    pictures = torch.from_numpy(np.stack(boxed)).float()[:, None] / 255
    larger = grown(start, Architecture(deep=deep, subpixel=True), pictures)
    for image in boxed:
        before = predict(start, image)
        assert {1, 2, 3} <= set(np.unique(before))
        assert (predict(larger.eval(), image) == before).mean() > 0.9999
        assert (predict(folded(larger), image) == before).mean() > 0.9999


def test_the_reference_network_has_the_papers_shape():
    import torch

    from models.recipe import load
    from models.reference import Reference

    network = Reference(load("reference").network).eval()
    assert sum(value.numel() for value in network.parameters()) == pytest.approx(10.7e6, rel=0.02)
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 96, 96)).shape == (1, 4, 96, 96)


def test_frames_are_shown_and_judged_at_the_side_of_their_epoch():
    from models.learning import Frames
    from models.recipe import load

    training = load("reference").training
    frames = [_Loaded(frame) for frame in drawn_frames(loops=1, frames=1)]
    for vary in (True, False):
        sides = [Frames(frames, training, vary)[epoch, 0][0].shape[-1] for epoch in (0, 30, 119)]
        assert sides == [96, 192, 384]


class _Loaded:
    """A drawn frame where one of the data set is expected."""

    def __init__(self, drawn):
        self._drawn = drawn

    def load(self):
        return self._drawn


def test_varied_frames_keep_their_drawing_and_depend_on_the_seed_alone():
    from models.augmentation import varied
    from models.data import letterboxed

    image, mask = letterboxed(drawn_frames(loops=1, frames=1)[0])
    for seed in range(20):
        picture, labels = varied(image, mask, np.random.default_rng(seed))
        again, same = varied(image, mask, np.random.default_rng(seed))
        np.testing.assert_array_equal(picture, again)
        np.testing.assert_array_equal(labels, same)
        assert picture.dtype == np.float32
        assert 0 <= picture.min() <= picture.max() <= 1
        assert set(np.unique(labels)) <= {0, 1, 2, 3}
        kept = [(labels == label).sum() / (mask == label).sum() for label in (1, 2, 3)]
        assert all(0.1 < share < 2.2 for share in kept), (seed, kept)
