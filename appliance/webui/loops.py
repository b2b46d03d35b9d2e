"""One loop: its page, its state for the page, its frames, contours and thumbnail."""

from http import HTTPStatus
from itertools import pairwise
from typing import Any

from flask import Blueprint, jsonify, render_template, request, url_for
from flask.wrappers import Response

from appliance import labels
from appliance.cine import Timing, open_cine
from appliance.errors import CineError, Part10Error
from appliance.ledger import analysis as analyses
from appliance.ledger import worklist
from appliance.webui import beside, pictures, words
from appliance.webui.app import Refused, here
from appliance.webui.label import described
from appliance.webui.live import card

blueprint = Blueprint("loops", __name__)

# Fetched at once by the page's head instead of one after the other as they are imported.
MODULES = [
    *("view.js", "api.js", "contours.js", "curve.js", "overlay.js", "panel.js", "player.js"),
    "label.js",
    *("correction.js", "editor.js", "pointer.js", "drafts.js", "keys.js", "pending.js"),
]
_FOR_GOOD = "private, max-age=31536000, immutable"
_LARGEST_SEQ = 2**63 - 1  # SQLite's largest integer
_NO_LOOP = "There is no such loop on this box."
_NO_CONTOURS = "This loop has no contours."


def find(seq: int) -> dict[str, Any]:
    """Return a loop's row, or refuse with 404."""
    loop = worklist.loop(here().ledger, seq) if seq <= _LARGEST_SEQ else None
    if loop is None:
        raise Refused(HTTPStatus.NOT_FOUND, _NO_LOOP)
    return loop


@blueprint.get("/loop/<int:seq>")
def viewer(seq: int) -> str:
    """Show a loop to be played, accepted, corrected or rejected."""
    return render_template(
        "viewer.html",
        state=state(find(seq)),
        modules=MODULES,
        reasons=words.REASONS,
        keys=words.KEYS,
    )


@blueprint.get("/api/loops/<int:seq>")
def loop_state(seq: int) -> Response:
    """Return all that the viewer needs to know of a loop but frames and contours."""
    return jsonify(state(find(seq)))


def state(loop: dict[str, Any]) -> dict[str, Any]:
    """Describe a loop for the viewer."""
    ledger = here().ledger
    if loop["state"] == "received":
        analyses.put_in_view(ledger, loop["seq"])
    version = worklist.version(ledger)
    # Read before what is shown of reviews: a decision in between is refused, never missed.
    decided = worklist.reviews(ledger, loop["seq"])
    # What a person has called another view is played, and shown without masks.
    other = words.is_other(loop)
    analysis = None if other else worklist.latest_analysis(ledger, loop["seq"])
    siblings = worklist.study(ledger, loop["study_instance_uid"]) or [loop]
    if not loop["study_instance_uid"]:
        siblings = [loop]
    before, after = _neighbours(loop["seq"], siblings)
    return {
        "seq": loop["seq"],
        "version": version,
        "number": loop["instance_number"] or loop["seq"],
        "state": loop["state"],
        "status": words.status(loop),
        "blocked": words.blocked(loop),
        "superseded": not loop["current"],
        "newest_review": decided[-1]["id"] if decided else 0,
        "words": words.why(loop) or _progress(loop, analysis),
        "patient_id": loop["patient_id"],
        "patient": {
            "name": words.person_name(loop["patient_name"]),
            "id": loop["patient_id"],
            "birth": words.date(loop["patient_birth_date"]),
        },
        "time": words.machine_time(loop["content_date_time"]),
        "view": described(ledger, loop),
        **_playback(loop, analysis),
        "analysis": _analysis(analysis) if analysis else None,
        "annotations": _annotations(loop, analysis) if analysis else [],
        "beside": beside.described(ledger, loop, siblings),
        "undoable": words.undoable(loop),
        "deliveries": words.marks(loop),
        "loops": [card(row) for row in siblings],
        "previous": before,
        "next": after,
    }


def _neighbours(seq: int, siblings: list[dict[str, Any]]) -> tuple[str | None, str | None]:
    order = [row["seq"] for row in siblings]
    place = order.index(seq) if seq in order else -1
    around = (place - 1, place + 1) if place >= 0 else (-1, len(order))
    urls = [
        url_for("loops.viewer", seq=order[there]) if 0 <= there < len(order) else None
        for there in around
    ]
    return urls[0], urls[1]


