"""A DICOM peer that can misbehave: it writes its PDUs by hand (PS3.8 9.3, PS3.7 6.3)."""

import socket
import struct

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
ABORT = bytes([7, 0, 0, 0, 0, 4, 0, 0, 0, 0])  # A-ABORT by the service user
RELEASE = bytes([5, 0, 0, 0, 0, 4, 0, 0, 0, 0])
FRAGMENT = 16000  # bytes of data set in one P-DATA PDU


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _even(text: str) -> bytes:
    value = text.encode()
    return value + b"\0" * (len(value) % 2)


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, element, len(value)) + value


class Peer:
    """One connection.

    Parameters
    ----------
    port
        Where the receiver listens on 127.0.0.1.
    address
        Ours: any that begins with 127.
    """

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20, (address, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def associate(
        self,
        contexts: list[tuple[str, list[str]]],
        roles: dict[str, tuple[int, int]] | None = None,
        calling: bytes = b"PEER",
        called: bytes = b"ECHOCART",
    ) -> bytes:
        """Propose (class, transfer syntaxes) under the identifiers 1, 3, 5 … and return the answer."""
        body = struct.pack(">HH", 1, 0) + called.ljust(16) + calling.ljust(16) + bytes(32)
        body += _item(0x10, b"1.2.840.10008.3.1.1.1")
        for number, (abstract, syntaxes) in enumerate(contexts):
            subitems = _item(0x30, abstract.encode())
            subitems += b"".join(_item(0x40, syntax.encode()) for syntax in syntaxes)
            body += _item(0x20, bytes([2 * number + 1, 0, 0, 0]) + subitems)
        user = _item(0x51, struct.pack(">L", 16384)) + _item(0x52, b"1.2.3.4")
        for abstract, (scu, scp) in (roles or {}).items():
            uid = abstract.encode()
            user += _item(0x54, struct.pack(">H", len(uid)) + uid + bytes([scu, scp]))
        body += _item(0x50, user)
        self.socket.sendall(struct.pack(">BxL", 1, len(body)) + body)
        return self.read_pdu()

    def command(self, SOPClassUID: str, SOPInstanceUID: str, context: int = 1) -> None:
        """Send a C-STORE-RQ (PS3.7 9.3.1.1)."""
        body = _element(0x0002, _even(SOPClassUID)) + _element(0x0100, b"\1\0")
        body += _element(0x0110, b"\7\0") + _element(0x0700, b"\0\0") + _element(0x0800, b"\0\0")
        body += _element(0x1000, _even(SOPInstanceUID))
        self.fragment(_element(0, struct.pack("<L", len(body))) + body, 3, context)

    def fragment(self, data: bytes, header: int, context: int = 1) -> None:
        """Send one P-DATA PDU with one fragment; header bit 0: command, bit 1: last."""
        head = struct.pack(">BxLLBB", 4, len(data) + 6, len(data) + 2, context, header)
        self.socket.sendall(head + data)

    def data(self, data: bytes, last: bool = True, context: int = 1) -> None:
        """Send (a part of) a data set."""
        for start in range(0, len(data), FRAGMENT):
            final = last and start + FRAGMENT >= len(data)
            self.fragment(data[start : start + FRAGMENT], 2 if final else 0, context)

    def read_pdu(self) -> bytes:
        """Return the next PDU, b"" when the connection was closed."""
        head = self._read(6)
        return head + self._read(struct.unpack(">L", head[2:])[0]) if head else b""

    def status(self) -> int | None:
        """Return the Status (0000,0900) of the next answer; None when the connection ended."""
        answer = self.read_pdu()
        if not answer or answer[0] != 4:
            return None
        at = answer.index(struct.pack("<HHL", 0, 0x0900, 2)) + 8
        status: int = struct.unpack_from("<H", answer, at)[0]
        return status

    def reset(self) -> None:
        """Close with a TCP RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionResetError:
                return b""
            if not part:
                return b""
            data += part
        return data
