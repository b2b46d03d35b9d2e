"""The releases installed on a box: the one in use, the one before, and the way back to it.

A package puts each release into a folder of its own and points `current` at it (build/deb).
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from appliance.errors import ApplianceError

ROOT = Path("/opt/echocart")
RESTART = Path("/usr/lib/echocart/restart")
_TRY_S = 120.0
# What the services are made of, and what of it is compiled for this very machine.
_PARTS = (
    *("appliance.scp.server", "appliance.engine.worker", "appliance.webui.server"),
    *("appliance.webui.app", "appliance.sync.server", "appliance.sync.sr", "appliance.cli"),
    *("cv2", "numpy", "onnxruntime", "openvino", "cryptography", "argon2", "openjpeg", "rle"),
    *("jpeg_ls", "systemd.daemon", "systemd.journal"),
)


class ReleaseError(ApplianceError):
    """A release can't be used."""


def present(name: str, root: Path = ROOT) -> str:
    """Return the folder's name of the `current` or the `previous` release; "" for none."""
    link = root / name
    return link.resolve().name if link.is_symlink() and link.exists() else ""


def roll_back(root: Path = ROOT, restart: Callable[[], None] | None = None) -> str:
    """Go back to the release before; rolling back again takes it forward.

    Parameters
    ----------
    root
        Where the releases are.
    restart
        Changes the running services over; None calls the package's own.

    Returns
    -------
    str
        The release now in use.

    Raises
    ------
    ReleaseError
        When there is none before, it doesn't work on this system, or the links can't be changed.

    Notes
    -----
    The state directory stays as it is: a ledger that a later release has migrated can be read by
    the one before, so that nothing received, reviewed or queued since is lost.
    """
    now, before = present("current", root), present("previous", root)
    if not before:
        raise ReleaseError(
            "go back to the release before",
            f"{root} holds none",
            "It comes with the second installation. Install the package of the wanted version.",
        )
    _must_work(root, before)
    try:
        _point(root, "current", before)
        _point(root, "previous", now)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ReleaseError(
            "go back to the release before", f"{root}: {reason}", "Run it as root (sudo)."
        ) from error
    (restart or _restart)()
    return before


def _point(root: Path, name: str, release: str) -> None:
    """Change a link in one step: there is always one."""
    new = root / f"{name}.new"
    new.unlink(missing_ok=True)
    new.symlink_to(Path("releases") / release)
    new.replace(root / name)


def _must_work(root: Path, release: str) -> None:
    python = root / "releases" / release / "bin" / "python"
    try:
        tried = subprocess.run(
            [python, "-B", "-m", "appliance.releases", "try"],
            cwd="/",
            timeout=_TRY_S,
            stderr=subprocess.PIPE,
            text=True,
        )
        problem = tried.stderr.strip() if tried.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = type(error).__name__
    if problem:
        raise ReleaseError(
            "go back to the release before",
            f"{release} doesn't work on this system: {problem.splitlines()[-1]}",
            "Was Python upgraded since? Install the package that belongs to it.",
        )


def _restart() -> None:
    if not (Path("/run/systemd/system").is_dir() and RESTART.exists()):
        return
    if subprocess.run([RESTART]).returncode:
        raise ReleaseError(
            "restart the services",
            "the release was changed, and not every service started again",
            "Look at `systemctl status 'echocart-*'`.",
        )


def try_out() -> None:
    """Import everything the services need.

    Raises
    ------
    ReleaseError
        With the first part that can't be imported.
    """
    for part in _PARTS:
        try:
            importlib.import_module(part)
        except Exception as error:
            # A compiled part fails in ways of its own; whatever it is, the release isn't used.
            raise ReleaseError(
                "use this release",
                f"{part} can't be imported ({type(error).__name__}: {error})",
                "The release in use stays. Is the package made for this Python and processor?",
            ) from error


def main(arguments: Sequence[str]) -> int:
    """Try this very release out, for the package's installer: `try`."""
    if list(arguments) != ["try"]:
        print("usage: python -m appliance.releases try", file=sys.stderr)  # noqa: T201
        return 2
    try:
        try_out()
    except ReleaseError as error:
        print(f"echocart: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0
