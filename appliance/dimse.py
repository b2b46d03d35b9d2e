"""Outgoing DICOM associations: what `echocart send`, the courier and `echocart check` share."""

import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from appliance.errors import ApplianceError

CONNECT_S = 10.0
ANSWER_S = 120.0  # a receiver that syncs a large loop to a slow disk
_MAXIMUM_PDU = 131072
_GLANCE_S = 3.0
_PIECE = 16384  # bytes that leave in one go where the line is spared

OUT_OF_RESOURCES = 0xA7  # status family: the receiver takes nothing now (PS3.4 B.2.3)


class AssociationError(ApplianceError):
    """There is no association: nobody answers, or the peer refuses it."""


class NothingAccepted(AssociationError):
    """The peer is there, and takes none of the classes and transfer syntaxes proposed."""


@dataclass(frozen=True)
class Peer:
    """Where another application entity is, and how the two are called."""

    host: str
    port: int
    called_ae: str
    calling_ae: str


@dataclass(frozen=True)
class Answer:
    """What a receiver said to one object.

    Attributes
    ----------
    status
        Its C-STORE status; None when none came.
    text
        The same for a person.
    """

    status: int | None
    text: str

    @property
    def stored(self) -> bool:
        """True when the receiver has taken the object, be it with a warning."""
        return self.status is not None and (self.status == 0 or self.status & 0xF000 == 0xB000)


def entity(calling_ae: str, connect_s: float = CONNECT_S, answer_s: float = ANSWER_S) -> AE:
    """Return an application entity that gives up after these times.

    Sets the libraries' process-wide switches too: our own words instead of theirs.
    """
    _config.STORE_SEND_CHUNKED_DATASET = True  # the file's bytes, not a data set encoded anew
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    ae = AE(calling_ae)
    ae.maximum_pdu_size = _MAXIMUM_PDU
    ae.connection_timeout = connect_s
    ae.acse_timeout = min(30.0, answer_s)
    ae.dimse_timeout = answer_s
    ae.network_timeout = answer_s
    return ae


def associate(
    ae: AE,
    peer: Peer,
    contexts: Iterable[PresentationContext],
    operation: str,
    roles: Iterable[SCP_SCU_RoleSelectionNegotiation] = (),
    on_store: Callable[[Event], int] | None = None,
    secure: ssl.SSLContext | None = None,
    on_report: Callable[[Event], tuple[int, None]] | None = None,
    sending: Callable[[int], None] | None = None,
) -> Association:
    """Open an association.

    Parameters
    ----------
    ae
        From `entity`.
    peer
        Whom to call.
    contexts
        What to propose.
    operation
        What it is for, for the error's text.
    roles
        SCP roles proposed for ourselves (PS3.7 D.3.3.4), for C-GET.
    on_store
        Takes what the peer stores over this association.
    secure
        Speaks TLS with it.
    on_report
        Takes the N-EVENT-REPORTs that the peer sends over this association.
    sending
        Called with a number of bytes before so many leave; waits where the line is to be spared.

    Raises
    ------
    AssociationError
        When nobody answers, or the association is refused.
    NothingAccepted
        When the peer accepts no presentation context.
    """
    connected: list[Event] = []
    refused: list[Event] = []
    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, _without_delay),
        (evt.EVT_CONN_OPEN, connected.append),
        (evt.EVT_PDU_RECV, partial(_note_refusal, refused)),
        *_asked_for(on_store, on_report, sending),
    ]
    more = {"contexts": list(contexts), "ext_neg": list(roles), "evt_handlers": handlers}
    association = _called(ae, peer, operation, secure, more)
    if association.is_established:
        return association
    # The refusal may be read, and the connection closed, before pynetdicom's other thread looks
    # for the first time; it then takes the connection for one that never was.
    association.is_rejected = association.is_rejected or bool(refused)
    address = f"{peer.host}:{peer.port}"
    # pynetdicom opens the connection together with TLS: without TLS it tells of none.
    there = bool(connected) or (secure is not None and _takes_connections(peer))
    raise _why_none(association, address, operation, there, secure is not None)


def _takes_connections(peer: Peer) -> bool:
    try:
        socket.create_connection((peer.host, peer.port), _GLANCE_S).close()
    except OSError:
        return False
    return True


