"""Figures for drift as the engine makes them: of real loops, refusals and corrections."""

import json
from datetime import date, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from appliance import labels
from appliance.cine import open_cine
from appliance.cli import app
from appliance.drift import account
from appliance.engine import drift as watched
from appliance.engine.pipeline import fan_on_map
from appliance.engine.view import looked_at
from appliance.ledger import drift, review, worklist
from appliance.ledger.connection import insert
from appliance.ledger.review import Decision
from appliance.masks import encode_chunk
from appliance.sector import find_sector
from tests.phantom import cine_loop, on_its_head

MODEL = "first-network-1.0.0"
NAME, SERIAL = "SECRETNAME^PATIENT", "SERIAL-4711"
TODAY = date.today()


def write(tmp_path, **kwargs):
    path = tmp_path / f"{kwargs.get('seed', 0)}.dcm"
    return cine_loop(**{"frames": 40, "rows": 240, "columns": 320, **kwargs}).write(path)


def rows(bench):
    return drift.loops(bench.ledger, MODEL)


def test_a_loop_that_was_drawn_has_figures_of_pictures_and_outlines(bench, tmp_path):
    software = {"SoftwareVersions": ["204", "r1"], "DeviceSerialNumber": SERIAL}
    made = bench.analyse(write(tmp_path, elements=software, PatientName=NAME, depth_cm=15.0))
    (row,) = rows(bench)
    assert (row["seq"], row["outcome"], row["day"]) == (made["seq"], "drawn", TODAY.isoformat())
    assert row["scanner"] == "Phantom · Heart · 204 r1"
    figures = row["figures"]
    assert figures["depth_mm"] == pytest.approx(150, rel=0.05)
    assert 0.05 < figures["lv_area"] < 0.3
    assert figures["confidence_lv"] > 0.9
    assert figures["doubtful"] < 0.2
    assert "SECRET" not in str(row)
    assert SERIAL not in str(row)


def test_a_loop_that_a_gate_refused_counts_as_refused_and_has_no_outlines(bench, tmp_path):
    path = on_its_head(cine_loop(frames=40, rows=240, columns=320)).write(tmp_path / "head.dcm")
    assert bench.analyse(path)["state"] == "kept"
    (row,) = rows(bench)
    assert row["outcome"] == "refused"
    assert "brightness" in row["figures"]
    assert "lv_area" not in row["figures"]


def pictures(path, gain=1.0, cut=0):
    with open_cine(path) as cine:
        sector = find_sector(cine)
        frames = [(frame * gain).astype(np.uint8) for frame in looked_at(cine, sector)]
        fan = fan_on_map(sector)
        fan[:, :cut] = fan[:, fan.shape[1] - cut :] = False
        return watched.of_pictures(frames, fan, None)


def test_a_lower_gain_and_another_sector_change_just_those_figures(tmp_path):
    plain, other_pixels = write(tmp_path), write(tmp_path, seed=1, pixel_aspect=1.3)
    before, dark, narrow = pictures(plain), pictures(plain, 0.7), pictures(plain, cut=60)
    assert dark["brightness"] == pytest.approx(0.7 * before["brightness"], rel=0.03)
    assert dark["contrast"] < 0.8 * before["contrast"]
    assert dark["fan_aspect"] == before["fan_aspect"]
    assert narrow["fan_aspect"] < 0.8 * before["fan_aspect"]
    # The same heart on pixels that aren't square is no other sector.
    alike = pictures(other_pixels)
    assert alike["fan_aspect"] == pytest.approx(before["fan_aspect"], rel=0.02)
    assert alike["brightness"] == pytest.approx(before["brightness"], rel=0.05)


def decide(bench, made, decision, key, chunks=(), geometry=None):
    return review.record(
        bench.ledger,
        Decision(
            seq=made["seq"],
            analysis_sha256=made["analysis"]["sha256"],
            patient_id=made["patient_id"],
            decision=decision,
            reviewer="AK",
            key=key,
            chunks=chunks,
            geometry=geometry or {},
        ),
        [],
    )


def test_a_correction_has_the_size_of_what_it_changed(bench, tmp_path):
    made = bench.analyse(write(tmp_path))
    drawn = labels.of_analysis(bench.ledger, bench.spool, made["analysis"]["id"])
    changed = np.stack([drawn.stored(frame)[0] for frame in (4, 5)])
    ventricle = changed == 1
    changed[ventricle] = 2  # all of the cavity is called wall
    sha256 = bench.spool.put_chunk(encode_chunk(changed))
    decide(bench, made, "corrected", "c", [(4, 2, sha256)], made["analysis"]["geometry"])
    watch = watched.Watch(bench.ledger, bench.spool, tmp_path / "state")
    watch.turn()
    (row,) = drift.reviews(bench.ledger, MODEL)
    # Nothing of the ventricle is left, the atrium stays, the wall has grown.
    assert row["decision"] == "corrected"
    assert 1 / 3 < row["size"] < 2 / 3
    decide(bench, worklist.loop(bench.ledger, made["seq"]), "accepted", "a")
    watch.turn()
    (row,) = drift.reviews(bench.ledger, MODEL)
    assert (row["decision"], row["size"]) == ("accepted", None)


