"""The report on the order of reviews: right on loops whose error is known."""

import numpy as np
import pytest

from appliance.engine.backend import Inference
from appliance.manifest import current_model
from appliance.ranking import Facts, ranked
from models import corrections
from models.camus import open_dataset
from models.corrections import Drawn, Row
from models.data import letterboxed
from models.ranking import EXPERT, Loop, by_ranking, looked_at, report, text
from tests.phantom import cine_loop


def loops(unsure, error):
    return [
        Loop(f"p{n:02d}", "4CH", float(u), {EXPERT: float(e)})
        for n, (u, e) in enumerate(zip(unsure, error, strict=True))
    ]


def row(found, share):
    (only,) = [one for one in found["figures"] if one["reviewed"] == share]
    return only


def test_where_the_network_knows_when_it_is_wrong_the_ranking_corrects_as_much_as_can_be():
    error = np.linspace(0.0, 0.2, 50)
    found = report(loops(error / 2, error))
    half = row(found, 0.5)
    # The larger half of 0, 1, ... 49 over the sum of all.
    assert half["corrected"]["value"] == pytest.approx(
        sum(range(25, 50)) / sum(range(50)), abs=1e-4
    )
    assert half["corrected"] == half["knowing"]
    assert row(found, 0.1)["worst_found"]["value"] == 1.0


def test_where_it_does_not_the_ranking_is_told_to_be_no_better_than_the_lot():
    random = np.random.default_rng(1)
    found = row(report(loops(random.random(200), random.random(200))), 0.5)
    assert found["corrected"]["low"] < 0.5 < found["corrected"]["high"]
    assert found["knowing"]["low"] > 0.65


def test_the_order_is_that_of_the_page():
    rows = np.random.default_rng(2).random((60, 2))
    shown = ranked([Facts(seq, unsure) for seq, unsure in enumerate(rows[:, 0])])
    assert by_ranking(rows) == [item.seq for item in shown]


class Careless:
    """Draws as the expert but for some patients, where it loses half the ventricle, less sure."""

    name, precision = "onnxruntime", "f32"

    def __init__(self, folder, poor):
        self._known = {}
        for drawn in corrections.read(folder):
            image, mask = letterboxed(drawn)
            wrong = drawn.row.patient in poor
            if wrong:
                rows = np.flatnonzero((mask == 1).any(axis=1))
                mask[: int(rows.mean())][mask[: int(rows.mean())] == 1] = 2
            self._known[image.tobytes()] = (mask, 0.8 if wrong else 0.95)

    def infer(self, frame):
        labels, sure = self._known[frame.tobytes()]
        certainty = np.full((96, 96), round(255 * sure), np.uint8)
        return Inference(labels, np.full(4, sure, np.float32), certainty)


def test_views_are_drawn_once_and_every_reviewer_differs_by_the_own_hand(tmp_path):
    made = []
    for number in range(4):
        loop = cine_loop(frames=2, rate_hz=2, seed=number)
        x, y, width, height = loop.box
        part = np.s_[y : y + height, x : x + width]
        for index, phase in enumerate(("ED", "ES")):
            about = Row(f"phantom{number}", "4CH", phase, "validation")
            made.append(
                Drawn(about, loop.grey[index][part].copy(), loop.labels[index][part].copy())
            )
    corrections.add(tmp_path, made)
    frames = open_dataset(tmp_path).frames("validation")
    backend = Careless(tmp_path, {"phantom2"})
    found = list(looked_at(backend, current_model(), frames))
    assert [loop.patient for loop in found] == [f"phantom{number}" for number in range(4)]
    worst = max(found, key=lambda loop: loop.errors[EXPERT])
    assert worst.patient == "phantom2"
    assert worst.unsureness == pytest.approx(0.2, abs=1e-3) == max(f.unsureness for f in found)
    good = found[0].errors
    assert good[EXPERT] < 0.01  # what tidying takes away
    assert len(good) == 6
    assert len({round(error, 6) for name, error in good.items() if name != EXPERT}) == 5
    assert all(error > 0.02 for name, error in good.items() if name != EXPERT)
    told = {"model": "m", "precision": "p", "data": "d", **report(found)}
    assert "| expert | 50% | 50% | " in text(told)
