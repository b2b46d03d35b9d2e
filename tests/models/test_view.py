"""The view network's making: what hides where a frame came from, what is none, what is exported."""

import json
import shutil

import cv2
import numpy as np
import pytest

from appliance.engine.view import ViewGate, decide
from appliance.errors import ManifestError
from appliance.manifest import ViewNetwork, current_model, load_manifest
from models import corrections
from models.corrections import Drawn, Row
from models.view_pictures import (
    OTHER,
    apical,
    boxed,
    degraded,
    halved,
    other,
    photographed,
    restored,
)
from tests.phantom import cine_loop

NETWORK = ViewNetwork(
    file="view.onnx",
    sha256="0" * 64,
    views=("A4C", "A2C", "other"),
    limit_apical=0.8,
    limit_distance=10,
)


def hearts(count=4):
    made = []
    for seed in range(count):
        loop = cine_loop(frames=1, seed=seed, rows=300, columns=400)
        x, y, width, height = loop.box
        made.append(loop.grey[0][y : y + height, x : x + width].copy())
    return made


def sharpness(image):
    return float(np.abs(cv2.Laplacian(image.astype(np.float32), cv2.CV_32F)).mean())


def test_after_the_square_a_sharp_frame_is_as_blurred_as_one_that_came_as_a_square():
    sharp = hearts(1)[0]
    came_as_square = cv2.resize(sharp, (224, 224), interpolation=cv2.INTER_AREA)
    hidden = restored(degraded(sharp), 1.0)
    assert degraded(sharp).shape == (224, 224)
    assert sharpness(hidden) == pytest.approx(sharpness(restored(came_as_square, 1.0)), rel=0.2)
    assert sharpness(boxed(sharp)) > 1.5 * sharpness(hidden)


@pytest.mark.parametrize("aspect", [0.9, 1.0, 1.5])
def test_an_aspect_is_given_back_inside_the_networks_square(aspect):
    whole = restored(np.full((224, 224), 200, np.uint8), aspect)
    y, x = np.nonzero(whole)
    assert whole.shape == (384, 384)
    assert (np.ptp(x) + 1) / (np.ptp(y) + 1) == pytest.approx(aspect, rel=0.01)


def test_both_views_are_shown_in_the_same_aspects():
    """Neither may be known by its shape: the lot is drawn from one distribution for all."""
    square = np.full((192, 192), 255, np.uint8)
    shapes = []
    for seed in range(400):
        y, x = np.nonzero(apical(square, np.random.default_rng(seed), any_aspect=True) > 20)
        shapes.append((np.ptp(x) + 1) / (np.ptp(y) + 1))
    assert np.percentile(shapes, 5) < 0.95
    assert np.percentile(shapes, 95) > 1.2


@pytest.mark.parametrize("kind", OTHER)
def test_every_kind_of_other_picture_is_made_and_the_same_seed_makes_the_same(kind):
    squares = [halved(degraded(heart)) for heart in hearts()]
    made = [other(kind, squares, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert made[0].shape == (96, 96)
    assert made[0].dtype == np.uint8
    assert (made[0] == made[1]).all()
    several = [other(kind, squares, np.random.default_rng(seed)) for seed in range(12)]
    assert len({picture.tobytes() for picture in several}) > 6


def test_another_machines_look_leaves_the_anatomy_where_it_was():
    heart = halved(boxed(hearts(1)[0]))
    seen = photographed(heart, np.random.default_rng(4)).astype(float)
    plain = cv2.resize(heart, (96, 96), interpolation=cv2.INTER_AREA).astype(float)
    assert np.corrcoef(seen.ravel(), plain.ravel())[0, 1] > 0.6


def frames(*each):
    return np.array(each, np.float32)


def test_a_loop_is_judged_by_all_its_frames_and_refused_unless_it_is_surely_apical():
    sure = frames([0.9, 0.08, 0.02], [0.8, 0.15, 0.05], [0.1, 0.1, 0.8])
    near = np.array([5, 6, 30], np.float32)
    assert decide(NETWORK, sure[:2], near[:2]).view == "A4C"
    assert decide(NETWORK, sure, near).view == "other", "one frame in three is no heart"
    assert decide(NETWORK, sure[:2], 3 * near[:2]).view == "other", "like nothing it learnt"
    assert decide(NETWORK, frames([0.5, 0.2, 0.3]), near[:1]).view == "other", "not sure enough"


def test_which_apical_view_it_is_has_a_certainty_of_its_own():
    found = decide(NETWORK, frames([0.50, 0.45, 0.05]), np.array([5], np.float32))
    assert (found.view, found.reason) == ("A4C", "")
    assert found.certainty == pytest.approx(0.526, abs=0.001)
    json.dumps(found.to_dict())


def camus_like(folder):
    """A directory as CAMUS is packed: two views of eight phantoms."""
    made = []
    for number, heart in enumerate(hearts(8)):
        for view in ("4CH", "2CH"):
            image = heart if view == "4CH" else degraded(np.ascontiguousarray(heart[:, ::-1]))
            row = Row(
                f"patient{900 + number:04d}",
                view,
                "ED",
                "train" if number < 6 else "validation",
                *map(str, image.shape),
            )
            made.append(Drawn(row, image, np.zeros(image.shape, np.uint8)))
    corrections.add(folder, made)
    return folder


@pytest.mark.models
def test_one_command_trains_exports_and_names_the_network_and_the_box_runs_it(tmp_path):
    pytest.importorskip("torch")
    from models import view

    model = tmp_path / "model"
    shutil.copytree(current_model().folder, model)
    arguments = ["--camus", str(camus_like(tmp_path / "camus")), "--out", str(model)]
    assert view.main([*arguments, "--epochs", "2"]) == 0
    manifest = load_manifest(model)
    assert manifest.view is not None
    assert (model / manifest.view.file).stat().st_size < 1_000_000
    assert sum(line.startswith("models.view") for line in manifest.lineage) == 1
    found = ViewGate(manifest).judge([np.zeros((96, 96), np.uint8)] * 3)
    assert set(found.figures) == {"A4C", "A2C", "other", "apical", "distance"}
    first = (model / manifest.view.file).read_bytes()
    assert view.main([*arguments, "--epochs", "2"]) == 0
    assert (model / manifest.view.file).read_bytes() == first, "the same seed, the same network"


@pytest.mark.models
def test_what_is_exported_answers_as_what_was_trained(tmp_path):
    torch = pytest.importorskip("torch")
    import onnxruntime

    from models import view

    torch.manual_seed(3)
    network = view.Released(
        view.Looker().eval(), torch.randn(2, view.FEATURES), torch.eye(view.FEATURES)
    ).eval()
    view.export(network, tmp_path / "view.onnx")
    shown = np.random.default_rng(0).integers(0, 255, (5, 1, 96, 96), np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "view.onnx")
    said, distance = session.run(["view", "distance"], {"frames": shown})
    wanted = view.run(network, list(shown[:, 0]))
    np.testing.assert_allclose(said, wanted[0], atol=1e-5)
    np.testing.assert_allclose(distance, wanted[1], rtol=1e-4)


@pytest.mark.models
def test_a_folder_without_a_model_is_said_in_one_line(tmp_path, capsys):
    pytest.importorskip("torch")
    from models import view

    assert view.main(["--camus", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_view_network_that_is_not_the_one_released_is_refused(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(current_model().folder, folder)
    manifest = load_manifest(folder)
    assert manifest.view is not None, "the released model tells views"
    (folder / manifest.view.file).write_bytes(b"another")
    with pytest.raises(ManifestError, match="not the file that was released"):
        load_manifest(folder)
