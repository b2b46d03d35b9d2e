"""Files from the page: streamed to the disk, then sent to the box's own reception like a cart's.

What is promised of a received object is promised here too, by the same code: this process is one
more storage SCU, with the box's own AE title.
"""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING

from flask import Blueprint, Flask, jsonify, request, url_for
from flask.wrappers import Response
from flask_login import current_user
from pydicom.filereader import read_file_meta_info

from appliance.config import Settings
from appliance.ledger import audit, reception
from appliance.webui.app import Refused, here
from appliance.webui.language import N_, _, told
from appliance.webui.openapi import describe

if TYPE_CHECKING:
    from appliance.scu import Sent

blueprint = Blueprint("importing", __name__)

LARGEST = 4 << 30  # bytes of a file: longer data sets have no place in a 32-bit length either
_BLOCK = 1 << 20
_ROOM_STRIDE = 16 << 20  # bytes after which the free space is looked at again
_TOGETHER = 3  # files at a time; others wait for their turn
_TURN_S = 60.0
_OUT_OF_RESOURCES = 0xA700  # PS3.4 B.2.3
_ANYWHERE = ("0.0.0.0", "::", "")  # noqa: S104

_PREAMBLE = bytes(128)
_PREFIX = b"DICM"
_META = b"\x02\x00\x00\x00UL"  # FileMetaInformationGroupLength, where preamble and prefix are cut
_OTHERS = (
    (b"PK\x03\x04", N_("This is a ZIP archive: unpack it, then drop the files in it.")),
    (b"\x1f\x8b", N_("This is a compressed file: unpack it, then drop what is in it.")),
    (b"%PDF", N_("This is a PDF, not a DICOM file.")),
    (b"\xff\xd8\xff", N_("This is a JPEG picture, not a DICOM file.")),
    (b"\x89PNG", N_("This is a PNG picture, not a DICOM file.")),
    (b"\x08\x00", N_("This file has no DICOM file header: export it again as a DICOM file.")),
)
_NOT_DICOM = N_("This isn't a DICOM file.")
_NO_ROOM = N_(
    "The box is short of space: the file was not kept. Free some space, then drop it again."
)
_TOLD = {
    _OUT_OF_RESOURCES: (HTTPStatus.INSUFFICIENT_STORAGE, _NO_ROOM),
    0xA9: (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        N_("The file holds another object than its header names: it was put aside, not kept."),
    ),
    0xC0: (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        N_("The file is damaged, or not a whole DICOM object: it was not kept."),
    ),
}
_FAILED = N_("The box could not store the file. Drop it again; if it stays so, tell support.")
_CUT = N_(
    "The box's reception broke off. Drop the file again: should it be here twice, one is kept."
)
_CLOSED = N_(
    "The box's reception doesn't run: the file was not kept. Somebody must start echocart-scp."
)
_BUSY = N_("The box takes in other files just now. Drop this one again in a moment.")

_turns = threading.BoundedSemaphore(_TOGETHER)


def register(app: Flask) -> None:
    """Let this route alone take long bodies. Call before anything looks at a request's body."""
    app.before_request(_allow_long_body)


def _allow_long_body() -> None:
    if request.endpoint == "importing.take":
        request.max_content_length = LARGEST


@blueprint.post("/api/imports")
@describe(
    {201: "kept", 200: "here already, or a DICOMDIR"},
    refuses=[422, 500, 503, 507],
    body="bytes",
)
def take() -> tuple[Response, HTTPStatus]:
    """Keep a DICOM file, the body as it is, as if an echo machine had sent it.

    Returns
    -------
    201 once it is on disk, file and row; 200 when it was here already, or is a DICOMDIR; 422 when
    it can't be kept as it is; 503 and 507 when the box can't take it now; each with a sentence.
    """
    from appliance.scu import Outcome  # here: see `_send`

    settings, ledger = here().settings, here().ledger
    with _turn(), _staged() as staged:
        path = Path(f"/proc/self/fd/{staged.fileno()}")  # it has no name: nothing is left of it
        newest = ledger.read_one("SELECT coalesce(max(seq), 0) AS seq FROM instance")
        sent = _send(path, settings)
        if sent.outcome is Outcome.SKIPPED:
            said = _("A DICOMDIR lists files and holds no image: not needed.")
            return jsonify(outcome="skipped", said=said, seq=None, url=None), HTTPStatus.OK
        uid = str(read_file_meta_info(path).MediaStorageSOPInstanceUID)
    seq = reception.current(ledger, uid)
    if seq is None:
        raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, _(_FAILED))
    known = newest is not None and seq <= newest["seq"]
    audit.note(ledger, current_user.id, "import", f"loop {seq}", known=known)
    answer = jsonify(
        outcome="known" if known else "stored",
        said=_("It was here already.") if known else _("Stored."),
        seq=seq,
        url=url_for("loops.viewer", seq=seq),
    )
    return answer, HTTPStatus.OK if known else HTTPStatus.CREATED


