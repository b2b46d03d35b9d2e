"""The engine's model: chosen while it runs, and never lost to one that doesn't load."""

import logging
import shutil

import pytest

from appliance.engine.choice import Choice
from appliance.errors import ManifestError
from appliance.ledger import setting
from appliance.manifest import current_model
from appliance.releases import model_store
from tests.box import Box
from tests.engine.conftest import Bench
from tests.phantom import cine_loop

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture
def box(tmp_path):
    with Box(tmp_path / "box", services=()) as made:
        yield made


def add(box, tmp_path, version):
    folder = tmp_path / version
    shutil.copytree(current_model().folder, folder)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"version": "1.0.0"', f'"version": "{version}"'))
    return model_store.add(box.settings.box.state_dir, folder)


def choose(box, *names):
    setting.choose_models(box.ledger, names, "anna")


def test_nothing_chosen_is_the_released_model_and_stays_so(box):
    choice = Choice(box.ledger, box.settings)
    assert choice.first().first.manifest.version == "1.0.0"
    assert choice.newer() is None


def test_another_choice_is_loaded_once(box, tmp_path):
    add(box, tmp_path, "1.1.0")
    choice = Choice(box.ledger, box.settings)
    choice.first()
    choose(box, "first-network-1.1.0")
    loaded = choice.newer()
    assert loaded is not None
    assert loaded.first.manifest.version == "1.1.0"
    assert choice.newer() is None
    choose(box)
    loaded = choice.newer()
    assert loaded is not None
    assert loaded.first.manifest.version == "1.0.0"


def test_a_choice_made_before_the_start_holds(box, tmp_path):
    add(box, tmp_path, "1.1.0")
    choose(box, "first-network-1.1.0")
    assert Choice(box.ledger, box.settings).first().first.manifest.version == "1.1.0"


def test_a_chosen_model_that_does_not_load_is_said_once_and_the_old_one_stays(
    box, tmp_path, caplog
):
    made = add(box, tmp_path, "1.1.0")
    choice = Choice(box.ledger, box.settings)
    choice.first()
    (made.folder / "network.onnx").write_bytes(b"")
    choose(box, "first-network-1.1.0")
    with caplog.at_level(logging.ERROR):
        assert choice.newer() is None
        assert choice.newer() is None
    assert caplog.text.count("the old one goes on") == 1


def test_a_start_with_a_spoiled_choice_runs_the_configured_model_and_says_so(box, tmp_path, caplog):
    made = add(box, tmp_path, "1.1.0")
    choose(box, "first-network-1.1.0")
    (made.folder / "network.onnx").unlink()
    with caplog.at_level(logging.ERROR):
        assert Choice(box.ledger, box.settings).first().first.manifest.version == "1.0.0"
    assert "the configured one is" in caplog.text


def test_a_configured_model_that_is_not_there_stops_the_engine(tmp_path):
    with (
        Box(tmp_path, services=(), extra='[engine]\nmodel = "nothing"\n') as box,
        pytest.raises(ManifestError, match="no model 'nothing'"),
    ):
        Choice(box.ledger, box.settings).first()


def test_a_running_engine_takes_the_chosen_model_for_its_next_loop(tmp_path):
    with Box(tmp_path / "box", services=("engine",)) as box:
        bench = Bench(box.settings.box.state_dir)  # only to receive
        bench.receive(cine_loop(frames=12).write(tmp_path / "a.dcm"))
        box.wait_settled(1)
        add(box, tmp_path, "1.1.0")
        choose(box, "first-network-1.1.0")
        box.wait_for(lambda: "from now on: first-network-1.1.0" in box.log("engine"), "the model")
        bench.receive(cine_loop(frames=12, seed=1).write(tmp_path / "b.dcm"))
        after, before = box.wait_settled(2)
        assert before["analysis"]["model_version"] == "1.0.0"
        assert after["analysis"]["model_version"] == "1.1.0"
