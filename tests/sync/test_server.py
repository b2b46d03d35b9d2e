"""The service as a process: killed, restarted, unplugged."""

import random
import shutil
import subprocess
import sys
import time

import pydicom
import pytest

from appliance.ledger import worklist
from tests.box import REPOSITORY, Box
from tests.sync.material import label_maps, reviewed, write_source

ROUNDS = 5
LOOPS = 32


def all_proven(box):
    rows = [worklist.deliveries(box.ledger, loop["seq"]) for loop in box.loops()]
    return all(row["state"] == "proven" for deliveries in rows for row in deliveries)


def assert_each_is_there_once(box, reviews):
    files = sorted(path for path in box.usb.rglob("*") if path.is_file())
    assert sorted(path.stem for path in files) == sorted(
        review["result_sop_instance_uid"] for review in reviews
    )
    sources = set()
    for path in files:
        series = pydicom.dcmread(path, stop_before_pixels=True).ReferencedSeriesSequence[0]
        sources.add(series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID)
    assert len(sources) == len(reviews)
    for review in reviews:
        events = worklist.history(box.ledger, review["seq"])
        assert [event["state"] for event in events].count("proven") == 1
    assert "Traceback" not in box.log("sync")


def test_killed_at_random_moments_nothing_is_lost_and_nothing_is_there_twice(tmp_path):
    chance = random.Random(20261120)
    box = Box(tmp_path, ["sync"])
    maps = label_maps(30, 480, 640)
    reviews = []
    for number in range(LOOPS):
        source = write_source(tmp_path / f"{number}.dcm", 480, 640, 30)
        reviews.append(reviewed(box.ledger, box.spool, source, maps))
    with box:
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0, 0.6))
            box.kill("sync")
            box.start("sync")
        box.wait_for(lambda: all_proven(box), "every result to be proven")
        assert box.stop("sync") == 0
    assert "cut short" in box.log("sync"), "no kill fell into a delivery"
    assert_each_is_there_once(box, reviews)


@pytest.mark.parametrize("moment", ["rename:when=1", "fsync:when=3", "fdatasync:when=3"])
def test_killed_in_a_system_call_nothing_is_lost_and_nothing_is_there_twice(tmp_path, moment):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt install strace")
    box = Box(tmp_path, ["sync"])
    reviews = []
    for number in range(3):
        source = write_source(tmp_path / f"{number}.dcm")
        reviews.append(reviewed(box.ledger, box.spool, source, label_maps(8, 48, 64)))
    call = moment.split(":")[0]
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-e",
            f"trace={call}",
            "-e",
            f"inject={moment}:signal=KILL",
            sys.executable,
            "-m",
            "appliance.sync",
            "--config",
            box.config,
        ],
        cwd=REPOSITORY,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert not all_proven(box)
    with box:
        box.wait_for(lambda: all_proven(box), "every result to be proven")
    assert_each_is_there_once(box, reviews)


def test_a_review_reaches_the_folder_while_the_service_waits(tmp_path):
    with Box(tmp_path, ["sync"]) as box:
        reviewed(
            box.ledger, box.spool, write_source(tmp_path / "source.dcm"), label_maps(8, 48, 64)
        )
        box.wait_for(lambda: all_proven(box), "the result to be proven")
        assert len(list(box.usb.rglob("*.dcm"))) == 1


def test_a_stick_unplugged_and_plugged_in_again_gets_everything(tmp_path):
    with Box(tmp_path, ["sync"]) as box:
        pocket = tmp_path / "pocket"
        box.usb.rename(pocket)
        for number in range(3):
            source = write_source(tmp_path / f"{number}.dcm")
            reviewed(box.ledger, box.spool, source, label_maps(8, 48, 64))
        box.wait_for(lambda: "is not there" in box.log("sync"), "the problem to be told")
        assert not box.usb.exists()
        pocket.rename(box.usb)
        box.wait_for(lambda: all_proven(box), "every result to be proven")
        assert len(list(box.usb.rglob("*.dcm"))) == 3
        assert "DOE" not in box.log("sync")
