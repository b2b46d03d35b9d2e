"""What an evaluation says of a network whose faults are known, and of a network that is real."""

import json

import cv2
import numpy as np
import pytest

from appliance.config import Engine
from appliance.engine.backend import Inference, open_backend
from appliance.errors import ApplianceError, CineError
from appliance.manifest import current_model
from models import corrections, report
from models.camus import open_dataset
from models.corrections import Drawn, Row
from models.data import letterboxed
from models.ejection import AREA_LENGTH, BIPLANE, EDV, SINGLE, SQUASHED
from models.evaluate import as_json, evaluate, main
from models.judging import HEART
from models.loops import judge_loop
from tests.conftest import REPOSITORY
from tests.phantom import cine_loop

LV, WALL, LA = "Left ventricle", "Myocardium", "Left atrium"
EF = (0.35, 0.5, 0.6, 0.65)


class Oracle:
    """Answers with the expert's own drawing, as `fault` changes it; certain of all it says."""

    name, precision = "onnxruntime", "f32"

    def __init__(self, folder, fault=lambda labels, row: labels, certainty=1.0):
        self._known = {}
        self._certainty = certainty
        for drawn in corrections.read(folder):
            image, mask = letterboxed(drawn)
            self._known[image.tobytes()] = fault(mask.copy(), drawn.row)

    def infer(self, frame):
        return Inference(
            self._known[frame.tobytes()],
            np.full(4, self._certainty, np.float32),
            np.full((96, 96), round(255 * self._certainty), np.uint8),
        )


def patient(number, ejection_fraction):
    """ED and ES of a heart, 4CH with its scale, 2CH squashed to 224 x 224 without one."""
    loop = cine_loop(frames=2, rate_hz=2, seed=number, ejection_fraction=ejection_fraction)
    x, y, width, height = loop.box
    for index, phase in enumerate(("ED", "ES")):
        part = np.s_[y : y + height, x : x + width]
        image, mask = loop.grey[index][part].copy(), loop.labels[index][part].copy()
        scale = loop.mm_per_px[0]
        row = Row(f"phantom{number}", "4CH", phase, "validation", spacing_mm=f"{scale:.6f}")
        yield Drawn(row, image, mask)
        size = (224, 224)
        yield Drawn(
            Row(f"phantom{number}", "2CH", phase, "validation"),
            cv2.resize(image, size, interpolation=cv2.INTER_AREA),
            cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST),
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("drawn")
    corrections.add(made, [item for n, ef in enumerate(EF) for item in patient(n, ef)])
    return made


@pytest.fixture(scope="module")
def model():
    return current_model()


@pytest.fixture(scope="module")
def frames(folder):
    return open_dataset(folder).frames("validation")


@pytest.fixture(scope="module")
def perfect(folder, frames, model):
    return evaluate(Oracle(folder), model, frames)


def summary(evaluation):
    return evaluation.report["summary"]


def test_the_experts_own_drawing_has_no_fault(perfect):
    found = summary(perfect)
    for stage in ("network", "tidied"):
        for name in (LV, WALL, LA):
            everything = found["segmentation"][stage][name]["all"]
            assert everything["dice"]["value"] == 1.0
            assert everything["hd95_px"]["value"] == 0.0
    assert found["ejection"][SINGLE]["mae"]["value"] == 0.0
    assert found["outliers"]["missing or split"]["frames"] == []
    assert found["calibration"]["regions"][HEART]["error"]["value"] == 0.0
    assert (found["frames"], found["patients"]) == (16, 4)


def test_groups_are_views_and_phases_and_mm_are_where_the_scale_is_known(perfect):
    groups = summary(perfect)["segmentation"]["network"][LV]
    assert list(groups) == ["all", "2CH", "4CH", "2CH ED", "2CH ES", "4CH ED", "4CH ES"]
    assert [group for group, found in groups.items() if "hd95_mm" in found] == [
        "4CH",
        "4CH ED",
        "4CH ES",
    ]
    assert [found["dice"]["n"] for found in groups.values()] == [16, 8, 8, 4, 4, 4, 4]


def test_volumes_and_ef_are_those_the_heart_was_drawn_with(perfect):
    for number, patient in enumerate(perfect.patients):
        assert patient.pairs[SINGLE][1] == pytest.approx(100 * EF[number], abs=3)
        assert patient.pairs[AREA_LENGTH][1] == pytest.approx(100 * EF[number], abs=4)
        assert patient.pairs[EDV][1] == pytest.approx(
            cine_loop(frames=1, seed=number).volumes_ml[0], rel=0.08
        )


