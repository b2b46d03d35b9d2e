"""What is drawn and not saved yet, kept on the box too: a tablet may die, or be taken away.

One person may draw on two tablets. Each names the drawing that it goes on from; where another one
stands by now, only the frames and marks that it changed since take the place of those there.
"""

from hashlib import sha256
from http import HTTPStatus
from itertools import chain
from json import dumps
from typing import Annotated, Any, Literal

from flask import Blueprint, jsonify, request
from flask.wrappers import Response
from flask_login import current_user
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.ledger import draft
from appliance.ledger.connection import Row
from appliance.webui.app import Refused, here
from appliance.webui.language import _
from appliance.webui.loops import find
from appliance.webui.openapi import describe

blueprint = Blueprint("drafting", __name__)

_Mark = Literal["ed", "es"]

_LARGEST_ID = 2**63 - 1  # SQLite's largest integer
_MOST_FRAMES, _MOST_LINES, _MOST_NUMBERS = 2000, 16, 1024
_MARKS: tuple[_Mark, ...] = ("ed", "es")
_EARLIER = 32  # drawings of a loop that a tablet can still go on from
_DIGITS = 16  # of a hash, hexadecimal

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
    marks: dict[_Mark, _Place]
    at: Annotated[int, Field(strict=True, ge=0, le=_LARGEST_ID)]

    def parts(self) -> dict[str, Any]:
        """Return lines by frame, frame by mark."""
        parts: dict[str, Any] = {str(frame): lines for frame, lines in self.frames}
        return parts | {str(mark): frame for mark, frame in self.marks.items()}


class _Kept(_Draft):
    """A drawing as the ledger holds it.

    Attributes
    ----------
    was
        By name, the newest drawings that stood here, this one last: a hash of each part.
    """

    was: dict[str, dict[str, str]] = {}


class _Posted(BaseModel):
    """The body of a draft, as the page sends it."""

    model_config = ConfigDict(extra="forbid")

    analysis_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    newest_review: Annotated[int, Field(strict=True, ge=0, le=_LARGEST_ID)]
    draft: _Draft | None  # null when everything was taken back
    on: str = Field("", pattern=rf"^([0-9a-f]{{{_DIGITS}}})?$")  # what it goes on from, by name


@blueprint.get("/api/loops/<int:seq>/draft")
@describe({200: "the drawing and its name, or null"}, refuses=[404])
def get_draft(seq: int) -> Response:
    """Return what this person has drawn on a loop and not saved; `draft` is null without one."""
    find(seq)
    kept = draft.of(here().ledger, seq, current_user.id)
    if kept is None:
        return jsonify(analysis_sha256=None, draft=None, on="")
    drawn = _Kept.model_validate_json(kept["content"])
    content = drawn.model_dump(exclude={"was"})
    return jsonify(analysis_sha256=kept["analysis_sha256"], draft=content, on=_name(drawn))


@blueprint.post("/api/loops/<int:seq>/draft")
@describe(
    {201: "kept under the name `on`; as this `draft`, where another tablet drew on it too"},
    refuses=[404, 422],
    body=_Posted,
)
def post_draft(seq: int) -> tuple[Response, int]:
    """Keep a drawing until it is decided on, with what another tablet has brought meanwhile."""
    find(seq)
    try:
        posted = _Posted.model_validate(request.get_json())
        stands = draft.keep(
            here().ledger,
            seq,
            current_user.id,
            analysis_sha256=posted.analysis_sha256,
            content=lambda kept: _joined(kept, posted),
            seen=posted.newest_review,
        )
    except ValidationError as error:
        sentence = _("The page sent a drawing that this box doesn't understand. Save it soon.")
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, sentence) from error
    if not stands:
        return jsonify(kept=stands is not None, on=""), HTTPStatus.CREATED
    drawn = _Kept.model_validate_json(stands)
    answer = {"kept": True, "on": _name(drawn)}
    if posted.draft is None or drawn.parts() != posted.draft.parts():
        said = _("What you drew on another tablet has been added.")
        answer |= {"draft": drawn.model_dump(exclude={"was"}), "said": said}
    return jsonify(answer), HTTPStatus.CREATED


def _joined(kept: Row | None, posted: _Posted) -> str:
    """Return what is to be kept, "" when nothing is drawn."""
    ours = posted.draft.parts() if posted.draft else {}
    head: _Draft | None = posted.draft
    was: dict[str, dict[str, str]] = {}
    parts = ours
    if kept is not None and kept["analysis_sha256"] == posted.analysis_sha256:
        theirs = _Kept.model_validate_json(kept["content"])
        head, was = head or theirs, theirs.was
        before, now = was.get(posted.on, {}), _hashes(ours)
        own = {key for key in chain(before, now) if before.get(key) != now.get(key)}
        parts = {key: part for key, part in theirs.parts().items() if key not in own}
        parts |= {key: part for key, part in ours.items() if key in own}
    if head is None or not parts:
        return ""
    drawn = _Kept(
        base=head.base,
        frames=[(int(key), part) for key, part in parts.items() if key.isdigit()],
        marks={mark: parts[mark] for mark in _MARKS if mark in parts},
        at=head.at,
    )
    name = _name(drawn)
    earlier = [item for item in was.items() if item[0] != name]
    drawn.was = dict([*earlier, (name, _hashes(parts))][-_EARLIER:])
    return drawn.model_dump_json()


def _hashes(parts: dict[str, Any]) -> dict[str, str]:
    return {key: _hash(part) for key, part in parts.items()}


def _name(drawn: _Draft) -> str:
    return _hash(_hashes(drawn.parts()))


def _hash(part: Any) -> str:
    return sha256(dumps(part, sort_keys=True).encode()).hexdigest()[:_DIGITS]
