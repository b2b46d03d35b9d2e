"""Several models side by side: the first whose gate takes a loop draws it, one that breaks stops none."""

import json
import shutil

import pytest

from appliance.engine.admission import NOT_DRAWN, SAID_OTHER
from appliance.engine.choice import Choice
from appliance.engine.view import NOT_APICAL
from appliance.errors import ManifestError
from appliance.ledger import engine_state, setting, view, worklist
from appliance.ledger.view import Said
from appliance.manifest import current_model
from appliance.measures.summary import NOT_THE_HEART
from appliance.releases import model_store
from appliance.views import NO_VIEW
from appliance.webui.correcting import correct
from tests.box import Box
from tests.engine import tiny_onnx
from tests.engine.conftest import Bench
from tests.phantom import cine_loop, on_its_head
from tests.test_cli import echocart
from tests.webui.reviewbox import Page

pytestmark = pytest.mark.usefixtures("compiled_once")
BOTH = "first-network-1.0.0"  # as it was released: A4C and A2C


@pytest.fixture
def box(tmp_path):
    with Box(tmp_path / "box", services=()) as made:
        yield made


@pytest.fixture
def of_views(box, tmp_path):
    """Add the released network once more, for some views only."""

    def added(name, *views):
        folder = tmp_path / name
        shutil.copytree(current_model().folder, folder)
        path = folder / "manifest.json"
        said = json.loads(path.read_text())
        said["name"], said["gates"]["views"] = name, list(views)
        path.write_text(json.dumps(said))
        return model_store.name_of(model_store.add(box.settings.box.state_dir, folder))

    return added


@pytest.fixture
def unseeing(box, tmp_path):
    """The released network without its view network."""
    folder = tmp_path / "noview"
    shutil.copytree(current_model().folder, folder)
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "noview", "view": None}))
    return model_store.name_of(model_store.add(box.settings.box.state_dir, folder))


@pytest.fixture
def bright(box, tmp_path):
    return model_store.name_of(
        model_store.add(box.settings.box.state_dir, tiny_onnx.write(tmp_path / "bright"))
    )


@pytest.fixture
def bench_of(box):
    """An engine with models in an order."""

    def made(*names):
        setting.choose_models(box.ledger, names, "anna")
        choice = Choice(box.ledger, box.settings)
        bench = Bench(box.settings.box.state_dir, current_model())
        bench.choice, bench.models = choice, choice.first()
        bench.worker = bench.worker_of(bench.models)
        return bench

    return made


def heart(tmp_path, seed=0, frames=16):
    return cine_loop(frames=frames, seed=seed).write(tmp_path / f"heart-{seed}.dcm")


def turned(tmp_path):
    return on_its_head(cine_loop(frames=16, seed=2)).write(tmp_path / "turned.dcm")


def drawn_by(loop):
    return f"{loop['analysis']['model_name']}-{loop['analysis']['model_version']}"


def say(bench, seq, name):
    view.say(bench.ledger, Said(seq, name, "AK", view.of(bench.ledger, seq)["id"]))
    assert bench.worker.work_once()
    return bench.loop(seq)


def test_a_loop_goes_to_the_model_whose_gate_takes_it(bench_of, of_views, bright, tmp_path):
    four, two = of_views("four", "A4C"), of_views("two", "A2C")
    bench = bench_of(two, four, bright)
    apical = bench.analyse(heart(tmp_path))
    assert drawn_by(apical) == four
    assert apical["view"]["view"] == "A4C"
    other = bench.analyse(turned(tmp_path))
    assert drawn_by(other) == bright
    assert other["view"]["view"] == "PSAX"


def test_what_a_person_says_decides_which_model_measures_a_kept_loop(bench_of, of_views, tmp_path):
    bench = bench_of(of_views("two", "A2C"))
    loop = bench.analyse(heart(tmp_path))
    assert (loop["state"], loop["reason"]) == ("kept", NOT_DRAWN.format(view="A4C"))
    assert drawn_by(say(bench, loop["seq"], "A2C")) == "two-1.0.0"


def test_of_several_that_take_it_the_first_in_order_draws(bench_of, of_views, tmp_path):
    four = of_views("four", "A4C")
    assert drawn_by(bench_of(BOTH, four).analyse(heart(tmp_path))) == BOTH
    assert drawn_by(bench_of(four, BOTH).analyse(heart(tmp_path, 1))) == four


