"""How the box is, on one page, for whoever tends it; and the few things that are done from there.

Carts are paired and models chosen by rows that their services look at; what a service must do
and answer is asked of it by a command (`ledger/command.py`).
"""

import time
from http import HTTPStatus

from flask import Blueprint, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from appliance import pairing
from appliance.errors import ApplianceError
from appliance.ledger import command, destination, setting
from appliance.releases import model_store, promotion
from appliance.webui import releasing, standing
from appliance.webui.app import Refused, here
from appliance.webui.language import _, told

blueprint = Blueprint("board", __name__)

_AGAIN_S = 2  # while a service is asked something, the page looks again


@blueprint.get("/box")
def box_page() -> Response:
    """Say how the box is, without any patient."""
    return _page()


@blueprint.post("/box/carts")
def allow() -> Response:
    """Let an echo machine send."""
    box, title = here(), request.form.get("title", "").strip()
    address = request.form.get("address", "").strip()
    try:
        pairing.allow(box.settings, box.ledger, title, address, {}, current_user.id)
    except ApplianceError:
        sentence = _(
            "A title has 1 to 16 letters, digits, spaces or signs; an address is one of IP, as"
            " 10.1.2.3, or a network, as 10.1.2.0/24. Nothing was changed."
        )
        return _page(sentence, HTTPStatus.UNPROCESSABLE_ENTITY)
    return _back("carts")


@blueprint.post("/box/carts/remove")
def remove() -> Response:
    """Take an echo machine's pairing back."""
    box, title = here(), request.form.get("title", "")
    try:
        pairing.remove(
            box.settings, box.ledger, title, request.form.get("address", ""), current_user.id
        )
    except ApplianceError:
        return _page(_("This cart is not paired any more."), HTTPStatus.CONFLICT)
    return _back("carts")


@blueprint.post("/box/destinations")
def act_on_destination() -> Response:
    """Try a destination out, deliver to it now, pause it, or let it go on."""
    box, name = here(), request.form.get("name", "")
    if name not in {item.name for item in box.settings.destination}:
        raise Refused(HTTPStatus.NOT_FOUND, _("There is no such destination."))
    do, by = request.form.get("do"), current_user.id
    if do == "test":
        command.ask(box.ledger, "sync", command.TEST, name, by)
    elif do == "retry":
        command.ask(box.ledger, "sync", command.RETRY, name, by)
    elif do == "pause" and not destination.is_paused(box.ledger, name):
        destination.pause(box.ledger, name, by)
    elif do == "resume" and destination.is_paused(box.ledger, name):
        destination.resume(box.ledger, name, by)
    return _back("destinations")


@blueprint.post("/box/model/back")
def model_back() -> Response:
    """Choose the models again that were in use before."""
    box = here()
    before = standing.models_before(box.settings, box.ledger)
    if not before or list(before) != request.form.getlist("model"):
        return _page(_("Another model was chosen meanwhile."), HTTPStatus.CONFLICT)
    try:
        for name in before:
            model_store.load(box.settings.box.state_dir, name)
    except ApplianceError:
        return _page(
            _("{name} can't be used any more.", name=", ".join(before)), HTTPStatus.CONFLICT
        )
    if not _taken_back(before):
        setting.choose_models(box.ledger, before, current_user.id)
    return _back("model")


@blueprint.post("/box/engine")
def retry_gpu() -> Response:
    """Have the engine try the GPU again."""
    setting.retry_gpu(here().ledger, current_user.id)
    return _back("engine")


def _taken_back(before: tuple[str, ...]) -> bool:
    """Take a released model back, where that is what going back comes to: its history says so."""
    box = here()
    now = promotion.models_in_force(box.ledger, box.settings)
    for row in promotion.promoted_in_force(box.ledger, box.settings):
        again = promotion.falls_back_to(box.ledger, box.settings, row["name"])
        if before == tuple(again if name == row["name"] else name for name in now):
            promotion.take_back(box.ledger, box.settings, row["name"], "", current_user.id)
            return True
    return False


def _back(part: str) -> Response:
    return redirect(url_for("board.box_page", _anchor=part), HTTPStatus.SEE_OTHER)


def _page(problem: str = "", status: HTTPStatus = HTTPStatus.OK) -> Response:
    box = here()
    parts = standing.parts(box.settings, box.ledger, box.spool)
    parts["kept_back"] = releasing.waiting()
    page = Response(render_template("box.html", problem=problem, told=told, **parts), status)
    page.mimetype = "text/html"
    if parts["is_asking"] and not problem:
        # Another address each time: to the same one with a fragment, browsers don't go again.
        again = url_for("board.box_page", at=int(time.time()), _anchor="destinations")
        page.headers["Refresh"] = f"{_AGAIN_S}; url={again}"
    return page
