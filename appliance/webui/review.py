"""Accept, correct, reject, undo: one POST, one immutable row, refused when what was shown has changed."""

import logging
import math
import re
import sqlite3
from collections.abc import Mapping
from functools import partial
from hmac import compare_digest
from http import HTTPStatus
from typing import Annotated, Any, Literal

import numpy as np
from flask import Blueprint, jsonify, request, url_for
from flask.wrappers import Response
from flask_login import current_user
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from appliance import masks
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, worklist
from appliance.ledger import review as reviews
from appliance.ledger.refusal import Conflict, Stale
from appliance.ledger.review import Decision
from appliance.spool import Spool
from appliance.upkeep import records
from appliance.webui import words
from appliance.webui.app import Refused, here
from appliance.webui.correcting import Correction, Drawn, Polygon, correct, crosses_itself
from appliance.webui.describing import onward
from appliance.webui.language import N_, _, told
from appliance.webui.loops import find
from appliance.webui.nameless import patient_key
from appliance.webui.openapi import describe

log = logging.getLogger("echocart.webui")

blueprint = Blueprint("review", __name__)

_LARGEST_ID = 2**63 - 1  # SQLite's largest integer
_FEWEST_POINTS, _MOST_POINTS = 3, 512
_FRAME_KEY = re.compile(r"[0-9]{1,9}", re.ASCII)
_EDGE_PX = 0.5  # a pixel's centre is a whole number: the image ends half a pixel further out
_DIMENSIONS = 2
_WITHOUT_MASKS = ("rejected", "undone")
_NOT_UNDERSTOOD = N_(
    "The page sent something this box doesn't understand. Reload it and try again."
)
_RESULT = {
    "accepted": ("✓", N_("accepted")),
    "corrected": ("✓", N_("saved and accepted")),
    "rejected": ("✕", N_("rejected")),
    "undone": ("↶", N_("undone")),
}

Pairs = list[list[float]]


class _Posted(BaseModel):
    """The body of a review, as the page sends it."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["accepted", "corrected", "rejected", "undone"]
    analysis_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    patient_id: str | None = Field(None, max_length=1024)
    patient: str | None = Field(None, pattern=r"^[0-9a-f]{32}$", description="or its key")
    key: str = Field(pattern=r"^[0-9a-fA-F-]{32,36}$")
    reason: str = Field("", max_length=200)
    ed_frame: Annotated[int, Field(strict=True)] | None = None
    es_frame: Annotated[int, Field(strict=True)] | None = None
    base_review: Annotated[int, Field(strict=True, ge=0, le=_LARGEST_ID)] | None = None
    newest_review: Annotated[int, Field(strict=True, ge=0, le=_LARGEST_ID)] | None = None
    view: str | None = Field(None, max_length=16)
    seconds: Annotated[int, Field(strict=True, ge=0, le=_LARGEST_ID)] | None = None
    strokes: Annotated[int, Field(strict=True, ge=0, le=_LARGEST_ID)] | None = None
    contours: dict[str, dict[str, Pairs]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_patient_is_named(self) -> "_Posted":
        if (self.patient_id is None) == (self.patient is None):
            raise ValueError("name the patient by patient_id or by patient")
        return self


@blueprint.post("/api/loops/<int:seq>/reviews")
@describe({201: "the stored review"}, refuses=[404, 409, 422], body=_Posted)
def post_review(seq: int) -> tuple[Response, int]:
    """Take a person's decision on a loop.

    Returns
    -------
    201 with the stored review, what to say, and where to go on; 409 when something changed, the
    patient isn't clear, or a decision is undone whose result has left; 422 when the decision can't be taken as it is; each with a sentence.
    """
    posted = _parse()
    loop = find(seq)
    if loop["purged_at"]:
        raise Refused(HTTPStatus.CONFLICT, words.blocked(loop) or "")
    analysis = loop["analysis"]
    # The ledger checks once more inside its transaction; here it saves drawing for nothing.
    if analysis is None or analysis["sha256"] != posted.analysis_sha256:
        correction = None
    else:
        correction = _correction(posted, seq, analysis)
    try:
        decision = _decision(posted, loop, correction)
        wanted = here().settings.wanted(decision.decision, loop["sop_instance_uid"])
        row = reviews.record(here().ledger, decision, wanted)
    except (Stale, Conflict) as error:
        sentence = f"{words.spoken(error.subject)} {told(error.hint)}"
        raise Refused(HTTPStatus.CONFLICT, sentence) from error
    stored = {name: value for name, value in row.items() if name not in ("measures", "geometry")}
    sign, word = _RESULT[row["decision"]]
    answer = jsonify(**stored, said=f"{sign} {_(word)}", next=_next(loop, posted))
    # The ledger has it durably; three more syncs are not what the reviewer waits for.
    answer.call_on_close(partial(_keep_beside, here().ledger, here().spool, row["id"]))
    return answer, HTTPStatus.CREATED


def _keep_beside(ledger: Ledger, spool: Spool, number: int) -> None:
    """Write the review's file, with which it outlives the ledger."""
    try:
        records.write(ledger, spool, number)
    except (ApplianceError, sqlite3.Error) as error:
        log.warning(
            "review %d has no file yet (%s): tried again soon", number, type(error).__name__
        )


def _parse() -> _Posted:
    body = request.get_json()
    try:
        return _Posted.model_validate(body)
    except ValidationError as error:
        place = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if place["loc"] and place["loc"][0] == "contours":
            sentence = _("A contour's points must be pairs of numbers.")
        else:
            sentence = _(_NOT_UNDERSTOOD)
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, sentence) from error


