"""The first start: nobody can sign in yet, and a one-time code of the console makes the first admin."""

import logging
import secrets
from hmac import compare_digest
from http import HTTPStatus

from flask import Blueprint, Flask, current_app, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from appliance import pins
from appliance.config import Settings
from appliance.ledger import Ledger, lockout, user
from appliance.webui import auth, words
from appliance.webui.app import here
from appliance.webui.language import _, told

log = logging.getLogger("echocart.webui")

blueprint = Blueprint("first", __name__)

_LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # none that is read as another
_LENGTH = 10  # 49 bits, and a few tries a minute
_TRIES = {"first start": lockout.FREE_TRIES}


def register(app: Flask, settings: Settings, ledger: Ledger) -> None:
    """Make a code and print it, where nobody is admin yet; it lives as long as this process."""
    app.extensions["echocart-first-code"] = ""
    if user.has_admin(ledger):
        return
    code = "".join(secrets.choice(_LETTERS) for _place in range(_LENGTH))
    app.extensions["echocart-first-code"] = code
    log.warning(
        "nobody can manage users yet: open %s/first and enter the code %s-%s",
        *(settings.webui.url, code[: _LENGTH // 2], code[_LENGTH // 2 :]),
    )


@blueprint.get("/first")
def first_page() -> str | Response:
    """Ask for the code, and who the first admin is."""
    return _page("") if _is_open() else _away()


@blueprint.post("/first")
def first() -> Response | tuple[str, int]:
    """Make the first admin and sign them in; the code is used up."""
    if not _is_open():
        return _away()
    ledger = here().ledger
    wait = lockout.begin_try(ledger, _TRIES)
    if wait:
        return _page(
            _("Too many wrong codes. Wait {seconds} s.", seconds=f"{wait:.0f}")
        ), HTTPStatus.TOO_MANY_REQUESTS
    given = "".join(filter(str.isalnum, request.form.get("code", ""))).upper()
    if not compare_digest(given.encode(), _code().encode()):
        lockout.bad(ledger, "first start", request.remote_addr or "?")
        said = _("That is not the code. It is the newest one in the box's journal.")
        return _page(said), HTTPStatus.UNPROCESSABLE_ENTITY
    lockout.forget(ledger, _TRIES)
    pin = request.form.get("pin", "")
    said = told(pins.problem(pin))
    if not said and pin != request.form.get("again", ""):
        said = _("The two PINs differ.")
    if said:
        return _page(said), HTTPStatus.UNPROCESSABLE_ENTITY
    roles = {user.ADMIN, *(["sonographer"] if request.form.get("reviews") else [])}
    try:
        who = user.add(ledger, request.form.get("user", ""), roles, pins.hashed(pin), "first start")
    except user.PeopleError as error:
        said = f"{words.spoken(error.subject)} {told(error.hint)}"
        return _page(said), HTTPStatus.UNPROCESSABLE_ENTITY
    current_app.extensions["echocart-first-code"] = ""
    auth.enter(who)
    return redirect(url_for("people.people_page"), HTTPStatus.SEE_OTHER)


def _code() -> str:
    code: str = current_app.extensions["echocart-first-code"]
    return code


def _is_open() -> bool:
    return bool(_code()) and not user.has_admin(here().ledger)


def _away() -> Response:
    return redirect(url_for("auth.sign_in_page"), HTTPStatus.SEE_OTHER)


def _page(said: str) -> str:
    form = request.form
    reviews = request.method == "GET" or "reviews" in form
    kept = {"code": form.get("code", ""), "name": form.get("user", ""), "reviews": reviews}
    return render_template("first.html", problem=said, **kept)