def _progress(loop: words.Row, analysis: words.Row | None) -> str:
    if loop["state"] == "received":
        others = analyses.behind(here().ledger) - 1
        return "Waiting to be measured." + (f" So are {others} others." if others > 1 else "")
    if loop["state"] == "analysing":
        return "Being measured." if analysis is None else "Being measured: contours appear."
    return ""


def _playback(loop: words.Row, analysis: words.Row | None) -> dict[str, Any]:
    """Size, timing and addresses of what can be played; nothing of what can't."""
    still = {"rows": loop["rows"] or 1, "columns": loop["columns"] or 1, "aspect": 1.0}
    try:
        with open_cine(here().spool.object_path(loop["sha256"])) as cine:
            durations = _durations(cine.timing)
            size = {"rows": cine.rows, "columns": cine.columns, "aspect": cine.pixel_aspect}
            frames = cine.frames
    except (CineError, Part10Error):
        return {**still, "frames": 0, "durations": [], "urls": {"frames": None}}
    if analysis:
        size["aspect"] = analysis["calibration"].get("aspect") or size["aspect"]
    address = url_for("loops.frames", seq=loop["seq"], sha256=loop["sha256"])
    return {
        **size,
        "frames": frames,
        "durations": durations,
        "urls": {"frames": address if frames else None},
    }


def _durations(timing: Timing) -> list[float]:
    """How long each frame stands, in ms; the last as long as one stands on average."""
    times = timing.frame_times_ms
    steps = [after - before for before, after in pairwise(times)]
    return [*steps, 1000 / timing.rate_hz]


def _analysis(analysis: words.Row) -> dict[str, Any]:
    return {
        "id": analysis["id"],
        "sha256": analysis["sha256"] if analysis["state"] == "sealed" else None,
        "structures": [
            {name: item[name] for name in ("label", "name", "colour")}
            for item in analysis["labels"]
        ],
        "cavity": analysis["labels"][0]["label"],
    }


def _annotations(loop: words.Row, analysis: words.Row) -> list[dict[str, Any]]:
    """The model's answer, then each review of it, oldest first.

    `stands` marks the one in force: the newest review, or the model's once that is undone. An
    undo is told with the review it took back.
    """
    model = _model(loop, analysis)
    told = [model]
    for review in worklist.reviews(here().ledger, loop["seq"]):
        if review["analysis_id"] != analysis["id"]:
            continue
        undone = review["decision"] == "undone"
        if told[-1]["review"] is not None:
            words.no_longer_in_force(told[-1], review)
        for item in told:
            item["stands"] = undone and item is model
        if not undone:
            told.append(_review(loop, review, model, analysis))
    return told


def _model(loop: words.Row, analysis: words.Row) -> dict[str, Any]:
    available = sum(row["frame_count"] for row in worklist.chunks(here().ledger, analysis["id"]))
    parameters = {"analysis": analysis["id"], "frames": available}
    view = (loop["view"] or {}).get("view", "")
    return {
        "id": "model",
        "review": None,
        "stands": True,
        "sign": "◆",
        "title": f"{analysis['model_name']} {analysis['model_version']}",
        "time": words.clock(analysis["sealed_at"] or analysis["opened_at"]),
        "note": "",
        "contours": url_for("loops.contours", seq=loop["seq"], **parameters),
        "certainty": url_for("viewing.certainty", seq=loop["seq"], **parameters),
        "doubts": _doubts(analysis),
        "corrected": [],
        **_measured(analysis["measures"], analysis, view),
    }


def _doubts(analysis: words.Row) -> dict[int, str]:
    """Frames (from 0) whose contours can't be a heart's, and why."""
    rows = enumerate(analysis["per_frame"] or [])
    return {index: row["doubt"] for index, row in rows if row and row.get("doubt")}


def _review(
    loop: words.Row, review: words.Row, model: dict[str, Any], analysis: words.Row
) -> dict[str, Any]:
    chunks = worklist.review_chunks(here().ledger, review["id"])
    corrected = [
        index
        for row in chunks
        for index in range(row["first_frame"], row["first_frame"] + row["frame_count"])
    ]
    sign = {"accepted": "✓", "corrected": "✎", "rejected": "✕"}[review["decision"]]
    address = url_for("loops.contours", seq=loop["seq"], review=review["id"])
    told = {
        **model,
        "id": f"review-{review['id']}",
        "review": review["id"],
        "stands": True,
        "sign": sign,
        "title": f"{review['reviewer']} {review['decision']}",
        "time": words.clock(review["at"]),
        "note": review["reason"],
        "corrected": corrected,
        "doubts": {i: why for i, why in model["doubts"].items() if i not in corrected},
        "contours": address if corrected else model["contours"],
    }
    # A decision stands for the view it was taken on, whatever it is called by now.
    told.update(_measured(review["measures"] or analysis["measures"], analysis, review["view"]))
    return told