@contextmanager
def _turn() -> Iterator[None]:
    if not _turns.acquire(timeout=_TURN_S):
        _refuse(HTTPStatus.SERVICE_UNAVAILABLE, _BUSY)
    try:
        yield
    finally:
        _turns.release()


@contextmanager
def _staged() -> Iterator[IO[bytes]]:
    """The request's body in a file without a name, which ends with the process or the block."""
    with tempfile.TemporaryFile(dir=here().spool.root) as staged:
        _require_room(2 * (request.content_length or 0))  # once here, once in reception
        first, looked = True, 0
        while block := request.stream.read(_BLOCK):
            if first:
                staged.write(_what_is_missing(block))
                first = False
            staged.write(block)
            if staged.tell() - looked >= _ROOM_STRIDE:
                looked = staged.tell()
                _require_room(2 * _ROOM_STRIDE)
        if first:
            _refuse(HTTPStatus.UNPROCESSABLE_ENTITY, N_("The file is empty."))
        staged.flush()
        yield staged


def _what_is_missing(head: bytes) -> bytes:
    """Preamble and prefix (PS3.10 7.1), where a file begins right behind them."""
    if head.startswith(_META):
        return _PREAMBLE + _PREFIX
    if head.startswith(_PREFIX):
        return _PREAMBLE
    if head[len(_PREAMBLE) :].startswith(_PREFIX):
        return b""
    told = (words for magic, words in _OTHERS if head.startswith(magic))
    _refuse(HTTPStatus.UNPROCESSABLE_ENTITY, next(told, _NOT_DICOM))
    return b""


def _require_room(size: int) -> None:
    floor = here().settings.scp.space_floor_mb << 20
    if here().spool.free_bytes() < floor + size:
        _refuse(HTTPStatus.INSUFFICIENT_STORAGE, _NO_ROOM)


def _refuse(status: HTTPStatus, sentence: str) -> None:
    """Refuse, having read the body to its end: a browser that still sends hears no answer."""
    while request.stream.read(_BLOCK):
        pass
    raise Refused(status, _(sentence))


def _send(path: Path, settings: Settings) -> "Sent":
    # Here: pynetdicom is 7 MB and a tenth of a second of each start, and files are dropped rarely.
    from appliance import scu
    from appliance.dimse import AssociationError
    from appliance.scu import Outcome

    title = settings.box.ae_title
    host = settings.scp.host if settings.scp.host not in _ANYWHERE else "127.0.0.1"
    try:
        (sent,) = scu.send([path], host, settings.scp.port, calling_ae=title, called_ae=title)
    except AssociationError as error:
        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, _(_CLOSED)) from error
    if sent.ok:
        return sent
    if sent.outcome is Outcome.NOT_DICOM:
        sentence = _("The file {problem}.", problem=told(sent.text))
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, sentence)
    if sent.status is None:
        cut = "ended the connection" in sent.text
        status = HTTPStatus.SERVICE_UNAVAILABLE if cut else HTTPStatus.UNPROCESSABLE_ENTITY
        sentence = _(_CUT) if cut else _("The box takes no objects of this kind.")
        raise Refused(status, sentence)
    family = 0xC0 if sent.status & 0xF000 == 0xC000 else sent.status >> 8
    status, sentence = _TOLD.get(family, (HTTPStatus.INTERNAL_SERVER_ERROR, _FAILED))
    raise Refused(status, _(sentence))
