"""The package on a real Debian under systemd: installed, at work, killed, restarted, removed."""

import json
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.dcmtk import dcmtk
from tests.phantom import cine_loop
from tests.system.machine import REPOSITORY, SERVICES, Machine


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("loop") / "loop.dcm"
    return cine_loop(frames=12, rows=240, columns=320, seed=3).write(path)


def test_services_say_that_they_are_ready_and_what_they_do(box: Machine):
    for name in SERVICES:
        shown = box.show(f"echocart-{name}", "Type", "SubState", "StatusText", "WatchdogUSec")
        assert (shown["Type"], shown["SubState"]) == ("notify", "running")
        assert shown["StatusText"], name
        assert shown["WatchdogUSec"] != "0"
    assert box.echoes()
    assert box.run("systemctl", "is-enabled", "echocart.target").stdout.strip() == "enabled"


def test_a_loop_goes_through_the_hardened_services(box: Machine, loop: Path):
    box.send(loop)

    def analysed() -> bool:
        (row,) = box.status()["instances"]
        assert row["state"] in ("received", "analysing", "analysed"), row
        return row["state"] == "analysed"

    box.wait_for(analysed, "the loop to be analysed")
    # The engine has no network, reception no way to run what it writes.
    assert box.show("echocart-engine", "PrivateNetwork")["PrivateNetwork"] == "yes"


def test_the_journal_holds_fields_for_machines_and_sentences_for_people(box: Machine):
    found = box.run("journalctl", "-b", "-o", "json", "ECHOCART_FRAMES=12").stdout
    line = json.loads(found.splitlines()[-1])
    assert line["SYSLOG_IDENTIFIER"] == "echocart-engine"
    assert line["MESSAGE"].endswith(" s")
    assert float(line["ECHOCART_SECONDS"]) > 0


def test_the_port_refuses_nobody_while_the_receiver_restarts(box: Machine):
    echoscu, over, outcomes = dcmtk("echoscu"), threading.Event(), list[int]()

    def ask() -> None:
        command = [*box.on_its_network(), echoscu, "-to", "60", "-aec", "ECHOCART"]
        while not over.is_set():
            done = subprocess.run([*command, "127.0.0.1", "11112"], capture_output=True)
            outcomes.append(done.returncode)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(3):
            before = box.main_pid("scp")
            box.run("systemctl", "restart", "echocart-scp")
            assert box.main_pid("scp") != before
    finally:
        time.sleep(0.5)
        over.set()
        asking.join()
    assert len(outcomes) > 3
    assert not any(outcomes), outcomes


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_is_back_by_itself(box: Machine, service: str):
    before = box.main_pid(service)
    box.run("systemctl", "kill", "--kill-whom=main", "-s", "KILL", f"echocart-{service}")

    def is_back() -> bool:
        return box.is_ready(service) and box.main_pid(service) not in (0, before)

    box.wait_for(is_back, f"{service} to be back")
    assert box.echoes()


def test_the_units_follow_the_configuration(box: Machine):
    config = box.tree / "etc/echocart/echocart.toml"
    before = config.read_text()
    config.write_text(before + "[scp]\nport = 104\n")
    try:
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "restart", "echocart-scp.socket", "echocart-scp")
        assert "0.0.0.0:104 " in box.show("echocart-scp.socket", "Listen")["Listen"]
        assert "104" in box.show("echocart-scp", "StatusText")["StatusText"]
    finally:
        config.write_text(before)
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "restart", "echocart-scp.socket", "echocart-scp")
    assert box.echoes()


def documented(heading: str) -> list[str]:
    """Return the commands below a heading of docs/install.md."""
    text = (REPOSITORY / "docs" / "install.md").read_text()
    (section,) = re.findall(rf"(?ms)^## {re.escape(heading)}$(.*?)(?=^## )", text)
    blocks = re.findall(r"(?ms)^```sh$(.*?)^```$", section)
    lines = [line for block in blocks for line in block.strip().splitlines()]
    assert lines
    return lines


def test_the_commands_of_the_documentation_work(box: Machine):
    assert documented("1. Install") == ["sudo dpkg -i echocart_*.deb"]  # what the fixture did
    for heading in ("2. Say who you are", "3. First user", "4. See that it works"):
        for line in documented(heading):
            if " editor " in line:
                continue
            # Both end with 1 when there is something to say: no backup yet, ports in use.
            may_complain = line.endswith((" check", " doctor"))
            done = box.run("sh", "-c", line.replace("sudo ", ""), check=not may_complain)
            assert "Traceback" not in done.stderr
            assert "No such command" not in done.stderr
            box.wait_ready()


def test_no_service_left_a_traceback(box: Machine):
    assert "Traceback" not in box.journal("echocart-*")


def test_removal_keeps_state_and_configuration_and_purge_keeps_the_state(box: Machine):
    objects = list((box.tree / "var/lib/echocart/spool/objects").rglob("*"))
    assert objects
    box.run("dpkg", "-r", "echocart")
    assert not (box.tree / "opt/echocart").exists()
    assert not box.echoes()
    assert (box.tree / "etc/echocart/echocart.toml").exists()
    box.run("dpkg", "-P", "echocart")
    assert not (box.tree / "etc/echocart/echocart.toml").exists()
    assert list((box.tree / "var/lib/echocart/spool/objects").rglob("*")) == objects
    assert (box.tree / "var/lib/echocart/ledger.db").exists()
