"""One loop: its page, its state for the page, its frames and contours."""

from http import HTTPStatus
from typing import Any

from flask import Blueprint, jsonify, render_template, request
from flask.wrappers import Response

from appliance import labels
from appliance.errors import CineError, Part10Error
from appliance.ledger import worklist
from appliance.webui import pictures, words
from appliance.webui.app import Refused, here
from appliance.webui.describing import state
from appliance.webui.language import N_, _
from appliance.webui.openapi import BYTES, describe

blueprint = Blueprint("loops", __name__)

# Fetched at once by the page's head instead of one after the other as they are imported.
FIRST = [  # what the first picture takes
    *("start.js", "view.js", "api.js", "language.js", "contours.js", "curve.js", "overlay.js"),
    *("panel.js", "player.js"),
]
MODULES = [
    *(
        "viewer.js",
        "looking.js",
        "asking.js",
        "shape.js",
        "sizes.js",
        "tools.js",
        "keeping.js",
    ),
    *("correction.js", "editor.js", "pointer.js", "drafts.js", "keys.js", "pending.js"),
]
_FOR_GOOD = "private, max-age=31536000, immutable"
_LARGEST_SEQ = 2**63 - 1  # SQLite's largest integer
_NO_LOOP = N_("There is no such loop on this box.")
_NO_CONTOURS = N_("This loop has no contours.")


def find(seq: int) -> dict[str, Any]:
    """Return a loop's row, or refuse with 404."""
    loop = worklist.loop(here().ledger, seq) if seq <= _LARGEST_SEQ else None
    if loop is None:
        raise Refused(HTTPStatus.NOT_FOUND, _(_NO_LOOP))
    return loop


@blueprint.get("/loop/<int:seq>")
def viewer(seq: int) -> str:
    """Show a loop to be played, accepted, corrected or rejected."""
    return render_template(
        "viewer.html",
        state=_with_first_contours(state(find(seq))),
        first=FIRST,
        modules=MODULES,
        reasons=words.REASONS,
        keys=words.KEYS,
    )


def _with_first_contours(told: dict[str, Any]) -> dict[str, Any]:
    """Add the first frame's contours: the first picture waits for no others then."""
    standing = [item for item in told["annotations"] if item["stands"]]
    if not standing or standing[-1]["contours"] != told["annotations"][0]["contours"]:
        return told
    return {**told, "first": here().contours.first_frame(f"analysis-{told['analysis']['id']}")}


@blueprint.get("/api/loops/<int:seq>")
@describe({200: "the loop"}, refuses=[404])
def loop_state(seq: int) -> Response:
    """Return all that the viewer needs to know of a loop but frames and contours."""
    return jsonify(state(find(seq)))


@blueprint.get("/api/loops/<int:seq>/frames")
@describe({200: "the frames, JPEGs"}, refuses=[404, 410, 422], kind=BYTES)
def frames(seq: int) -> Response:
    """Return the loop's frames as one pack, untouched where a browser shows them right."""
    loop = find(seq)
    if loop["purged_at"]:
        raise Refused(HTTPStatus.GONE, words.removed(loop))
    try:
        size, parts = pictures.pack_of_frames(here().spool, loop["sha256"])
    except (CineError, Part10Error) as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, words.spoken(error.subject)) from error
    response = Response(parts, mimetype="application/octet-stream")
    response.content_length = size
    if request.args.get("sha256") == loop["sha256"]:
        response.headers["Cache-Control"] = _FOR_GOOD
    return response


@blueprint.get("/api/loops/<int:seq>/contours")
@describe({200: "the contours"}, refuses=[404], ids=["analysis", "review"], kind=BYTES)
def contours(seq: int) -> Response:
    """Return contours as packed: the model's so far, or with `review=<id>` what that one says."""
    box, loop = here(), find(seq)
    review_id = _id("review")
    if review_id is not None:
        return _reviewed_contours(seq, review_id)
    analysis_id = _id("analysis")
    analysis = (
        worklist.analysis(box.ledger, analysis_id)
        if analysis_id is not None
        else worklist.latest_analysis(box.ledger, loop["seq"])
    )
    if analysis is None or analysis["seq"] != seq:
        raise Refused(HTTPStatus.NOT_FOUND, _(_NO_CONTOURS))
    packed = box.contours.of_analysis(box.ledger, box.spool, analysis)
    return _packed(packed, for_good=analysis["state"] == "sealed" and analysis_id is not None)


def _id(name: str) -> int | None:
    """An id of the address; one that no row can have is 0, which none has."""
    if name not in request.args:
        return None
    wanted = request.args.get(name, type=int)
    return wanted if wanted is not None and abs(wanted) <= _LARGEST_SEQ else 0


def _reviewed_contours(seq: int, review_id: int) -> Response:
    box = here()
    review = worklist.review(box.ledger, review_id)
    analysis = worklist.analysis(box.ledger, review["analysis_id"]) if review else None
    if review is None or analysis is None or review["seq"] != seq:
        raise Refused(HTTPStatus.NOT_FOUND, _(_NO_CONTOURS))
    maps = labels.of_review(box.ledger, box.spool, review_id)
    values = [item["label"] for item in analysis["labels"]]
    return _packed(box.contours.pack(f"review-{review_id}", maps, values), for_good=True)


def _packed(data: bytes, *, for_good: bool) -> Response:
    response = Response(data, mimetype="application/octet-stream")
    if for_good:
        response.headers["Cache-Control"] = _FOR_GOOD
    return response