def test_biplane_ef_needs_neither_the_scale_nor_the_shape_of_the_2ch(perfect):
    for number, patient in enumerate(perfect.patients):
        assert patient.pairs[BIPLANE][1] == pytest.approx(100 * EF[number], abs=3)
        assert patient.pairs[SQUASHED][1] == pytest.approx(patient.pairs[BIPLANE][1], abs=2)


def test_a_shift_of_four_pixels_is_four_pixels(folder, frames, model):
    shifted = Oracle(folder, lambda labels, row: np.roll(labels, 4, axis=1))
    found = summary(evaluate(shifted, model, frames))["segmentation"]["network"][LA]
    assert found["all"]["hd95_px"]["value"] == pytest.approx(4, abs=0.2)
    scale = cine_loop(frames=1).mm_per_px[0]
    map_px = found["4CH"]["hd95_px"]["value"] / found["4CH"]["hd95_mm"]["value"]
    assert map_px == pytest.approx(384 / cine_loop(frames=1).box[2] / scale, rel=0.02)


def test_a_speck_is_a_split_and_tidying_takes_it_away(folder, frames, model):
    def speck(labels, row):
        if (row.patient, row.view, row.phase) == ("phantom1", "4CH", "ES"):
            labels[5, 5] = 3
        return labels

    found = summary(evaluate(Oracle(folder, speck), model, frames))
    assert found["outliers"]["split"]["frames"] == ["phantom1_4CH_ES"]
    assert found["outliers"]["split"]["share"]["value"] == 1 / 16
    assert found["outliers"]["implausible after tidying"]["frames"] == []
    stages = found["segmentation"]
    assert stages["network"][LA]["all"]["dice"]["value"] < 1
    assert stages["tidied"][LA]["all"]["dice"]["value"] == 1


def test_a_lost_atrium_is_missing_and_implausible_and_has_no_distance(folder, frames, model):
    def lose(labels, row):
        return np.where(labels == 3, 0, labels).astype(np.uint8) if row.view == "2CH" else labels

    found = summary(evaluate(Oracle(folder, lose), model, frames))
    assert len(found["outliers"]["missing"]["frames"]) == 8
    assert len(found["outliers"]["implausible after tidying"]["frames"]) == 8
    atrium = found["segmentation"]["network"][LA]
    assert atrium["2CH"]["dice"]["value"] == 0
    assert atrium["2CH"]["hd95_px"] == {"value": None, "low": None, "high": None, "n": 0}
    assert atrium["all"]["hd95_px"]["n"] == 8


def test_a_lost_ventricle_leaves_the_patient_out_of_the_ef_and_says_so(folder, frames, model):
    def lose(labels, row):
        return labels * (labels != 1) if row.stem == "phantom0_4CH_ES" else labels

    found = summary(evaluate(Oracle(folder, lose), model, frames))["ejection"]
    assert (found[SINGLE]["mae"]["n"], found[SINGLE]["missing"]) == (3, 1)


def test_too_sure_is_the_calibration_error(folder, frames, model):
    modest = evaluate(Oracle(folder, certainty=0.8), model, frames)
    regions = summary(modest)["calibration"]["regions"]
    assert regions[LV]["error"]["value"] == pytest.approx(0.2, abs=1e-5)


def test_the_same_is_found_again_and_every_frame_has_its_line(folder, frames, model, perfect):
    again = evaluate(Oracle(folder), model, frames)
    text = as_json(again.report)
    assert text == as_json(perfect.report)
    read = json.loads(text)
    assert read == again.report
    assert len(read["frames"]) == 16
    assert len(read["patients"]) == 4
    assert sum(line.startswith('  {"patient"') for line in text.splitlines()) == 20


def test_a_loop_is_judged_against_itself(tmp_path, model):
    loop = cine_loop(frames=20, rate_hz=20)
    backend = open_backend(model, Engine(backend="onnxruntime"))
    found = judge_loop(backend, model, loop.write(tmp_path / "loop.dcm"))
    assert found.frames == len(found.numbers) == 20
    assert found.steadiness[LV].iou_median > 0.85
    assert 0 <= found.steadiness[LV].iou_low <= found.steadiness[LV].iou_median
    assert found.to_dict()["implausible"] == {str(n): list(w) for n, w in found.implausible.items()}


