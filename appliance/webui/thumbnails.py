"""A loop's small picture: its ED frame with the contours in force, kept once drawn."""

from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Blueprint
from flask.wrappers import Response

from appliance import labels
from appliance.labels import LoopLabels
from appliance.ledger import worklist
from appliance.spool import write_durably
from appliance.webui import pictures, words
from appliance.webui.app import Refused, here
from appliance.webui.language import N_, _
from appliance.webui.openapi import describe

blueprint = Blueprint("thumbnails", __name__)

_LARGEST_SEQ = 2**63 - 1  # SQLite's largest integer
_FOR_GOOD = "private, max-age=31536000, immutable"
_NO_PICTURE = N_("This loop has no picture.")


@blueprint.get("/api/loops/<int:seq>/thumbnail/<drawn>.jpg")
@describe({200: "a JPEG"}, refuses=[404], kind="image/jpeg")
def thumbnail(seq: int, drawn: str) -> Response:
    """Return a small picture of a loop; `drawn` as the page's own addresses name it."""
    sha256 = _sha256(seq)
    path = _path(sha256, drawn)
    # A name that was never drawn has no file: what the address says leads nowhere else.
    data = path.read_bytes() if drawn.isalnum() and path.exists() else None
    if data is None:
        loop = worklist.loop(here().ledger, seq) or {}
        data = _draw(loop)
        if data is None:
            raise Refused(HTTPStatus.NOT_FOUND, _(_NO_PICTURE))
        if loop["state"] == "analysing" or drawn != name(loop):
            return _answer(data, "no-store")
        write_durably(path, data)
    return _answer(data, _FOR_GOOD)


def name(loop: words.Row) -> str:
    """Return what is drawn on a loop's picture, so that an address holds for good."""
    review, analysis = loop["review"], loop["analysis"]
    if words.is_other(loop) or not (review or analysis):
        return "bare"
    return f"r{review['id']}" if review else f"a{analysis['id']}"


def _sha256(seq: int) -> str:
    sql = "SELECT sha256 FROM instance WHERE seq = ?"
    row = here().ledger.read_one(sql, [seq]) if seq <= _LARGEST_SEQ else None
    if row is None:
        raise Refused(HTTPStatus.NOT_FOUND, _("There is no such loop on this box."))
    return str(row["sha256"])


def _path(sha256: str, drawn: str) -> Path:
    return here().spool.cache / f"{sha256}-{drawn}.thumbnail"


def _answer(data: bytes, kept: str) -> Response:
    response = Response(data, mimetype="image/jpeg")
    response.headers["Cache-Control"] = kept
    return response


def _draw(loop: dict[str, Any]) -> bytes | None:
    analysis, measures = loop["analysis"], words.in_force(loop)
    colours = {item["label"]: item["colour"] for item in analysis["labels"]} if analysis else {}
    index = (measures or {}).get("ed_frame") or 0
    path = here().spool.object_path(loop["sha256"])
    return pictures.thumbnail(path, index, _maps(loop), colours)


def _maps(loop: words.Row) -> LoopLabels | None:
    box, review, analysis = here(), loop["review"], loop["analysis"]
    if analysis is None or words.is_other(loop):
        return None
    if review and review["analysis_id"] == analysis["id"]:
        return labels.of_review(box.ledger, box.spool, review["id"])
    return labels.of_analysis(box.ledger, box.spool, analysis["id"])
