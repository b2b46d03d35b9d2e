"""The ledger's file is damaged while carts send and people review: the box puts it right by itself."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread

from appliance.errors import ApplianceError
from appliance.ledger import Ledger, audit
from appliance.scu import send
from appliance.spool import hash_file
from tests.box import LOADED_MACHINE_S, REPOSITORY, Box
from tests.scp.objects import write_object
from tests.upkeep.material import DAMAGES
from tests.webui.reviewbox import Page

OBJECTS = 40


class Cart(threading.Thread):
    """Sends objects one by one, each until it is taken, as a cart's own queue does."""

    def __init__(self, files: list[Path], port: int) -> None:
        super().__init__(daemon=True)
        self.left, self.port = list(files), port
        self.acknowledged: list[Path] = []
        self.some = threading.Event()

    def run(self) -> None:
        while self.left:
            try:
                sent = send(self.left[:1], "127.0.0.1", self.port)
            except ApplianceError:
                time.sleep(0.2)
                continue
            if sent[0].status == 0:
                self.acknowledged.append(self.left.pop(0))
            if len(self.acknowledged) >= OBJECTS // 4:
                self.some.set()


@contextmanager
def running(box: Box) -> Iterator["subprocess.Popen[bytes]"]:
    """`echocart run`, which starts again what ends."""
    with (box.root / "run.log").open("wb") as log:
        command = [sys.executable, "-m", "appliance", "run", "--config", str(box.config)]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
        try:
            box.wait_for(lambda: said(box).count(" ready: ") >= 4, "the services to be ready")
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def said(box: Box) -> str:
    return (box.root / "run.log").read_text(errors="replace")


def receiver(parent: int) -> psutil.Process:
    (found,) = (
        child for child in psutil.Process(parent).children() if "appliance.scp" in child.cmdline()
    )
    return found


FEW = ("bytes flipped",)  # in every run; the others take as long
HOW = [pytest.param(how, marks=[] if how in FEW else [pytest.mark.slow]) for how in DAMAGES]


@pytest.mark.parametrize("how", HOW)
def test_nothing_acknowledged_or_confirmed_is_lost_with_the_ledger(tmp_path, how, real_loop):
    box = Box(tmp_path / "box", services=())
    noise = random.Random(how)
    folder = tmp_path / "cart"
    folder.mkdir()
    files = [
        write_object(folder / f"{n}.dcm", pixels=noise.randbytes(64 * 640)) for n in range(OBJECTS)
    ]
    with running(box) as process:
        send([real_loop], "127.0.0.1", box.dicom_port)
        (loop,) = box.wait_settled(1)
        status, review = Page(box).review(loop["seq"])
        assert status == 201
        box.wait_for(
            lambda: (box.settings.box.state_dir / "snapshot/ledger.sha256").exists(), "copy"
        )
        cart = Cart(files, box.dicom_port)
        cart.start()
        assert cart.some.wait(LOADED_MACHINE_S)
        box.ledger.checkpoint()  # else the log's pages stand over those of the file
        box.ledger.close()
        DAMAGES[how](box.ledger.path)
        receiver(process.pid).kill()
        cart.join(LOADED_MACHINE_S)
        assert not cart.is_alive(), said(box)[-3000:]
        box.wait_for(lambda: (box.settings.box.state_dir / "damaged").exists(), "damage noticed")
        box.wait_for(lambda: rows_of(box) >= OBJECTS + 1, "every object to have its row")
    ledger = Ledger(box.settings.box.state_dir)
    rows = {row["sop_instance_uid"]: row for row in ledger.read("SELECT * FROM instance")}
    assert len(rows) == OBJECTS + 1
    for path in cart.acknowledged:
        row = rows[dcmread(path, stop_before_pixels=True).SOPInstanceUID]
        assert hash_file(box.spool.object_path(row["sha256"])) == row["sha256"]
    (kept,) = ledger.read("SELECT * FROM review")
    assert (kept["key"], kept["reviewer"]) == (review["key"], "AK")
    assert kept["result_sop_instance_uid"] == review["result_sop_instance_uid"]
    assert audit.verify(ledger).problem == ""


def rows_of(box: Box) -> int:
    try:
        ledger = Ledger(box.settings.box.state_dir)
        (row,) = ledger.read("SELECT count(*) AS n FROM instance")
        ledger.close()
    except Exception:  # noqa: BLE001
        return 0  # it is just being put right
    return int(row["n"])
