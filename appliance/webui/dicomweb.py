"""The box as a read-only DICOMweb server (PS3.18): QIDO-RS and WADO-RS below /dicom-web.

| file | holds |
|---|---|
| `dicomweb_asked.py`, `dicomweb_search.py`, `dicomweb_match.py` | searches |
| `dicomweb_index.py` | what they look at, read from each file once |
| `dicomweb_json.py`, `dicomweb_metadata.py` | data sets as JSON |
| `dicomweb_accept.py` | what a client takes |
| `dicomweb_bytes.py` | bytes as they lie in files |
| `dicomweb_who.py` | tokens, and the audit of what is read |
"""

import json
import re
from hashlib import sha256
from http import HTTPStatus
from typing import Any, NoReturn

from flask import Blueprint, Flask, Response, request
from pydicom.uid import DeflatedExplicitVRLittleEndian

from appliance import __version__
from appliance.cine import FrameError, open_cine
from appliance.errors import CineError, Part10Error
from appliance.ledger import served
from appliance.ledger.connection import Row
from appliance.part10.elements import Fragment
from appliance.webui import dicomweb_accept as accept
from appliance.webui import dicomweb_asked as asking
from appliance.webui import dicomweb_bytes as data
from appliance.webui import dicomweb_metadata as metadata
from appliance.webui import dicomweb_search as search
from appliance.webui import dicomweb_who as who
from appliance.webui.app import PROGRAMS, Refused, here

blueprint = Blueprint("dicomweb", __name__, url_prefix=PROGRAMS[1].rstrip("/"))

_STUDY = "/studies/<study>"
_SERIES = f"{_STUDY}/series/<series>"
_INSTANCE = f"{_SERIES}/instances/<instance>"
_MOST_FRAMES = 100_000  # of one answer
_PIXELS = "7FE00010"
_NAMES = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}


def register(app: Flask) -> None:
    """Add the service to the application."""
    who.register(app)
    app.register_blueprint(blueprint)


@blueprint.after_request
def _ask_for_a_token(response: Response) -> Response:
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="echocart"'
    response.vary.update(["Accept", "Authorization", "Cookie"])
    return response


@blueprint.get("/studies", defaults={"level": "studies"})
@blueprint.get("/series", defaults={"level": "series"})
@blueprint.get("/instances", defaults={"level": "instances"})
@blueprint.get(f"{_STUDY}/series", defaults={"level": "series"})
@blueprint.get(f"{_STUDY}/instances", defaults={"level": "instances"})
@blueprint.get(f"{_SERIES}/instances", defaults={"level": "instances"})
def find(level: str, **uids: str) -> Response:
    """Search studies, series or instances (PS3.18 10.6)."""
    offer = accept.chosen(request, [accept.Offer(accept.DICOM_JSON), accept.Offer(accept.JSON)])
    within = {_NAMES[name]: _uid(uid) for name, uid in uids.items()}
    asked = asking.parse(level, request.args, **within)
    who.note("dicomweb search", level, keys=sorted(asked.keys))
    found, more = search.find(here().ledger, here().spool, asked, _base())
    # CP-2473: nothing found is 200 with an empty list.
    answer = Response(json.dumps(found), content_type=offer.kind)
    if more and asked.limit == asking.MOST:
        answer.headers.add("Warning", _warning(f"There are more than {asking.MOST}: use offset."))
    if request.args.get("fuzzymatching", "false").lower() == "true":
        answer.headers.add(
            "Warning",
            _warning(
                "The fuzzymatching parameter is not supported."
                " Only literal matching has been performed."
            ),
        )
    return answer


@blueprint.get(f"{_STUDY}/metadata")
@blueprint.get(f"{_SERIES}/metadata")
@blueprint.get(f"{_INSTANCE}/metadata")
def describe(**uids: str) -> Response:
    """Return all elements but pixels and other long values (PS3.18 10.4.1.1.2)."""
    rows = _rows(**uids)
    offer = accept.chosen(request, [accept.Offer(accept.DICOM_JSON), accept.Offer(accept.JSON)])
    _note("metadata", rows)
    base = _base()
    name = _etag("metadata", base, offer.kind, rows)
    return _unless_known(name) or _tagged(
        Response(metadata.stream(here().spool, rows, base), content_type=offer.kind), name
    )


