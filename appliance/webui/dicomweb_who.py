"""Who reads over DICOMweb: programs with a token, people with a session; and the audit of it."""

import threading
import time
from typing import Any

from flask import Flask, Request, current_app
from flask_login import UserMixin, current_user

from appliance.ledger import Ledger, audit, token
from appliance.webui import access
from appliance.webui.app import PROGRAMS, here

_AGAIN_S = 600.0  # a viewer asks frame by frame: the same reading is one row for so long
_MOST = 10_000  # readings remembered
_NAME = "echocart.dicomweb"


class Program(UserMixin):  # type: ignore[misc]
    """A program that has shown its token.

    Attributes
    ----------
    id
        What the audit calls it.
    roles
        `access.PROGRAM` alone.
    token
        Of a session: none.
    """

    def __init__(self, name: str) -> None:
        self.id = f"token {name}"
        self.roles = frozenset([access.PROGRAM])
        self.token = ""

    def may(self, endpoint: str) -> bool:
        """Tell whether it may open a route."""
        return access.may(self.roles, endpoint)


class Trail:
    """The audit of what was read: one row for the same reading by the same reader in ten minutes.

    Parameters
    ----------
    ledger
        The box's ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._turn = threading.Lock()
        self._last: dict[tuple[str, str, str], float] = {}

    def note(self, who: str, what: str, subject: str, **detail: Any) -> None:
        """Write down a reading, before its answer leaves.

        Parameters
        ----------
        who
            As the audit calls them.
        what
            "dicomweb search" or "dicomweb read".
        subject
            What was looked for or read; never a patient.
        detail
            Further facts, which belong to what counts as the same reading.
        """
        key = (who, what, f"{subject} {sorted(detail.items())}")
        now = time.monotonic()
        with self._turn:
            if now - self._last.get(key, -_AGAIN_S) < _AGAIN_S:
                return
            if len(self._last) >= _MOST:
                self._last = {k: at for k, at in self._last.items() if now - at < _AGAIN_S}
            if len(self._last) >= _MOST:
                self._last.clear()
        audit.note(self._ledger, who, what, subject, **detail)
        with self._turn:
            self._last[key] = now


def register(app: Flask) -> None:
    """Know programs by their tokens, below the service's own address and nowhere else."""
    app.extensions[_NAME] = Trail(app.extensions["echocart"].ledger)
    app.login_manager.request_loader(_load)  # type: ignore[attr-defined]


def _load(request: Request) -> Program | None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not request.path.startswith(PROGRAMS[1]):
        return None
    name = token.whose(here().ledger, given.strip())
    return Program(name) if name else None


def note(what: str, subject: str, **detail: Any) -> None:
    """Write down what the present request reads."""
    current_app.extensions[_NAME].note(current_user.id, what, subject, **detail)
