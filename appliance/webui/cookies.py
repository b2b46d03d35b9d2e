"""The cookie that a browser is known by: what it is called, who may read it, and the key that signs it."""

import os
import secrets
from pathlib import Path
from typing import Any

from appliance.config import Settings
from appliance.errors import LedgerError

_KEY_BYTES = 32


def configuration(settings: Settings) -> dict[str, Any]:
    """Return Flask's settings of the cookie; over TLS it is bound to this host (RFC 6265bis 4.1.3).

    Raises
    ------
    LedgerError
        When the key file can't be made or read.
    """
    tls = settings.webui.tls_certificate is not None
    return {
        "SECRET_KEY": secret_key(settings.box.state_dir),
        "SESSION_COOKIE_NAME": "__Host-echocart" if tls else "echocart",
        "SESSION_COOKIE_SECURE": tls,
        "SESSION_COOKIE_PATH": "/",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Strict",
    }


def secret_key(state_dir: Path) -> bytes:
    """Return the key that signs cookies: random, made once, readable by this user only.

    Raises
    ------
    LedgerError
        When the file can't be made or read.
    """
    path = state_dir / "webui.key"
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
    except OSError as error:
        subject = f"{path}: {os.strerror(error.errno or 0)}"
        hint = "Make box.state_dir writable for this user."
        raise LedgerError("read the page's key", subject, hint) from error
    if len(key) < _KEY_BYTES:
        hint = "Remove the file and start again: a new one is made, everybody signs in anew."
        raise LedgerError("read the page's key", f"{path} is cut short", hint)
    return key


def _make_key(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_bytes(_KEY_BYTES))
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)
