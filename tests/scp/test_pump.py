"""The pump reads what any sender may write, and answers as pynetdicom would."""

import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode
from pynetdicom.pdu import P_DATA_TF

from appliance.scp import pump
from appliance.scp.command import Command, read_command, store_response
from appliance.scp.listener import pumped
from appliance.scp.negotiation import accept_proposals
from appliance.scp.request import decode_request
from appliance.scp.store import Announced
from tests.box import REPOSITORY, Box
from tests.scp import carts
from tests.scp.objects import ULTRASOUND, data_set_bytes, write_object
from tests.scp.peer import EXPLICIT, IMPLICIT, Peer

VERIFICATION = "1.2.840.10008.1.1"
SOPInstanceUID = "1.2.826.0.1.3680043.8.498.77"


def kept(box: Box, SOPInstanceUID: str) -> list[bytes]:
    rows = box.ledger.read(
        "SELECT sha256 FROM instance WHERE sop_instance_uid = ?", [SOPInstanceUID]
    )
    return [data_set_bytes(box.spool.object_path(row["sha256"])) for row in rows]


def pdv(data: bytes, header: int, context: int = 1) -> bytes:
    """A presentation data value (PS3.8 9.3.5.1); header bit 0: command, bit 1: last."""
    return struct.pack(">LBB", len(data) + 2, context, header) + data


def pdu(*values: bytes) -> bytes:
    body = b"".join(values)
    return struct.pack(">BxL", 4, len(body)) + body


def command(SOPInstanceUID: str) -> bytes:
    """A C-STORE-RQ as pynetdicom encodes it."""
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID = UID(ULTRASOUND)
    request.AffectedSOPInstanceUID = UID(SOPInstanceUID)
    request.DataSet = BytesIO(b"\0\0")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    data = next(iter(message.encode_msg(1, 0))).presentation_data_value_list[0][1]
    return bytes(data[1:])


def one_by_one(said: bytes, data: bytes) -> Iterator[bytes]:
    """Each fragment of a few bytes in a PDU of its own, the command too."""
    for at in range(0, len(said), 9):
        yield pdu(pdv(said[at : at + 9], 3 if at + 9 >= len(said) else 1))
    for at in range(0, len(data), 97):
        yield pdu(pdv(data[at : at + 97], 2 if at + 97 >= len(data) else 0))


def all_in_one(said: bytes, data: bytes) -> Iterator[bytes]:
    """Command and data set in several fragments of one PDU."""
    third = len(data) // 3
    yield pdu(
        pdv(said, 3), pdv(data[:third], 0), pdv(data[third : -third], 0), pdv(data[-third:], 2)
    )  # fmt: skip


def with_an_empty_end(said: bytes, data: bytes) -> Iterator[bytes]:
    """The last fragment has no bytes: some senders learn late that there are no more."""
    yield pdu(pdv(said, 3))
    yield pdu(pdv(data, 0))
    yield pdu(pdv(b"", 2))


def byte_by_byte(said: bytes, data: bytes) -> Iterator[bytes]:
    """Every byte in a segment of its own, as far as TCP goes along."""
    for byte in next(all_in_one(said, data)):
        yield bytes([byte])


@pytest.mark.parametrize("write", [one_by_one, all_in_one, with_an_empty_end, byte_by_byte])
def test_however_it_is_cut_an_object_is_kept_byte_for_byte(
    receiver: Box, tmp_path: Path, write: Callable[[bytes, bytes], Iterator[bytes]]
) -> None:
    uid = f"{SOPInstanceUID}.{sum(map(ord, write.__name__))}"
    data = data_set_bytes(write_object(tmp_path / "a.dcm", SOPInstanceUID=uid))
    with Peer(receiver.dicom_port) as peer:
        peer.associate([(ULTRASOUND, [EXPLICIT])])
        for piece in write(command(uid), data):
            peer.socket.sendall(piece)
        assert peer.status() == 0
    assert kept(receiver, uid) == [data]


def test_objects_sent_without_waiting_are_each_answered(receiver: Box, tmp_path: Path) -> None:
    uids = [f"{SOPInstanceUID}.2.{number}" for number in range(5)]
    written = b""
    for uid in uids:
        data = data_set_bytes(write_object(tmp_path / "a.dcm", SOPInstanceUID=uid))
        written += pdu(pdv(command(uid), 3), pdv(data, 2))
    with Peer(receiver.dicom_port) as peer:
        peer.associate([(ULTRASOUND, [EXPLICIT])])
        peer.socket.sendall(written)
        assert [peer.status() for _ in uids] == [0] * len(uids)
    assert [len(kept(receiver, uid)) for uid in uids] == [1] * len(uids)


