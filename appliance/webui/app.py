"""The application: what belongs to every request, and how anything that fails is told."""

import gzip
import logging
import secrets
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import cast

from flask import Blueprint, Flask, Response, current_app, jsonify, render_template, request
from flask.globals import request_ctx
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException, MethodNotAllowed, SecurityError

from appliance.config import Settings
from appliance.errors import ApplianceError
from appliance.ledger import Ledger
from appliance.spool import Spool
from appliance.webui import language, wire
from appliance.webui.compact import compact
from appliance.webui.language import N_, _, told
from appliance.webui.pictures import ContourPacks

log = logging.getLogger("echocart.webui")

PROGRAMS = ("/api/", "/dicom-web/")  # below these, programs ask, not people
_LARGEST_BODY = 4 << 20  # a correction of 1000 frames, three structures each
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
    " connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_TITLES = {
    HTTPStatus.NOT_FOUND: N_("Not here"),
    HTTPStatus.CONFLICT: N_("Something changed meanwhile"),
    HTTPStatus.UNPROCESSABLE_ENTITY: N_("This can't be taken"),
    HTTPStatus.UNAUTHORIZED: N_("Who is there?"),
    HTTPStatus.FORBIDDEN: N_("Not for this role"),
}
_SENTENCES = {
    HTTPStatus.NOT_FOUND: N_("There is no such page or loop on this box."),
    HTTPStatus.METHOD_NOT_ALLOWED: N_("This address can't be used that way."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: N_("The page sent more than the box takes at once."),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: N_("The box takes JSON here."),
    HTTPStatus.BAD_REQUEST: N_("The page sent something this box doesn't understand. Reload it."),
}
_STATIC = Path(__file__).parent / "static"
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Here:
    """What every route works on: the box's settings, ledger and spool."""

    settings: Settings
    ledger: Ledger
    spool: Spool
    contours: ContourPacks


class Refused(Exception):
    """A request that can't be taken, with the sentence that says why."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def here() -> Here:
    """Return the box of the present request."""
    return cast(Here, current_app.extensions["echocart"])


def create_app(settings: Settings) -> Flask:
    """Make the application for a box.

    Raises
    ------
    ApplianceError
        When the ledger, the spool or the key file can't be opened.
    """
    from appliance.webui import (
        access,
        asking,
        auth,
        board,
        dicomweb,
        drafting,
        first,
        importing,
        live,
        loops,
        openapi,
        people,
        releasing,
        review,
        teaching,
        thumbnails,
        viewing,
    )

    app = _configured(settings)
    language.register(app, settings)
    importing.register(app)
    # First who it is: looking for the token may read a whole body.
    auth.register(app)
    CSRFProtect(app)
    live.register(app)
    first.register(app, settings, app.extensions["echocart"].ledger)
    parts = (
        *(auth, live, loops, review, viewing, asking, drafting),
        *(first, people, board, releasing, teaching, thumbnails, importing, openapi),
    )
    for blueprint in (_static_files, *(part.blueprint for part in parts)):
        app.register_blueprint(blueprint)
    dicomweb.register(app)
    access.complete(app)
    app.after_request(_finish)
    _register_problems(app)
    app.wsgi_app = wire.FilesFirst(  # type: ignore[method-assign, assignment]
        app.wsgi_app, _fresh_file, _HEADERS
    )
    return app


def _configured(settings: Settings) -> Flask:
    """Make an application that answers nothing yet."""
    from appliance.webui import cookies

    app = Flask(__name__, static_folder=None)
    state_dir = settings.box.state_dir
    spool = Spool(state_dir)
    app.extensions["echocart"] = Here(settings, Ledger(state_dir), spool, ContourPacks(spool))
    app.config.update(
        **cookies.configuration(settings),
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session: a tablet stays open all day
        MAX_CONTENT_LENGTH=_LARGEST_BODY,
        TRUSTED_HOSTS=settings.webui.trusted_hosts,
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals["static"] = _static_url
    app.jinja_env.globals["lock_after_s"] = settings.webui.lock_after_s
    return app


def _finish(response: Response) -> Response:
    response.headers.extend({k: v for k, v in _HEADERS.items() if k not in response.headers})
    # Patients are shown nearly everywhere; what may be kept says so itself.
    response.headers.setdefault("Cache-Control", "no-store")
    wire.pack(response, request)
    return response


def _register_problems(app: Flask) -> None:
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(CSRFError, _forged)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(ApplianceError, _appliance)
    app.register_error_handler(RecursionError, _too_deep)
    app.register_error_handler(Exception, _unforeseen)


def _refused(error: Exception) -> tuple[Response, int]:
    assert isinstance(error, Refused)
    return problem(error.status, error.sentence)


def _forged(error: Exception) -> tuple[Response, int]:
    return problem(HTTPStatus.BAD_REQUEST, _("The page is too old. Reload it and try again."))


def _http(error: Exception) -> tuple[Response, int] | HTTPException:
    assert isinstance(error, HTTPException)
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error
    status = HTTPStatus(error.code)
    sentence = _(_SENTENCES.get(status, N_("The box could not do that.")))
    if isinstance(error, SecurityError):  # no Host of ours
        address = here().settings.webui.url
        sentence = _("This box is not opened by that name. Open {address}.", address=address)
    answer = problem(status, sentence)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        answer[0].headers["Allow"] = ", ".join(error.valid_methods)  # RFC 9110 15.5.6
    return answer


def _too_deep(error: Exception) -> tuple[Response, int]:
    # Python's JSON reader recurses: no ValueError, which Flask would answer by itself.
    if not request.is_json:
        return _unforeseen(error)
    return problem(HTTPStatus.BAD_REQUEST, _(_SENTENCES[HTTPStatus.BAD_REQUEST]))


def _appliance(error: Exception) -> tuple[Response, int]:
    assert isinstance(error, ApplianceError)
    reference = secrets.token_hex(3)
    log.error("%s: %s (reference %s)", error.operation, error.subject, reference)
    sentence = _(
        "The box could not do that. {hint} Reference {reference}.",
        hint=told(error.hint),
        reference=reference,
    )
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, sentence)


def _unforeseen(error: Exception) -> tuple[Response, int]:
    # The text of an unforeseen exception may hold patient data: its type and place are enough.
    reference = secrets.token_hex(3)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    log.error("%s at %s (reference %s)", type(error).__name__, place, reference)
    sentence = _(
        "The box could not do that. Try again; if it stays, tell support {reference}.",
        reference=reference,
    )
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, sentence)


def problem(status: HTTPStatus, sentence: str) -> tuple[Response, int]:
    """Return a problem for a program (RFC 9457) or, to a browser that opens a page, as a page."""
    title = _(_TITLES.get(status, N_("This did not work")))
    # Without an adapter, the host was refused, and no page can name another.
    page_is_wanted = request_ctx.url_adapter is not None and request.accept_mimetypes.accept_html
    if page_is_wanted and not request.path.startswith(PROGRAMS):
        page = render_template("problem.html", title=title, detail=sentence)
        return Response(page, mimetype="text/html"), status
    response = jsonify(type="about:blank", title=title, status=int(status), detail=sentence)
    response.mimetype = "application/problem+json"
    return response, status


_static_files = Blueprint("static_files", __name__)


@lru_cache
def _zipped(name: str) -> tuple[bytes, str]:
    """A file's gzipped bytes and the name of its content; the set of files never changes."""
    data = (_STATIC / name).read_bytes()
    if not name.endswith(".svg"):
        data = compact(data.decode(), script=name.endswith(".js")).encode()
    return gzip.compress(data, 9, mtime=0), sha256(data).hexdigest()[:12]


@lru_cache
def _static_version() -> str:
    """One name for all files: modules import each other by relative name, so they age together."""
    names = sorted(_names())
    return sha256("".join(_zipped(name)[1] for name in names).encode()).hexdigest()[:12]


def _fresh_file(path: str) -> wire.File | None:
    """The file at an address of the page as it is now; None for any other address."""
    folder, _, name = path.rpartition("/")
    if folder != f"/static/{_static_version()}" or name not in _names():
        return None
    return _zipped(name)[0], _KINDS[Path(name).suffix]


@lru_cache
def _names() -> frozenset[str]:
    return frozenset(path.name for path in _STATIC.iterdir() if path.suffix in _KINDS)


def _static_url(name: str) -> str:
    return f"/static/{_static_version()}/{name}"


@_static_files.get("/static/<version>/<name>")
def static_file(version: str, name: str) -> Response:
    """Return a file of the page; for good under its version's name."""
    if name not in _names():
        raise Refused(HTTPStatus.NOT_FOUND, _(_SENTENCES[HTTPStatus.NOT_FOUND]))
    data = _zipped(name)[0]
    response = Response(data, mimetype=_KINDS[Path(name).suffix])
    response.headers["Content-Encoding"] = "gzip"
    fresh = version == _static_version()
    response.headers["Cache-Control"] = (
        "public, max-age=31536000, immutable" if fresh else "no-cache"
    )
    return response
