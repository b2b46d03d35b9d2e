"""What a PACS takes: asked by association requests that propose much and store nothing."""

import json
import socket
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from pydicom.uid import (
    UID,
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
    SegmentationStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context, build_role

from appliance import dimse, tls
from appliance.commitment import PUSH_MODEL
from appliance.config import DicomPeer, Settings
from appliance.dimse import AssociationError, NothingAccepted, Peer
from appliance.preflight import OPERATION, Found, Line

_ANSWER_S = 10.0  # somebody waits at the keyboard
_VERIFICATION = "1.2.840.10008.1.1"
_GET = "1.2.840.10008.5.1.4.1.2.2.3"  # Study Root Query/Retrieve, GET (PS3.4 C.6.2)
_RETIRED_LOOP = UID("1.2.840.10008.5.1.4.1.1.3")  # older carts still send it
_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_COMPRESSED = (JPEGBaseline8Bit, JPEGLosslessSV1, JPEG2000Lossless, JPEGLSLossless, RLELossless)
# What carts send, and in which syntaxes; the first of each is what must not be missing.
_ORIGINALS = {
    UltrasoundMultiFrameImageStorage: (*_PLAIN, *_COMPRESSED),
    UltrasoundImageStorage: (*_PLAIN, *_COMPRESSED),
    _RETIRED_LOOP: (*_PLAIN, JPEGBaseline8Bit),
}
_LABEL_MAPS = UID("1.2.840.10008.5.1.4.1.1.66.7")  # younger than pydicom's dictionary
_OWN_NAMES = {
    _LABEL_MAPS: "Label Map Segmentation Storage",
    # pydicom calls it as it calls its successor: a PACS would seem to take and refuse one class.
    _RETIRED_LOOP: "Ultrasound Multi-frame Image Storage (Retired)",
}
_LOST_WITHOUT = {
    KeyObjectSelectionDocumentStorage: ": what a later decision replaces stays valid there",
}
_RESULTS = {
    SegmentationStorage: (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian),
    _LABEL_MAPS: (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless),
    ComprehensiveSRStorage: (ExplicitVRLittleEndian,),
    KeyObjectSelectionDocumentStorage: (ExplicitVRLittleEndian,),
    MultiFrameTrueColorSecondaryCaptureImageStorage: (JPEGBaseline8Bit,),
}
_SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
}
_NEEDED = {
    "originals": tuple(_ORIGINALS),
    "results": (SegmentationStorage, ComprehensiveSRStorage, KeyObjectSelectionDocumentStorage),
    "overlay": (MultiFrameTrueColorSecondaryCaptureImageStorage, KeyObjectSelectionDocumentStorage),
    "corrections": (UltrasoundMultiFrameImageStorage, SegmentationStorage),
}


def look(item: DicomPeer, settings: Settings, store: bool) -> Found:
    """Try a PACS out; see `preflight.examine`."""
    peer = Peer(item.host, item.port, item.called_ae, settings.box.ae_title)
    try:
        secure = tls.client_context(settings.scp) if item.tls else None
    except tls.TlsError as error:
        yield Line("no", f"{error.subject}. {error.hint.rstrip('.')}")
        return
    try:
        yield _echoed(peer, secure)
    except AssociationError as error:
        yield from _why_not(item, settings, secure, error)
        return
    yield (
        Line("ok", "TLS, certificates as they should be")
        if secure
        else Line("note", "no TLS: the line isn't secret")
    )
    yield from _classes(item, peer, secure)
    yield from _proofs(item, peer, secure)
    if store:
        yield from _stored(peer, secure)


def _associate(
    peer: Peer,
    contexts: Sequence[PresentationContext],
    secure: ssl.SSLContext | None,
    roles: Sequence[str] = (),
) -> Association:
    ae = dimse.entity(peer.calling_ae, _ANSWER_S, _ANSWER_S)
    negotiated = [build_role(UID(uid), scp_role=True) for uid in roles]
    return dimse.associate(ae, peer, contexts, OPERATION, negotiated, secure=secure)


