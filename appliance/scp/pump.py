"""The P-DATA path: one thread for each association, from the socket's buffer straight to the file.

pynetdicom negotiates, serves C-ECHO and storage commitment, and encodes their answers. What its
reactors do for every fragment (two threads, queues, PDU objects, polling) is done here in one
loop that waits in `recv`. That builds on pynetdicom's insides, so on one version of it.
"""

import logging
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast

import pynetdicom
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import (
    A_ABORT_RQ,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_RELEASE_RP,
    P_DATA_TF,
)
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT, A_RELEASE, P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler

from appliance.scp.command import Command, read_command, store_response
from appliance.scp.negotiation import is_storage
from appliance.scp.request import MOST_BYTES, decode_request
from appliance.scp.store import Announced
from appliance.scp.wire import Closed, Late, Wire, why_no_handshake

log = logging.getLogger("echocart.scp")

TESTED_VERSION = "3.0.4"
REQUEST_S = 10.0  # from the connection to its whole A-ASSOCIATE-RQ: the ARTIM timer, PS3.8 9.1.5
IDLE_S = 900.0  # between messages: a cart may keep one association through an exam
SILENCE_S = 30.0  # for each PDU, and the silence before it inside a message
SLOWEST = 4096  # bytes/s of a message once `SILENCE_S` has passed: anything slower is a drip
_LAST_WORDS_S = 5.0  # for the peer to close after a release, a rejection or an abort

_COMMAND_BYTES = 1 << 14
_DATA_SET_BYTES = 4 << 20  # of other messages than C-STORE: a commitment of 25,000 objects
_WAITING_RESPONSES = 8  # that nobody has asked for
_FIRST_BUFFER, _BUFFER = 1 << 12, 1 << 18

_PDU = struct.Struct(">BxL")  # type and length, PS3.8 9.3.1
_PDV = struct.Struct(">LBB")  # length, presentation context ID, message control header
_ASSOCIATE_RQ, _P_DATA, _RELEASE_RQ, _A_ABORT, _TYPES = 1, 4, 5, 7, range(1, 8)
_COMMAND, _LAST = 1, 2  # bits of the message control header, PS3.8 E.2
_NO_REQUEST = {
    **dict.fromkeys(_TYPES, "it began with another PDU than an association request"),
    **dict.fromkeys(b"GPHODCT", "it speaks HTTP"),  # the methods' first letters
    0x16: "it speaks TLS on the plain port",  # a handshake record, RFC 8446 5.1
}
_NO_REASON, _UNRECOGNIZED_PDU, _UNEXPECTED_PDU, _INVALID_VALUE = 0, 1, 2, 6  # PS3.8 table 9-26


class Incoming(Protocol):
    """An object that is arriving."""

    def write(self, fragment: memoryview) -> None:
        """Take the next bytes of its data set."""

    def finish(self) -> tuple[int, str]:
        """Keep it; return the C-STORE status and a comment."""

    def drop(self) -> None:
        """Leave nothing of it."""


class Keeper(Protocol):
    """Where objects go."""

    def begin(self, announced: Announced, TransferSyntaxUID: str) -> Incoming:
        """Make the place for an object that was announced."""


class Refused(Exception):
    """The peer breaks the protocol; with the reason for the A-ABORT it gets."""

    def __init__(self, reason: int) -> None:
        super().__init__(reason)
        self.reason = reason


class Ended(Exception):
    """The association is over."""


class _Arriving:
    """The message that has not ended yet."""

    def __init__(self, context_id: int) -> None:
        self.context_id = context_id
        self.since = time.monotonic()
        self.received = 0
        self.command_set = bytearray()
        self.command: Command | None = None
        self.data_set = bytearray()  # only of other messages than C-STORE
        self.incoming: Incoming | None = None

    def seconds_left(self) -> float:
        """Until the next PDU must be here."""
        drip = self.since + SILENCE_S + self.received / SLOWEST - time.monotonic()
        return min(SILENCE_S, drip)