def test_what_is_no_loop_is_refused_by_its_name(tmp_path, model):
    path = cine_loop(frames=1, colour_doppler=True).write(tmp_path / "still.dcm")
    with pytest.raises(CineError, match=r"still\.dcm"):
        judge_loop(open_backend(model, Engine(backend="onnxruntime")), model, path)


def test_the_card_gets_its_figures_between_the_marks_and_nothing_else_changes(perfect, tmp_path):
    card = tmp_path / report.CARD
    card.parent.mkdir(parents=True)
    (tmp_path / "models").mkdir()
    card.write_text(f"# By hand\n{report.BEGIN}\nold\n{report.END}\nBy hand too.\n")
    perfect.report["data"] = {"name": "phantoms", "split": "validation", "sha256": "0" * 64}
    report.write(perfect, as_json(perfect.report), tmp_path, root=tmp_path)
    text = card.read_text()
    assert text.startswith("# By hand\n")
    assert text.endswith("\nBy hand too.\n")
    assert "old" not in text
    assert "| LV Dice (mean of views and phases) | ≥ 0.943 | 1.000 |" in text
    assert (tmp_path / report.RESULTS / "first-network-1.0.0.json").is_file()
    card.write_text("# No marks\n")
    with pytest.raises(ApplianceError, match="marks"):
        report.write(perfect, "{}", tmp_path, root=tmp_path)


def test_card_and_kept_reports_agree():
    """The committed card holds the figures of the committed reports."""
    text = (REPOSITORY / report.CARD).read_text(encoding="utf-8")
    block = text.partition(report.BEGIN)[2].partition(report.END)[0].strip()
    kept = [json.loads(p.read_text()) for p in sorted((REPOSITORY / report.RESULTS).glob("*.json"))]
    (shown,) = [item for item in kept if f"### {item['model']} in full" in block]
    plots = [name for name in report.PLOTS if f"images/model-{name}" in block]
    assert block == report.figures(shown, kept, plots)


@pytest.mark.models
def test_the_command_writes_a_report_plots_and_pictures(folder, tmp_path, capsys):
    assert main(["--camus", str(folder), "--out", str(tmp_path), "--backend", "onnxruntime"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"evaluation.json", "dice.png", "ejection.png", "reliability.png"} <= names
    assert cv2.imread(str(tmp_path / "worst-frames.png")).shape[1] == 4 * 384
    assert "LV Dice" in capsys.readouterr().out


@pytest.mark.models
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "test"], "no frame in test"),
        (["--model", "nobody"], "there is no released model"),
    ],
)
def test_what_is_not_there_is_one_line(folder, tmp_path, capsys, arguments, words):
    assert main(["--camus", str(folder), "--out", str(tmp_path), *arguments]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


@pytest.mark.models
def test_a_broken_frame_is_named(tmp_path, capsys):
    corrections.add(tmp_path / "drawn", patient(0, 0.5))
    mask = tmp_path / "drawn" / "masks" / "phantom0_4CH_ES.png"
    cv2.imwrite(str(mask), cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE) + 4)
    assert main(["--camus", str(tmp_path / "drawn"), "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "phantom0_4CH_ES.png holds the label 7" in said
    assert main(["--camus", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "frames.csv" in capsys.readouterr().err


def test_the_kept_figures_of_a_released_model_come_out_again(shared_data, model):
    """Three patients of CAMUS, frame by frame, against the committed report."""
    path = REPOSITORY / report.RESULTS / f"{model.name}-{model.version}.json"
    lines = json.loads(path.read_text())["frames"]
    some = sorted({line["patient"] for line in lines})[::20]
    kept = {(f["patient"], f["view"], f["phase"]): f for f in lines if f["patient"] in some}
    frames = [
        frame
        for frame in open_dataset(shared_data / "camus").frames("validation")
        if frame.patient in some
    ]
    backend = open_backend(model, Engine(backend="onnxruntime", precision="f32"))
    found = evaluate(backend, model, frames)
    assert len(found.frames) == len(kept) == 12
    for frame in found.frames:
        line = kept[frame.row.patient, frame.row.view, frame.row.phase]
        for name, value in frame.network.items():
            assert value.dice == pytest.approx(line["network"][name]["dice"], abs=0.002)
