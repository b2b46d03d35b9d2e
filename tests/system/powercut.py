"""Power cuts: the image in a virtual machine that is killed at random moments while it works.

`python -m tests.system.powercut --cuts 10 --keep DIR` needs root and qemu, no KVM; it adds a line
to docs/reliability.md. What a cut loses is what the machine's own memory holds: everything that
Linux has not written to its disk. A disk that loses what it has confirmed is not imitated.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from appliance import scu
from appliance.demo import pageclient
from appliance.demo.pageclient import PageError
from appliance.ledger import Ledger
from appliance.spool import Spool
from tests.box import Box
from tests.dcmtk import dcmtk
from tests.phantom import cine_loop
from tests.system import machine
from tests.system.virtual import VirtualMachine

sys.path.insert(0, str(machine.REPOSITORY / "build"))
import image

DISK_MB = 3000
BOOT_S = 900.0  # without KVM every instruction is translated
ANSWER_S = 300.0  # a PIN alone costs half a minute there
REPORT = machine.REPOSITORY / "docs" / "reliability.md"
# The services' own limits are a real processor's.
_PATIENCE = "[Service]\nTimeoutStartSec=900\nWatchdogSec=900\n"
_CLOCK = ("now", "-365 days", "before the end of summer time")


@dataclass
class Told:
    """What the box has confirmed to somebody.

    Attributes
    ----------
    objects
        SOP Instance UIDs that got success, with the file that was sent.
    reviews
        Keys of the decisions that the page confirmed.
    """

    objects: dict[str, Path] = field(default_factory=dict)
    reviews: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """What a series of cuts has shown."""

    cuts: int
    boots_s: list[float]
    objects: int
    reviews: int
    lost: list[str]


def prepare(folder: Path, *, decide: bool) -> tuple[Path, int]:
    """Make the disk, with one analysed loop on it that can be reviewed; return its number too."""
    with Box(folder / "host") as box:
        path = cine_loop(frames=12, rows=240, columns=320, seed=5).write(folder / "first.dcm")
        assert scu.send([path], "127.0.0.1", box.dicom_port)[0].ok
        (loop,) = box.wait_settled(1)
        assert loop["analysis"], loop
    deb = machine.package("0.1.0")

    def furnish(tree: Path) -> None:
        _furnish(tree, folder / "host" / "state")
        if not decide:
            _only_reception(tree)

    disk = image.make(deb, folder, DISK_MB, machine.base(), furnish)
    return disk, int(loop["seq"])


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
        stream.write(
            '[webui]\nhost = "0.0.0.0"\nnames = ["127.0.0.1"]\n'
            'tls_certificate = "/etc/echocart/tls/box.pem"\n'
            'tls_key = "/etc/echocart/tls/box.key"\n'
        )
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
    """Sends and decides without a pause, and remembers what was confirmed."""

    def __init__(
        self, vm: VirtualMachine, seq: int, folder: Path, told: Told, *, decide: bool
    ) -> None:
        self._vm, self._seq, self._folder, self._told = vm, seq, folder, told
        self._over = threading.Event()
        work = [self._send, self._decide] if decide else [self._send]
        self._threads = [threading.Thread(target=one) for one in work]
        self.reviewed = 0
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
        while not self._over.is_set():
            path = _another(self._folder)
            uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            command = [storescu, "-v", "-to", "20", "-td", "60", "-aec", "ECHOCART"]
            command += ["127.0.0.1", str(self._vm.dicom_port), str(path)]
            said = subprocess.run(command, capture_output=True, text=True, timeout=300)
            # What DCMTK saw of the answer counts, however it ended afterwards.
            if "Received Store Response (Success)" in said.stdout + said.stderr:
                self._told.objects[uid] = path

    def _decide(self) -> None:
        page = None
        while not self._over.is_set():
            page = page or self._vm.serves()
            if page is None:
                time.sleep(1)
                continue
            key = str(uuid.uuid4())
            try:
                shown = page.loop(self._seq)
                page.review(
                    self._seq,
                    decision="accepted",
                    analysis_sha256=shown["analysis"]["sha256"],
                    patient_id=shown["patient_id"],
                    newest_review=shown["newest_review"],
                    key=key,
                )
            except (PageError, ValueError):
                page = None
            else:
                self._told.reviews.append(key)
                self.reviewed += 1


def _another(folder: Path) -> Path:
    """Write a loop that nobody has sent yet; not one that the engine would analyse."""
    data = pydicom.dcmread(folder / "first.dcm")
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.PatientID = f"CUT-{random.randrange(10**9)}"
    data.NumberOfFrames = 1
    frame = data.Rows * data.Columns * data.SamplesPerPixel
    data.PixelData = random.randbytes(frame)
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    path = folder / "sent" / f"{data.SOPInstanceUID}.dcm"
    path.parent.mkdir(exist_ok=True)
    data.save_as(path)
    return path


def cut_power(folder: Path, cuts: int, seed: int, *, decide: bool = False) -> Outcome:
    """Prepare a disk, cut the power so many times, and hold what was confirmed against the disk.

    Parameters
    ----------
    folder
        Empty, on a disk with 8 GB free.
    cuts
        How often.
    seed
        Of the moments.
    decide
        Whether all four services run and decisions are made at the page; else reception only.
    """
    rng = random.Random(seed)
    disk, seq = prepare(folder, decide=decide)
    pageclient.TIMEOUT_S = ANSWER_S
    os.environ["SSL_CERT_FILE"] = str(folder / "host" / "ca.pem")
    vm, told, boots = VirtualMachine(disk), Told(), list[float]()
    try:
        for number in range(cuts):
            boots.append(_boot(vm, _clock(number)))
            with Clinic(vm, seq, folder, told, decide=decide) as clinic:
                _until_at_work(clinic, told, vm)
                time.sleep(rng.uniform(1.0, 30.0))
                vm.cut()
            print(
                f"cut {number + 1}: up after {boots[-1]:.0f} s, clock {_CLOCK[number % 3]};"
                f" {len(told.objects)} objects and {len(told.reviews)} reviews confirmed so far",
                flush=True,
            )
        boots.append(_boot(vm, _clock(0)))
    finally:
        if vm.is_on():
            vm.cut()
    lost = list(_lost(disk, told))
    return Outcome(cuts, boots, len(told.objects), len(told.reviews), lost)


def _until_at_work(clinic: Clinic, told: Told, vm: VirtualMachine) -> None:
    """Wait until reception and page are both at work in this boot, so that a cut hits both."""
    before, end = len(told.objects), time.monotonic() + BOOT_S
    while time.monotonic() < end:
        assert vm.is_on(), vm.console.read_text(errors="replace")[-3000:]
        if len(told.objects) > before and (clinic.reviewed or not clinic.decides):
            return
        time.sleep(0.5)
    raise AssertionError(
        "nothing was confirmed:\n" + vm.console.read_text(errors="replace")[-3000:]
    )


def _boot(vm: VirtualMachine, clock: datetime) -> float:
    """Switch on and wait for the first C-ECHO; nobody helps. Return the seconds."""
    started = time.monotonic()
    vm.start(clock)
    while not vm.echoes():
        assert vm.is_on(), vm.console.read_text(errors="replace")[-3000:]
        assert time.monotonic() - started < BOOT_S, vm.console.read_text(errors="replace")[-3000:]
        time.sleep(1)
    return time.monotonic() - started


def _clock(number: int) -> datetime:
    now = datetime.now(timezone.utc)
    return (
        now,
        now - timedelta(days=365),
        datetime(now.year, 10, 25, 0, 58, tzinfo=timezone.utc),
    )[number % len(_CLOCK)]


def _lost(disk: Path, told: Told) -> Iterator[str]:
    """Yield what was confirmed and isn't there, or not intact."""
    with mounted(disk) as tree:
        state = tree / "var/lib/echocart"
        ledger, spool = Ledger(state), Spool(state)
        check = ledger.read_one("PRAGMA integrity_check")
        if check != {"integrity_check": "ok"}:
            yield f"the ledger: {check}"
        rows = {row["sop_instance_uid"]: row for row in ledger.read("SELECT * FROM instance")}
        for uid, sent in told.objects.items():
            row = rows.get(uid)
            if row is None:
                yield f"{uid}: no row"
                continue
            kept = spool.object_path(row["sha256"])
            if not kept.exists():
                yield f"{uid}: no file"
            elif sha256(kept.read_bytes()).hexdigest() != row["sha256"]:
                yield f"{uid}: other bytes than the ledger says"
            elif pydicom.dcmread(kept).PixelData != pydicom.dcmread(sent).PixelData:
                yield f"{uid}: other pixels than were sent"
        keys = {row["key"] for row in ledger.read("SELECT key FROM review")}
        yield from (f"review {key}" for key in told.reviews if key not in keys)
        ledger.close()


@contextmanager
def mounted(disk: Path) -> Iterator[Path]:
    """Mount an image; the file system's journal is replayed, as by the next boot."""
    tree = disk.with_name("mounted")
    tree.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", disk, tree], check=True)
    try:
        yield tree
    finally:
        subprocess.run(["umount", tree], check=True)


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
    parser.add_argument("--keep", type=Path, required=True, help="an empty directory, 8 GB free")
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
