"""What happens to a box in years, in minutes: signals, hangs, full disk, upgrades, rollback. Slow."""

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.dcmtk import dcmtk
from tests.phantom import cine_loop
from tests.system import machine
from tests.system.machine import SERVICES, Machine

pytestmark = pytest.mark.slow

# SIGKILL is among the quick tests; SIGSTOP is what a hang is.
SIGNALS = ("TERM", "INT", "HUP", "QUIT", "ABRT", "SEGV", "BUS", "ILL", "FPE", "PIPE", "ALRM")
SIGNALS += ("USR1", "USR2", "XCPU", "SYS")
QUIET = ("HUP", "PIPE", "USR1", "USR2", "ALRM")  # a service may well go on after these
HANG_S = 25  # wider than what feeds the watchdogs


def loops(folder: Path, count: int) -> list[Path]:
    """Write distinct small objects that the engine keeps without analysing."""
    template = cine_loop(frames=2, rows=120, columns=160, seed=1).write(folder / "template.dcm")
    paths = []
    for number in range(count):
        data = pydicom.dcmread(template)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        paths.append(folder / f"{number}.dcm")
        data.save_as(paths[-1])
    return paths


class Cart:
    """Sends objects one by one over associations of its own, again until each is accepted."""

    def __init__(self, box: Machine, paths: list[Path]) -> None:
        self.refused = 0
        self.accepted: list[Path] = []
        self._box, self._paths = box, paths
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Cart":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _run(self) -> None:
        command = [*self._box.on_its_network(), dcmtk("storescu"), "-v", "-to", "60"]
        command += ["-aec", "ECHOCART", "127.0.0.1", "11112"]
        for path in self._paths:
            for _ in range(20):
                done = subprocess.run([*command, str(path)], capture_output=True, text=True)
                said = done.stdout + done.stderr
                self.refused += "Connection refused" in said or "Rejected" in said
                if "Received Store Response (Success)" in said:
                    self.accepted.append(path)
                    break
            time.sleep(0.05)


def uids(paths: list[Path]) -> set[str]:
    return {str(pydicom.dcmread(path).SOPInstanceUID) for path in paths}


def kept(box: Machine) -> set[str]:
    return {row["SOPInstanceUID"] for row in box.status()["instances"]}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_back_after_any_signal(box: Machine, service: str):
    for name in SIGNALS:
        before = box.main_pid(service)
        box.run("systemctl", "kill", "--kill-whom=main", "-s", name, f"echocart-{service}")
        if name in QUIET:
            time.sleep(2)

        def is_back(before: int = before, name: str = name) -> bool:
            now = box.main_pid(service)
            return box.is_ready(service) and now != 0 and (now != before or name in QUIET)

        box.wait_for(is_back, f"{service} to be back after SIG{name}")
        box.run("systemctl", "reset-failed", f"echocart-{service}")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_hangs_is_started_again_by_the_watchdog(box: Machine, service: str):
    drop_in = box.tree / f"etc/systemd/system/echocart-{service}.service.d/hang.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(f"[Service]\nWatchdogSec={HANG_S}\n")
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "restart", f"echocart-{service}")
    before = box.main_pid(service)
    # Fed by work, it lives through twice the time.
    time.sleep(2 * HANG_S)
    assert box.main_pid(service) == before
    # The main process is what feeds; in a container the others can't always be reached.
    stop = ["systemctl", "kill", "--kill-whom=all", "-s", "STOP", f"echocart-{service}"]
    box.run(*stop, check=False)
    box.wait_for(
        lambda: box.main_pid(service) not in (0, before) and box.is_ready(service),
        f"the watchdog to start {service} again",
    )
    assert "Watchdog timeout" in box.journal(f"echocart-{service}")


def test_any_order_of_restarts_ends_with_four_services_at_work(box: Machine):
    rng = random.Random(9)
    for _ in range(6):
        order = rng.sample(SERVICES, len(SERVICES))
        box.run("systemctl", "stop", *(f"echocart-{name}" for name in order))
        for name in order:
            box.run("systemctl", "start", "--no-block", f"echocart-{name}")
            time.sleep(rng.uniform(0, 0.5))
        box.wait_ready()
        assert box.echoes()
        box.run("systemctl", "reset-failed", "echocart-*")


def test_what_failed_too_often_is_tried_again_later(box: Machine):
    config = box.tree / "etc/echocart/echocart.toml"
    before = config.read_text()
    config.write_text("[box]\n")
    box.run("systemctl", "kill", "-s", "KILL", "echocart-sync")
    box.wait_for(
        lambda: box.show("echocart-sync", "ActiveState")["ActiveState"] == "failed",
        "systemd to give sync up",
        timeout=300,
    )
    config.write_text(before)
    box.run("systemctl", "start", "echocart-again")
    box.wait_ready("sync")