class PumpedAssociation(Association):
    """An association that its own thread reads, from the first byte to the last.

    Parameters
    ----------
    handler
        Of the connection; a TLS one comes before its handshake.
    keeper
        Where objects go.
    """

    def __init__(self, handler: RequestHandler, keeper: Keeper) -> None:
        super().__init__(handler.ae, "acceptor")
        self.dul = _UpperLayer(self)
        self.wire = Wire(handler.request, _FIRST_BUFFER)
        self.last_words = b""
        self.afterwards: deque[Callable[[], None]] = deque()  # done once a request is answered
        self.set_socket(AssociationSocket(self, client_socket=handler.request))
        self._keeper = keeper
        self._longest: int | None = None
        self._arriving: _Arriving | None = None
        self._requests: deque[tuple[int, Any]] = deque()

    def run_reactor(self) -> None:
        """Serve the peer until the association ends, however it does."""
        try:
            self._serve()
        except Ended:
            pass  # as it should: released, rejected or aborted by the peer
        except Refused as refused:
            if self.is_established:
                log.warning("%s was cut: it broke the protocol", self._caller())
            self._abort(refused.reason)
        except Late:
            self._tell_late()
            self._abort(_NO_REASON)
        except (Closed, OSError):
            if self.last_words:
                with suppress(OSError):
                    self.wire.send(self.last_words)
        finally:
            self._close()

    def read_pdu(self) -> None:
        """Read one PDU of an established association and do what it says.

        Raises
        ------
        Ended, Refused, Late, Closed, OSError
            When there will be no next one.
        """
        self.wire.expect(self._arriving.seconds_left() if self._arriving else IDLE_S)
        self.wire.need(1)
        if not self._arriving:
            self.wire.expect(SILENCE_S)
        kind, length = self.wire.unpack(_PDU)
        if kind == _P_DATA:
            self._read_fragments(length)
        elif kind == _RELEASE_RQ and length == 4:
            self._release()
        elif kind == _A_ABORT and length == 4:
            self.is_aborted = True
            evt.trigger(self, evt.EVT_ABORTED, {})
            raise Ended
        else:
            raise Refused(_UNEXPECTED_PDU if kind in _TYPES else _UNRECOGNIZED_PDU)

    def _serve(self) -> None:
        self._establish()
        self.wire.grow(_BUFFER)
        self._longest = self.acceptor.maximum_length  # asked for every PDU, and slow to tell
        while not self.is_aborted:
            self.read_pdu()
            while self._requests:
                context_id, request = self._requests.popleft()
                self._serve_request(request, context_id)
            while self.afterwards:
                self.afterwards.popleft()()

    def _establish(self) -> None:
        self.wire.expect(REQUEST_S)
        try:
            self.wire.secure(REQUEST_S)
        except OSError as error:
            self._turned_away(why_no_handshake(error))
            raise
        kind, length = self.wire.unpack(_PDU)
        if kind != _ASSOCIATE_RQ:
            self._turned_away(_NO_REQUEST.get(kind, "it sent something else than DICOM"))
            raise Refused(_UNEXPECTED_PDU if kind in _TYPES else _UNRECOGNIZED_PDU)
        try:
            if length > MOST_BYTES:
                raise ValueError
            version, primitive = decode_request(_PDU.pack(kind, length) + self.wire.take(length))
        except ValueError:
            self._turned_away("its association request can't be understood")
            raise Refused(_INVALID_VALUE) from None
        self.requestor.primitive = primitive
        if version & 1 == 0:  # each version is a bit
            self.acse.send_reject(1, 2, 2)  # PS3.8 9.3.4: protocol version not supported
            evt.trigger(self, evt.EVT_REJECTED, {})
            raise Ended
        evt.trigger(self, evt.EVT_REQUESTED, {})
        if not self.is_aborted and not self.is_rejected:
            self.acse.negotiate_association()
        if not self.is_established:
            raise Ended

    def _turned_away(self, why: str) -> None:
        cast(Any, self._server).turned_away(self.requestor.address, why)

    def _tell_late(self) -> None:
        if self.is_established:
            log.warning("%s was cut: it was silent or too slow", self._caller())
        else:
            self._turned_away("it asked for no association in time")

    def _caller(self) -> str:
        """Who it is, for the log: titles and addresses belong to machines."""
        return f"{self.requestor.ae_title.strip()} from {self.requestor.address}"

    def _release(self) -> None:
        self.wire.take(4)
        self.is_released = True
        self.is_established = False
        self.acse.send_release(is_response=True)
        evt.trigger(self, evt.EVT_RELEASED, {})
        raise Ended

    def _read_fragments(self, length: int) -> None:
        """Read the presentation data values of a P-DATA-TF (PS3.8 9.3.5.1)."""
        if not _PDV.size <= length <= (self._longest or length):
            raise Refused(_INVALID_VALUE)
        while length:
            size, context_id, header = self.wire.unpack(_PDV)
            size -= 2  # it counts the context ID and the header
            length -= _PDV.size + size
            if size < 0 or length < 0 or 0 < length < _PDV.size:
                raise Refused(_INVALID_VALUE)
            if header & _COMMAND:
                self._read_command(context_id, size)
            else:
                self._read_data(size)
            if header & _LAST:
                self._end_of_part(bool(header & _COMMAND))

    def _read_command(self, context_id: int, size: int) -> None:
        if self._arriving is None:
            self._arriving = _Arriving(context_id)
        elif self._arriving.command:
            raise Refused(_UNEXPECTED_PDU)
        self._take(size, self._arriving.command_set, _COMMAND_BYTES)

    def _read_data(self, size: int) -> None:
        arriving = self._arriving
        if arriving is None or arriving.command is None:
            raise Refused(_UNEXPECTED_PDU)
        arriving.received += size
        if arriving.incoming is None:
            self._take(size, arriving.data_set, _DATA_SET_BYTES)
            return
        for piece in self.wire.pieces(size):
            before = time.monotonic()
            arriving.incoming.write(piece)
            taken = time.monotonic() - before  # the disk's time is not the peer's
            arriving.since += taken
            self.wire.allow(taken)

    def _take(self, size: int, to: bytearray, limit: int) -> None:
        if len(to) + size > limit:
            raise Refused(_INVALID_VALUE)
        to += self.wire.take(size)

    def _end_of_part(self, of_command: bool) -> None:
        arriving = cast(_Arriving, self._arriving)
        if of_command:
            arriving.command = self._announced(arriving)
            if arriving.command.has_data_set:
                return
        if arriving.incoming:
            status, comment = arriving.incoming.finish()
            answer = store_response(
                cast(Command, arriving.command), arriving.context_id, status, comment
            )
            self._arriving = None
            self.wire.send(answer)
            self.wire.expect(SILENCE_S)
        else:
            self._arriving = None
            self._deliver(arriving)

    def _announced(self, arriving: _Arriving) -> Command:
        try:
            command = read_command(arriving.command_set)
        except ValueError:
            raise Refused(_INVALID_VALUE) from None
        context = self._accepted_cx.get(arriving.context_id)
        if context is None:
            raise Refused(_INVALID_VALUE)
        if command.is_store_request:
            if not is_storage(UID(context.abstract_syntax or "")):
                raise Refused(_INVALID_VALUE)
            announced = Announced(
                SOPInstanceUID=command.SOPInstanceUID,
                SOPClassUID=command.SOPClassUID,
                calling_ae_title=self.requestor.ae_title.strip(),
                peer=self.requestor.address,
            )
            arriving.incoming = self._keeper.begin(announced, str(context.transfer_syntax[0]))
        return command

    def _deliver(self, arriving: _Arriving) -> None:
        """Hand another message than C-STORE to pynetdicom: a request to serve, or a response."""
        message, data = DIMSEMessage(), P_DATA()
        last_command, last_data = bytes([_COMMAND | _LAST]), bytes([_LAST])
        fragments: list[Any] = [[arriving.context_id, last_command + arriving.command_set]]
        if arriving.data_set:
            fragments.append([arriving.context_id, last_data + arriving.data_set])
        data.presentation_data_value_list = fragments
        try:
            message.decode_msg(data, self)
            evt.trigger(self, evt.EVT_DIMSE_RECV, {"message": message})
            primitive = message.message_to_primitive()
        except Exception as error:
            raise Refused(_INVALID_VALUE) from error  # as in `_establish`
        if isinstance(primitive, C_CANCEL):
            return  # nothing that we serve can be cancelled
        if primitive.MessageIDBeingRespondedTo is None:
            self._requests.append((arriving.context_id, primitive))
        elif self.dimse.msg_queue.qsize() < _WAITING_RESPONSES:
            self.dimse.msg_queue.put((arriving.context_id, primitive))
        else:
            raise Refused(_UNEXPECTED_PDU)

    def _abort(self, reason: int) -> None:
        with suppress(OSError):
            self.acse.send_ap_abort(reason)
        evt.trigger(self, evt.EVT_ABORTED, {})

    def _close(self) -> None:
        self.is_established = False
        arriving, self._arriving = self._arriving, None
        try:
            if arriving and arriving.incoming:
                arriving.incoming.drop()
        finally:
            self.wire.hang_up(_LAST_WORDS_S)
            self.wire.close()
            cast(AssociationSocket, self.dul.socket).close()
            address = self.requestor.address_info
            closed = {"address": address.as_tuple if address else ("", 0)}
            evt.trigger(self, evt.EVT_CONN_CLOSE, closed)