def _called(
    ae: AE, peer: Peer, operation: str, secure: ssl.SSLContext | None, more: dict[str, Any]
) -> Association:
    try:
        return ae.associate(
            peer.host,
            peer.port,
            ae_title=peer.called_ae,
            max_pdu=_MAXIMUM_PDU,
            tls_args=(secure, peer.host) if secure else None,
            **more,
        )
    except (OSError, UnicodeError) as error:  # UnicodeError: a label nobody could look up
        subject = f"{peer.host} is not a known host"
        raise AssociationError(operation, subject, "Check the address.") from error


def _why_none(
    association: Association, address: str, operation: str, connected: bool, secure: bool
) -> AssociationError:
    """The error for an association that was asked for and isn't there."""
    if association.is_rejected:
        titles = f"{association.requestor.ae_title} with {association.acceptor.ae_title}"
        return AssociationError(
            operation,
            f"{address} refuses the association of {titles}",
            "Allow this AE title at the receiver, or name the one it expects.",
        )
    if association.rejected_contexts:
        return NothingAccepted(
            operation,
            f"{address} accepts none of the object classes and transfer syntaxes proposed",
            "Allow them at the receiver.",
        )
    if connected:
        return AssociationError(
            operation,
            f"{address} takes the connection, and does not answer as a DICOM receiver",
            "It may be a port without TLS, or one doesn't trust the other's certificate."
            if secure
            else "It may be a TLS port, or another program's: this was plain DICOM.",
            retry=True,
        )
    return AssociationError(
        operation,
        f"no DICOM receiver answers at {address}",
        "Check the address and that the receiver runs (echoscu tells).",
        retry=True,
    )


def _asked_for(
    on_store: Callable[[Event], int] | None,
    on_report: Callable[[Event], tuple[int, None]] | None,
    sending: Callable[[int], None] | None,
) -> list[Any]:
    """The handlers that a caller of `associate` wants."""
    wanted = ((evt.EVT_C_STORE, on_store), (evt.EVT_N_EVENT_REPORT, on_report))
    found: list[Any] = [(event, handler) for event, handler in wanted if handler]
    return [*found, (evt.EVT_CONN_OPEN, _slowed, [sending])] if sending else found


def _note_refusal(refused: list[Event], event: Event) -> None:
    if isinstance(event.pdu, A_ASSOCIATE_RJ):
        refused.append(event)


def _without_delay(event: Event) -> None:
    """Send small packets at once: with Nagle each object waits 45 ms for a delayed ACK."""
    connection = event.assoc.dul.socket
    if connection and connection.socket:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _slowed(event: Event, sending: Callable[[int], None]) -> None:
    """Let every piece that is sent over this connection wait for its turn."""
    connection = event.assoc.dul.socket
    assert connection is not None
    send = connection.send

    def send_slowly(data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            sending(len(piece))
            send(piece)

    connection.send = send_slowly  # type: ignore[method-assign, assignment]


def store(association: Association, path: Path) -> Answer:
    """Send a Part 10 file, its data set byte for byte (C-STORE).

    Raises
    ------
    ValueError
        When no accepted presentation context fits the file.
    OSError
        When the file can't be read.
    """
    answer = association.send_c_store(path)
    if "Status" not in answer:
        if association.is_established:
            # pynetdicom learns of a lost connection a moment later; until then it would wait
            # `ANSWER_S` for an answer to the next file.
            association.abort()
        return Answer(None, "the receiver ended the connection without an answer")
    status = int(answer.Status)
    words = text_of(status)
    if comment := str(answer.get("ErrorComment", "")):
        words += f" ({comment})"
    return Answer(status, words)


def text_of(status: int) -> str:
    """Say a C-STORE status (PS3.4 B.2.3, PS3.7 Annex C) in words."""
    if status == 0:
        return "stored"
    known = {
        0x0110: "the receiver failed while storing",
        0x0117: "the receiver calls its UID invalid",
        0x0122: "the receiver doesn't take this class of object",
        0x0124: "the receiver doesn't allow it",
    }
    families = {
        OUT_OF_RESOURCES: "the receiver is out of space",
        0xA9: "its data set isn't the object its file meta information names",
        0xB0: "stored, with a warning",
    }
    if status in known:
        words = known[status]
    elif status & 0xF000 == 0xC000:
        words = "the receiver can't understand it"
    else:
        words = families.get(status >> 8, "refused")
    return f"{words} (status 0x{status:04X})"