@pytest.fixture
def site(bench, tmp_path):
    """A box of some weeks: 12 studies a day like the makers', but for darker ones of late."""
    made = bench.analyse(write(tmp_path, PatientName=NAME, PatientID="SECRET-ID"))
    known = rows(bench)[0]["figures"]
    random = np.random.default_rng(3)
    told = []
    for back in range(40, 0, -1):
        day = (TODAY - timedelta(days=back)).isoformat()
        for _study in range(12):
            figures = {name: value * random.normal(1, 0.03) for name, value in known.items()}
            figures["brightness"] *= 1.0 if back > 7 else 0.6
            told.append((day, figures, "GE · E95 · 204" if back > 20 else "GE · E95 · 206"))
    studies(bench, made["seq"], told)
    return bench


def studies(bench, like, told):
    """Other studies of a loop each, as their rows would be: day, figures, scanner."""
    (row,) = bench.ledger.read("SELECT * FROM instance WHERE seq = ?", [like])
    with bench.ledger.transaction() as db:
        for number, (day, figures, scanner) in enumerate(told, like + 1):
            uids = {"sop_instance_uid": f"1.2.3.{number}", "study_instance_uid": f"1.2.9.{number}"}
            insert(db, "instance", {**row, **uids, "seq": number})
            about = {"seq": number, "model": MODEL, "outcome": "drawn", "day": day}
            figured = {"scanner": scanner, "figures": json.dumps(figures)}
            insert(db, "drift_loop", {**about, **figured})


def turn(bench, tmp_path, days):
    """Let the engine have as many turns as there are days to look at, and one more."""
    watch = watched.Watch(bench.ledger, bench.spool, tmp_path / "state")
    for _turn in range(days + 1):
        watch.turn()


def test_the_engine_looks_at_each_past_day_once_and_tells_what_differs(site, tmp_path):
    turn(site, tmp_path, days=28)
    found = drift.found(site.ledger, MODEL, "2000-01-01")
    days = {row["day"] for row in found}
    assert len(days) == 28  # older ones are not looked at any more, today isn't over
    assert TODAY.isoformat() not in days
    turn(site, tmp_path, days=1)
    assert drift.found(site.ledger, MODEL, "2000-01-01") == found
    told = account.state(site.ledger, MODEL, TODAY.isoformat())
    own = {item["feature"]: item for item in account.differing(told) if item["source"] == "box"}
    assert own.keys() == {"brightness", "unknown_scanner"}
    since = date.fromisoformat(own["brightness"]["since"])
    assert TODAY - timedelta(days=7) <= since <= TODAY - timedelta(days=5)
    learning = [item for item in told["features"] if item["learning"]]
    assert not [item for item in learning if item["kind"] != "people"]


def test_what_is_exported_is_of_whole_weeks_and_of_nobody(site, tmp_path):
    config = tmp_path / "echocart.toml"
    config.write_text(f'[box]\nae_title = "ECHOCART"\nstate_dir = "{tmp_path / "state"}"\n')
    turn(site, tmp_path, days=28)
    file = tmp_path / "drift.json"
    run = CliRunner().invoke(app, ["drift", "--config", str(config), "--export", str(file)])
    assert run.exit_code == 0, run.output
    text = file.read_text()
    assert "SECRET" not in text
    assert "1.2.9" not in text
    (made,) = json.loads(text)["models"]
    monday = (TODAY - timedelta(days=TODAY.weekday())).isoformat()
    assert all(row["week"] < monday for row in [*made["weeks"], *made["looks"]])
    assert all(row["studies"] is None or row["studies"] >= 10 for row in made["weeks"])
    assert all(count % 10 == 0 for count in made["scanners"].values())
    assert made["scanners"].keys() == {"GE · E95 · 204", "GE · E95 · 206"}
    told = CliRunner().invoke(app, ["drift", "--config", str(config)])
    assert "differs   brightness" in told.output
    assert "SECRET" not in told.output


def test_a_few_studies_of_a_week_are_not_told(bench, tmp_path):
    made = bench.analyse(write(tmp_path))
    figures = rows(bench)[0]["figures"]
    monday = TODAY - timedelta(days=TODAY.weekday() + 7)
    studies(bench, made["seq"], [(monday.isoformat(), figures, "RARE · ONE · 1")] * 9)
    out = account.exported(bench.ledger, MODEL, TODAY.isoformat())
    assert {row["studies"] for row in out["weeks"]} == {None}
    assert not [row for row in out["weeks"] if "mean" in row]
    assert "RARE" not in json.dumps(out)
