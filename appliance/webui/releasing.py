"""Corrections kept back in doubt: what would leave is looked at here, and let go or kept.

Drawn by the box, form by form. The picture comes inside the page: what the form names is what was
on the screen, and nothing of it stays in a cache.
"""

import threading
from base64 import b64encode
from dataclasses import dataclass
from http import HTTPStatus
from itertools import groupby

from flask import Blueprint, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from appliance import scrub
from appliance.errors import ApplianceError, LedgerError
from appliance.kept_back import would_leave
from appliance.ledger import upstream
from appliance.ledger.connection import Row
from appliance.webui.app import Here, Refused, here
from appliance.webui.language import _, told

blueprint = Blueprint("releasing", __name__)

_one_look = threading.Lock()  # each decodes a loop: two at once would hold up the bedside
_DIGITS = 64  # of a SHA-256


@dataclass(frozen=True)
class _Look:
    """What would leave: its name, a PNG for the page's address, why it is in doubt."""

    seen: str
    picture: str
    doubts: tuple[str, ...]


@blueprint.get("/corrections")
def listed() -> str:
    """List what is kept back, without any patient."""
    return render_template("corrections.html", rows=_rows(here()))


@blueprint.get("/corrections/<int:seq>")
def look(seq: int) -> str:
    """Show what would leave of one, and ask."""
    box = here()
    row = next((row for row in _rows(box) if row["seq"] == seq), None)
    if row is None:
        raise _gone()
    shown, problem = None, ""
    try:
        shown = _looked(box, seq)
    except ApplianceError as error:
        problem = told(error.subject)
    return render_template("correction.html", row=row, shown=shown, problem=problem)


@blueprint.post("/corrections/<int:seq>")
def decide(seq: int) -> Response:
    """Let it go, with just the pixels that were shown, or keep it."""
    ledger, by, seen = here().ledger, current_user.id, request.form.get("seen", "")
    try:
        if request.form.get("do") == "keep":
            upstream.keep(ledger, seq, by)
        elif len(seen) == _DIGITS and not set(seen) - set("0123456789abcdef"):
            upstream.release(ledger, seq, seen, by)
        else:
            raise Refused(HTTPStatus.BAD_REQUEST, _("Look at the picture first."))
    except LedgerError as error:
        raise _gone() from error
    return redirect(url_for("releasing.listed"), HTTPStatus.SEE_OTHER)


def _rows(box: Here) -> list[Row]:
    """Each loop once, with the names of the destinations that wait for it."""
    rows = sorted(upstream.refused(box.ledger), key=lambda row: (row["seq"], row["id"]))
    found = []
    for _each, same in groupby(rows, key=lambda row: row["seq"]):
        several = list(same)
        names = ", ".join(row["destination"] for row in several)
        found.append({**several[0], "names": names, "day": several[0]["changed_at"][:10]})
    return found


def _looked(box: Here, seq: int) -> _Look:
    with _one_look:
        scrubbed = would_leave(box.ledger, box.spool, seq)
        picture = b64encode(scrub.overview(scrubbed)).decode("ascii")
    doubts = tuple(told(doubt) for doubt in scrubbed.doubts)
    return _Look(scrubbed.sha256, f"data:image/png;base64,{picture}", doubts)


def _gone() -> Refused:
    sentence = _("No correction of this loop is kept back any more.")
    return Refused(HTTPStatus.CONFLICT, sentence)


def waiting() -> int:
    """Return how many corrections wait for somebody's look; 0 for whom they are no matter."""
    if not current_user.may("releasing.listed"):
        return 0
    return sum(not row["kept_by"] for row in _rows(here()))