def test_what_no_gate_takes_is_kept_with_the_reason(bench_of, of_views, tmp_path):
    bench = bench_of(of_views("four", "A4C"), BOTH)
    loop = bench.analyse(turned(tmp_path))
    assert (loop["state"], loop["reason"]) == ("kept", NOT_APICAL)
    assert bench.ledger.read("SELECT 1 FROM analysis") == []


def test_a_loop_called_another_view_is_drawn_anew_by_the_model_of_that_view(
    bench_of, of_views, tmp_path
):
    bench = bench_of(of_views("four", "A4C"), of_views("two", "A2C"))
    bench.choice.newer()
    seq = bench.analyse(heart(tmp_path))["seq"]
    assert drawn_by(say(bench, seq, "A2C")) == "two-1.0.0"


def test_a_loop_whose_model_draws_both_views_is_not_drawn_anew(bench_of, of_views, tmp_path):
    bench = bench_of(BOTH, of_views("two", "A2C"))
    seq = bench.analyse(heart(tmp_path))["seq"]
    view.say(bench.ledger, Said(seq, "A2C", "AK", view.of(bench.ledger, seq)["id"]))
    assert not bench.worker.work_once()


def test_what_a_person_calls_another_view_goes_to_no_apical_model(bench_of, bright, tmp_path):
    bench = bench_of(BOTH)
    seq = bench.analyse(turned(tmp_path))["seq"]
    view.say(bench.ledger, Said(seq, "other", "AK", view.of(bench.ledger, seq)["id"]))
    bench.ledger.db.execute("UPDATE job SET state = 'queued'")  # analysed anew
    bench.ledger.db.conn.commit()
    bench.worker.work_once()
    assert bench.loop(seq)["reason"] == SAID_OTHER
    bench.ledger.db.execute("UPDATE job SET state = 'queued'")
    bench.ledger.db.conn.commit()
    bench = bench_of(BOTH, bright)
    bench.worker.work_once()
    assert drawn_by(bench.loop(seq)) == bright


def test_what_an_earlier_network_refuses_goes_to_no_model_that_tells_no_views(
    bench_of, unseeing, tmp_path
):
    loop = bench_of(BOTH, unseeing).analyse(turned(tmp_path))
    assert (loop["state"], loop["reason"]) == ("kept", NOT_APICAL)


def test_a_model_that_tells_no_views_draws_what_an_earlier_network_recognised(
    bench_of, of_views, unseeing, tmp_path
):
    bench = bench_of(of_views("two", "A2C"), unseeing)
    loop = bench.analyse(heart(tmp_path, frames=40))
    assert (drawn_by(loop), loop["view"]["view"]) == (unseeing, "A4C")
    assert loop["view"]["by"] == current_model().view.sha256
    assert loop["analysis"]["measures"]["ef_percent"]


def test_without_a_view_nothing_is_measured_until_a_person_tells_it(bench_of, unseeing, tmp_path):
    bench = bench_of(unseeing)
    bench.choice.newer()
    loop = bench.analyse(heart(tmp_path, frames=40))
    measures = loop["analysis"]["measures"]
    assert (loop["view"]["view"], measures["withheld"]["ef_percent"]) == ("", NO_VIEW)
    assert not any(measures[name] for name in ("ef_percent", "edv_ml", "la_volume_ml", "beats"))
    assert measures["lv_area_curve"][0]
    analysed = worklist.analysis(bench.ledger, loop["analysis"]["id"])
    corrected = correct(bench.ledger, bench.spool, analysed, {}, None, (None, None)).measures
    assert (corrected["ef_percent"], corrected["withheld"]) == (None, measures["withheld"])
    again = say(bench, loop["seq"], "A4C")["analysis"]["measures"]
    assert again["ef_percent"]
    assert "ef_percent" not in again["withheld"]


def test_other_structures_come_with_their_names_and_nothing_is_measured(bench_of, bright, tmp_path):
    made = bench_of(BOTH, bright).analyse(turned(tmp_path))["analysis"]
    assert [item["name"] for item in made["labels"]] == ["Bright tissue"]
    assert made["measures"]["ef_percent"] is None
    assert made["measures"]["withheld"]["ef_percent"] == NOT_THE_HEART
    assert made["quality"]["figures"]["drawn"] == 1.0
    assert len(made["per_frame"]) == 16


def test_a_model_that_finds_nothing_shows_nothing(box, bench_of, tmp_path):
    folder = tiny_onnx.write(tmp_path / "blind", "blind", threshold=300.0)
    blind = model_store.name_of(model_store.add(box.settings.box.state_dir, folder))
    bench = bench_of(BOTH, blind)
    loop = bench.analyse(turned(tmp_path))
    assert loop["state"] == "kept"
    assert "too few frames" in loop["reason"]
    assert bench.ledger.read("SELECT 1 FROM analysis") == []