def test_a_reception_goes_through_an_upgrade_and_the_rollback_loses_nothing(
    box: Machine, tmp_path: Path
):
    first, second = loops(tmp_path, 60), tmp_path / "second"
    second.mkdir()
    with Cart(box, first) as cart:
        time.sleep(1)
        box.install(machine.package("0.1.1"))
    assert cart.refused == 0
    assert cart.accepted == first
    box.wait_ready()
    assert box.run("readlink", "/opt/echocart/current").stdout.strip() == "releases/0.1.1"
    assert uids(first) <= kept(box)
    later = loops(second, 10)
    with Cart(box, later) as cart:
        said = box.run("echocart", "rollback").stdout
    assert said.startswith("0.1.0 is in use")
    assert cart.refused == 0
    assert cart.accepted == later
    box.wait_ready()
    pid = box.main_pid("scp")
    assert "/releases/0.1.0/" in box.run("cat", f"/proc/{pid}/cmdline").stdout
    assert uids(first) | uids(later) <= kept(box)
    assert "ok" in box.run("python3", "-c", _SOUND).stdout
    # And forward again.
    assert box.run("echocart", "rollback").stdout.startswith("0.1.1 is in use")
    box.wait_ready()


_SOUND = (
    "import sqlite3; db = sqlite3.connect('file:/var/lib/echocart/ledger.db?mode=ro', uri=True);"
    "print(db.execute('PRAGMA integrity_check').fetchone()[0])"
)


def test_a_release_that_does_not_work_here_is_never_put_in_use(box: Machine):
    now = box.run("readlink", "/opt/echocart/current").stdout
    broken = box.tree / "root/wheels"
    broken.mkdir()
    for wheel in (box.tree / "usr/lib/echocart/wheels").iterdir():
        if not wheel.name.startswith("numpy"):
            os.link(wheel, broken / wheel.name)
    command = ["env", "ECHOCART_WHEELS=/root/wheels", "/usr/lib/echocart/install-release"]
    assert box.run(*command, "0.2.0", "python3.11", check=False).returncode != 0
    assert box.run("readlink", "/opt/echocart/current").stdout == now
    assert not (box.tree / "opt/echocart/releases/0.2.0").exists()
    assert box.echoes()


@pytest.fixture
def small_disk(box: Machine) -> Iterator[Path]:
    """The state on a file system of 200 MB."""
    config = box.tree / "etc/echocart/echocart.toml"
    before = config.read_text()
    config.write_text(before + "[scp]\nspace_floor_mb = 50\n")
    units = [f"echocart-{name}" for name in SERVICES]
    mount = ["mount", "-t", "tmpfs", "-o", "size=200m,uid=echocart,gid=echocart,mode=0750"]
    box.run("systemctl", "stop", "echocart-scp.socket", "echocart-webui.socket", *units)
    box.run(*mount, "echocart", "/var/lib/echocart")
    box.run("systemctl", "start", "echocart-scp.socket", "echocart-webui.socket", *units)
    box.wait_ready()
    yield Path("/var/lib/echocart")
    box.run("systemctl", "stop", "echocart-scp.socket", "echocart-webui.socket", *units)
    box.run("umount", "-l", "/var/lib/echocart")
    config.write_text(before)
    box.run("systemctl", "start", "echocart.target")


def test_a_full_disk_is_told_to_the_cart_and_passes_by_itself(
    box: Machine, small_disk: Path, tmp_path: Path
):
    before, after = loops(tmp_path, 2)
    box.send(before)
    pids = {name: box.main_pid(name) for name in SERVICES}
    box.run("sh", "-c", f"head -c 500M /dev/zero > {small_disk}/filler || true")
    command = [*box.on_its_network(), dcmtk("storescu"), "-v", "-aec", "ECHOCART"]
    done = subprocess.run(
        [*command, "127.0.0.1", "11112", after], capture_output=True, text=True, check=False
    )
    assert "Out of resources" in (done.stdout + done.stderr).replace(
        "OutOfResources", "Out of resources"
    )
    time.sleep(10)
    box.run("rm", small_disk / "filler")
    box.wait_for(lambda: "Success" in box.send(after), "the cart to be heard again")
    box.wait_ready()
    assert {name: box.main_pid(name) for name in SERVICES} == pids
    assert uids([before, after]) <= kept(box)