@pytest.mark.parametrize("cart", carts.CARTS)
def test_an_object_in_each_context_of_a_cart_is_kept_byte_for_byte(
    receiver: Box, tmp_path: Path, cart: str
) -> None:
    proposal = carts.CARTS[cart]
    with Peer(receiver.dicom_port) as peer:
        peer.associate(proposal)
        for number, (abstract, syntaxes) in enumerate(proposal):
            if abstract == VERIFICATION:
                continue
            uid = f"{SOPInstanceUID}.3.{sum(map(ord, cart))}.{number}"
            # GE's own syntax encodes all but the pixels as Implicit VR Little Endian.
            syntax = IMPLICIT if syntaxes[0] == carts.GE_SYNTAX else syntaxes[0]
            path = write_object(tmp_path / "a.dcm", abstract, syntax, uid)
            peer.command(abstract, uid, context=2 * number + 1)
            peer.data(data_set_bytes(path), context=2 * number + 1)
            assert peer.status() == 0, (abstract, syntaxes[0])
            assert kept(receiver, uid) == [data_set_bytes(path)]
            (row,) = receiver.ledger.read(
                "SELECT * FROM instance WHERE sop_instance_uid = ?", [uid]
            )
            assert (row["sop_class_uid"], row["transfer_syntax_uid"]) == (abstract, syntaxes[0])


def test_echo_and_store_share_an_association(receiver: Box, tmp_path: Path) -> None:
    uid = f"{SOPInstanceUID}.4"
    data = data_set_bytes(write_object(tmp_path / "a.dcm", SOPInstanceUID=uid))
    echo = command_set(VERIFICATION, 0x30)
    with Peer(receiver.dicom_port) as peer:
        peer.associate([(ULTRASOUND, [EXPLICIT]), (VERIFICATION, [IMPLICIT])])
        for _ in range(2):
            peer.fragment(echo, 3, context=3)
            assert peer.status() == 0
            peer.command(ULTRASOUND, uid)
            peer.data(data)
            assert peer.status() == 0


def command_set(SOPClassUID: str, field: int) -> bytes:
    body = struct.pack("<HHL", 0, 2, len(SOPClassUID) + 1) + SOPClassUID.encode() + b"\0"
    for element, value in ((0x100, field), (0x110, 9), (0x800, 0x101)):
        body += struct.pack("<HHLH", 0, element, 2, value)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def test_a_store_without_data_set_is_answered_with_a_failure(tmp_path: Path) -> None:
    with Box(tmp_path, ["scp"]) as box, Peer(box.dicom_port) as peer:
        peer.associate([(ULTRASOUND, [EXPLICIT])])
        peer.fragment(command_set(ULTRASOUND, 1), 3)
        status = peer.status()
        assert status is not None
        assert status & 0xF000 in (0xA000, 0xC000)
        assert box.loops() == list(box.spool.incoming.iterdir()) == []


def test_a_cancel_is_no_reason_to_end(tmp_path: Path) -> None:
    with Box(tmp_path, ["scp"]) as box, Peer(box.dicom_port) as peer:
        peer.associate([(VERIFICATION, [IMPLICIT])])
        cancel = struct.pack("<HHLH", 0, 0x100, 2, 0xFFF) + struct.pack("<HHLH", 0, 0x120, 2, 1)
        cancel += struct.pack("<HHLH", 0, 0x800, 2, 0x101)
        peer.fragment(struct.pack("<HHLL", 0, 0, 4, len(cancel)) + cancel, 3)
        peer.fragment(command_set(VERIFICATION, 0x30), 3)
        assert peer.status() == 0


def test_commands_are_read_as_pynetdicom_writes_them() -> None:
    assert read_command(command("1.2.3.4")) == Command(1, 7, ULTRASOUND, "1.2.3.4", True)


@pytest.mark.parametrize("cut", [1, 7, 30, 100])
def test_a_command_that_is_cut_is_none(cut: int) -> None:
    with pytest.raises(ValueError, match="command set"):
        read_command(command("1.2.3.4")[:-cut])


