"""Who is at the page: signing in by initials and PIN, locking, handing over, signing out.

A browser's cookie holds a random token; whose it is, and until when, stands in the ledger
(`ledger/session.py`). Only a person's touch keeps a session alive: POSTs, and `/api/present`,
which the page sends after real input. What a page fetches by itself, event streams too, doesn't.

Tests sign in with `tests.webui.reviewbox.Page(box, "AK")` over HTTP and with
`tests.browser.hand.sign_in(tab, "AK", path)` in a browser. `tests.box.Box` makes the users of
`tests.box.PEOPLE`, all with `tests.box.PIN`; `reviewbox.enrol(box, "XY", "expert")` makes others.
"""

import math
import re
import secrets
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Blueprint, Flask, redirect, render_template, request, session, url_for
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from werkzeug.wrappers import Response

from appliance import pins
from appliance.ledger import lockout, user
from appliance.ledger import session as sessions
from appliance.webui import access
from appliance.webui.app import PROGRAMS, here, problem
from appliance.webui.language import _
from appliance.webui.openapi import describe

blueprint = Blueprint("auth", __name__)

_ADDRESS_TRIES = 2 * lockout.FREE_TRIES  # several people share a tablet


class Reviewer(UserMixin):  # type: ignore[misc]
    """Whoever is signed in.

    Attributes
    ----------
    id
        Their initials.
    roles
        Among `ledger.user.ROLES`.
    token
        Of the session, as the cookie holds it.
    """

    def __init__(self, who: user.User, token: str) -> None:
        self.id = who.initials
        self.roles = who.roles
        self.token = token

    def get_id(self) -> str:
        """Return what Flask-Login keeps in the cookie."""
        return self.token

    def may(self, endpoint: str) -> bool:
        """Tell whether they may open a route."""
        return access.may(self.roles, endpoint)


def register(app: Flask) -> None:
    """Let the application know its reviewers, and hold every request against the table of roles."""
    manager = LoginManager(app)
    manager.user_loader(_load)
    # The token is random and ends on the box; a tablet that changes its address stays in.
    manager.session_protection = None
    app.before_request(_only_who_may)


def is_over(token: str) -> bool:
    """Tell whether a session has ended: for what goes on after its request, as a stream does.

    Parameters
    ----------
    token
        `current_user.token` of the request that began it.
    """
    box = here()
    return sessions.whose(box.ledger, token, box.settings.webui.lock_after_s) is None


def _load(token: str) -> Reviewer | None:
    box = here()
    who = sessions.whose(box.ledger, token, box.settings.webui.lock_after_s)
    return Reviewer(who, token) if who else None


def _only_who_may() -> Response | tuple[Response, int] | None:
    known = current_user.is_authenticated
    if known and request.method not in ("GET", "HEAD", "OPTIONS"):
        sessions.touch(here().ledger, current_user.token, here().settings.webui.lock_after_s)
    roles = current_user.roles if known else ()
    if request.endpoint is None or access.may(roles, request.endpoint) or _is_from_here():
        return None
    if not known:
        return _unknown()
    if request.endpoint == "live.worklist_page":
        return redirect(url_for("board.box_page"), HTTPStatus.SEE_OTHER)
    roles = ", ".join(map(_, sorted(current_user.roles)))
    sentence = _("That is for other roles than yours ({roles}).", roles=roles)
    return problem(HTTPStatus.FORBIDDEN, sentence)


def _is_from_here() -> bool:
    return (
        request.endpoint in access.FROM_HERE and ip_address(request.remote_addr or "").is_loopback
    )


def _unknown() -> Response | tuple[Response, int]:
    if request.path.startswith(PROGRAMS):
        return problem(HTTPStatus.UNAUTHORIZED, _("Sign in first: reload the page."))
    onward = request.path if request.method == "GET" else "/"
    return redirect(url_for("auth.sign_in_page", next=onward), HTTPStatus.SEE_OTHER)


@blueprint.get("/sign-in")
def sign_in_page() -> str | Response:
    """Ask who is there; a locked page asks for the PIN of whoever was there, or of another."""
    if not user.listed(here().ledger):
        return redirect(url_for("first.first_page"), HTTPStatus.SEE_OTHER)
    return _page(_local(request.args.get("next", "/")), session.get("who", ""))