def _measured(measures: words.Row | None, analysis: words.Row, view: str) -> dict[str, Any]:
    if measures is None:
        waiting = {"ef": "…", "spread": "", "volumes": [], "lines": ["being measured"], "why": []}
        return {"numbers": waiting, "marks": {}, "curve": [], "beats": [], "unit": ""}
    numbers = words.numbers(measures)
    named = [view] if view else []
    numbers["lines"] = [*named, *numbers["lines"], *words.quality(analysis)]
    numbers["why"] = [*numbers["why"], *(analysis["quality"] or {}).get("notes", [])]
    marks = {"ed": measures["ed_frame"], "es": measures["es_frame"]}
    return {
        "numbers": numbers,
        "marks": {name: frame for name, frame in marks.items() if frame is not None},
        "curve": measures["lv_area_curve"],
        "beats": [{"ed": beat["ed"], "es": beat["es"]} for beat in measures["beats"]],
        "unit": "cm²" if measures["area_unit"] == "cm2" else "",
    }


@blueprint.get("/api/loops/<int:seq>/frames")
def frames(seq: int) -> Response:
    """Return the loop's frames as one pack, untouched where a browser shows them right."""
    loop = find(seq)
    if loop["purged_at"]:
        raise Refused(HTTPStatus.GONE, words.removed(loop))
    try:
        size, parts = pictures.pack_of_frames(here().spool, loop["sha256"])
    except (CineError, Part10Error) as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, words.sentence(error.subject)) from error
    response = Response(parts, mimetype="application/octet-stream")
    response.content_length = size
    if request.args.get("sha256") == loop["sha256"]:
        response.headers["Cache-Control"] = _FOR_GOOD
    return response


@blueprint.get("/api/loops/<int:seq>/contours")
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
        raise Refused(HTTPStatus.NOT_FOUND, _NO_CONTOURS)
    packed = box.contours.of_analysis(box.ledger, box.spool, analysis)
    return _packed(packed, for_good=analysis["state"] == "sealed" and analysis_id is not None)


def _id(name: str) -> int | None:
    """An id of the address; one that no row can have is 0, which none has."""
    wanted = request.args.get(name, type=int)
    return wanted if wanted is None or abs(wanted) <= _LARGEST_SEQ else 0


def _reviewed_contours(seq: int, review_id: int) -> Response:
    box = here()
    review = worklist.review(box.ledger, review_id)
    analysis = worklist.analysis(box.ledger, review["analysis_id"]) if review else None
    if review is None or analysis is None or review["seq"] != seq:
        raise Refused(HTTPStatus.NOT_FOUND, _NO_CONTOURS)
    maps = labels.of_review(box.ledger, box.spool, review_id)
    values = [item["label"] for item in analysis["labels"]]
    return _packed(box.contours.pack(f"review-{review_id}", maps, values), for_good=True)


def _packed(data: bytes, *, for_good: bool) -> Response:
    response = Response(data, mimetype="application/octet-stream")
    if for_good:
        response.headers["Cache-Control"] = _FOR_GOOD
    return response


@blueprint.get("/api/loops/<int:seq>/thumbnail/<drawn>.jpg")
def thumbnail(seq: int, drawn: str) -> Response:
    """Return a small picture of the ED frame with the contours in force."""
    box, loop = here(), find(seq)
    review, analysis = loop["review"], loop["analysis"]
    measures = words.in_force(loop)
    maps = None
    if analysis and not words.is_other(loop):
        shown = review if review and review["analysis_id"] == analysis["id"] else None
        maps = (
            labels.of_review(box.ledger, box.spool, shown["id"])
            if shown
            else labels.of_analysis(box.ledger, box.spool, analysis["id"])
        )
    colours = {item["label"]: item["colour"] for item in analysis["labels"]} if analysis else {}
    index = (measures or {}).get("ed_frame") or 0
    path = box.spool.object_path(loop["sha256"])
    data = pictures.thumbnail(path, index, maps, colours)
    if data is None:
        raise Refused(HTTPStatus.NOT_FOUND, "This loop has no picture.")
    response = Response(data, mimetype="image/jpeg")
    response.headers["Cache-Control"] = "private, max-age=86400"
    return response