def _echoed(peer: Peer, secure: ssl.SSLContext | None) -> Line:
    where = f"{peer.called_ae} at {peer.host}:{peer.port}"
    try:
        association = _associate(peer, [build_context(_VERIFICATION)], secure)
    except NothingAccepted:
        return Line("note", f"{where} knows {peer.calling_ae}, and has no C-ECHO")
    answer = association.send_c_echo()
    association.release()
    if "Status" not in answer:
        return Line("note", f"{where} accepts {peer.calling_ae}, and doesn't answer C-ECHO")
    return Line("ok", f"{where} accepts {peer.calling_ae} and answers C-ECHO")


def _why_not(
    item: DicomPeer, settings: Settings, secure: ssl.SSLContext | None, error: AssociationError
) -> Found:
    """Say in one line why there is no association; TLS is tried where plain DICOM was, and so on."""
    if not error.retry:
        yield Line("no", f"{error.subject}. {error.hint.rstrip('.')}")
        return
    where = f"{item.host}:{item.port}"
    said = _handshake(item, secure or _anyone())
    if said is None and secure is None:
        yield Line("no", f"{where} speaks TLS, and this destination plain DICOM. Set tls = true")
        yield "tls = true"
        return
    if secure is None or said == _UNREACHABLE:
        yield Line("no", f"{error.subject}. {error.hint.rstrip('.')}")
        return
    peer = Peer(item.host, item.port, item.called_ae, settings.box.ae_title)
    try:
        _echoed(peer, None)
    except AssociationError:
        words = said or "refuses this box's certificate: have scp.tls_ca trusted there"
        yield Line("no", f"{where} {words}")
    else:
        yield Line("no", f"{where} speaks plain DICOM, and this destination TLS. Set tls = false")
        yield "tls = false"


_UNREACHABLE = "unreachable"


def _handshake(item: DicomPeer, context: ssl.SSLContext) -> str | None:
    """Return None when TLS is spoken, else why not."""
    try:
        plain = socket.create_connection((item.host, item.port), _ANSWER_S)
    except OSError:
        return _UNREACHABLE
    with plain:
        try:
            with context.wrap_socket(plain, server_hostname=item.host):
                return None
        except ssl.SSLCertVerificationError:
            return "shows a certificate that scp.tls_ca didn't sign. Add its authority to that file"
        except OSError:  # also of TLS
            return "speaks no TLS that this box accepts (1.2 or 1.3, ECDHE with AES-GCM)"