@pytest.mark.parametrize(("status", "comment"), [(0, ""), (0xA700, "out of space on the box")])
def test_responses_are_written_as_pynetdicom_writes_them(status: int, comment: str) -> None:
    response = C_STORE()
    response.MessageIDBeingRespondedTo = 7
    response.AffectedSOPClassUID = UID(ULTRASOUND)
    response.AffectedSOPInstanceUID = UID("1.2.3.4")
    response.Status = status
    if comment:
        response.ErrorComment = comment
    message = C_STORE_RSP()
    message.primitive_to_message(response)
    (theirs,) = [P_DATA_TF(data).encode() for data in message.encode_msg(3, 16384)]
    ours = store_response(Command(1, 7, ULTRASOUND, "1.2.3.4", True), 3, status, comment)
    assert ours[:12] == theirs[:12]  # PDU and PDV headers
    assert decode(BytesIO(ours[12:]), True, True) == decode(BytesIO(theirs[12:]), True, True)


def test_a_comment_is_cut_to_what_its_element_holds() -> None:
    ours = store_response(Command(1, 7, "1.2", "1.2.3", True), 1, 0xA700, "ü" * 100)
    assert decode(BytesIO(ours[12:]), True, True).ErrorComment == "?" * 64


def test_a_request_of_128_contexts_with_many_syntaxes_is_no_attack() -> None:
    syntaxes = [f"1.2.840.10008.1.2.4.{number}" for number in range(40)]
    parts = [f"1.2.840.10008.5.1.4.1.1.{number}" for number in range(128)]
    body = struct.pack(">HH", 1, 0) + b"ECHOCART".ljust(16) + b"PEER".ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, abstract in enumerate(parts):
        subitems = item(0x30, abstract.encode())
        subitems += b"".join(item(0x40, syntax.encode()) for syntax in syntaxes[:30])
        body += item(0x20, bytes([2 * number + 1, 0, 0, 0]) + subitems)
    body += item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3.4"))
    version, primitive = decode_request(struct.pack(">BxL", 1, len(body)) + body)
    assert version == 1
    assert len(primitive.presentation_context_definition_list) == 128


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


class SlowDisk:
    """A keeper whose disk takes its time; one object, kept in memory."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.data = b""

    def begin(self, announced: Announced, TransferSyntaxUID: str) -> "SlowDisk":
        return self

    def write(self, fragment: memoryview) -> None:
        time.sleep(self.seconds)
        self.data += fragment

    def finish(self) -> tuple[int, str]:
        return 0, ""

    def drop(self) -> None:
        self.data = b""


def test_a_sender_does_not_pay_for_a_slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "SILENCE_S", 2.0)
    keeper = SlowDisk(1.0)
    ae = AE("ECHOCART")
    ae.add_supported_context(VERIFICATION)
    server = ae.make_server(
        ("127.0.0.1", 0), evt_handlers=[(evt.EVT_REQUESTED, accept_proposals)], **pumped(keeper)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    data = bytes(range(256)) * 4
    with Peer(server.server_address[1]) as peer:
        peer.associate([(ULTRASOUND, [EXPLICIT])])
        peer.socket.sendall(pdu(pdv(command("1.2.3.4"), 3)))
        for at in range(0, len(data), 256):  # longer in all than the longest silence
            while len(keeper.data) < at:
                time.sleep(0.01)
            peer.socket.sendall(pdu(pdv(data[at : at + 256], 2 if at == 768 else 0)))
        assert peer.status() == 0
    server.stop_accepting()
    assert keeper.data == data


def test_another_pynetdicom_is_read_by_its_own_means_and_the_log_says_so(tmp_path: Path) -> None:
    class Other(Box):
        def command(self, name: str) -> list[str]:
            program = (
                "from appliance.scp import pump, server; from appliance.service import main;"
                " pump.TESTED_VERSION = '0.0.1'; main('scp', server.run)"
            )
            return [sys.executable, "-c", program, "--config", str(self.config)]

    with Other(tmp_path, ["scp"]) as box:
        assert "tested with pynetdicom 0.0.1" in box.log("scp")
        uid = f"{SOPInstanceUID}.5"
        data = data_set_bytes(write_object(tmp_path / "a.dcm", SOPInstanceUID=uid))
        with Peer(box.dicom_port) as peer:
            peer.associate([(ULTRASOUND, [EXPLICIT])])
            peer.command(ULTRASOUND, uid)
            peer.data(data)
            assert peer.status() == 0
        assert kept(box, uid) == [data]


def test_the_pump_is_tested_with_the_version_that_is_declared() -> None:
    declared = (REPOSITORY / "pyproject.toml").read_text()
    assert f'"pynetdicom=={pump.TESTED_VERSION}"' in declared