@blueprint.get(_STUDY)
@blueprint.get(_SERIES)
@blueprint.get(_INSTANCE)
def retrieve(**uids: str) -> Response:
    """Return objects as they were received (PS3.18 10.4.1.1.1)."""
    rows = _rows(**uids)
    there = [row for row in rows if not row["purged_at"]]
    if not there:
        _gone(rows[0])
    offer = accept.chosen(request, _offers(there, single="instance" in uids))
    _note("objects", there)
    name = _etag("objects", "", offer.words, there)
    known = _unless_known(name)
    if known:
        return known
    files = [(here().spool.served_path(row), row["size"]) for row in there]
    if not all(path.exists() for path, _ in files):
        sentence = "A file can't be read just now. Ask again."
        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, sentence)
    parts = data.whole(files)
    answer = data.response(parts, offer, [row["transfer_syntax_uid"] for row in there])
    if len(there) < len(rows):
        answer.status_code = HTTPStatus.PARTIAL_CONTENT
        gone = len(rows) - len(there)
        answer.headers.add("Warning", _warning(f"{gone} more are in an archive alone."))
    return _tagged(answer, name)


@blueprint.get(f"{_INSTANCE}/frames/<numbers>")
def frames(study: str, series: str, instance: str, numbers: str) -> Response:
    """Return frames as they lie in the file (PS3.18 10.4.1.1.6)."""
    row = _row(study, series, instance)
    return _frames(row, _numbers(numbers))


@blueprint.get(f"{_INSTANCE}/rendered", defaults={"numbers": "1"})
@blueprint.get(f"{_INSTANCE}/frames/<numbers>/rendered")
def rendered(study: str, series: str, instance: str, numbers: str) -> Response:
    """Return frames as JPEGs that any browser shows (PS3.18 10.4.1.1.3); the first of an instance."""
    row, wanted = _row(study, series, instance), _numbers(numbers)
    offers = [accept.Offer(accept.JPEG, multipart=True)]
    if len(wanted) == 1:
        offers.insert(0, accept.Offer(accept.JPEG))
    offer = accept.chosen(request, offers)
    _note("rendered", [row])
    name = _etag(f"rendered {wanted}", "", offer.words, [row])
    return _unless_known(name) or _tagged(_rendered(row, wanted, offer), name)


@blueprint.get(f"{_INSTANCE}/bulkdata/<path:place>")
def bulk(study: str, series: str, instance: str, place: str) -> Response:
    """Return a long value that metadata point at (PS3.18 10.4.1.1.5); frames for pixel data."""
    row = _row(study, series, instance)
    if place.upper() == _PIXELS:
        return _frames(row, None)
    if not re.fullmatch(r"[0-9A-Fa-f]{8}(/\d{1,6}/[0-9A-Fa-f]{8}){0,16}", place):
        raise Refused(HTTPStatus.NOT_FOUND, "There is no such value.")
    if row["transfer_syntax_uid"] == DeflatedExplicitVRLittleEndian:
        sentence = "Its data set is deflated: retrieve the whole object."
        raise Refused(HTTPStatus.NOT_ACCEPTABLE, sentence)
    parts = place.split("/")
    way = [int(part, 10 if index % 2 else 16) for index, part in enumerate(parts)]
    offers = [accept.Offer(accept.BYTES, multipart=True), accept.Offer(accept.BYTES)]
    offer = accept.chosen(request, offers)
    _note("bulk data", [row])
    path = here().spool.served_path(row)
    found = data.value(path, way)
    if found is None:
        raise Refused(HTTPStatus.NOT_FOUND, "There is no such value.")
    name = _etag(place.upper(), "", offer.words, [row])
    known = _unless_known(name)
    if known:
        return known
    if isinstance(found, Fragment):
        return _tagged(data.response([[(path, found)]], offer), name)
    return _tagged(data.several([found], offer), name)


def _frames(row: Row, wanted: list[int] | None) -> Response:
    """Frames by number; all of them for None."""
    path = here().spool.served_path(row)
    try:
        table = data.frames_of(path)
    except (CineError, Part10Error) as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, error.subject) from error
    numbers = wanted if wanted is not None else list(range(1, len(table.places) + 1))
    _must_be_there(numbers, len(table.places))
    offers = accept.of_frames(table.syntax, len(numbers), native=table.native)
    offer = accept.chosen(request, offers)
    _note("frames", [row])
    name = _etag(f"frames {numbers}", "", offer.words, [row])
    known = _unless_known(name)
    if known:
        return known
    parts = [[(path, piece) for piece in table.places[number - 1]] for number in numbers]
    return _tagged(data.response(parts, offer), name)


