"""What several commands share: the option that names the TOML file, and who types."""

import os
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path("/etc/echocart/echocart.toml")

Config = Annotated[
    Path,
    typer.Option("--config", envvar="ECHOCART_CONFIG", help="the box's TOML file"),
]


def printable(text: str) -> str:
    """Return a machine's text as a terminal may show it: control characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def person() -> str:
    """Who types this: behind sudo, the person and not root."""
    import getpass

    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in passwd
        return f"user {os.getuid()}"