def _correction(posted: _Posted, seq: int, analysis: words.Row) -> Correction | None:
    """Draw what was corrected; an accept of an earlier correction takes that one's label maps."""
    box = here()
    base = _base(posted.base_review, seq, analysis)
    marks = _marks(posted, analysis)
    if posted.decision in _WITHOUT_MASKS or (posted.decision == "accepted" and base is None):
        if posted.contours:
            _refuse(_("Contours can be sent with a correction only."))
        return None
    drawn = _drawn(posted.contours, analysis)
    shown = analysis["measures"] if base is None else base["measures"]
    before = (shown["ed_frame"], shown["es_frame"])
    kept = marks in (before, (None, None))  # none sent: as they were
    if posted.decision == "corrected" and not drawn and kept:
        _refuse(_("Nothing was corrected."))
    chosen = marks if posted.decision == "corrected" else before
    return correct(box.ledger, box.spool, analysis, drawn, base["id"] if base else None, chosen)


def _base(review_id: int | None, seq: int, analysis: words.Row) -> words.Row | None:
    """The earlier correction to go on from; one without corrected frames is the model's answer."""
    if review_id is None:
        return None
    row = worklist.review(here().ledger, review_id)
    if row is None or row["seq"] != seq or row["analysis_id"] != analysis["id"]:
        _refuse(_("The review this goes on from does not belong to this loop."))
    assert row is not None
    return row if row["decision"] == "corrected" else None


def _marks(posted: _Posted, analysis: words.Row) -> tuple[int | None, int | None]:
    ed, es = posted.ed_frame, posted.es_frame
    for frame in (ed, es):
        if frame is not None and not 0 <= frame < analysis["frames"]:
            _refuse(_("Frame {number} is not in this loop.", number=frame + 1))
    if (ed is None) != (es is None):
        _refuse(_("ED and ES belong together: set both."))
    if ed is not None and ed == es:
        _refuse(_("ED and ES can't be the same frame."))
    return ed, es


def _drawn(contours: Mapping[str, Mapping[str, Pairs]], analysis: words.Row) -> Drawn:
    known = {str(item["label"]): item["name"] for item in analysis["labels"]}
    geometry = analysis["geometry"]
    drawn: dict[int, dict[int, Polygon]] = {}
    for frame, lines in contours.items():
        if not _FRAME_KEY.fullmatch(frame) or int(frame) >= analysis["frames"]:
            _refuse(_("A contour names a frame that is not in this loop."))
        for label, points in lines.items():
            if label not in known:
                _refuse(_("A contour names a structure the model doesn't know."))
            line = _polygon(points, geometry["rows"], geometry["columns"])
            if crosses_itself(line):
                sentence = _("On frame {number} a contour crosses itself.", number=int(frame) + 1)
                _refuse(f"{sentence} {_('Draw it anew there, or take it back.')}")
            drawn.setdefault(int(frame), {})[int(label)] = line
    return drawn


def _polygon(points: Pairs, rows: int, columns: int) -> Polygon:
    if not _FEWEST_POINTS <= len(points) <= _MOST_POINTS:
        _refuse(
            _("A contour has {fewest} to {most} points.", fewest=_FEWEST_POINTS, most=_MOST_POINTS)
        )
    if any(len(pair) != 2 or not all(map(math.isfinite, pair)) for pair in points):
        _refuse(_("A contour's points must be pairs of numbers."))
    line: Polygon = np.asarray(points, np.float64)
    limit = np.array([columns, rows]) - _EDGE_PX
    if (line < -_EDGE_PX).any() or (line > limit).any():
        _refuse(_("A contour leaves the image."))
    drawn = np.rint(line * masks.SUBPIXELS)  # as it will be drawn
    if np.linalg.matrix_rank(drawn - drawn[0]) < _DIMENSIONS:
        _refuse(_("A contour encloses nothing."))
    return line


def _shown_patient(posted: _Posted, loop: words.Row) -> str:
    """The PatientID that was shown; the page keeps and says its key alone."""
    if posted.patient is None:
        return posted.patient_id or ""
    shown: str = loop["patient_id"]
    # What is no present PatientID is refused by the ledger, unless this decision is stored already.
    return shown if compare_digest(posted.patient, patient_key(shown)) else posted.patient


def _decision(posted: _Posted, loop: words.Row, correction: Correction | None) -> Decision:
    reason, decision = posted.reason, posted.decision
    if correction is not None and decision == "accepted":
        # Its label maps differ from the model's: whoever reads the row must not miss that.
        decision, reason = "corrected", N_("Confirms the correction made before.")
    return Decision(
        seq=loop["seq"],
        analysis_sha256=posted.analysis_sha256,
        patient_id=_shown_patient(posted, loop),
        decision=decision,
        reviewer=current_user.id,
        key=posted.key,
        reason=reason,
        newest_review=posted.newest_review,
        view=posted.view,
        seconds=posted.seconds,
        strokes=posted.strokes,
        ed_frame=_frame(correction, "ed_frame"),
        es_frame=_frame(correction, "es_frame"),
        measures=correction.measures if correction else {},
        chunks=correction.chunks if correction else (),
        geometry=correction.geometry if correction else {},
    )


def _frame(correction: Correction | None, name: str) -> int | None:
    frame: Any = correction.measures[name] if correction else None
    return frame if isinstance(frame, int) else None


def _next(loop: words.Row, posted: _Posted) -> str:
    if posted.decision == "undone":
        return url_for("loops.viewer", seq=loop["seq"])
    return onward(loop)


def _refuse(sentence: str) -> None:
    raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, sentence)
