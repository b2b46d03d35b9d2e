"""The worklist: studies with their loops, and the number a page polls to learn of news."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Any

from flask import Blueprint, jsonify, render_template, url_for
from flask.wrappers import Response

from appliance import metrics, pace
from appliance.ledger import engine_state, worklist
from appliance.webui import words
from appliance.webui.app import here
from appliance.webui.label import word

blueprint = Blueprint("live", __name__)

_NEWEST = 300  # loops on the list: about three days of a busy clinic


@blueprint.get("/")
def worklist_page() -> str:
    """Show the studies, those that need eyes first, then the newest."""
    # Read before the rows: what comes in between is fetched once more, never missed.
    version = worklist.version(here().ledger)
    ledger = here().ledger
    said = (engine_state.problem(engine_state.get(ledger)), pace.problem(ledger))
    engine = " ".join(filter(None, said))
    shown = list(studies())
    return render_template("worklist.html", studies=shown, version=version, engine=engine)


@blueprint.get("/studies")
def studies_fragment() -> str:
    """Return the rows of the worklist alone, for a page that is open."""
    return render_template("studies.html", studies=list(studies()))


@blueprint.get("/metrics")
def figures() -> Response:
    """Return the figures of all services for a monitoring system; the page is on loopback only."""
    return Response(metrics.read(here().settings.box.state_dir), content_type=metrics.CONTENT_TYPE)


@blueprint.get("/api/version")
def version() -> Response:
    """Return a number that grows with every change of state."""
    return jsonify(version=worklist.version(here().ledger))


def studies() -> Iterator[dict[str, Any]]:
    """Give what the worklist shows of each study, in the order shown."""
    rows = worklist.loops(here().ledger, limit=_NEWEST)
    rows.sort(key=_study_key)
    grouped = [sorted(group, key=_number) for _, group in groupby(rows, key=_study_key)]
    newest_first = sorted(grouped, key=lambda loops: -max(loop["seq"] for loop in loops))
    for loops in sorted(newest_first, key=lambda loops: not any(map(words.needs_eyes, loops))):
        yield _study(loops)


def _study_key(loop: words.Row) -> str:
    """A loop that names no study stands alone."""
    return str(loop["study_instance_uid"] or f"alone-{loop['seq']}")


def _number(loop: words.Row) -> int:
    return int(loop["seq"])


def _study(loops: Sequence[words.Row]) -> dict[str, Any]:
    newest = loops[-1]
    several = len({(loop["patient_id"], loop["patient_name"]) for loop in loops}) > 1
    shown = {
        "key": sha256(_study_key(newest).encode()).hexdigest()[:16],
        "patient_name": "Several patients" if several else _name(newest),
        "patient_id": "" if several else newest["patient_id"],
        "time": words.machine_time(newest["content_date_time"]),
        "machine": f"{newest['manufacturer']} {newest['manufacturer_model_name']}".strip(),
        "needs": sum(map(words.needs_eyes, loops)),
        "warning": _warning(newest),
        "loops": [{**card(loop), "patient": _whose(loop) if several else ""} for loop in loops],
    }
    return {**shown, "digest": sha256(repr(shown).encode()).hexdigest()[:16]}


def _name(loop: words.Row) -> str:
    return words.person_name(loop["patient_name"])


def _whose(loop: words.Row) -> str:
    return f"{_name(loop)} · {loop['patient_id']}"


def _warning(loop: words.Row) -> str | None:
    """What stops every loop of a study, not one alone."""
    stopped = loop["patients"] > 1 or not loop["study_instance_uid"]
    return words.blocked(loop) if stopped and loop["current"] else None


def card(loop: words.Row) -> dict[str, Any]:
    """Return what the worklist and the rail show of one loop."""
    ef, volumes = words.summary(loop)
    return {
        "seq": loop["seq"],
        "number": loop["instance_number"] or loop["seq"],
        "url": url_for("loops.viewer", seq=loop["seq"]),
        "thumbnail": _thumbnail_url(loop),
        "status": words.status(loop),
        "view": word(loop["view"]) if loop["view"] and loop["view"]["view"] else "",
        "ef": ef,
        "volumes": volumes,
        "why": words.why(loop).removeprefix("Kept, not analysed: "),  # the status says it
        "marks": words.marks(loop),
    }


def _thumbnail_url(loop: words.Row) -> str | None:
    if loop["number_of_frames"] < 1 or not loop["rows"]:
        return None
    review, analysis = loop["review"], loop["analysis"]
    # Names what is drawn, so that the picture may be kept for good.
    drawn = f"r{review['id']}" if review else f"a{analysis['id']}" if analysis else "bare"
    drawn = "bare" if words.is_other(loop) else drawn
    return url_for("loops.thumbnail", seq=loop["seq"], drawn=drawn)