def _rendered(row: Row, wanted: list[int], offer: accept.Offer) -> Response:
    try:
        with open_cine(here().spool.served_path(row)) as cine:
            _must_be_there(wanted, cine.frames)
            return data.several([cine.browser_jpeg(number - 1) for number in wanted], offer)
    except (CineError, FrameError, Part10Error) as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, error.subject) from error


def _numbers(text: str) -> list[int]:
    if not re.fullmatch(r"[1-9]\d{0,8}(,[1-9]\d{0,8})*", text):
        raise Refused(HTTPStatus.BAD_REQUEST, "Write frame numbers from 1 on, with commas between.")
    numbers = [int(number) for number in text.split(",")]
    if len(numbers) > _MOST_FRAMES:
        raise Refused(HTTPStatus.BAD_REQUEST, "Ask for fewer frames at a time.")
    return numbers


def _must_be_there(numbers: list[int], count: int) -> None:
    if not count or max(numbers, default=1) > count:
        sentence = f"The object has {count} frames." if count else "This object has no frames."
        raise Refused(HTTPStatus.NOT_FOUND, sentence)


def _rows(study: str, series: str = "", instance: str = "") -> list[Row]:
    """What is served of a study, series or instance; refused with 404 when that is nothing."""
    ledger, uids = here().ledger, [_uid(uid) for uid in (study, series, instance) if uid]
    rows = [
        row
        for row in served.of_study(ledger, uids[0])
        if (not series or row["series_instance_uid"] == series)
        and (not instance or row["sop_instance_uid"] == instance)
    ]
    if not rows and served.is_held_back(ledger, study):
        sentence = "Whose study this is, is in doubt: somebody says so at the page first."
        raise Refused(HTTPStatus.NOT_FOUND, sentence)
    if not rows:
        raise Refused(HTTPStatus.NOT_FOUND, "There is no such object on this box.")
    return rows


def _row(study: str, series: str, instance: str) -> Row:
    (row,) = _rows(study, series, instance)
    if row["purged_at"]:
        _gone(row)
    return row


def _gone(row: Row) -> NoReturn:
    kept = row["kept_in"].replace(",", ", ")
    sentence = f"Kept in the archive {kept}, removed here on {row['purged_at'][:10]}."
    raise Refused(HTTPStatus.GONE, sentence)


def _uid(text: str) -> str:
    if not re.fullmatch(r"[0-9.]{1,64}", text):
        raise Refused(HTTPStatus.BAD_REQUEST, "The address holds something that is no UID.")
    return text


def _offers(rows: list[Row], *, single: bool) -> list[accept.Offer]:
    syntaxes = {row["transfer_syntax_uid"] for row in rows}
    syntax = syntaxes.pop() if len(syntaxes) == 1 else ""
    offers = [accept.Offer(accept.DICOM, multipart=True, syntax=syntax)]
    return [*offers, accept.Offer(accept.DICOM, syntax=syntax)] if single else offers


def _base() -> str:
    """Address of the service as this client reaches it; its host is a trusted one by now."""
    host, scheme = request.headers.get("Host", ""), request.scheme
    forwarded = request.headers.get("X-Forwarded-Proto", "")
    if forwarded in ("http", "https"):  # tells nobody else anything: answers aren't shared
        scheme = forwarded
    elif not re.search(r":\d+$", host):
        # dicomweb-client leaves the port out, also where it isn't the usual one.
        host += f":{here().settings.webui.port}"
    return f"{scheme}://{host}{PROGRAMS[1].rstrip('/')}"


def _warning(sentence: str) -> str:
    return f'299 {_base()} "{sentence}"'


def _note(kind: str, rows: list[Row]) -> None:
    loops = [row["seq"] for row in rows]
    if len(loops) == 1:
        who.note("dicomweb read", f"loop {loops[0]}", kind=kind)
    else:
        who.note("dicomweb read", f"{len(loops)} loops", kind=kind, loops=loops)


def _etag(what: str, base: str, form: str, rows: list[Row]) -> str:
    facts: list[Any] = [what, base, form, __version__]
    facts += [[row["sha256"], row["purged_at"]] for row in rows]
    return sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _unless_known(name: str) -> Response | None:
    """304 for a client that has the same already (RFC 9110 13.1.2)."""
    if not request.if_none_match.contains_weak(name):
        return None
    return _tagged(Response(status=HTTPStatus.NOT_MODIFIED), name)


def _tagged(response: Response, name: str) -> Response:
    response.set_etag(name, weak=True)  # the boundary between parts differs each time
    # Kept by the client that asked, and shown to nobody before the box has said again who may.
    response.headers["Cache-Control"] = "private, no-cache"
    return response
