"""The box says how long each stage takes, and when masks don't keep up with the loops."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from appliance import pace
from appliance.ledger import Ledger, analysis, reception
from tests.box import Box
from tests.phantom import cine_loop
from tests.webui.reviewbox import Page, send


def row(total_ms, frames=60, rate_hz=30.0, infer=10.0):
    stages = {"infer": {"ms": infer, "ms_per_frame": infer / frames}}
    timings = {"frames": frames, "total_ms": total_ms, "first_masks_ms": 5.0, "stages": stages}
    return {"timings": timings, "timing": {"rate_hz": rate_hz}, "engine": "x", "precision": "f32"}


def receive(ledger, seed):
    received = reception.Received(f"1.2.{seed}", "1.2", "1.3", f"{seed:064x}", 1, "CART", "")
    return reception.record(ledger, received).seq


def test_stages_are_given_by_median_and_95th_percentile():
    found = {s.stage: s for s in pace.spreads([row(1000, infer=ms) for ms in range(1, 102)])}
    assert (found["infer"].median, found["infer"].p95) == (51.0, 96.0)
    assert found["infer"].per_frame == pytest.approx(51 / 60, abs=1e-3)
    assert list(found) == ["infer", "first_masks", "total"]


def test_frames_a_second_stand_beside_the_loops_own():
    assert pace.rates([row(1000), row(2000), row(3000)]) == (30.0, 30.0)
    assert pace.rates([]) is None


def test_a_few_waiting_loops_are_no_news_and_more_are(tmp_path):
    ledger = Ledger(tmp_path)
    for seed in range(2):
        receive(ledger, seed)
    assert pace.problem(ledger) == ""
    receive(ledger, 3)
    assert pace.problem(ledger) == "3 loops wait for their masks."


@pytest.mark.parametrize(("total_ms", "slow"), [(1000, False), (2500, True)])
def test_masks_that_come_more_slowly_than_loops_play_are_told(
    tmp_path, monkeypatch, total_ms, slow
):
    monkeypatch.setattr(analysis, "latest_timings", lambda ledger, limit: [row(total_ms)])
    said = pace.problem(Ledger(tmp_path))
    assert said == ("Masks come more slowly than loops play: 24 of 30 frames/s." if slow else "")


def test_the_command_shows_the_stages_and_the_page_the_loops_that_wait(tmp_path):
    def command(*more):
        echocart = Path(sys.executable).with_name("echocart")
        run = [echocart, "status", "--timings", "--config", box.config, *more]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout

    with Box(tmp_path / "box", ["scp", "engine", "webui"]) as box:
        assert command() == "no loop has been analysed yet\n"
        send(box, [cine_loop(frames=24).write(tmp_path / "loop.dcm")])
        table = command()
        assert "p95 ms" in table
        assert "infer" in table
        assert "frames/s drawn" in table
        said = json.loads(command("--json"))
        assert {"decode", "infer", "store", "total"} <= set(said["stages"])
        assert (said["analyses"], said["waiting"]) == (1, 0)
        box.stop("engine")
        page = Page(box)
        for seed in range(4):
            seq = receive(box.ledger, seed)
        assert b"4 loops wait for their masks." in page.ask("/")[2]
        assert b"So are 3 others." in page.ask(f"/api/loops/{seq}")[2]
        assert box.ledger.read("SELECT seq FROM in_view") == [{"seq": seq}]