def test_beside_the_first_only_the_model_used_last_is_in_memory(
    bench_of, of_views, bright, tmp_path
):
    two = of_views("two", "A2C")
    bench = bench_of(BOTH, two, bright)

    def loaded():
        return [model.name for model in bench.models if model.loaded]

    assert loaded() == [BOTH]
    bench.analyse(turned(tmp_path))
    assert loaded() == [BOTH, bright]
    bench.models.backend_of(next(model for model in bench.models if model.name == two))
    assert loaded() == [BOTH, two]
    bench.analyse(heart(tmp_path))
    assert loaded() == [BOTH, two]


def test_a_model_whose_file_breaks_costs_its_own_loops_only(bench_of, bright, tmp_path, box):
    bench = bench_of(BOTH, bright)
    (box.settings.box.state_dir / "models" / bright / "network.onnx").write_bytes(b"broken")
    seq = bench.receive(turned(tmp_path))
    for _ in range(3):
        bench.worker.work_once()
    lost = bench.loop(seq)
    assert lost["state"] == "quarantined"
    assert bright in lost["reason"]
    assert drawn_by(bench.analyse(heart(tmp_path))) == BOTH
    bench.choice.newer()
    row = engine_state.get(box.ledger)
    assert f"Nothing is drawn with {bright}: " in engine_state.problem(row)


def test_a_broken_models_loops_go_to_the_next_that_takes_them(bench_of, of_views, tmp_path, box):
    two, four = of_views("two", "A2C"), of_views("four", "A4C")
    bench = bench_of(two, four, BOTH)
    for variant in current_model().variants:
        (box.settings.box.state_dir / "models" / four / variant.file).write_bytes(b"broken")
    assert drawn_by(bench.analyse(heart(tmp_path))) == BOTH


def test_a_model_that_does_not_load_at_the_start_is_left_out_and_said(
    bench_of, bright, tmp_path, box
):
    (box.settings.box.state_dir / "models" / bright / "view.onnx").unlink()
    bench = bench_of(bright, BOTH)
    assert drawn_by(bench.analyse(heart(tmp_path))) == BOTH
    row = engine_state.get(box.ledger)
    assert row["model"] == BOTH
    assert bright in engine_state.in_words(row)
    assert "can't be read" in engine_state.problem(row)


def test_asked_to_retry_a_mended_model_draws_again(bench_of, bright, tmp_path, box):
    bench = bench_of(BOTH, bright)
    network = box.settings.box.state_dir / "models" / bright / "network.onnx"
    whole = network.read_bytes()
    network.write_bytes(b"broken")
    seq = bench.receive(turned(tmp_path))
    bench.worker.work_once()
    assert bench.loop(seq)["state"] == "received"
    network.write_bytes(whole)
    setting.retry_gpu(box.ledger, "anna")
    bench.choice.newer()
    bench.worker.work_once()
    assert drawn_by(bench.loop(seq)) == bright


def test_a_model_of_other_structures_without_a_view_network_is_refused(box, tmp_path):
    folder = tiny_onnx.write(tmp_path / "blunt", "blunt")
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "view": None}))
    with pytest.raises(ManifestError, match="no view network"):
        model_store.add(box.settings.box.state_dir, folder)


def test_what_a_release_of_one_model_chose_stands_alone(box):
    setting.choose_models(box.ledger, ["a-1.0.0", "b-1.0.0"], "anna")
    assert setting.chosen_models(box.ledger) == ("a-1.0.0", "b-1.0.0")
    with box.ledger.transaction() as db:
        row = {"name": setting.MODEL, "value": "c-1.0.0", "by": "old", "at": "2026"}
        db.table("setting").insert(row)
    assert setting.chosen_models(box.ledger) == ("c-1.0.0",)


def test_the_command_line_puts_models_side_by_side_and_takes_them_away(box, tmp_path):
    folder, config = tiny_onnx.write(tmp_path / "bright"), ("--config", box.config)
    done = echocart("model", "add", folder, "--beside", *config)
    assert f"{BOTH}, then bright-1.0.0" in done.stdout, done.stderr
    shown = echocart("model", "list", *config).stdout
    assert f"1 {BOTH}  (shipped, draws A4C, A2C" in shown
    assert "2 bright-1.0.0  (added, draws PSAX" in shown
    refused = echocart("model", "remove", "bright-1.0.0", *config)
    assert refused.returncode == 1
    assert "is in use" in refused.stderr
    assert echocart("model", "use", BOTH, *config).returncode == 0
    assert echocart("model", "remove", "bright-1.0.0", *config).returncode == 0
    assert "bright" not in echocart("model", "list", *config).stdout
    assert "came with the box" in echocart("model", "remove", BOTH, *config).stderr


