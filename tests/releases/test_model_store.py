"""Models of a box: verified, copied whole or not at all, chosen with a record of who did."""

import json
import shutil

import pytest

from appliance.errors import ApplianceError, ManifestError
from appliance.ledger import Ledger, setting
from appliance.manifest import current_model
from appliance.releases import model_store
from tests.box import Box
from tests.test_cli import echocart


def rewrite(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def listed(state, in_force):
    """What the store lists, without what is shipped beside the default."""
    default = current_model().folder.name
    return [
        item
        for item in model_store.listed(state, in_force)
        if item.added or item.manifest is None or item.name == default
    ]


@pytest.fixture
def newer(tmp_path):
    """The released network under another version."""
    folder = tmp_path / "newer"
    shutil.copytree(current_model().folder, folder)
    rewrite(folder, version="1.1.0")
    return folder


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def box(tmp_path):
    with Box(tmp_path / "box", services=()) as made:
        yield made


@pytest.mark.parametrize("named", ["", "network.onnx", "manifest.json"])
def test_an_added_model_is_kept_beside_the_released_ones(state, newer, named):
    made = model_store.add(state, newer / named)
    assert made.folder == state / "models" / "first-network-1.1.0"
    shutil.rmtree(newer)
    assert model_store.load(state, "first-network-1.1.0").version == "1.1.0"
    assert model_store.load(state).version == "1.0.0"
    assert made.research_use_only, "what the licence says stays"


def test_the_same_model_twice_is_one_and_another_of_its_version_is_refused(state, newer):
    model_store.add(state, newer)
    model_store.add(state, newer)
    rewrite(newer, citation="somebody else")
    with pytest.raises(ManifestError, match="another version"):
        model_store.add(state, newer)
    rewrite(newer, version="1.0.0")
    with pytest.raises(ManifestError, match=r"another first-network-1\.0\.0"):
        model_store.add(state, newer)


def test_a_changed_file_is_not_added(state, newer):
    with (newer / "network.onnx").open("r+b") as file:
        file.seek(4_000_000)
        file.write(b"\x00\x01")
    with pytest.raises(ManifestError, match="not the file that was released"):
        model_store.add(state, newer)
    assert not (state / "models").exists()


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("outputs", [{"name": "labels", "type": "float32", "shape": [1, 384, 384]}], "uint8"),
        ("outputs", [{"name": "certainty", "type": "uint8", "shape": [1, 9, 9]}], "96"),
        ("input", {"rows": 192, "columns": 192}, "can't run it"),
    ],
)
def test_a_network_that_does_not_keep_its_manifest_is_not_added(state, newer, part, value, words):
    rewrite(newer, **{part: value})
    with pytest.raises(ManifestError, match=words):
        model_store.add(state, newer)
    assert not (state / "models").exists()


def test_no_model_and_a_file_the_manifest_does_not_name_are_said(state, newer, tmp_path):
    with pytest.raises(ManifestError, match=r"no manifest\.json"):
        model_store.add(state, tmp_path)
    (newer / "other.onnx").write_bytes(b"")
    with pytest.raises(ManifestError, match=r"doesn't name other\.onnx"):
        model_store.add(state, newer / "other.onnx")


def test_an_addition_cut_short_is_no_model_and_is_cleared_away(state, newer):
    left = state / "models" / ".partial-1234"
    shutil.copytree(newer, left)
    assert [item.name for item in listed(state, [""])] == ["first-network-1.0.0"]
    model_store.add(state, newer)
    assert [path.name for path in (state / "models").iterdir()] == ["first-network-1.1.0"]


def test_a_model_spoiled_on_the_disk_is_listed_with_its_problem(state, newer):
    made = model_store.add(state, newer)
    (made.folder / "network.onnx").write_bytes(b"")
    released, added = listed(state, ["first-network-1.1.0"])
    assert (released.place, added.place, added.added) == (0, 1, True)
    assert "not the file" in added.problem
    with pytest.raises(ManifestError):
        model_store.load(state, "first-network-1.1.0")


@pytest.mark.parametrize("lost", ["network.onnx", "manifest.json"])
def test_adding_a_model_again_mends_a_copy_that_is_not_whole(state, newer, lost):
    made = model_store.add(state, newer)
    (made.folder / lost).unlink()
    [_, broken] = listed(state, [""])
    assert "can't be read" in broken.problem
    model_store.add(state, newer)
    assert [item.problem for item in listed(state, [""])] == ["", ""]
    assert [path.name for path in (state / "models").iterdir()] == ["first-network-1.1.0"]


