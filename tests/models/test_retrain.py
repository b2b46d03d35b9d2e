"""From corrected frames to a model that the box takes and names."""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from appliance.config import Engine
from appliance.engine.backend import open_backend
from appliance.errors import ManifestError
from appliance.manifest import current_model, load_manifest
from appliance.releases import model_store
from models import corrections
from models.camus import checksum, open_dataset
from models.data import letterboxed
from models.mixing import default_mix, positive, rate, ratio
from tests.box import LOADED_MACHINE_S, REPOSITORY, Box
from tests.models.drawings import directory
from tests.phantom import cine_loop

pytestmark = pytest.mark.models

EPOCHS = 8


def retrain(*arguments, **more):
    command = [sys.executable, "-m", "models.retrain", "--threads", "1", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, **more)


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    return directory(tmp_path_factory.mktemp("corrections"))


@pytest.fixture(scope="module")
def retrained(corrected, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "first-network-1.1.0"
    done = retrain("--corrections", corrected, "--out", folder, "--epochs", EPOCHS)
    assert done.returncode == 0, done.stderr
    assert "may forget" in done.stderr
    return folder


@pytest.fixture(scope="module")
def graph():
    from models.graph import load

    return load(current_model().folder / "network.onnx")


def dice_of(manifest, folder):
    from models.metrics import dice

    backend = open_backend(manifest, Engine(backend="onnxruntime", threads=2))
    pairs = [letterboxed(item) for item in corrections.read(folder)]
    scores = [dice(backend.infer(image).labels, mask, (1, 2, 3)) for image, mask in pairs]
    return np.mean(scores, axis=0)


def test_the_released_onnx_gives_its_weights_back_to_the_bit(graph):
    from models.network import from_onnx, into_onnx

    network = from_onnx(graph)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 2.06
    assert into_onnx(network, graph).SerializeToString(deterministic=True) == (
        graph.SerializeToString(deterministic=True)
    )


def test_the_network_in_pytorch_labels_as_the_released_one(graph):
    from models.network import from_onnx
    from models.training import predict

    frame = np.ascontiguousarray(cine_loop(frames=1, rows=384, columns=512).grey[0][:, 64:448])
    released = open_backend(current_model(), Engine(backend="onnxruntime", precision="f32"))
    assert (predict(from_onnx(graph), frame) == released.infer(frame).labels).mean() > 0.9999


def test_folding_batch_norm_changes_no_answer():
    import torch

    from models.network import Architecture, Network, folded

    torch.manual_seed(0)
    shape = Architecture(filters=(8, 12, 16), deep=(0, 0, 1))
    network = Network(batch_norm=True, architecture=shape)
    network.train()(torch.rand(2, 1, 64, 64))  # gives BatchNorm statistics worth folding
    frame = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(network.eval()(frame), folded(network)(frame), atol=1e-4)


def test_another_network_is_refused(graph):
    import onnx

    from models.network import from_onnx

    other = onnx.ModelProto()
    other.CopyFrom(graph)
    node = next(node for node in other.graph.node if node.op_type == "Conv")
    other.graph.node.remove(node)
    with pytest.raises(ManifestError, match="not those of this network"):
        from_onnx(other)


def test_retraining_brings_the_model_nearer_to_the_corrections(corrected, retrained):
    before, after = (
        dice_of(current_model(), corrected),
        dice_of(load_manifest(retrained), corrected),
    )
    assert (after > before).all(), (before, after)
    assert after.mean() > before.mean() + 0.02


def test_the_new_model_keeps_the_interface_the_licence_and_the_lineage(retrained):
    start, made = current_model(), load_manifest(retrained)
    for name in (
        "licence",
        "research_use_only",
        "citation",
        "structures",
        "outputs",
        "gates",
        "view",
    ):
        assert getattr(made, name) == getattr(start, name)
    assert made.lineage[:-1] == start.lineage
    assert start.variants[0].sha256 in made.lineage[-1]
    assert "12 corrected frames of 3 loops" in made.lineage[-1]
    card = (retrained / "README.md").read_text()
    assert "research use only" in card
    assert made.citation in card
    for backend in ("openvino", "onnxruntime"):
        assert open_backend(made, Engine(backend=backend)).precision == "f32", "nothing measured"
    assert sorted(path.name for path in retrained.iterdir()) == (
        ["README.md", "lineage.json", "manifest.json", "network.onnx", "view.onnx"]
    )


def test_killed_it_goes_on_and_makes_the_same_model(tmp_path):
    words = ("--corrections", directory(tmp_path / "few", loops=1), "--epochs", 3)
    undisturbed = retrain(*words, "--out", tmp_path / "first-network-1.1.0")
    assert undisturbed.returncode == 0, undisturbed.stderr
    arguments = (*words, "--out", tmp_path / "again-1.1.0")
    command = [sys.executable, "-m", "models.retrain", "--threads", "1"]
    running = subprocess.Popen([*command, *map(str, arguments)], cwd=REPOSITORY)
    state = tmp_path / "again-1.1.0" / ".retraining.pt"
    end = time.monotonic() + LOADED_MACHINE_S
    while not state.exists() and time.monotonic() < end:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert state.exists()
    assert not (tmp_path / "again-1.1.0" / "manifest.json").exists()
    done = retrain(*arguments)
    assert done.returncode == 0, done.stderr
    whole, again = (
        load_manifest(tmp_path / f"{name}-1.1.0") for name in ("first-network", "again")
    )
    assert again.variants[0].sha256 == whole.variants[0].sha256
    assert not state.exists()


def test_two_processes_learn_together_what_one_learns(corrected, retrained, tmp_path):
    folder = tmp_path / "first-network-1.1.0"
    lightning = ("--accelerator", "cpu", "--devices", 2, "--strategy", "ddp")
    done = retrain("--corrections", corrected, "--out", folder, "--epochs", EPOCHS, *lightning)
    assert done.returncode == 0, done.stderr
    assert "world_size" in done.stderr or "2 processes" in done.stderr, done.stderr
    assert done.stdout.count("echocart model add") == 1, "one of them speaks"
    before, alone = (
        dice_of(current_model(), corrected),
        dice_of(load_manifest(retrained), corrected),
    )
    together = dice_of(load_manifest(folder), corrected)
    assert together.mean() > before.mean() + 0.02
    assert together == pytest.approx(alone, abs=0.02)
    assert not (folder / ".retraining.pt").exists()


def test_flags_that_lightning_refuses_are_one_sentence(corrected, tmp_path):
    words = ("--corrections", corrected, "--out", tmp_path / "first-network-1.1.0")
    for flags in (("--devices", 2, "--strategy", "telepathy"), ("--devices", "many")):
        done = retrain(*words, "--accelerator", "cpu", *flags)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "retrain a model: " in done.stderr


@pytest.fixture(scope="module")
def original(corrected, tmp_path_factory):
    """Six frames to draw from, of two hearts, and four of a third to watch."""
    folder = tmp_path_factory.mktemp("original")
    hearts = {"phantom0": "train", "phantom1": "train", "phantom2": "validation"}
    frames = [
        replace(item, row=replace(item.row, patient=f"other{item.row.patient}", split=split))
        for item in corrections.read(corrected)
        if (split := hearts[item.row.patient])
    ]
    corrections.add(folder, [frame for frame in frames if int(frame.row.frame) != 3])
    return folder


def test_originals_are_mixed_in_and_watched(corrected, original, tmp_path):
    out = tmp_path / "model.onnx"
    done = retrain(
        *("--corrections", corrected, "--originals", original, "--out", out),
        *("--epochs", 1, "--mix", "1:2"),
    )
    assert done.returncode == 0, done.stderr
    assert "may forget" not in done.stderr
    assert "no precision below f32 is made: fewer than 20 frames" in done.stderr
    assert "| originals | Left atrium |" in done.stdout
    made = load_manifest(tmp_path)
    assert (made.name, made.version, made.variants[0].file) == (
        ("first-network", "1.1.0", "model.onnx")
    )
    assert "6 original frames" in made.lineage[-1]
    assert "mix 0.5" in made.lineage[-1]


def test_the_lineage_names_data_code_and_recipe(corrected, retrained):
    kept = json.loads((retrained / "lineage.json").read_text())
    assert kept["corrections_sha256"] == checksum(open_dataset(corrected))
    assert kept["start"]["sha256"] == current_model().variants[0].sha256
    assert kept["recipe"]["epochs"] == EPOCHS
    assert kept["recipe"]["mix"] == 0, "there were no originals"
    assert set(kept["scores"]) == {"before", "after"}


def test_without_a_mix_the_dice_on_the_corrections_chooses_it(corrected, original, tmp_path):
    done = retrain(
        *("--corrections", corrected, "--original", original),
        *("--out", tmp_path / "a-1.0.0", "--epochs", 1),
    )
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "a-1.0.0" / "lineage.json").read_text())
    initial = np.mean(list(kept["scores"]["before"]["corrections"].values()))
    assert f"is {initial:.3f}, good: 2 originals for each correction" in done.stderr
    assert kept["recipe"]["mix"] == default_mix(initial) == 2
    assert default_mix(0.6) == 1


