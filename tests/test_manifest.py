import json
import shutil
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from appliance import manifest
from appliance.errors import ManifestError
from appliance.manifest import current_model, load_manifest, released_dir

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def copied(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(current_model().folder, folder)
    return folder


def rewrite(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_default_model_loads_and_is_for_research_only():
    model = current_model()
    assert model.folder.parent == released_dir()
    assert model.research_use_only
    assert model.licence == "CC-BY-NC-SA-4.0"
    assert "10.1109/TMI.2019.2900516" in model.citation
    card = (model.folder / "README.md").read_text()
    assert model.citation in card
    assert "CC BY-NC-SA 4.0" in card
    assert "research use only" in card.lower()


def test_the_card_and_the_manifest_give_the_same_figures():
    model = current_model()
    card = (model.folder / "README.md").read_text()
    for variant in model.variants:
        for accuracy in variant.accuracy:
            for value in accuracy.dice.values():
                assert f"{value:.4f}" in card


def test_structures_carry_the_standards_codes():
    wanted = {
        1: codes.SCT.LeftVentricle,
        2: codes.SCT.LeftVentricleMyocardium,
        3: codes.SCT.LeftAtrium,
    }
    for structure in current_model().structures:
        code = wanted[structure.label]
        assert (structure.code, structure.meaning) == (code.value, code.meaning)


def test_the_committed_schema_is_the_loaders_own():
    committed = (REPOSITORY / "models" / "manifest.schema.json").read_text()
    assert committed == manifest.schema(), "write manifest.schema() into it"


def test_a_changed_network_is_refused(copied):
    with (copied / "network.onnx").open("r+b") as file:
        file.seek(4_000_000)
        file.write(b"\x00\x01")
    with pytest.raises(ManifestError, match="not the file that was released"):
        load_manifest(copied)


def test_a_missing_network_is_refused(copied):
    (copied / "network.onnx").unlink()
    with pytest.raises(ManifestError, match="can't be read"):
        load_manifest(copied)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"manifest_version": 2}, "manifest_version"),
        ({"surprise": 1}, "surprise"),
        ({"structures": []}, "structures"),
        ({"version": "new"}, "version"),
    ],
)
def test_a_manifest_of_another_schema_is_refused_and_says_where(copied, changes, where):
    rewrite(copied, **changes)
    with pytest.raises(ManifestError, match=where):
        load_manifest(copied)


def test_rubbish_and_absence_are_refused(tmp_path):
    with pytest.raises(ManifestError):
        load_manifest(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe rubbish")
    with pytest.raises(ManifestError):
        load_manifest(tmp_path)


@pytest.mark.parametrize("name", ["no-such-model", "../released", "..", "/etc"])
def test_an_unknown_model_name_lists_those_there_are(name):
    with pytest.raises(ManifestError, match=r"first-network-1\.0\.0"):
        current_model(name)


def test_a_variant_that_does_not_exist_names_those_that_do():
    with pytest.raises(ManifestError, match="onnxruntime f32"):
        current_model().variant("onnxruntime", "bf16")