def test_the_toml_files_model_can_be_named_among_others(box, tmp_path):
    model_store.add(box.settings.box.state_dir, tiny_onnx.write(tmp_path / "bright"))
    done = echocart("model", "use", "bright-1.0.0", "", "--config", box.config)
    assert f"bright-1.0.0, then {BOTH}" in done.stdout, done.stderr
    assert setting.chosen_models(box.ledger) == ("bright-1.0.0", BOTH)
    assert echocart("model", "use", "", "--config", box.config).returncode == 0
    assert setting.chosen_models(box.ledger) == ()


def test_the_page_shows_the_structures_of_the_model_that_drew(tmp_path):
    with Box(tmp_path / "box", services=("engine", "webui")) as box:
        model_store.add(box.settings.box.state_dir, tiny_onnx.write(tmp_path / "bright"))
        setting.choose_models(box.ledger, [BOTH, "bright-1.0.0"], "anna")
        box.wait_for(lambda: ", then bright-1.0.0" in box.log("engine"), "the second model")
        seq = Bench(box.settings.box.state_dir).receive(turned(tmp_path))
        [loop] = box.wait_settled(1)
        assert drawn_by(loop) == "bright-1.0.0"
        page = Page(box)
        shown = json.loads(page.ask(f"/api/loops/{seq}")[2])
        [structure] = shown["analysis"]["structures"]
        assert (structure["name"], structure["colour"]) == ("Bright tissue", "#00FF7F")
        assert NOT_THE_HEART in json.dumps(shown)
        assert page.ask(f"/api/loops/{seq}/contours")[0] == 200

        def said():
            return engine_state.in_words(engine_state.get(box.ledger))

        box.wait_for(lambda: "bright-1.0.0 for PSAX on openvino" in said(), "the account")
        assert f"{BOTH} for A4C, A2C on openvino" in said()


def test_the_toml_file_may_name_models_beside_the_first(tmp_path):
    folder = tiny_onnx.write(tmp_path / "bright")
    extra = '[engine]\nbeside = ["bright-1.0.0"]\n'
    with Box(tmp_path / "box", services=(), extra=extra) as box:
        model_store.add(box.settings.box.state_dir, folder)
        models = Choice(box.ledger, box.settings).first()
        assert [model.name for model in models] == [BOTH, "bright-1.0.0"]


def test_without_one_usable_model_the_engine_says_which(tmp_path):
    extra = '[engine]\nmodel = "bright-1.0.0"\n'
    with Box(tmp_path / "box", services=(), extra=extra) as box:
        made = model_store.add(box.settings.box.state_dir, tiny_onnx.write(tmp_path / "bright"))
        (made.folder / "network.onnx").write_bytes(b"")
        with pytest.raises(ManifestError, match="not the file that was released"):
            Choice(box.ledger, box.settings).first()


def test_when_no_chosen_model_can_be_used_status_and_page_say_so_for_each(
    bench_of, unseeing, bright, box
):
    models = box.settings.box.state_dir / "models"
    (models / unseeing / "network.onnx").write_bytes(b"")
    shutil.rmtree(models / bright)
    bench = bench_of(unseeing, bright)  # as after a restart
    assert [model.name for model in bench.models] == [BOTH]
    row = engine_state.get(box.ledger)
    assert row["model"] == BOTH
    for name in (unseeing, bright):
        assert f"{name} can't be used: " in engine_state.in_words(row)
        assert f"Nothing is drawn with {name}: " in engine_state.problem(row)


def test_models_that_can_not_take_over_are_told_and_a_repaired_one_does(
    bench_of, bright, tmp_path, box
):
    bench = bench_of(BOTH)
    network = box.settings.box.state_dir / "models" / bright / "network.onnx"
    network.write_bytes(b"")
    setting.choose_models(box.ledger, [bright], "anna")
    assert bench.choice.newer() is None
    assert bright in engine_state.problem(engine_state.get(box.ledger))
    model_store.add(box.settings.box.state_dir, tmp_path / "bright")
    setting.choose_models(box.ledger, [bright], "anna")
    assert [model.name for model in bench.choice.newer() or ()] == [bright]
    assert engine_state.problem(engine_state.get(box.ledger)) == ""
