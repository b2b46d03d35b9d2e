"""Who reviews: initials, kept in a signed cookie. A name on a review, not a secret."""

import os
import re
import secrets
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from flask import Blueprint, Flask, redirect, render_template, request, session, url_for
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from werkzeug.wrappers import Response

from appliance.errors import LedgerError

blueprint = Blueprint("auth", __name__)

_KEY_BYTES = 32
_OPEN = ("static_files.static_file", "auth.sign_in_page", "auth.sign_in", "live.figures")
_INITIALS = re.compile(r"[^\W\d_]{2,4}")


class Reviewer(UserMixin):  # type: ignore[misc]
    """Whoever typed these initials."""

    def __init__(self, initials: str) -> None:
        self.id = initials


def register(app: Flask) -> None:
    """Let the application know its reviewers."""
    manager = LoginManager(app)
    manager.user_loader(_load)
    # The signature binds the cookie to this box; a tablet that changes its address stays in.
    manager.session_protection = None
    app.before_request(_only_reviewers)


def _only_reviewers() -> Response | tuple[Response, int] | None:
    """Whatever isn't named here needs initials: a new route can't forget to ask."""
    if request.endpoint in _OPEN or current_user.is_authenticated:
        return None
    return _unknown()


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


@blueprint.get("/sign-in")
def sign_in_page() -> str:
    """Ask for initials."""
    return render_template("signin.html", next=_local(request.args.get("next", "/")), problem="")


@blueprint.post("/sign-in")
def sign_in() -> Response | tuple[str, int]:
    """Take initials: 2 to 4 letters of any script."""
    initials = request.form.get("initials", "").strip().upper()
    onward = _local(request.form.get("next", "/"))
    if not _INITIALS.fullmatch(initials):
        said = "Initials are 2 to 4 letters."
        page = render_template("signin.html", next=onward, problem=said)
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    session.clear()
    login_user(Reviewer(initials))
    return redirect(onward, HTTPStatus.SEE_OTHER)


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """Forget who reviews."""
    logout_user()
    session.clear()
    return redirect(url_for("auth.sign_in_page"), HTTPStatus.SEE_OTHER)


def _load(initials: str) -> Reviewer | None:
    return Reviewer(initials) if _INITIALS.fullmatch(initials) else None


def _unknown() -> Response | tuple[Response, int]:
    from appliance.webui.app import problem

    if request.path.startswith("/api/"):
        return problem(HTTPStatus.UNAUTHORIZED, "Say who you are first: reload the page.")
    return redirect(url_for("auth.sign_in_page", next=request.path), HTTPStatus.SEE_OTHER)


def _local(address: str) -> str:
    """A page of ours, or the worklist: never a way to another site."""
    parts = urlsplit(address)
    ours = not parts.scheme and not parts.netloc and re.match(r"/(?![/\\])", address)
    return address if ours else "/"
