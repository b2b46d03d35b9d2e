"""`echocart user` and `echocart audit`, as somebody types them."""

import fcntl
import os
import pty
import re
import sqlite3
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from appliance import pins
from appliance.ledger import Ledger, user
from tests.box import REPOSITORY

ADMIN = ["user", "add", "AD", "--role", "admin"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "echocart.toml"
    path.write_text(f'[box]\nae_title = "BOX"\nstate_dir = "{tmp_path / "state"}"\n')
    return path


def echocart(config: Path, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance", *words, "--config", str(config)]
    return subprocess.run(
        command, cwd=REPOSITORY, input=given, capture_output=True, text=True, timeout=60
    )


def add(config: Path, *words: str, pin: str = "802461") -> subprocess.CompletedProcess[str]:
    return echocart(config, *words, "--pin-from-stdin", given=f"{pin}\n")


def test_users_are_added_listed_changed_and_removed(config, tmp_path):
    assert "nobody yet" in echocart(config, "user", "list").stdout
    assert "AD may sign in (admin)" in add(config, *ADMIN).stdout
    add(config, "user", "add", "ak", "--role", "sonographer")
    assert echocart(config, "user", "role", "AK", "expert", "admin").returncode == 0
    add(config, "user", "pin", "AK", pin="975310")
    ledger = Ledger(tmp_path / "state")
    found = user.find(ledger, "AK")
    assert found.roles == {"expert", "admin"}
    assert pins.matches(found.pin, "975310")
    assert echocart(config, "user", "remove", "AK").returncode == 0
    listed = echocart(config, "user", "list").stdout
    assert re.search(r"^AD +admin$", listed, re.M)
    assert re.search(r"^AK +expert, admin +removed 20", listed, re.M)
    assert "AK may sign in again" in add(config, "user", "return", "AK", "--role", "expert").stdout
    told = echocart(config, "audit", "list").stdout
    for what in ("add user", "set roles", "set PIN", "remove user", "take user back"):
        assert what in told
    assert "802461" not in told


@pytest.mark.parametrize(
    ("words", "pin", "said"),
    [
        (["user", "add", "A1", "--role", "expert"], "802461", "2 to 4 letters"),
        (["user", "add", "AK", "--role", "boss"], "802461", "boss is no role"),
        (["user", "add", "AK", "--role", "expert"], "1234", "6 to 12 digits"),
        (["user", "add", "AK", "--role", "expert"], "", "6 to 12 digits"),
        (["user", "pin", "ZZ"], "802461", "no user 'ZZ'"),
        (["user", "return", "ZZ", "--role", "expert"], "802461", "no ZZ was removed"),
    ],
)
def test_what_can_not_be_is_one_sentence(config, words, pin, said):
    done = add(config, *words, pin=pin)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_only_admin_is_not_removed(config):
    add(config, *ADMIN)
    assert "only admin" in echocart(config, "user", "remove", "AD").stderr


def test_a_pin_is_asked_for_at_a_terminal_and_not_shown(config, tmp_path):
    """At a pseudo-terminal, as a person has one."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "appliance", *ADMIN, "--config", str(config)]
    child = subprocess.Popen(
        command, cwd=REPOSITORY, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(slave)
    shown = b""
    for prompt in (b"digits: ", b"again: "):
        while prompt not in shown:
            shown += os.read(master, 1024)
        os.write(master, b"802461\n")
    assert child.wait(60) == 0
    assert b"802461" not in shown
    assert pins.matches(user.find(Ledger(tmp_path / "state"), "AD").pin, "802461")
    os.close(master)


def test_no_option_takes_a_pin(config):
    done = echocart(config, "user", "add", "AK", "--role", "expert", "--pin", "802461")
    assert done.returncode == 2
    assert "no terminal" in echocart(config, "user", "add", "AK", "--role", "expert").stderr


def test_verify_names_a_row_that_somebody_changed(config, tmp_path):
    add(config, *ADMIN)
    add(config, "user", "add", "AK", "--role", "expert")
    done = echocart(config, "audit", "verify")
    assert done.returncode == 0
    head = re.search(r"whole: 3 rows, the last one's hash is ([0-9a-f]{64})", done.stdout)[1]
    assert echocart(config, "audit", "verify", "--head", head).returncode == 0
    with sqlite3.connect(tmp_path / "state" / "ledger.db") as connection:
        connection.execute("DROP TRIGGER audit_is_never_changed")
        connection.execute("UPDATE audit SET who = 'somebody else' WHERE id = 2")
    connection.close()
    done = echocart(config, "audit", "verify")
    assert done.returncode == 1
    assert "broken: row 2 was changed; rows of the audit that are whole: 1" in done.stdout