@blueprint.post("/sign-in")
def sign_in() -> Response | tuple[Response, int]:
    """Take initials and PIN; after several bad ones, only the wait that is left (429)."""
    onward = _local(request.form.get("next", "/"))
    name, pin = request.form.get("user", "").strip().upper(), request.form.get("pin", "")
    ledger, address = here().ledger, request.remote_addr or "?"
    who = user.find(ledger, name)
    tries = {f"address:{address}": _ADDRESS_TRIES}
    if who is not None:
        tries[f"user:{who.initials}"] = lockout.FREE_TRIES
    wait = lockout.begin_try(ledger, tries)
    if wait:
        return _refused(onward, name, HTTPStatus.TOO_MANY_REQUESTS, _wait_words(wait), wait)
    if not pins.matches(who.pin if who else "", pin):
        lockout.bad(ledger, who.initials if who else "?", address)
        sentence = (
            _("That is not the PIN of these initials.") if name else _("Choose your initials.")
        )
        return _refused(onward, name, HTTPStatus.UNPROCESSABLE_ENTITY, sentence)
    assert who is not None
    enter(who)
    return redirect(onward, HTTPStatus.SEE_OTHER)


def enter(who: user.User) -> None:
    """Begin a session of somebody who has shown who they are; whoever was there is out."""
    ledger, address = here().ledger, request.remote_addr or "?"
    if current_user.is_authenticated:
        sessions.end(ledger, current_user.token, "lock", "handed over")
    token = secrets.token_urlsafe(32)
    # A new token against forgery, too: what another tab still shows belongs to who was there.
    session.clear()
    sessions.begin(ledger, token, who, address)
    login_user(Reviewer(who, token))
    session["who"] = who.initials


@blueprint.post("/lock")
def lock() -> Response:
    """End the session; the page is there again after the PIN, with everything drawn on it."""
    if current_user.is_authenticated:
        why = "idle" if request.form.get("why") == "idle" else ""
        sessions.end(here().ledger, current_user.token, "lock", why)
    logout_user()
    onward = _local(request.form.get("next", "/"))
    return redirect(url_for("auth.sign_in_page", next=onward), HTTPStatus.SEE_OTHER)


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """End the session and forget who was there."""
    if current_user.is_authenticated:
        sessions.end(here().ledger, current_user.token, "sign out")
    logout_user()
    session.clear()
    answer = redirect(url_for("auth.sign_in_page"), HTTPStatus.SEE_OTHER)
    answer.headers["Clear-Site-Data"] = '"cache"'  # pictures that the browser kept
    return answer


@blueprint.post("/api/present")
@describe({204: "noted"})
def present() -> tuple[str, int]:
    """Take note that somebody touched the page: what every POST says, and this says alone."""
    return "", HTTPStatus.NO_CONTENT


def _page(onward: str, name: str, said: str = "") -> str:
    people = [row["initials"] for row in user.listed(here().ledger) if not row["removed_at"]]
    locked = session.get("who", "")
    return render_template(
        "signin.html", next=onward, name=name, people=people, locked=locked, problem=said
    )


def _refused(
    onward: str, name: str, status: HTTPStatus, sentence: str, wait: float = 0.0
) -> tuple[Response, int]:
    answer = Response(_page(onward, name, sentence), mimetype="text/html")
    if wait:
        answer.headers["Retry-After"] = str(math.ceil(wait))
    return answer, status


def _wait_words(wait: float) -> str:
    seconds = math.ceil(wait)
    left = (
        _("{count} s", count=seconds)
        if seconds < 100
        else _("{count} minutes", count=math.ceil(seconds / 60))
    )
    return _(
        "Too many wrong PINs. Wait {time}, then try again; an admin can set a new PIN.", time=left
    )


def _local(address: str) -> str:
    """A page of ours, or the worklist: never a way to another site, nor to another header."""
    if not address.isprintable():
        return "/"
    parts = urlsplit(address)
    ours = not parts.scheme and not parts.netloc and re.match(r"/(?![/\\])", address)
    return address if ours else "/"
