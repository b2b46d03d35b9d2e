"""A model's reference: what it got and drew where it was made, one value a patient, verified."""

import json
import shutil

import numpy as np
import pytest

from appliance.drift import reference
from appliance.drift.features import INPUT, OUTPUT
from appliance.manifest import current_model, load_manifest
from appliance.releases import model_store
from models import corrections
from models.camus import open_dataset
from models.corrections import Drawn, Row
from models.reference_statistics import by_patient, fan_of
from tests.models.test_ranking import Careless
from tests.phantom import cine_loop

SHIPPED = ("first-network-1.0.0", "frame-1.0.0")


def test_a_patient_is_one_value_of_each_feature(tmp_path):
    made = []
    for number in range(20):
        loop = cine_loop(frames=2, rows=180, columns=240, rate_hz=2, seed=number)
        x, y, width, height = loop.box
        part = np.s_[y : y + height, x : x + width]
        scale = f"{loop.mm_per_px[0]:.6f}"
        for view in ("4CH", "2CH"):
            for index, phase in enumerate(("ED", "ES")):
                about = Row(f"p{number:02d}", view, phase, "train", spacing_mm=scale)
                image, mask = loop.grey[index][part].copy(), loop.labels[index][part].copy()
                made.append(Drawn(about, image, mask))
    corrections.add(tmp_path, made)
    found = by_patient(Careless(tmp_path, set()), open_dataset(tmp_path).frames("train"))
    assert {len(values) for values in found.values()} == {20}
    assert found["confidence_lv"] == [pytest.approx(0.95)] * 20
    assert np.mean(found["depth_mm"]) == pytest.approx(150, rel=0.1)
    assert "doubtful" not in found
    assert all(values == sorted(values) for values in found.values())


def test_a_fan_is_the_hull_of_what_is_lit():
    image = np.zeros((20, 20), np.uint8)
    image[5, 5] = image[5, 14] = image[14, 5] = image[14, 14] = 90
    assert fan_of(image).sum() == 100
    assert not fan_of(np.zeros((20, 20), np.uint8)).any()


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_model_brings_a_reference_of_its_own(name):
    found = reference.samples(reference.read(current_model(name)))
    assert {"brightness", "fan_aspect", "lv_area", "confidence_wall"} <= found.keys()
    for feature, values in found.items():
        assert reference.BY_NAME[feature].kind in (INPUT, OUTPUT)
        assert len(values) >= 399  # patients


def test_it_comes_along_when_a_model_is_added_and_another_networks_is_not_taken(tmp_path):
    folder = shutil.copytree(current_model().folder, tmp_path / "other")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": "9.0.0"}))
    added = model_store.add(tmp_path / "state", folder)
    assert reference.of(tmp_path / "state", model_store.name_of(added)) is not None
    path = added.folder / reference.NAME
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "network_sha256": "0" * 64}))
    assert reference.read(load_manifest(added.folder)) is None
    path.write_text("{")
    assert reference.read(load_manifest(added.folder)) is None
    assert reference.of(tmp_path / "state", "gone-1.0.0") is None