class _UpperLayer(DULServiceProvider):
    """pynetdicom's upper layer without its thread: what is sent is written at once."""

    @property
    def assoc(self) -> PumpedAssociation:
        return cast(PumpedAssociation, self._assoc)

    def send_pdu(self, primitive: Any) -> None:
        data = _pdu(primitive).encode()
        is_abort = isinstance(primitive, A_ABORT | A_P_ABORT)
        if is_abort and threading.current_thread() is not self.assoc:
            self.assoc.last_words = data  # by its own thread: an object may be arriving
            self.assoc.wire.wake()
        else:
            self.assoc.wire.send(data)


def is_tested() -> bool:
    """Tell whether the pump was tested with the pynetdicom that is installed."""
    return pynetdicom.__version__ == TESTED_VERSION


def _pdu(primitive: Any) -> Any:
    """The PDU (PS3.8 9.3) for a primitive that an acceptor sends."""
    if isinstance(primitive, P_DATA):
        return P_DATA_TF(primitive)
    if isinstance(primitive, A_RELEASE):
        return A_RELEASE_RP(primitive)
    if isinstance(primitive, A_ASSOCIATE):
        return A_ASSOCIATE_AC(primitive) if primitive.result == 0 else A_ASSOCIATE_RJ(primitive)
    return A_ABORT_RQ(primitive)
