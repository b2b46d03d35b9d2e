"""`echocart model fetch|prove|stage|promote|rollback|why` as biomed types them."""

import json
import shutil

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from appliance.cli import app
from appliance.cli import release as commands
from appliance.config import Engine
from appliance.engine import rollout
from appliance.errors import ApplianceError, BackendError
from appliance.ledger import release
from appliance.releases import bundle, model_store
from tests.central import CartBox, Central, packed


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    central = Central(folder)
    box = CartBox(folder, central)
    for path in packed(folder, "2.0.0", "2.1.0").values():
        central.release(path)
    state = box.settings.box.state_dir
    (folder / "echocart.toml").write_text(
        f'[box]\nae_title = "ECHOCART"\nstate_dir = "{state}"\n'
        f'[updates]\nurl = "{box.settings.updates.url}"\nroot = "{box.settings.updates.root}"\n'
    )
    yield folder, box
    central.server.shutdown()
    central.server.server_close()


@pytest.fixture
def typed(place):
    folder, _ = place

    def run(*words):
        arguments = ["model", *words, "--config", str(folder / "echocart.toml")]
        return CliRunner().invoke(app, arguments)

    return run


def test_a_model_is_fetched_proven_promoted_and_taken_back(place, typed):
    _, box = place
    shipped = model_store.resolved([""])[0]
    assert "fetched: cart-2.0.0, cart-2.1.0" in typed("fetch").output
    assert "there is nothing new" in typed("fetch").output
    assert "cart-2.1.0 is proven: Left ventricle 0.99" in typed("prove", "cart-2.1.0").output
    assert "cart-2.1.0 is proven" in typed("stage", "cart-2.1.0").output
    assert "staged already" in typed("stage", "cart-2.1.0").output
    waits = f"cart-2.1.0 is a candidate in place of {shipped}; it waits: 0 of 50 loops are drawn"
    assert waits in typed("list").output
    assert waits in typed("why").output
    (trial,) = (
        one["candidate"] for one in json.loads(typed("list", "--json").output) if one["candidate"]
    )
    assert (trial["against"], trial["verdict"], trial["figures"]["loops"]) == (shipped, "waits", 0)
    assert model_store.chosen(box.ledger, box.settings) == ("",)
    assert typed("promote", "cart-2.1.0").exit_code == 0
    assert model_store.chosen(box.ledger, box.settings) == ("cart-2.1.0",)
    older = typed("promote", "cart-2.0.0")
    assert isinstance(older.exception, ApplianceError)
    assert "cart-2.0.0 is older than cart-2.1.0" in str(older.exception)
    assert f"{shipped} draws again" in typed("rollback").output
    assert model_store.chosen(box.ledger, box.settings) == (shipped,)
    assert not any(
        one["candidate"]
        for one in json.loads(typed("list", "--json").output)
        if one["name"] == "cart-2.1.0"
    )
    (item,) = (one for one in json.loads(typed("list", "--json").output) if one["place"])
    assert (item["name"], item["added"], item["state"]) == (shipped, False, "")
    states = [row["state"] for row in json.loads(typed("why", "cart-2.1.0", "--json").output)]
    assert states == ["fetched", "staged", "promoted", "taken back"]
    told = typed("why", "cart-2.1.0").output
    assert [word in told for word in ("fetched", "staged", "promoted", "taken back")] == [True] * 4


def test_what_never_came_can_t_be_promoted(typed):
    found = typed("promote", "cart-9.9.9")
    assert "cart-9.9.9 did not come by an update" in str(found.exception)


def test_a_model_that_draws_otherwise_than_its_makers_saw_is_refused(place, typed, tmp_path):
    _, box = place
    typed("fetch")
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.unpacked(box.settings.box.state_dir, "cart-2.0.0"), folder)
    found = bundle.opened(folder)
    labels = next(labels for _, labels in found.golden())
    moved = np.roll(cv2.imread(str(labels), cv2.IMREAD_GRAYSCALE), 40, axis=1)
    cv2.imwrite(str(labels), moved)
    with pytest.raises(BackendError, match="on the golden frames"):
        rollout.prove(found, Engine(precision="f32"))
    labels.write_bytes(b"no picture")
    with pytest.raises(BackendError, match="can't be read"):
        rollout.prove(found, Engine(precision="f32"))


def test_a_model_that_ends_its_process_or_hangs_is_refused_and_why_says_so(
    place, typed, monkeypatch
):
    _, box = place
    typed("fetch")
    for code, why in (("os.abort()", "signal 6"), ("time.sleep(60)", "more than 1 s")):
        child = tmp_module(place[0], f"import os, time; {code}")
        monkeypatch.setattr(commands, "_ROLLOUT", child)
        monkeypatch.setattr(commands, "_PROVEN_S", 1.0)
        monkeypatch.setenv("PYTHONPATH", str(place[0]))
        found = typed("prove", "cart-2.0.0")
        assert why in str(found.exception)
        assert why in typed("why", "cart-2.0.0").output
        row = release.newest(box.ledger)["cart-2.0.0"]
        assert row["state"] == "refused"
        release.step(box.ledger, "cart-2.0.0", row["sha256"], "fetched", "again")


def test_no_release_draws_because_somebody_names_it(place, typed):
    _, box = place
    typed("fetch")
    shipped, name = model_store.resolved([""])[0], "cart-2.0.0"
    sha256 = release.newest(box.ledger)[name]["sha256"]
    for state, hint in (
        ("fetched", "echocart model promote cart-2.0.0"),
        ("staged", "isn't promoted yet"),
        ("refused", "is refused: it ended"),
        ("withdrawn", "is withdrawn: it ended"),
    ):
        release.step(box.ledger, name, sha256, state, "it ended")
        assert hint in str(typed("use", name).exception)
        assert model_store.resolved(model_store.chosen(box.ledger, box.settings)) == (shipped,)
    release.step(box.ledger, name, sha256, "taken back", "")
    assert typed("use", name, shipped).exit_code == 0, "what drew here, a person may choose"
    assert typed("use", "").exit_code == 0


def test_a_release_that_is_deleted_is_a_candidate_no_more(place, typed):
    _, box = place
    typed("fetch")
    name = "cart-2.0.0"
    release.step(box.ledger, name, release.newest(box.ledger)[name]["sha256"], "fetched", "")
    assert typed("remove", name).exit_code == 0
    assert "it was removed from this box" in typed("why", name).output
    assert f"{name} is a candidate" not in typed("list").output
    assert "cart-9.9.9 did not come by an update" in str(typed("why", "cart-9.9.9").exception)


def tmp_module(folder, code):
    (folder / "ending.py").write_text(code)
    return "ending"
