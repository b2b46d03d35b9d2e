"""A loop as the viewer needs it: all but its frames and contours, in the page's words."""

from itertools import pairwise
from typing import Any

from flask import url_for
from flask_login import current_user

from appliance.cine import Timing, open_cine
from appliance.errors import CineError, Part10Error
from appliance.ledger import analysis as analyses
from appliance.ledger import expert, identity, worklist
from appliance.ledger.current import newest
from appliance.measures import draws_heart
from appliance.views import NO_VIEW
from appliance.webui import beside, dates, words
from appliance.webui.app import here
from appliance.webui.cards import card
from appliance.webui.label import described
from appliance.webui.language import N_, _, n_, told, told_all
from appliance.webui.nameless import patient_key
from appliance.webui.visible import visible

_KNOWN = 3  # structures that everybody at the page knows: ventricle, its wall, atrium


def state(loop: dict[str, Any]) -> dict[str, Any]:
    """Describe a loop for the viewer."""
    ledger = here().ledger
    if loop["state"] == "received":
        analyses.put_in_view(ledger, loop["seq"])
    version = worklist.version(ledger)
    # Read before what is shown of reviews: a decision in between is refused, never missed.
    decided = worklist.reviews(ledger, loop["seq"])
    newest_identity = identity.newest_word(ledger, loop["study_instance_uid"])
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
        "newer": _newer(loop),
        "newest_review": decided[-1]["id"] if decided else 0,
        # What stands in the place of the newer one says so where the way to it is.
        "words": (words.why(loop) or _progress(loop, analysis)) if loop["current"] else "",
        "patient_id": loop["patient_id"],
        "newest_identity": newest_identity,
        "doubt": words.spoken(loop["told"]) if loop["told"] else "",
        "identities": _identities(loop),
        "decided": words.decided(loop),
        "retractable": _is_mine(loop["expert"]),
        "askable": bool(loop["current"] and not loop["expert"] and not words.decided(loop)),
        "patient": {
            "name": words.person_name(loop["patient_name"]),
            "id": visible(loop["patient_id"]),
            "key": patient_key(loop["patient_id"]),
            "birth": dates.day(loop["patient_birth_date"]),
        },
        "time": dates.minute(loop["content_date_time"]),
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


def onward(loop: words.Row) -> str:
    """Where to go on: the next loop of the same study that needs eyes, else the list (promise 12).

    What waits for an expert is opened for an expert only.
    """
    study: str = loop["study_instance_uid"]
    is_expert = getattr(current_user, "role", "") == "expert"
    waiting = [
        row["seq"]
        for row in (worklist.study(here().ledger, study) if study else [])
        if words.needs_eyes(row)
        and row["state"] == "analysed"
        and row["seq"] != loop["seq"]
        and (is_expert or not row["expert"])
    ]
    later = [seq for seq in waiting if seq > loop["seq"]]
    if not waiting:
        return url_for("live.worklist_page")
    return url_for("loops.viewer", seq=(later or waiting)[0])


def _newer(loop: words.Row) -> str | None:
    """Where the object is that has taken this one's place, if any has."""
    if loop["current"]:
        return None
    sql = f"SELECT {newest('i')} AS seq FROM instance i WHERE i.seq = ?"
    row = here().ledger.read_one(sql, [loop["seq"]])
    return url_for("loops.viewer", seq=row["seq"]) if row else None


def _identities(loop: words.Row) -> list[dict[str, Any]]:
    """Who the loops of a study of several patients say they are of; [] of one patient's.

    Without `loops`: as the machine had sent it before.
    """
    if loop["patients"] < 2:
        return []
    return [
        {
            "key": row["key"],
            "id": row["patient_id"],
            "shown": visible(row["patient_id"]),
            "name": words.person_name(row["patient_name"]),
            "birth": dates.day(row["patient_birth_date"]),
            "loops": row["loops"],
        }
        for row in identity.people(here().ledger, loop["study_instance_uid"])
    ]


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
        if others < 1:
            return _("Waiting to be measured.")
        return n_(
            "Waiting to be measured. So is 1 other.",
            "Waiting to be measured. So are {count} others.",
            others,
        )
    if loop["state"] == "analysing":
        return _("Being measured.") if analysis is None else _("Being measured: contours appear.")
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
            {"label": item["label"], "name": told(item["name"]), "colour": item["colour"]}
            for item in analysis["labels"]
        ],
        "cavity": analysis["labels"][0]["label"],
        "legend": needs_legend(analysis["labels"]),
        **_sizes(analysis),
    }


def needs_legend(structures: list[dict[str, Any]]) -> bool:
    """Tell whether a model draws what nobody knows by its colour: other than the heart's three."""
    return len(structures) > _KNOWN or not draws_heart(structures)


