"""Which wheels each system gets: locked, with a hash, and to be had."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
LOCKS = sorted((REPOSITORY / "build" / "locks").glob("*.txt"))
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+) --hash=sha256:[0-9a-f]{64}")


def plain(name: str) -> str:
    return re.sub(r"[._]", "-", name).lower()


def wanted() -> set[str]:
    text = (REPOSITORY / "pyproject.toml").read_text()
    (block,) = re.findall(r"(?ms)^dependencies = \[(.*?)^\]", text)
    return {plain(name) for name in re.findall(r'(?m)^ +"([A-Za-z0-9._-]+)', block)}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_holds_every_dependency_once_with_its_hash(path: Path):
    found = [_LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(found)
    names = [plain(match["name"]) for match in found if match]
    assert len(names) == len(set(names))
    # The standard library has it from 3.11 on.
    assert wanted() - {"tomli"} <= set(names)
    assert "pip" in names


def test_both_jetpacks_and_the_desktops_have_a_lock():
    sys.path.insert(0, str(REPOSITORY / "build"))
    try:
        from targets import TARGETS
    finally:
        sys.path.pop(0)
    assert {path.stem for path in LOCKS} == set(TARGETS)
    assert {TARGETS[name].machine for name in ("jetpack6", "jetpack7")} == {"aarch64"}
    assert (TARGETS["jetpack6"].python, TARGETS["jetpack7"].python) == ("3.10", "3.12")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jetpack6", "jetpack7"])
def test_every_locked_version_has_a_wheel_for_a_jetson(name: str):
    command = [sys.executable, "build/targets.py", "check", name]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