def _anyone() -> ssl.SSLContext:
    """A context that only finds out whether TLS is spoken; nothing is sent over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _classes(item: DicomPeer, peer: Peer, secure: ssl.SSLContext | None) -> Found:
    wanted = {**_ORIGINALS, **_RESULTS}
    pairs = [(kind, syntax) for kind, syntaxes in wanted.items() for syntax in syntaxes]
    taken = set(_taken(peer, pairs, secure))
    needed = {kind for wish in item.gets for kind in _NEEDED[wish]}
    yield from _form(item, taken)
    if item.seg_type == "LABELMAP":
        needed -= {SegmentationStorage} if "corrections" not in item.gets else set()
    for kind, syntaxes in wanted.items():
        found = [syntax.name for syntax in syntaxes if (kind, syntax) in taken]
        missing = [syntax.name for syntax in syntaxes if (kind, syntax) not in taken]
        if not found:
            word = "no" if kind in needed and kind != _RETIRED_LOOP else "note"
            why = _LOST_WITHOUT.get(kind, "") if word == "no" else ""
            yield Line(word, f"takes no {_name(kind)}{why}")
            continue
        but = f"; not {', '.join(missing)}" if missing else ""
        yield Line("ok", f"takes {_name(kind)}: {', '.join(found)}{but}")


def _form(item: DicomPeer, taken: set[tuple[UID, UID]]) -> Found:
    """Whether segmentations are taken in the form in which they are to be sent."""
    if "results" not in item.gets:
        return
    kind = _LABEL_MAPS if item.seg_type == "LABELMAP" else SegmentationStorage
    if (kind, _SYNTAXES[item.seg_syntax]) in taken:
        return
    wished = f"{_name(kind)} in {_SYNTAXES[item.seg_syntax].name}"
    yield Line("no", f"refuses segmentations in the form that is configured: {wished}")
    for type_, each in (("BINARY", SegmentationStorage), ("LABELMAP", _LABEL_MAPS)):
        for name, syntax in _SYNTAXES.items():
            if (each, syntax) in taken:
                yield f'seg_type = "{type_}"'
                yield f'seg_syntax = "{name}"'
                return
    yield from _overlay_instead(item, taken)


def _overlay_instead(item: DicomPeer, taken: set[tuple[UID, UID]]) -> Found:
    """Propose the loop with its contours burned in where segmentations in no form are taken."""
    if (MultiFrameTrueColorSecondaryCaptureImageStorage, JPEGBaseline8Bit) not in taken:
        return
    wished = [wish for wish in item.gets if wish not in ("results", "overlay")]
    yield f"gets = {json.dumps([*wished, 'overlay'])}"


def _name(kind: UID) -> str:
    return _OWN_NAMES.get(kind, kind.name)


def _taken(
    peer: Peer, pairs: Sequence[tuple[UID, UID]], secure: ssl.SSLContext | None
) -> Iterator[tuple[UID, UID]]:
    contexts = [build_context(kind, syntax) for kind, syntax in pairs]
    try:
        association = _associate(peer, contexts, secure)
    except NothingAccepted:
        return
    accepted = association.accepted_contexts
    association.release()
    for context in accepted:
        assert context.abstract_syntax is not None
        yield context.abstract_syntax, context.transfer_syntax[0]


def _proofs(item: DicomPeer, peer: Peer, secure: ssl.SSLContext | None) -> Found:
    gives, commits = _gives_back(peer, secure), _commits(item, peer, secure)
    if gives:
        yield Line("ok", "offers to give objects back (C-GET): each is compared, and so proven")
    else:
        yield Line("note", "offers no C-GET")
    if commits:
        words = f"offers storage commitment: it must know {peer.calling_ae}'s address and port"
        yield Line("ok", words)
    else:
        yield Line("note", "offers no storage commitment")
    offered = {"auto": gives or commits, "read-back": gives, "commitment": commits}
    if not offered[item.proof]:
        word = "note" if item.proof == "auto" else "no"
        words = "nothing will prove that it keeps what it gets: the box purges nothing on its word"
        yield Line(word, words if item.proof == "auto" else f"proof = {item.proof!r} can't work")
    if gives and item.proof == "commitment":
        yield 'proof = "auto"'
    elif commits and not gives and item.proof != "commitment":
        yield 'proof = "commitment"'


def _gives_back(peer: Peer, secure: ssl.SSLContext | None) -> bool:
    kinds = (UltrasoundMultiFrameImageStorage, SegmentationStorage, ComprehensiveSRStorage)
    contexts = [build_context(_GET), *(build_context(kind, _PLAIN[0]) for kind in kinds)]
    try:
        association = _associate(peer, contexts, secure, kinds)
    except NothingAccepted:
        return False
    accepted = association.accepted_contexts
    association.release()
    served = [context for context in accepted if context.as_scp]
    return bool(served) and any(context.abstract_syntax == UID(_GET) for context in accepted)


def _commits(item: DicomPeer, peer: Peer, secure: ssl.SSLContext | None) -> bool:
    host, port = item.commit_host or peer.host, item.commit_port or peer.port
    server = Peer(host, port, item.commit_ae or peer.called_ae, peer.calling_ae)
    try:
        _associate(server, [build_context(PUSH_MODEL)], secure).release()
    except AssociationError:
        return False
    return True


def _stored(peer: Peer, secure: ssl.SSLContext | None) -> Found:
    from appliance.preflight_object import PATIENT, written

    context = build_context(UltrasoundMultiFrameImageStorage, ExplicitVRLittleEndian)
    send = partial(_associate, peer, [context], secure)
    with tempfile.TemporaryDirectory() as folder:
        try:
            association = send()
            answer = dimse.store(association, written(Path(folder)))
            association.release()
        except AssociationError as error:
            yield Line("no", f"{error.subject}. {error.hint.rstrip('.')}")
            return
    word = "ok" if answer.stored else "no"
    yield Line(word, f"a test object of the patient {PATIENT}: {answer.text}")