def _sizes(analysis: words.Row) -> dict[str, Any]:
    """What a page needs to tell volumes while a contour is drawn, and distances.

    `mm_per_px` of a source column, None without a trusted calibration; `sizes` of each frame:
    the model's volumes of ventricle and atrium in cubed source columns, and whether each is cut
    off at the edge; None for a damaged frame, [] where nothing is measured: by a model of other
    structures, or in a view that nobody has told.
    """
    calibration = analysis["calibration"]
    scale = analysis["geometry"]["scale_x"]
    withheld = (analysis["measures"] or {}).get("withheld", {})
    measured = draws_heart(analysis["labels"]) and withheld.get("ef_percent") != NO_VIEW
    sizes = [
        row
        and [
            round(row["lv_volume"] / scale**3),
            round(row["la_volume"] / scale**3),
            int(row["cut_at_edge"]),
            int(row.get("la_cut", False)),
        ]
        for row in analysis["per_frame"] or []
        if measured
    ]
    return {
        "mm_per_px": calibration["mm_per_px_x"] if calibration["trusted"] else None,
        "no_scale": "" if calibration["trusted"] else told(calibration["reason"]),
        "sizes": sizes,
    }


def _annotations(loop: words.Row, analysis: words.Row) -> list[dict[str, Any]]:
    """The model's answer, then each review of it, oldest first.

    `stands` marks the one in force: the newest review, after an undo the one that stands again,
    or the model's. An undo is told with the review it took back.
    """
    model = _model(loop, analysis)
    told = [model]
    ended: dict[int, words.Row] = {}  # by which later one
    standing: int | None = None
    for review in worklist.reviews(here().ledger, loop["seq"]):
        if review["analysis_id"] != analysis["id"]:
            continue
        if standing is not None:
            ended[standing] = review
        if review["decision"] == "undone":
            standing = review["restores"]
            ended = {number: later for number, later in ended.items() if number != standing}
        else:
            standing = review["id"]
            told.append(_review(loop, review, model, analysis))
    for item in told:
        item["stands"] = item["review"] == standing
        if item["review"] in ended:
            words.no_longer_in_force(item, ended[item["review"]])
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
        "decision": "",
        "title": f"{analysis['model_name']} {analysis['model_version']}",
        "time": words.clock(analysis["sealed_at"] or analysis["opened_at"]),
        "asked": _is_mine(loop["expert"]),
        "note": _questions(loop),
        "contours": url_for("loops.contours", seq=loop["seq"], **parameters),
        "certainty": url_for("viewing.certainty", seq=loop["seq"], **parameters),
        "doubts": _doubts(analysis),
        "corrected": [],
        **_measured(analysis["measures"], analysis, view),
    }


def _is_mine(question: words.Row | None) -> bool:
    return question is not None and question["by"] == current_user.id


def _questions(loop: words.Row) -> str:
    """Who wasn't sure, and who took that back; also once an expert has decided."""
    asked = N_("{initials} was not sure, {time}.")
    back = N_("{initials} took the question back, {time}.")
    return " ".join(
        _(back if row["back"] else asked, initials=row["by"], time=words.clock(row["at"]))
        for row in expert.told(here().ledger, loop["seq"])
    )


def _doubts(analysis: words.Row) -> dict[int, str]:
    """Frames (from 0) whose contours can't be a heart's, and why."""
    rows = enumerate(analysis["per_frame"] or [])
    return {index: told(row["doubt"]) for index, row in rows if row and row.get("doubt")}


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
    answer = {
        **model,
        "asked": False,
        "id": f"review-{review['id']}",
        "review": review["id"],
        "stands": True,
        "sign": sign,
        "decision": review["decision"],
        "by": review["reviewer"],
        "title": f"{review['reviewer']} {_(review['decision'])}",
        "time": words.clock(review["at"]),
        "note": told(review["reason"]),
        "corrected": corrected,
        "doubts": {i: why for i, why in model["doubts"].items() if i not in corrected},
        "contours": address if corrected else model["contours"],
    }
    # A decision stands for the view it was taken on, whatever it is called by now.
    answer.update(_measured(review["measures"] or analysis["measures"], analysis, review["view"]))
    return answer


def _measured(measures: words.Row | None, analysis: words.Row, view: str) -> dict[str, Any]:
    if measures is None:
        waiting = {
            "ef": "…",
            "spread": "",
            "volumes": [],
            "lines": [_("being measured")],
            "why": [],
        }
        return {"numbers": waiting, "marks": {}, "curve": [], "beats": [], "unit": ""}
    numbers = words.numbers(measures)
    named = [view] if view else []
    numbers["lines"] = [*named, *numbers["lines"], *words.quality(analysis)]
    numbers["why"] = [
        *words.damaged(analysis),
        *numbers["why"],
        *told_all((analysis["quality"] or {}).get("notes", [])),
    ]
    marks = {"ed": measures["ed_frame"], "es": measures["es_frame"]}
    return {
        "numbers": numbers,
        "marks": {name: frame for name, frame in marks.items() if frame is not None},
        "curve": measures["lv_area_curve"],
        "beats": [{"ed": beat["ed"], "es": beat["es"]} for beat in measures["beats"]],
        "unit": "cm²" if measures["area_unit"] == "cm2" else "",
    }
