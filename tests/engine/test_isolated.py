"""A backend's process that really hangs, really dies, really lies; the engine goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from appliance.engine.isolated import Deadlines, Isolated
from appliance.errors import BackendError
from tests.engine.misbehaving import answer

REPOSITORY = Path(__file__).parents[2]
QUICK = Deadlines(start=120.0, frame=2.0)
KINDS = [
    ("hangs", "hung"),
    ("is killed", "signal 9"),
    ("crashes", "signal 11"),
    ("raises", "ended"),
    ("unknown labels", "unknown labels"),
    ("not a number", "confidence"),
    ("one class", "one structure everywhere"),
]


def frame(value):
    made = np.zeros((384, 384), np.uint8)
    made[0, 0] = value
    return made


@pytest.fixture
def start(model):
    started = []

    def start(kind, check=lambda infer: None, deadlines=QUICK, **asked):
        started.append(
            Isolated(
                "tests.engine.misbehaving:made",
                {
                    "kind": kind,
                    **{name: str(v) if name == "flag" else v for name, v in asked.items()},
                },
                model,
                name="misbehaving",
                precision="f16",
                check=check,
                deadlines=deadlines,
            )
        )
        return started[-1]

    yield start
    for item in started:
        item.close()


def same(found, value):
    expected = answer(frame(value))
    return np.array_equal(found.labels, expected.labels) and found.certainty[1, 1] == value


def children(parent):
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def test_what_comes_back_is_what_was_drawn(start):
    backend = start("works")
    first = backend.infer(frame(3))
    assert same(first, 3)
    assert same(backend.infer(frame(9)), 9)
    assert same(first, 3), "a result owns its memory"


@pytest.mark.parametrize("form", ["plain", "pipelined"])
def test_a_loop_comes_back_in_order(start, form):
    backend = start("works", form=form)
    found = list(backend.infer_all(frame(value) for value in range(40)))
    assert len(found) == 40
    assert all(same(item, value) for value, item in enumerate(found))
    if form == "pipelined":
        assert max(item.certainty[0, 0] for item in found) == 2, "the next frame is handed over"


@pytest.mark.parametrize(
    ("kind", "why", "form"),
    [(*kind, "plain") for kind in KINDS] + [(*kind, "pipelined") for kind in KINDS[:2]],
)
def test_a_process_that_fails_once_is_replaced_and_no_frame_is_lost(
    start, tmp_path, kind, why, form, caplog
):
    backend = start(kind, after=3, flag=tmp_path / "done", form=form)
    found = list(backend.infer_all(frame(value) for value in range(8)))
    assert len(found) == 8
    assert all(same(item, value) for value, item in enumerate(found))
    assert caplog.text.count("failure 1 of 3") == 1
    assert why in caplog.text


@pytest.mark.parametrize(("kind", "why"), KINDS[:2])
def test_one_that_fails_three_times_is_given_up_and_leaves_no_process(start, kind, why):
    before = set(children(os.getpid()))
    backend = start(kind, after=1)
    assert same(backend.infer(frame(1)), 1)
    with pytest.raises(BackendError, match=why) as caught:
        list(backend.infer_all(frame(value) for value in range(9)))
    assert caught.value.retry
    assert set(children(os.getpid())) <= before
    with pytest.raises(BackendError, match="given up"):
        backend.infer(frame(1))


def test_an_answer_that_was_never_written_is_not_taken_for_a_mask(start, tmp_path, caplog):
    backend = start("stale", form="stale", after=1, flag=tmp_path / "done")
    assert same(backend.infer(frame(5)), 5)
    assert same(backend.infer(frame(6)), 6), "by the next process"
    assert "belongs to another frame" in caplog.text


def test_what_an_interrupted_loop_left_is_not_the_next_loops_mask(start):
    backend = start("works", form="pipelined")
    loop = backend.infer_all(frame(value) for value in range(10))
    assert same(next(loop), 0)
    assert same(backend.infer(frame(77)), 77)
    loop.close()
    assert same(backend.infer(frame(78)), 78)


def test_one_that_hangs_at_its_start_is_started_again(start, tmp_path, caplog):
    backend = start("hangs at start", flag=tmp_path / "done", deadlines=Deadlines(12.0, 2.0))
    assert same(backend.infer(frame(2)), 2)
    assert "to start" in caplog.text


def test_one_that_says_why_it_cannot_start_is_not_tried_again(start, caplog):
    with pytest.raises(BackendError, match="the plan is refused"):
        start("refuses")
    assert "failure" not in caplog.text


def test_every_new_process_passes_the_check_before_it_serves(start, tmp_path):
    seen = []

    def check(infer):
        seen.append(infer(frame(11)))

    backend = start("is killed", after=2, flag=tmp_path / "done", check=check)
    assert len(seen) == 1
    assert [same(backend.infer(frame(v)), v) for v in (1, 2)] == [True, True]
    assert len(seen) == 2
    assert all(same(item, 11) for item in seen)


def test_a_check_that_fails_ends_it(start):
    def check(infer):
        raise BackendError("compare", "it draws no Left atrium", "")

    before = set(children(os.getpid()))
    with pytest.raises(BackendError, match="no Left atrium"):
        start("works", check=check)
    assert set(children(os.getpid())) <= before


PARENT = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from appliance.engine.isolated import Deadlines, Isolated
from appliance.manifest import current_model
import numpy as np, threading
made = []
def start():
    made.append(Isolated("tests.engine.misbehaving:made", {{"kind": "hangs", "after": 1}},
        current_model(), name="x", precision="f16", check=lambda infer: None,
        deadlines=Deadlines(60.0, 600.0)))
thread = threading.Thread(target=start)
thread.start(); thread.join()  # as the engine does: that thread is gone when frames come
made[0].infer(np.zeros((384, 384), np.uint8))
print("serving", flush=True)
made[0].infer(np.zeros((384, 384), np.uint8))
"""


def test_a_hung_process_does_not_outlive_an_engine_that_is_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert parent.stdout is not None
    assert parent.stdout.readline().strip() == "serving"
    (child,) = children(parent.pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and "State:\tZ" not in status(child):
        assert time.monotonic() < until, "the child still runs"
        time.sleep(0.05)


def status(pid):
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "State:\tZ"
