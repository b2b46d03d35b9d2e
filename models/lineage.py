"""Where a result comes from: the revision of the code that made it."""

import subprocess
from pathlib import Path


def revision() -> str:
    """Return the repository's revision as `git describe` has it, "" outside a repository."""
    command = ["git", "describe", "--always", "--dirty"]
    folder = Path(__file__).parent
    try:
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()
