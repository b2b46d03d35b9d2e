"""The command sets of C-STORE (PS3.7 9.3.1), read and written without building data sets.

pynetdicom takes half a millisecond for the two of them; a cart sends them with every image.
"""

import struct
from dataclasses import dataclass

_TAG = struct.Struct("<HHL")  # group, element and length: Implicit VR Little Endian (PS3.7 6.3.1)
_US = struct.Struct("<H")
_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS_UID = 0x0002
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
_COMMAND_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE_UID = 0x1000
_C_STORE_RQ, _C_STORE_RSP = 0x0001, 0x8001  # PS3.7 E.1-1
_NO_DATA_SET = 0x0101
_COMMENT_LENGTH = 64  # ErrorComment is LO
_LAST_OF_COMMAND = 3  # message control header, PS3.8 E.2
_P_DATA_TF = 4


@dataclass(frozen=True)
class Command:
    """A request or response, as far as reception needs it.

    Attributes
    ----------
    CommandField
        Which message it is (PS3.7 E.1-1).
    MessageID
        To be answered to.
    SOPClassUID, SOPInstanceUID
        The affected ones; "" when the command has none.
    has_data_set
        Whether one follows.
    """

    CommandField: int
    MessageID: int
    SOPClassUID: str
    SOPInstanceUID: str
    has_data_set: bool

    @property
    def is_store_request(self) -> bool:
        """Whether it is a C-STORE-RQ."""
        return self.CommandField == _C_STORE_RQ


def read_command(command_set: bytes | bytearray) -> Command:
    """Read a command set (PS3.7 6.3.1: Implicit VR Little Endian).

    Raises
    ------
    ValueError
        When its elements don't fill it exactly.
    """
    elements = _elements(bytes(command_set))
    return Command(
        _number(elements, _COMMAND_FIELD),
        _number(elements, _MESSAGE_ID),
        _uid(elements, _AFFECTED_SOP_CLASS_UID),
        _uid(elements, _AFFECTED_SOP_INSTANCE_UID),
        _number(elements, _COMMAND_DATA_SET_TYPE) != _NO_DATA_SET,
    )


def store_response(request: Command, context_id: int, status: int, comment: str) -> bytes:
    """Return the P-DATA-TF PDU (PS3.8 9.3.5) that answers a C-STORE-RQ.

    Parameters
    ----------
    request
        What is answered.
    context_id
        The presentation context it came in.
    status
        PS3.4 B.2.3.
    comment
        What went wrong, for the cart's operator; "" for nothing.
    """
    body = _element(_AFFECTED_SOP_CLASS_UID, _even(request.SOPClassUID, b"\0"))
    body += _element(_COMMAND_FIELD, _US.pack(_C_STORE_RSP))
    body += _element(_MESSAGE_ID_BEING_RESPONDED_TO, _US.pack(request.MessageID))
    body += _element(_COMMAND_DATA_SET_TYPE, _US.pack(_NO_DATA_SET))
    body += _element(_STATUS, _US.pack(status))
    if comment:
        body += _element(_ERROR_COMMENT, _even(comment[:_COMMENT_LENGTH], b" "))
    body += _element(_AFFECTED_SOP_INSTANCE_UID, _even(request.SOPInstanceUID, b"\0"))
    command_set = _element(_GROUP_LENGTH, struct.pack("<L", len(body))) + body
    fragment = struct.pack(">LBB", len(command_set) + 2, context_id, _LAST_OF_COMMAND) + command_set
    return struct.pack(">BxL", _P_DATA_TF, len(fragment)) + fragment


def _elements(command: bytes) -> dict[int, bytes]:
    elements, at = {}, 0
    while at < len(command):
        if at + _TAG.size > len(command):
            raise ValueError("a command set ends inside an element")
        group, element, length = _TAG.unpack_from(command, at)
        at += _TAG.size + length
        if group != 0 or at > len(command):
            raise ValueError("a command set holds what is no command element")
        elements[element] = command[at - length : at]
    return elements


def _number(elements: dict[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    number: int = _US.unpack(value)[0] if len(value) == _US.size else 0
    return number


def _uid(elements: dict[int, bytes], element: int) -> str:
    return elements.get(element, b"").decode("ascii", "replace").strip("\0 ")


def _element(element: int, value: bytes) -> bytes:
    return _TAG.pack(0, element, len(value)) + value


def _even(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding * (len(value) % 2)
