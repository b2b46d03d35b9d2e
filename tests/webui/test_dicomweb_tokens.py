"""Tokens as somebody types for them: shown once, never kept, audited."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.ledger import Ledger, audit, token
from tests.box import REPOSITORY


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "echocart.toml"
    path.write_text(f'[box]\nae_title = "BOX"\nstate_dir = "{tmp_path / "state"}"\n')
    return path


def echocart(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance", "token", *words, "--config", str(config)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_a_token_is_shown_once_listed_by_name_and_removed(config: Path, tmp_path: Path) -> None:
    assert "none yet" in echocart(config, "list").stdout
    made = echocart(config, "add", "ohif")
    assert made.returncode == 0
    shown = made.stdout.strip()
    assert re.fullmatch(r"[\w-]{43}", shown)  # 256 bits
    assert "Bearer" in made.stderr
    ledger = Ledger(tmp_path / "state")
    assert token.whose(ledger, shown) == "ohif"
    assert all(shown not in str(row) for row in ledger.read("SELECT * FROM token"))
    listed = echocart(config, "list").stdout
    assert listed.startswith("ohif")
    assert shown not in listed
    assert echocart(config, "remove", "ohif").returncode == 0
    assert token.whose(ledger, shown) is None
    assert "removed 20" in echocart(config, "list").stdout
    told = [(row["what"], row["subject"]) for row in reversed(audit.listed(ledger))]
    assert told[-2:] == [("add token", "ohif"), ("remove token", "ohif")]
    assert shown not in str(audit.listed(ledger))
    assert audit.verify(ledger).problem == ""


def test_a_name_stays_with_its_token(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    token.add(ledger, "ohif", "AK")
    with pytest.raises(token.TokenError, match="is another token's name"):
        token.add(ledger, "ohif", "AK")
    token.remove(ledger, "ohif", "AK")
    with pytest.raises(token.TokenError, match="was another token's name"):
        token.add(ledger, "ohif", "AK")
    with pytest.raises(token.TokenError, match="none of that name"):
        token.remove(ledger, "ohif", "AK")


@pytest.mark.parametrize("name", ["", "-x", "a b", "a" * 41, "a\n"])
def test_what_is_no_name_is_refused(config: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(token.TokenError, match="can't be its name"):
        token.add(Ledger(tmp_path), name, "AK")
