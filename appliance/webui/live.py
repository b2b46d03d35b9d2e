"""The worklist: its page, its parts, and the stream by which an open page hears of news."""

import json
import select
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Literal, cast
from urllib.parse import unquote

from flask import (
    Blueprint,
    Flask,
    current_app,
    jsonify,
    render_template,
    request,
    stream_with_context,
)
from flask.wrappers import Response
from flask_login import current_user
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance import metrics, pace
from appliance.ledger import engine_state, worklist
from appliance.webui import auth, listing
from appliance.webui.app import Refused, here
from appliance.webui.language import N_, _, spoken, told
from appliance.webui.listing import Listing, Study
from appliance.webui.openapi import describe
from appliance.webui.streams import Streams, TooManyStreams

blueprint = Blueprint("live", __name__)

FILTERS = (
    ("all", N_("All")),
    ("needs", N_("Needs eyes")),
    ("kept", N_("Kept")),
    ("done", N_("Done")),
    ("today", N_("Today")),
)
_CURSOR = r"^[0-2]-[0-9]{1,18}$"
_SEARCH = "Echocart-Search"  # a header: an address may be written down somewhere, a name must not
_LONGEST_SEARCH = 64
_MOST_NEWS = 12  # studies told of in an event: a page asks for the parts of more that it shows
_VERSION = {
    "type": "object",
    "properties": {"version": {"type": "integer", "minimum": 0}},
    "required": ["version"],
}


class Wanted(BaseModel):
    """Which part of the list a page asks for."""

    model_config = ConfigDict(extra="forbid")

    show: Literal["all", "needs", "kept", "done", "today"] = Field("all", description="the filter")
    after: Annotated[str, Field(pattern=_CURSOR)] | None = Field(
        None, description="cursor of the last study that the page has"
    )
    until: Annotated[str, Field(pattern=_CURSOR)] | None = Field(
        None, description="cursor of the last study wanted"
    )
    rows: Literal["all", "none"] = Field("all", description="whether to send the rows' HTML")
    keys: Annotated[str, Field(pattern=r"^[0-9a-f]{16}(,[0-9a-f]{16}){0,99}$")] | None = Field(
        None, description="only the rows of these studies, wherever they stand"
    )


def register(app: Flask) -> None:
    """Give the application its list and its streams."""
    box = app.extensions["echocart"]
    app.extensions["echocart.streams"] = Streams(box.settings.box.state_dir)
    app.extensions["echocart.listings"] = {}


@blueprint.get("/")
def worklist_page() -> str:
    """Show the studies, those that need eyes first, then the newest."""
    show = _wanted().show
    version, studies = _listing().studies()
    part = listing.part(listing.shown(studies, show))
    return render_template(
        "worklist.html",
        rows=Markup("").join(Markup(study.html) for study in part.studies),  # noqa: S704
        version=version,
        after=part.after,
        show=show,
        counts=listing.counts(studies),
        filters=FILTERS,
        engine=_engine(),
    )


@blueprint.get("/api/studies")
@describe(
    {200: "keys, digests and cursors in the order shown, and rows as HTML"},
    refuses=[422],
    query=Wanted,
    headers={_SEARCH: "a patient's name or ID to search for, percent-encoded"},
)
def studies() -> Response:
    """Return a part of the list: keys and digests in the order shown, and rows as HTML.

    A patient's name or ID to search for comes in the header Echocart-Search, percent-encoded.
    """
    wanted, sought = _wanted(), _sought()
    version, every = _listing().studies()
    there = _listing().found(sought) if sought else every
    if wanted.keys:
        keys = set(wanted.keys.split(","))
        chosen, after = [study for study in there if study.key in keys], ""
    else:
        shown = there if sought else listing.shown(there, wanted.show)
        part = listing.part(shown, wanted.after or "", wanted.until or "")
        chosen, after = part.studies, part.after
    return jsonify(
        version=version,
        engine=_engine(),
        counts=listing.counts(every),
        studies=[_row(study, html=bool(wanted.keys) or wanted.rows == "all") for study in chosen],
        after=after,
    )


def _row(study: Study, *, html: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "key": study.key,
        "digest": study.digest,
        "cursor": study.cursor,
        "loops": list(study.seqs),
    }
    return {**row, "html": study.html} if html else row


def _wanted() -> Wanted:
    try:
        return Wanted.model_validate(request.args.to_dict())
    except ValidationError as error:
        sentence = _("The page asked for a part of the list that the box doesn't know. Reload it.")
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, sentence) from error


def _sought() -> str:
    return unquote(request.headers.get(_SEARCH, ""))[:_LONGEST_SEARCH].strip()


def _engine() -> str:
    ledger = here().ledger
    said = (engine_state.problem(engine_state.get(ledger)), pace.problem(ledger))
    return " ".join(filter(None, map(told, said)))


@blueprint.get("/api/events")
@describe(
    {
        200: "data: the version, at each change and every ten seconds; before it, in an event `news`,"
        " what has changed since the version before"
    },
    refuses=[429],
    kind="text/event-stream",
)
def events() -> Response:
    """Return an event stream: the list's version, at each change and at each beat.

    Before a new version comes what a page of the version before needs to be current, so that no
    change brings as many questions as there are pages.
    """
    streams = cast(Streams, current_app.extensions["echocart.streams"])
    user, token = current_user.id, current_user.token
    try:
        streams.join(user, worklist.version(here().ledger))
    except TooManyStreams:
        sentence = _(
            "Too many pages are open to tell each of news at once: this one asks by itself."
        )
        raise Refused(HTTPStatus.TOO_MANY_REQUESTS, sentence) from None
    events = streams.events(_news, lambda: auth.is_over(token), _hung_up(request.environ))
    response = Response(stream_with_context(events), mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"  # a proxy before the box passes it on at once
    response.call_on_close(lambda: streams.leave(user))
    return response


def _news(since: int) -> tuple[int, str]:
    return _listing().news(since, lambda *found: _event(since, *found))


def _event(since: int, version: int, every: list[Study], fresh: list[Study]) -> str:
    if len(fresh) > _MOST_NEWS:
        return ""
    part = {
        "since": since,
        "version": version,
        "engine": _engine(),
        "counts": listing.counts(every),
        "studies": [{**_row(study, html=True), "shows": listing.shows(study)} for study in fresh],
    }
    return f"event: news\ndata: {json.dumps(part)}\n\n"


def _hung_up(environ: dict[str, Any]) -> Callable[[], bool]:
    """Whether a page has closed its connection: it has nothing to say on it while it listens."""
    connection = environ.get("gunicorn.socket")
    if connection is None:
        return lambda: False
    watched = select.poll()
    watched.register(connection, select.POLLIN | select.POLLRDHUP)
    return lambda: bool(watched.poll(0))


@blueprint.get("/api/version")
@describe({200: "the version"}, schema=_VERSION)
def version() -> Response:
    """Return a number that grows with every change of state."""
    return jsonify(version=worklist.version(here().ledger))


@blueprint.get("/metrics")
def figures() -> Response:
    """Return the figures of all services for a monitoring system."""
    from appliance.figures import Figures  # with what the doctor needs: nobody else pays for it

    box = here()
    text = metrics.read(box.settings.box.state_dir) + Figures(box.settings, box.ledger).text()
    return Response(text, content_type=metrics.CONTENT_TYPE)


def _listing() -> Listing:
    # Rows are kept as they were drawn: each language has its own.
    kept: dict[str, Listing] = current_app.extensions["echocart.listings"]
    return kept.setdefault(spoken().tag, Listing(here().ledger, here().settings))
