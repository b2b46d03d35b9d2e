"""What the tests of a broken wire share: a conversation as bytes, and what a process holds."""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.box import Box
from tests.scp.objects import ULTRASOUND, data_set_bytes, write_object
from tests.scp.peer import EXPLICIT, IMPLICIT, RELEASE, Peer

VERIFICATION = "1.2.840.10008.1.1"
ACCEPTED, ABORTED = 2, 7  # A-ASSOCIATE-AC and A-ABORT, PS3.8 9.3


class Recorder(Peer):
    """A peer that talks to itself: what it would send is kept."""

    def __init__(self) -> None:
        self.socket, self._tape = socket.socketpair()
        self._tape.setblocking(False)
        self._tape.shutdown(socket.SHUT_WR)  # who waits for an answer finds the connection closed

    def written(self) -> bytes:
        """Return what was sent since the last time."""
        data = b""
        try:
            while part := self._tape.recv(1 << 16):
                data += part
        except BlockingIOError:
            pass
        return data

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self._tape.close()


def conversation(folder: Path, SOPInstanceUID: str, size: int = 64 * 900) -> tuple[bytes, int]:
    """Return the bytes of an association with one C-STORE, and where its data set ends."""
    path = write_object(
        folder / "object.dcm", SOPInstanceUID=SOPInstanceUID, pixels=os.urandom(size)
    )
    with Recorder() as peer:
        peer.associate([(VERIFICATION, [IMPLICIT]), (ULTRASOUND, [EXPLICIT])])
        peer.command(ULTRASOUND, SOPInstanceUID, context=3)
        peer.data(data_set_bytes(path), context=3)
        object_ends = peer.written()
        peer.socket.sendall(RELEASE)
        return object_ends + peer.written(), len(object_ends)


def echo(port: int, timeout: float = 60.0) -> bool:
    """Tell whether a C-ECHO on a new association is answered with success."""
    with Peer(port) as peer:
        peer.socket.settimeout(timeout)
        answer = peer.associate([(VERIFICATION, [IMPLICIT])])
        if not answer or answer[0] != ACCEPTED:
            return False
        peer.fragment(echo_request(), 3)
        return peer.status() == 0


def echo_request() -> bytes:
    """Return the command set of a C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return command_set({2: VERIFICATION.encode() + b"\0", 0x100: 0x30, 0x110: 1, 0x800: 0x101})


def command_set(values: dict[int, bytes | int]) -> bytes:
    """Return a command set in Implicit VR Little Endian with its group length."""
    body = b""
    for element, value in sorted(values.items()):
        data = struct.pack("<H", value) if isinstance(value, int) else value
        body += struct.pack("<HHL", 0, element, len(data)) + data
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


_POOLS = 9  # threads that the store and the door start as they need them, and keep


class Holdings:
    """What the receiver's process holds, to be given back."""

    def __init__(self, box: Box) -> None:
        self.box = box
        assert echo(box.dicom_port)  # threads and buffers that stay are made by now
        self.process = psutil.Process(box.processes["scp"].pid)
        box.wait_for(lambda: not self.incoming(), "a quiet receiver")
        self._threads, self._descriptors = self._count()
        box.wait_for(self._is_steady, "a steady receiver")
        self.memory = self.process.memory_info().rss

    def incoming(self) -> list[Path]:
        return list(self.box.spool.incoming.iterdir())

    def require_back(self) -> None:
        """Wait until nothing is left of what came since; C-ECHO is answered, and nothing crashed."""
        self.box.wait_for(lambda: not self.incoming(), "what arrived to be gone")
        self.box.wait_for(lambda: self._count()[0] <= self._threads + _POOLS, "threads to end")
        self.box.wait_for(lambda: self._count()[1] <= self._descriptors, "descriptors to close")
        assert echo(self.box.dicom_port)
        # Of pynetdicom's own threads some end by an exception, which costs nobody anything.
        stock = self.box.settings.scp.receive_path == "stock"
        words = ("Traceback",) if stock else ("Traceback", "ended by", "not served", "ERROR")
        lines = self.box.log("scp").splitlines()
        assert [line for line in lines if any(word in line for word in words)] == []

    def growth(self) -> int:
        """Return by how many bytes the process is larger than it was."""
        size: int = self.process.memory_info().rss
        return size - self.memory

    def _count(self) -> tuple[int, int]:
        return self.process.num_threads(), sum(1 for _ in self._open_files())

    def _open_files(self) -> Iterator[str]:
        """Sockets and files, but those of the ledger: SQLite opens and pools them as it likes."""
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if "/ledger.db" not in target and not target.endswith(".lock"):
                    yield target

    def _is_steady(self) -> bool:
        before, (self._threads, self._descriptors) = (
            (self._threads, self._descriptors),
            self._count(),
        )
        return before == (self._threads, self._descriptors)
