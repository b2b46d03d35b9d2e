"""Users on the page: an admin adds, changes and removes them; everybody changes the own PIN."""

from http import HTTPStatus
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from appliance import pins
from appliance.ledger import audit, lockout, user
from appliance.webui import words
from appliance.webui.app import Refused, here
from appliance.webui.language import N_, _, told

blueprint = Blueprint("people", __name__)

Answer = Response | tuple[str, int]
_ROLES = (N_("sonographer"), N_("expert"), N_("biomed"), N_("admin"))  # `user.ROLES`, to translate
_EARLIER = (N_("audit begun"), N_("first start"))  # written at a migration, and by nobody yet
_SHOWN = 100  # rows of the audit
_HASHES = ("analysis", "content")  # of the audit's rows, left to `echocart audit list`


@blueprint.get("/people")
def people_page() -> str:
    """Show the users, and what was done last."""
    return _page("")


@blueprint.post("/people")
def add() -> Answer:
    """Add a user, or take one back who was removed, with roles and a first PIN."""
    return _change("add")


@blueprint.post("/people/roles")
def set_roles() -> Answer:
    """Give a user other roles."""
    return _change("roles")


@blueprint.post("/people/pin")
def set_pin() -> Answer:
    """Give a user another PIN; their sessions end."""
    return _change("pin")


@blueprint.post("/people/remove")
def remove() -> Answer:
    """Let a user in no more."""
    return _change("remove")


@blueprint.get("/me")
def own_page() -> str:
    """Offer to change the own PIN."""
    return render_template("me.html", problem="")


@blueprint.post("/me")
def set_own_pin() -> Answer:
    """Change the own PIN, with the old one shown; every session of this user ends."""
    ledger, own = here().ledger, current_user.id
    tries = {f"user:{own}": lockout.FREE_TRIES}
    if lockout.begin_try(ledger, tries):
        sentence = _("Too many wrong PINs. Wait, then try again.")
        raise Refused(HTTPStatus.TOO_MANY_REQUESTS, sentence)
    who = user.find(ledger, own)
    if who is None or not pins.matches(who.pin, request.form.get("old", "")):
        lockout.bad(ledger, own, request.remote_addr or "?")
        said = _("The old PIN is another one.")
    else:
        lockout.forget(ledger, tries)
        said = _pin_problem()
    if said:
        return render_template("me.html", problem=said), HTTPStatus.UNPROCESSABLE_ENTITY
    user.set_pin(ledger, own, pins.hashed(request.form["pin"]), own)
    return redirect(url_for("auth.sign_in_page"), HTTPStatus.SEE_OTHER)


def _change(what: str) -> Answer:
    said = _pin_problem() if what in ("add", "pin") else ""
    try:
        if not said:
            _do(what)
            return redirect(url_for("people.people_page"), HTTPStatus.SEE_OTHER)
    except user.PeopleError as error:
        said = f"{words.spoken(error.subject)} {told(error.hint)}"
    return _page(said), HTTPStatus.UNPROCESSABLE_ENTITY


def _do(what: str) -> None:
    ledger, by = here().ledger, current_user.id
    name, roles = request.form.get("user", ""), request.form.getlist("role")
    if what == "remove":
        user.remove(ledger, name, by)
    elif what == "roles":
        user.set_roles(ledger, name, roles, by)
    elif what == "pin":
        user.set_pin(ledger, name, pins.hashed(request.form["pin"]), by)
    elif request.form.get("return"):
        user.restore(ledger, name, roles, pins.hashed(request.form["pin"]), by)
    else:
        user.add(ledger, name, roles, pins.hashed(request.form["pin"]), by)


def _pin_problem() -> str:
    pin = request.form.get("pin", "")
    said = told(pins.problem(pin))
    return said or ("" if pin == request.form.get("again") else _("The two PINs differ."))


def _page(said: str) -> str:
    ledger = here().ledger
    return render_template(
        "people.html",
        people=user.listed(ledger),
        roles=user.ROLES,
        audit=[{**row, "to": _to_what(row)} for row in audit.listed(ledger, _SHOWN)],
        problem=said,
    )


def _to_what(row: dict[str, Any]) -> str:
    facts = [f"{name} {value}" for name, value in row["detail"].items() if name not in _HASHES]
    return " · ".join(filter(None, [row["subject"], *facts]))
