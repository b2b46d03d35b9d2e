"""What is drawn and not saved yet, kept on the box too: a tablet may die, or be taken away."""

import json
from http import HTTPStatus
from typing import Annotated, Literal

from flask import Blueprint, jsonify, request
from flask.wrappers import Response
from flask_login import current_user
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.ledger import draft
from appliance.webui.app import Refused, here
from appliance.webui.language import _
from appliance.webui.loops import find
from appliance.webui.openapi import describe

blueprint = Blueprint("drafting", __name__)

_LARGEST_ID = 2**63 - 1  # SQLite's largest integer
_MOST_FRAMES, _MOST_LINES, _MOST_NUMBERS = 2000, 16, 1024

_Finite = Annotated[float, Field(allow_inf_nan=False, ge=-65536, le=65536)]
_Points = Annotated[list[_Finite], Field(max_length=_MOST_NUMBERS)]
_Place = Annotated[int, Field(strict=True, ge=0, le=65535)]
_How = Annotated[int, Field(strict=True, ge=0, le=2)]
_Line = tuple[_Place, _How, _Points]
_Frame = tuple[_Place, Annotated[list[_Line], Field(max_length=_MOST_LINES)]]


class _Draft(BaseModel):
    """A drawing as the page keeps it: numbers only, so that no name can be in it."""

    model_config = ConfigDict(extra="forbid")

    base: str = Field(pattern=r"^(model|review-[0-9]{1,19})$")
    frames: Annotated[list[_Frame], Field(max_length=_MOST_FRAMES)]
    marks: dict[Literal["ed", "es"], _Place]
    at: Annotated[int, Field(strict=True, ge=0, le=_LARGEST_ID)]


class _Posted(BaseModel):
    """The body of a draft, as the page sends it."""

    model_config = ConfigDict(extra="forbid")

    analysis_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    newest_review: Annotated[int, Field(strict=True, ge=0, le=_LARGEST_ID)]
    draft: _Draft


@blueprint.get("/api/loops/<int:seq>/draft")
@describe({200: "the drawing, or null"}, refuses=[404])
def get_draft(seq: int) -> Response:
    """Return what this person has drawn on a loop and not saved; `draft` is null without one."""
    find(seq)
    kept = draft.of(here().ledger, seq, current_user.id)
    if kept is None:
        return jsonify(analysis_sha256=None, draft=None)
    content = json.loads(kept["content"])
    return jsonify(analysis_sha256=kept["analysis_sha256"], draft=content)


@blueprint.post("/api/loops/<int:seq>/draft")
@describe({201: "kept"}, refuses=[404, 422], body=_Posted)
def post_draft(seq: int) -> tuple[Response, int]:
    """Keep a drawing until it is decided on; it takes the place of this person's earlier one."""
    try:
        posted = _Posted.model_validate(request.get_json())
    except ValidationError as error:
        sentence = _("The page sent a drawing that this box doesn't understand. Save it soon.")
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, sentence) from error
    find(seq)
    draft.keep(
        here().ledger,
        seq,
        current_user.id,
        analysis_sha256=posted.analysis_sha256,
        content=posted.draft.model_dump_json(),
        seen=posted.newest_review,
    )
    return jsonify(kept=True), HTTPStatus.CREATED


@blueprint.delete("/api/loops/<int:seq>/draft")
@describe({200: "forgotten"}, refuses=[404])
def delete_draft(seq: int) -> tuple[Response, int]:
    """Forget this person's drawing on a loop."""
    find(seq)
    draft.forget(here().ledger, seq, current_user.id)
    return jsonify(kept=False), HTTPStatus.OK
