"""What a person settles before a decision: that an expert should look, and whose study it is."""

from http import HTTPStatus
from typing import Annotated, TypeVar

from flask import Blueprint, jsonify, request, url_for
from flask.wrappers import Response
from flask_login import current_user
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.ledger import expert, identity
from appliance.ledger.refusal import Conflict, Stale
from appliance.webui import words
from appliance.webui.app import Refused, here
from appliance.webui.describing import onward, state
from appliance.webui.language import N_, _, told
from appliance.webui.loops import find
from appliance.webui.openapi import describe

blueprint = Blueprint("asking", __name__)

_LARGEST_ID = 2**63 - 1  # SQLite's largest integer
_NOT_UNDERSTOOD = N_(
    "The page sent something this box doesn't understand. Reload it and try again."
)

_Id = Annotated[str, Field(max_length=1024)]
_Key = Annotated[str, Field(max_length=8192)]


class _Asked(BaseModel):
    """The body of a question to an expert, as the page sends it."""

    model_config = ConfigDict(extra="forbid")

    analysis_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    newest_review: Annotated[int, Field(strict=True, ge=0, le=_LARGEST_ID)]
    key: str = Field(pattern=r"^[0-9a-fA-F-]{32,36}$")
    note: str = Field("", max_length=200)
    back: bool = Field(False, description="take one's own question back instead")


class _Whose(BaseModel):
    """The body of a word on whose study it is; `right` is null when all are one person's.

    `newest_identity` is the word on the screen, 0 for none; `keys` and `right_key` tell people of
    one PatientID apart.
    """

    model_config = ConfigDict(extra="forbid")

    patient_ids: list[_Id] = Field(max_length=100)
    right: _Id | None
    newest_identity: Annotated[int, Field(strict=True, ge=0, le=_LARGEST_ID)] = 0
    keys: list[_Key] | None = Field(None, max_length=100)
    right_key: _Key | None = None


_Body = TypeVar("_Body", bound=BaseModel)


@blueprint.post("/api/loops/<int:seq>/expert")
@describe({201: "asked"}, refuses=[404, 409, 422], body=_Asked)
def ask_expert(seq: int) -> tuple[Response, int]:
    """Lay a loop before an expert; nothing is delivered, and the study stays open.

    Returns
    -------
    201 with what to say and where to go on; 409 when what was shown has changed or is decided on,
    or no question of one's own can be taken back.
    """
    posted = _parse(_Asked)
    loop = find(seq)
    asked = expert.Asked(seq, current_user.id, **posted.model_dump(exclude={"back"}))
    try:
        (expert.take_back if posted.back else expert.ask)(here().ledger, asked)
    except (Stale, Conflict) as error:
        raise _refused(error) from error
    if posted.back:
        stays = url_for("loops.viewer", seq=seq)
        return jsonify(said=f"↶ {_('undone')}", next=stays), HTTPStatus.CREATED
    return jsonify(said=f"? {_('for an expert')}", next=onward(loop)), HTTPStatus.CREATED


@blueprint.post("/api/loops/<int:seq>/identity")
@describe({201: "the loop as it stands"}, refuses=[404, 409, 422], body=_Whose)
def say_whose(seq: int) -> tuple[Response, int]:
    """Take a person's word on whose study it is, of one that tells of several patients.

    Returns
    -------
    201 with the loop as it then stands; 409 when the study tells of others by now, somebody has
    said meanwhile, or a loop is accepted that the word would make another patient's.
    """
    posted = _parse(_Whose)
    find(seq)
    said = identity.Said(
        seq,
        current_user.id,
        frozenset(posted.patient_ids),
        posted.right,
        newest=posted.newest_identity,
        shown_keys=None if posted.keys is None else frozenset(posted.keys),
        right_key=posted.right_key,
    )
    try:
        identity.say(here().ledger, said)
    except (Stale, Conflict) as error:
        raise _refused(error) from error
    return jsonify(state(find(seq))), HTTPStatus.CREATED


def _parse(kind: type[_Body]) -> _Body:
    try:
        return kind.model_validate(request.get_json())
    except ValidationError as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, _(_NOT_UNDERSTOOD)) from error


def _refused(error: Stale | Conflict) -> Refused:
    return Refused(HTTPStatus.CONFLICT, f"{words.spoken(error.subject)} {told(error.hint)}")
