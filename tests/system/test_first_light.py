"""The whole way with the real services: every real file accounted for, every service killed at work."""

import json
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import JPEGBaseline8Bit

from appliance import scu
from appliance.demo.pageclient import PageClient, PageError
from appliance.dimse import AssociationError
from appliance.part10 import read_header
from appliance.uids import derived_uid
from tests.box import PIN, REPOSITORY, Box
from tests.dcmtk import dcmtk
from tests.phantom import cine_loop

LOOPS = 4  # a killing


def status(box: Box) -> list[dict]:
    command = [sys.executable, "-m", "appliance", "status", "--json", "--config", str(box.config)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["instances"]


def logs_are_clean(box: Box) -> None:
    for name in box.services:
        log = box.log(name)
        assert "Traceback" not in log, log
        assert box.processes[name].poll() is None, f"{name} ended:\n{log}"


def test_every_real_file_ends_as_analysed_or_kept_with_a_reason(tmp_path, shared_data):
    files = sorted(shared_data.rglob("*.dcm"))
    dcmsend = dcmtk("dcmsend")
    with Box(tmp_path) as box:
        command = [dcmsend, "-nuc", "--no-halt", "-aec", "ECHOCART", "127.0.0.1"]
        subprocess.run([*command, str(box.dicom_port), *map(str, files)], check=True)
        uids = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in files}
        box.wait_settled(len(uids))
        accounts = status(box)
        assert {row["SOPInstanceUID"] for row in accounts} == uids
        for row in accounts:
            assert row["state"] in ("analysed", "kept"), row
            assert row["analysis"] or len(row["reason"]) > 10, row
        assert sum(row["state"] == "analysed" for row in accounts) == 2
        logs_are_clean(box)


def test_a_stale_region_leaves_ef_and_withholds_volumes_with_the_reason(tmp_path, shared_data):
    with Box(tmp_path, ("scp", "engine")) as box:
        path = shared_data / "pydicom" / "examples_ybr_color.dcm"
        assert scu.send([path], "127.0.0.1", box.dicom_port)[0].ok
        (loop,) = box.wait_settled(1)
        measures = loop["analysis"]["measures"]
        assert measures["ef_percent"] is not None
        assert measures["edv_ml"] is None
        assert "outside the image" in measures["withheld"]["edv_ml"]


def written_loops(folder: Path, round_: int) -> list[Path]:
    paths = []
    for number in range(LOOPS):
        phantom = cine_loop(
            frames=40,
            rows=240,
            columns=320,
            seed=100 * round_ + number,
            transfer_syntax=JPEGBaseline8Bit,
        )
        paths.append(phantom.write(folder / f"{round_}-{number}.dcm"))
    return paths


def send_until_accepted(box: Box, paths: list[Path]) -> None:
    """As a cart does: what got no success status is sent again."""
    waiting = list(paths)

    def sent() -> bool:
        try:
            outcomes = scu.send(waiting, "127.0.0.1", box.dicom_port)
        except AssociationError:
            return False  # the receiver is down just now
        for outcome in outcomes:
            if outcome.ok:
                waiting.remove(outcome.path)
        return not waiting

    box.wait_for(sent, "every loop to be accepted")


def accept_until_stored(box: Box, seq: int) -> None:
    """As the page does: the same decision, with the same key, until the box confirms it."""
    key = str(uuid.uuid4())

    def stored() -> bool:
        try:
            page = PageClient(box.url)
            page.sign_in("KL", PIN)
            shown = page.loop(seq)
            page.review(
                seq,
                decision="accepted",
                analysis_sha256=shown["analysis"]["sha256"],
                patient_id=shown["patient_id"],
                key=key,
            )
        except PageError:
            return False  # the page is down just now
        return True

    box.wait_for(stored, f"the review of {seq} to be stored")


@pytest.mark.parametrize("victim", ["scp", "engine", "webui", "sync"])
def test_a_service_killed_at_work_loses_nothing_and_does_nothing_twice(tmp_path, victim):
    rng = random.Random(victim)
    paths = written_loops(tmp_path, 1)
    with Box(tmp_path / "box") as box:

        def kill_and_start() -> None:
            time.sleep(rng.uniform(0.05, 0.4))
            box.kill(victim)
            box.start(victim)

        scu_sender = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "appliance",
                "send",
                *map(str, paths),
                "--to",
                f"127.0.0.1:{box.dicom_port}",
            ],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        kill_and_start()
        scu_sender.wait()
        send_until_accepted(box, paths)
        kill_and_start()
        rows = box.wait_settled(LOOPS)
        assert {row["state"] for row in rows} == {"analysed"}
        for row in rows:
            accept_until_stored(box, row["seq"])
        kill_and_start()

        def all_proven() -> bool:
            return all(
                item["state"] == "proven" for row in box.loops() for item in row["deliveries"]
            )

        box.wait_for(all_proven, "every SEG and SR to be delivered")
        uids = [pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in paths]
        accounts = status(box)
        assert sorted(row["SOPInstanceUID"] for row in accounts) == sorted(uids)
        segs = [row["deliveries"][0]["result_sop_instance_uid"] for row in accounts]
        delivered = [*segs, *(derived_uid(uid, "sr") for uid in segs)]
        found = [read_header(path).dataset.SOPInstanceUID for path in box.usb.rglob("*.dcm")]
        assert sorted(found) == sorted(delivered)
        kinds = [[item["kind"] for item in row["deliveries"]] for row in accounts]
        assert kinds == [["seg", "sr"]] * len(accounts)
        assert not list(box.spool.incoming.iterdir())
        logs_are_clean(box)