@pytest.mark.parametrize(("text", "mix"), [("2", 2), ("2:1", 2), ("1:2", 0.5), ("0", 0)])
def test_a_mix_is_a_number_or_two(text, mix):
    assert ratio(text) == mix


@pytest.mark.parametrize("text", ["", "two", "-1", "1:0", "inf", "nan"])
def test_what_is_no_mix_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="no ratio"):
        ratio(text)


@pytest.mark.parametrize("read", [positive, rate])
@pytest.mark.parametrize("text", ["0", "-1", "two", "", "nan", "inf"])
def test_epochs_and_rates_that_would_teach_nothing_are_refused(read, text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no (number|rate)"):
        read(text)


def test_a_gpu_that_is_not_there_is_not_replaced_without_a_word(monkeypatch):
    from models.workers import started

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert started("auto", "1", "auto").count == 1
    with pytest.raises(ValueError, match="finds no NVIDIA GPU"):
        started("gpu", "1", "auto")


def test_what_cannot_be_retrained_is_one_line(corrected, retrained, tmp_path):
    (tmp_path / "empty").mkdir()
    shutil.copytree(corrected, tmp_path / "broken")
    next((tmp_path / "broken" / "masks").iterdir()).unlink()
    for folder, out, words in (
        (tmp_path / "empty", tmp_path / "a-1.0.0", "is no data set"),
        (tmp_path / "broken", tmp_path / "a-1.0.0", "is missing"),
        (corrected, tmp_path / "unnamed", "names no version"),
        (corrected, retrained, "already"),
    ):
        done = retrain("--corrections", folder, "--out", out)
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 2, "the warning, and what is wrong"


def test_the_box_takes_it_and_the_next_loop_names_it(retrained, tmp_path):
    """The engine runs the while: no restart, and both analyses stay."""
    from tests.engine.conftest import Bench

    with Box(tmp_path / "box", services=("engine",)) as box:
        loops = Bench(box.settings.box.state_dir, None, None)  # only to receive
        loops.receive(cine_loop(frames=12, rate_hz=12).write(tmp_path / "a.dcm"))
        (before,) = box.wait_settled(1)
        command = [sys.executable, "-m", "appliance", "model", "add", str(retrained)]
        done = subprocess.run(
            [*command, "--config", str(box.config)], cwd=REPOSITORY, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "research use only" in done.stdout
        box.wait_for(lambda: "from now on: first-network-1.1.0" in box.log("engine"), "the model")
        loops.receive(cine_loop(frames=12, rate_hz=12, seed=1).write(tmp_path / "b.dcm"))
        after = box.wait_settled(2)[0]
        made = load_manifest(model_store.added_dir(box.settings.box.state_dir) / retrained.name)
        assert before["analysis"]["model_version"] == "1.0.0"
        assert after["analysis"]["model_version"] == "1.1.0"
        assert after["analysis"]["model_sha256"] == made.variants[0].sha256
        box.stop("engine")
        box.start("engine")
        assert "first-network-1.1.0" in box.log("engine").splitlines()[-1]


def test_the_manifest_written_is_of_the_committed_schema(retrained):
    values = json.loads((retrained / "manifest.json").read_text())
    schema = json.loads((REPOSITORY / "models" / "manifest.schema.json").read_text())
    assert set(values) == set(schema["properties"])
