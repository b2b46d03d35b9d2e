"""Power cuts: the image in a virtual machine that is killed at random moments while it works.

`python -m tests.system.powercut --cuts 10 --keep DIR` needs root and qemu, no KVM; it adds a line
to docs/reliability.md. With a DIR of an earlier run, its machine goes on, and everything that it
has confirmed so far is looked for. What a cut loses is what the machine's own memory holds:
everything that Linux has not written to its disk. A disk that loses what it has confirmed is not
imitated.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import cycle
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from appliance import scu
from appliance.demo import pageclient
from appliance.demo.pageclient import PageError
from tests.box import Box
from tests.dcmtk import dcmtk
from tests.phantom import cine_loop
from tests.system import machine, quicknet
from tests.system.confirmed import Told, lost, sent_as
from tests.system.virtual import VirtualMachine

sys.path.insert(0, str(machine.REPOSITORY / "build"))
import image

DISK_MB = 3000
BOOT_S = 900.0  # without KVM every instruction is translated
ANSWER_S = 300.0
_PAUSE_S = 1.0  # between two objects
REPORT = machine.REPOSITORY / "docs" / "reliability.md"
# The services' own limits are a real processor's.
_PATIENCE = "[Service]\nTimeoutStartSec=900\nWatchdogSec=900\n"
# OpenVINO would compile for minutes there.
_ENGINE = """\
[engine]
backend = "onnxruntime"
precision = "f32"
"""
_SETTINGS = """\
[webui]
host = "0.0.0.0"
names = ["127.0.0.1"]
tls_certificate = "/etc/echocart/tls/box.pem"
tls_key = "/etc/echocart/tls/box.key"
"""
_LOOP = 1  # the one that is decided on
_CLOCK = ("now", "-365 days", "before the end of summer time")


@dataclass
class Outcome:
    """What a series of cuts has shown.

    Attributes
    ----------
    cuts
        How often.
    boots_s
        Seconds until the first C-ECHO, of each boot after a cut.
    objects, reviews
        How many were confirmed in this run.
    lost
        What is not there of everything that was ever confirmed.
    """

    cuts: int
    boots_s: list[float]
    objects: int
    reviews: int
    lost: list[str]


def prepare(folder: Path, *, decide: bool) -> Path:
    """Make the disk, with one analysed loop on it, the first, that can be reviewed."""
    host = Box(folder / "host", ("scp", "engine"), _ENGINE)
    model = quicknet.write(folder / "model")
    add = [sys.executable, "-m", "appliance", "model", "add", model, "--config", host.config]
    subprocess.run(add, check=True, cwd=machine.REPOSITORY)
    with host as box:
        path = cine_loop(frames=12, rows=240, columns=320, seed=5).write(folder / "first.dcm")
        assert scu.send([path], "127.0.0.1", box.dicom_port)[0].ok
        (loop,) = box.wait_settled(1)
        assert loop["analysis"], loop
        assert loop["seq"] == _LOOP
    deb = machine.package("0.1.0")

    def furnish(tree: Path) -> None:
        _furnish(tree, folder / "host" / "state")
        if not decide:
            _only_reception(tree)

    return image.make(deb, folder, DISK_MB, machine.base(), furnish)


def _furnish(tree: Path, state: Path) -> None:
    """Give the image a site's settings: the page with HTTPS on every address, a state."""
    to = tree / "var/lib/echocart"
    owner = to.stat()
    shutil.rmtree(to)
    shutil.copytree(state, to)
    inside = ["systemd-nspawn", "--quiet", f"--directory={tree}", "--register=no", "--keep-unit"]
    inside += [f"--machine=echocart-{os.getpid()}", "--pipe", "--"]
    made = [*inside, "echocart", "tls", "init", "--name", "127.0.0.1"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    # The key stays root's: systemd hands it over.
    subprocess.run([*inside, "chgrp", "echocart", "/etc/echocart/tls"], check=True)
    subprocess.run([*inside, "chmod", "0750", "/etc/echocart/tls"], check=True)
    with (tree / "etc/echocart/echocart.toml").open("a") as stream:
        stream.write(_SETTINGS + _ENGINE)
    for path in (to, *to.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    to.chmod(0o750)
    for name in machine.SERVICES:
        drop_in = tree / f"etc/systemd/system/echocart-{name}.service.d/90-patience.conf"
        drop_in.parent.mkdir(parents=True)
        drop_in.write_text(_PATIENCE)
    shutil.copy(tree / "etc/echocart/tls/ca.pem", state.parent / "ca.pem")


def _only_reception(tree: Path) -> None:
    """Leave the other services out: translated, they take minutes of each boot."""
    for unit in ("engine.service", "webui.service", "webui.socket", "sync.service"):
        path = tree / "etc/systemd/system" / f"echocart-{unit}"
        shutil.rmtree(path.with_name(f"{path.name}.d"), ignore_errors=True)
        path.symlink_to("/dev/null")


class Clinic:
    """Sends and decides again and again, and remembers what was confirmed."""

    def __init__(self, vm: VirtualMachine, folder: Path, told: Told, *, decide: bool) -> None:
        self._vm, self._folder, self._told = vm, folder, told
        self._over = threading.Event()
        work = [self._send, self._decide] if decide else [self._send]
        self._threads = [threading.Thread(target=one) for one in work]
        self.received = self.reviewed = 0
        self.decides = decide

    def __enter__(self) -> "Clinic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        storescu = dcmtk("storescu")
        # The engine keeps single frames as they are; it must be at work, but needn't keep up.
        frames = cycle((12, 1, 1, 1, 1, 1))
        while not self._over.is_set():
            path = _another(self._folder, next(frames))
            uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            command = [storescu, "-v", "-to", "20", "-td", "60", "-aec", "ECHOCART"]
            command += ["127.0.0.1", str(self._vm.dicom_port), str(path)]
            said = subprocess.run(command, capture_output=True, text=True, timeout=300)
            # What DCMTK saw of the answer counts, however it ended afterwards.
            if "Received Store Response (Success)" in said.stdout + said.stderr:
                self._told.object(uid)
                self.received += 1
            self._over.wait(_PAUSE_S)

    def _decide(self) -> None:
        page = None
        while not self._over.is_set():
            page = page or self._vm.serves()
            if page is None:
                time.sleep(1)
                continue
            key = str(uuid.uuid4())
            try:
                shown = page.loop(_LOOP)
                page.review(
                    _LOOP,
                    decision="accepted",
                    analysis_sha256=shown["analysis"]["sha256"],
                    patient_id=shown["patient_id"],
                    newest_review=shown["newest_review"],
                    key=key,
                )
            except (PageError, ValueError):
                page = None
            else:
                self._told.review(key)
                self.reviewed += 1


def _another(folder: Path, frames: int) -> Path:
    """Write a loop that nobody has sent yet."""
    data = pydicom.dcmread(folder / "first.dcm")
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.PatientID = f"CUT-{random.randrange(10**9)}"
    frame = data.Rows * data.Columns * data.SamplesPerPixel
    data.PixelData = data.PixelData[: frames * frame - frame] + random.randbytes(frame)
    data.NumberOfFrames = frames
    path = sent_as(folder, data.SOPInstanceUID)
    path.parent.mkdir(exist_ok=True)
    data.save_as(path)
    return path


def cut_power(folder: Path, cuts: int, seed: int, *, decide: bool = False) -> Outcome:
    """Cut the power so many times, and hold what was ever confirmed against the disk.

    Parameters
    ----------
    folder
        Empty, on a disk with 8 GB free; or of an earlier run, whose machine then goes on.
    cuts
        How often.
    seed
        Of the moments.
    decide
        Whether all four services run and decisions are made at the page; else reception only. An
        earlier run has chosen it.
    """
    rng = random.Random(seed)
    told = Told(folder / "told.jsonl")
    objects, reviews = len(told.objects), len(told.reviews)
    disk = folder / "echocart.img"
    if not disk.exists():
        prepare(folder, decide=decide)
    pageclient.TIMEOUT_S = ANSWER_S
    os.environ["SSL_CERT_FILE"] = str(folder / "host" / "ca.pem")
    vm, boots = VirtualMachine(disk), list[float]()
    try:
        for number in range(cuts + 1):
            boots.append(_boot(vm, _clock(number)))
            with Clinic(vm, folder, told, decide=decide) as clinic:
                try:
                    _until_at_work(clinic, vm)
                    # The last time only shows that it works again.
                    time.sleep(rng.uniform(1.0, 30.0) if number < cuts else 0.0)
                finally:
                    vm.cut()
            print(
                f"{number + 1}: up after {boots[-1]:.0f} s, clock {_CLOCK[number % 3]};"
                f" {clinic.received} objects and {clinic.reviewed} reviews confirmed;"
                f" ready: {', '.join(vm.ready())}",
                flush=True,
            )
    finally:
        if vm.is_on():
            vm.cut()
    missing = list(lost(disk, told))
    fresh = len(told.objects) - objects, len(told.reviews) - reviews
    return Outcome(cuts, boots[1:], *fresh, missing)


def _until_at_work(clinic: Clinic, vm: VirtualMachine) -> None:
    """Wait until all that runs is at work in this boot, so that a cut hits it."""
    end = time.monotonic() + BOOT_S
    while time.monotonic() < end:
        assert vm.is_on(), vm.last_words()
        ready = set(vm.ready()) >= set(machine.SERVICES) if clinic.decides else True
        if ready and clinic.received and (clinic.reviewed or not clinic.decides):
            return
        time.sleep(0.5)
    raise AssertionError(f"nothing was confirmed:\n{vm.last_words()}")


def _boot(vm: VirtualMachine, clock: datetime) -> float:
    """Switch on and wait for the first C-ECHO; nobody helps. Return the seconds."""
    started = time.monotonic()
    vm.start(clock)
    while not vm.echoes():
        assert vm.is_on(), vm.last_words()
        assert time.monotonic() - started < BOOT_S, vm.last_words()
        time.sleep(1)
    return time.monotonic() - started


def _clock(number: int) -> datetime:
    now = datetime.now(timezone.utc)
    return (
        now,
        now - timedelta(days=365),
        datetime(now.year, 10, 25, 0, 58, tzinfo=timezone.utc),
    )[number % len(_CLOCK)]


def write_down(outcome: Outcome, report: Path = REPORT) -> None:
    """Add a line to the table of all cuts so far."""
    day = datetime.now(timezone.utc).date()
    lost = len(outcome.lost) or "0"
    ran = "all four services" if outcome.reviews else "reception"
    line = f"| {day} | {ran} | {outcome.cuts} | {outcome.objects} |"
    line += f" {outcome.reviews} | {lost} |"
    line += f" {outcome.cuts} of {outcome.cuts} |\n"
    text = report.read_text()
    mark = "<!-- next -->\n"
    assert text.count(mark) == 1
    report.write_text(text.replace(mark, line + mark))


def main() -> None:
    """Cut the power some times and write down what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=10)
    parser.add_argument(
        "--keep", type=Path, required=True, help="8 GB free, empty or an earlier run's"
    )
    parser.add_argument("--decide", action="store_true", help="all four services, and a reviewer")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    arguments.keep.mkdir(parents=True, exist_ok=True)
    outcome = cut_power(arguments.keep, arguments.cuts, arguments.seed, decide=arguments.decide)
    print(outcome)
    write_down(outcome)
    sys.exit(bool(outcome.lost))


if __name__ == "__main__":
    main()
