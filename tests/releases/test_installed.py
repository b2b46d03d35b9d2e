"""The way back to the release before, on real folders and links."""

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.releases import installed


def root_with(folder: Path, *names: str, works: bool = True) -> Path:
    """Return a root with releases, the last one in use; their Python is this one, or fails."""
    for name in names:
        python = folder / "releases" / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text("#!/bin/sh\n" + ("" if works else "echo 'echocart: no' >&2; exit 1\n"))
        python.chmod(0o755)
    for link, name in zip(("current", "previous"), reversed(names), strict=False):
        (folder / link).symlink_to(Path("releases") / name)
    return folder


def test_rolling_back_changes_over_and_again_forward(tmp_path: Path):
    root, restarts = root_with(tmp_path, "1.0", "1.1"), list[str]()

    def restart() -> None:
        restarts.append(installed.present("current", root))

    assert installed.roll_back(root, restart) == "1.0"
    assert (root / "current").readlink() == Path("releases/1.0")
    assert (root / "previous").readlink() == Path("releases/1.1")
    assert installed.roll_back(root, restart) == "1.1"
    assert restarts == ["1.0", "1.1"]


def test_there_is_nothing_before_the_first_release(tmp_path: Path):
    root = root_with(tmp_path, "1.0")
    with pytest.raises(installed.ReleaseError, match="holds none"):
        installed.roll_back(root, pytest.fail)
    assert installed.present("current", root) == "1.0"


def test_a_release_that_no_longer_works_is_not_gone_back_to(tmp_path: Path):
    root = root_with(tmp_path, "1.0", "1.1", works=False)
    with pytest.raises(installed.ReleaseError, match=r"1\.0 doesn't work"):
        installed.roll_back(root, pytest.fail)
    assert installed.present("current", root) == "1.1"


def test_what_the_services_need_is_here_but_for_the_system_s_own_part():
    done = subprocess.run(
        [sys.executable, "-m", "appliance.releases", "try"], capture_output=True, text=True
    )
    # python3-systemd is the system's; everything before it in the list was imported.
    assert done.returncode == 0 or "systemd.daemon can't be imported" in done.stderr
