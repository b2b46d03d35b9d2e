"""`echocart` as people type it: what it says, and its exit status."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.box import LOADED_MACHINE_S, REPOSITORY, free_port
from tests.orthanc import Orthanc

COMMANDS = ("run", "demo", "check", "status", "send", "destination", "purge", "version")


def echocart(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance", *map(str, arguments)]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=LOADED_MACHINE_S
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "usb").mkdir()
    path = tmp_path / "echocart.toml"
    path.write_text(
        f'[box]\nae_title = "ECHO"\nstate_dir = "{tmp_path / "state"}"\n'
        f'[scp]\nhost = "127.0.0.1"\nport = {free_port()}\n[webui]\nport = {free_port()}\n'
        f'[[destination]]\nname = "usb"\nkind = "folder"\npath = "{tmp_path / "usb"}"\n'
    )
    return path


def test_help_names_every_command():
    done = echocart("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert command in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    done = echocart(command, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout


def test_check_finds_a_good_file_good(config):
    done = echocart("check", "--config", config)
    assert done.returncode == 0, done.stdout
    assert "broken" not in done.stdout


def test_check_names_a_port_that_is_taken(config):
    line = next(x for x in config.read_text().splitlines() if x.startswith("port"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(line.split("=")[1])))
        other.listen()
        done = echocart("check", "--config", config)
    assert done.returncode == 1
    assert "scp.port: line 6: " in done.stdout
    assert "Something listens there already" in done.stdout


def test_check_names_a_directory_that_is_not_there(config):
    config.write_text(config.read_text().replace("/usb", "/stick"))
    done = echocart("check", "--config", config)
    assert done.returncode == 1
    assert "destination.usb.path: line 12: " in done.stdout
    assert "is not a directory. Mount or create it" in done.stdout


def test_check_explains_each_mistake_with_its_line(config):
    config.write_text(config.read_text().replace("[scp]", "[scp]\nprot = 1"))
    done = echocart("check", "--config", config)
    assert done.returncode == 1
    assert "line 5: scp.prot is not a setting. Did you mean 'port'?" in done.stdout


@pytest.mark.parametrize("command", ["run", "status"])
def test_a_broken_file_is_one_line_and_no_traceback(config, command):
    config.write_text("[box]\n")
    done = echocart(command, "--config", config)
    assert done.returncode == 1
    assert done.stderr.startswith("echocart: read the configuration:")
    assert len(done.stderr.strip().splitlines()) == 1


def test_status_before_the_first_start_says_so(config):
    done = echocart("status", "--config", config)
    assert done.returncode == 1
    assert "no box has run" in done.stderr


def test_run_refuses_a_service_it_does_not_know(config):
    done = echocart("run", "--config", config, "--only", "scp,printer")
    assert done.returncode == 1
    assert "no service called printer" in done.stderr


@pytest.mark.parametrize("address", ["localhost", "localhost:", "localhost:http", "h:²"])
def test_send_wants_host_and_port(tmp_path, address):
    done = echocart("send", tmp_path, "--to", address)
    assert done.returncode == 1
    assert "host:port" in done.stderr


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_send_wants_a_port_that_exists(tmp_path, port):
    done = echocart("send", tmp_path, "--to", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert "ports go from 1 to 65535" in done.stderr
    assert "Traceback" not in done.stderr


def test_send_says_that_a_directory_is_empty(tmp_path):
    done = echocart("send", tmp_path, "--to", "127.0.0.1:11112")
    assert done.returncode == 1
    assert f"there are no files in {tmp_path}" in done.stderr


@pytest.mark.parametrize("option", ["--called", "--calling"])
def test_send_wants_ae_titles_that_exist(tmp_path, option):
    done = echocart("send", tmp_path, "--to", "127.0.0.1:11112", option, "SEVENTEEN-LETTERS")
    assert done.returncode == 1
    assert "1 to 16 plain characters" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b"])
def test_check_names_a_host_that_nobody_knows(config, host):
    config.write_text(config.read_text().replace('host = "127.0.0.1"', f'host = "{host}"'))
    done = echocart("check", "--config", config)
    assert done.returncode == 1
    assert f"scp.host: line 5: {host!r} is not a known host name" in done.stdout


@pytest.mark.parametrize("options", [[], ["--once"], ["--with-orthanc"]])
def test_a_demo_that_is_terminated_leaves_nothing_running(tmp_path, options):
    if options == ["--with-orthanc"]:
        Orthanc(tmp_path / "probe")  # skips where there is none
    command = [sys.executable, "-m", "appliance", "demo", "--dir", tmp_path / "demo", *options]
    demo = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    try:
        for line in demo.stdout:
            if "services are running" in line:
                break
        children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
        assert len(children) >= 4
        demo.terminate()
        said = demo.stdout.read()
        assert demo.wait(LOADED_MACHINE_S) == 128 + signal.SIGTERM
    finally:
        demo.kill()
        demo.wait()
    assert "stopped cleanly" in said
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_a_running_box_restarts_a_killed_service_and_ends_on_ctrl_c(config):
    command = [sys.executable, "-m", "appliance", "run", "--config", config, "--only", "scp"]
    box = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    assert box.stderr is not None
    try:
        for _ in range(4):  # more often in a row than a service that can't start gets tries
            until(box, "ready")
            children = Path(f"/proc/{box.pid}/task/{box.pid}/children").read_text().split()
            assert len(children) == 1
            subprocess.run(["kill", "-9", children[0]], check=True)
            until(box, "starting it again")
        until(box, "ready")
        box.send_signal(signal.SIGINT)
        assert box.wait(LOADED_MACHINE_S) == 0
    finally:
        box.kill()
        box.wait()


def test_run_says_why_when_a_service_can_not_start(config):
    line = next(x for x in config.read_text().splitlines() if x.startswith("port"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(line.split("=")[1])))
        other.listen()
        done = echocart("run", "--config", config, "--only", "scp")
    assert done.returncode == 1
    assert "echocart-scp ended" in done.stderr or "run echocart-scp" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_json_is_for_machines(config):
    box = subprocess.Popen(
        [sys.executable, "-m", "appliance", "run", "--config", config, "--only", "scp"],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(box, "ready")
        done = echocart("status", "--json", "--config", config)
        told = json.loads(done.stdout)
        assert told["instances"] == told["quarantine"] == told["clocks"] == []
        assert told["space"]["days_left"] is None
    finally:
        box.terminate()
        box.wait(LOADED_MACHINE_S)


def until(process: subprocess.Popen[str], word: str) -> None:
    """Read a process's stderr until a line holds a word."""
    assert process.stderr is not None
    end = time.monotonic() + LOADED_MACHINE_S
    lines = []
    while time.monotonic() < end:
        line = process.stderr.readline()
        lines.append(line)
        if word in line:
            return
        if not line and process.poll() is not None:
            break
    raise AssertionError(f"{word!r} never came:\n{''.join(lines)}")
