"""Debian's DCMTK, the sender of these tests, which pynetdicom's tools of the same names hide."""

import os
import shutil
import subprocess
from functools import cache

import pytest


def dcmtk(name: str) -> str:
    """Return the full path of one of DCMTK's command-line tools, or skip the test.

    An active virtual environment puts pynetdicom's own storescu, echoscu and storescp first.
    """
    path = _found(name, os.environ.get("PATH", os.defpath))
    if path is None:
        pytest.skip(f"DCMTK's {name} is not installed: apt install dcmtk")
    return path


@cache
def _found(name: str, path: str) -> str | None:
    for folder in path.split(os.pathsep):
        program = shutil.which(name, path=folder)
        if program and _is_dcmtk(program):
            return program
    return None


def _is_dcmtk(program: str) -> bool:
    done = subprocess.run([program, "--version"], capture_output=True, check=False, timeout=60)
    return b"$dcmtk:" in done.stdout
