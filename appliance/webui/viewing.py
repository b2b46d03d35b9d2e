"""The view's label: what the model said, changed by a person; how certain a contour is."""

import struct
from http import HTTPStatus
from typing import Annotated, Literal

import numpy as np
from flask import Blueprint, jsonify, request
from flask.wrappers import Response
from flask_login import current_user
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance import masks
from appliance.ledger import Ledger, view, worklist
from appliance.ledger.refusal import Conflict, Stale
from appliance.sector import Geometry
from appliance.spool import Spool
from appliance.webui import words
from appliance.webui.app import Refused, here
from appliance.webui.label import described
from appliance.webui.language import _, told
from appliance.webui.loops import find
from appliance.webui.openapi import BYTES, describe

blueprint = Blueprint("viewing", __name__)

_LARGEST_ID = 2**63 - 1  # SQLite's largest integer
_MAGIC = b"ECQ1"
_HEADER = struct.Struct("<4sHBB")


class _Posted(BaseModel):
    """The body of a changed view, as the page sends it."""

    model_config = ConfigDict(extra="forbid")

    view: Literal["A4C", "A2C", "other"]
    shown: Annotated[int, Field(strict=True, ge=0, le=_LARGEST_ID)]


@blueprint.post("/api/loops/<int:seq>/view")
@describe({201: "the view as it stands"}, refuses=[404, 409, 422], body=_Posted)
def post_view(seq: int) -> tuple[Response, int]:
    """Take a person's word on a loop's view.

    Returns
    -------
    201 with the view as the page shows it; 409 when it was changed meanwhile, the loop is being
    measured, or can't be measured in any view; each with a sentence.
    """
    try:
        posted = _Posted.model_validate(request.get_json())
    except ValidationError as error:
        sentence = _(
            "The page sent something this box doesn't understand. Reload it and try again."
        )
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, sentence) from error
    find(seq)
    try:
        view.say(here().ledger, view.Said(seq, posted.view, current_user.id, posted.shown))
    except (Stale, Conflict) as error:
        sentence = f"{words.spoken(error.subject)} {told(error.hint)}"
        raise Refused(HTTPStatus.CONFLICT, sentence) from error
    return jsonify(described(here().ledger, find(seq))), HTTPStatus.CREATED


@blueprint.get("/api/loops/<int:seq>/certainty")
@describe({200: "0 to 255 for each point"}, refuses=[404], ids=["analysis"], kind=BYTES)
def certainty(seq: int) -> Response:
    """Return how certain the model's contours of `analysis=<id>` are, point for point.

    Little-endian `ECQ1`, uint16 frames, uint8 structures, uint8 points; then uint8 [frames,
    structures, points], 255 certain: the points are those of the contours.
    """
    wanted = request.args.get("analysis", type=int) or 0
    row = worklist.analysis(here().ledger, wanted) if 0 < wanted <= _LARGEST_ID else None
    if row is None or row["seq"] != seq:
        raise Refused(HTTPStatus.NOT_FOUND, _("This loop has no contours."))
    box = here()
    packed = box.contours.of_analysis(box.ledger, box.spool, row)
    response = Response(
        pack_certainty(box.ledger, box.spool, row, packed), mimetype="application/octet-stream"
    )
    if row["state"] == "sealed":
        response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    return response


def pack_certainty(ledger: Ledger, spool: Spool, analysis: words.Row, packed: bytes) -> bytes:
    """Look up each contour point in the network's certainty map.

    Parameters
    ----------
    ledger, spool
        The box's.
    analysis
        Whose label maps `packed` was traced on.
    packed
        As `masks.pack_contours` gives it.
    """
    values = [item["label"] for item in analysis["labels"]]
    frames = masks.unpack_contours(packed, values)
    geometry = Geometry.from_dict(analysis["geometry"])
    found = np.full((len(frames), len(values), masks.CONTOUR_POINTS), 255, np.uint8)
    for chunk in worklist.chunks(ledger, analysis["id"]):
        if not chunk["certainty_sha256"]:
            continue  # of a release that stored none
        first, count = chunk["first_frame"], chunk["frame_count"]
        maps = masks.decode_chunk(spool.read_chunk(chunk["certainty_sha256"]), count)
        block = geometry.map_rows // maps.shape[1]
        for index in range(first, first + count):
            for place, label in enumerate(values):
                if (points := frames[index].get(label)) is not None:
                    cells = np.rint(geometry.to_map(points)).astype(int) // max(1, block)
                    x, y = np.clip(cells, 0, maps.shape[1] - 1).T
                    found[index, place] = maps[index - first][y, x]
    head = _HEADER.pack(_MAGIC, len(frames), len(values), masks.CONTOUR_POINTS)
    return head + found.tobytes()