def test_a_broken_copy_is_not_mended_with_another_model_of_its_version(state, newer):
    made = model_store.add(state, newer)
    (made.folder / "network.onnx").write_bytes(b"")
    rewrite(newer, citation="somebody else")
    with pytest.raises(ManifestError, match="another version"):
        model_store.add(state, newer)


def test_what_is_left_of_a_model_can_be_removed(state):
    (state / "models" / "half-1.0.0" / "parts").mkdir(parents=True)
    model_store.remove(state, "half-1.0.0", [""])
    assert list((state / "models").iterdir()) == []


def test_models_in_force_that_are_gone_are_listed_in_their_place(state, newer):
    model_store.add(state, newer)
    gone, released, added = listed(state, ["a-1.0.0", "first-network-1.1.0"])
    assert (gone.name, gone.place, gone.manifest, gone.added) == ("a-1.0.0", 1, None, True)
    assert "no model 'a-1.0.0'" in gone.problem
    assert (released.place, added.place) == (0, 2)


def test_a_choice_goes_over_the_file_and_every_one_is_kept(box):
    assert model_store.chosen(box.ledger, box.settings) == ("",)
    setting.choose_models(box.ledger, ["first-network-1.1.0"], "anna")
    setting.choose_models(box.ledger, ["first-network-1.0.0"], "ben")
    assert model_store.chosen(box.ledger, box.settings) == ("first-network-1.0.0",)
    taken = setting.history(box.ledger, setting.MODEL)
    assert [(row["value"], row["by"]) for row in taken] == [
        ("first-network-1.0.0", "ben"),
        ("first-network-1.1.0", "anna"),
    ]


@pytest.mark.parametrize("statement", ["UPDATE setting SET value = 'x'", "DELETE FROM setting"])
def test_a_recorded_choice_is_never_changed(box, statement):
    setting.choose_models(box.ledger, ["first-network-1.0.0"], "anna")
    with (
        pytest.raises(Exception, match="setting rows are immutable"),
        box.ledger.transaction() as db,
    ):
        db.conn.execute(statement)


def test_a_ledger_of_before_gets_the_settings_and_keeps_its_rows(box):
    box.ledger.db.conn.execute("DROP TABLE setting")
    box.ledger.db.conn.execute("DELETE FROM _sqlite_migrations WHERE name = '0002_settings'")
    box.ledger.close()
    again = Ledger(box.settings.box.state_dir)
    assert setting.chosen_models(again) == ()
    again.close()


def test_the_command_adds_lists_and_chooses(box, newer):
    done = echocart("model", "add", newer, "--config", box.config)
    assert done.returncode == 0, done.stderr
    assert "research use only" in done.stdout
    assert (
        "* first-network-1.1.0  (added" in echocart("model", "list", "--config", box.config).stdout
    )
    done = echocart("model", "use", "first-network-1.0.0", "--config", box.config)
    assert done.returncode == 0, done.stderr
    assert "* first-network-1.0.0" in echocart("model", "list", "--config", box.config).stdout
    done = echocart("model", "use", "nothing", "--config", box.config)
    assert done.returncode == 1
    assert "first-network-1.1.0" in done.stderr
    assert setting.history(box.ledger, setting.MODEL)[0]["by"]


def test_adding_says_which_loops_a_model_will_never_get_by_its_own_network(box, newer):
    gates = {**json.loads((newer / "manifest.json").read_text())["gates"], "views": ["PSAX"]}
    rewrite(newer, gates=gates)
    done = echocart("model", "add", newer, "--no-use", "--config", box.config)
    assert done.returncode == 0, done.stderr
    assert "PSAX, which its view network doesn't tell (A4C, A2C, other)" in " ".join(
        done.stderr.split()
    )
    assert "gets no loop" in done.stderr


def test_adding_says_that_a_model_without_a_view_network_measures_little(box, newer):
    rewrite(newer, view=None)
    done = echocart("model", "add", newer, "--no-use", "--config", box.config)
    assert done.returncode == 0, done.stderr
    assert "until a person sets it" in done.stderr


def test_a_model_may_be_added_without_being_chosen(box, newer):
    done = echocart("model", "add", newer, "--no-use", "--config", box.config)
    assert done.returncode == 0, done.stderr
    assert setting.chosen_models(box.ledger) == ()


def test_an_unknown_model_lists_those_there_are(state, newer):
    model_store.add(state, newer)
    with pytest.raises(ApplianceError, match=r"first-network-1\.0\.0, first-network-1\.1\.0"):
        model_store.load(state, "../models")
