"""What the processor must do for each received gigabyte, each part alone: reception can't take less.

Times of one thread, so other load counts little. The parts are those of `bench.reception`'s cine
loops: bytes from a local socket, files of 3.6 MB written and synced, SHA-256, and for each object a
row, a name and their syncs.
"""

import hashlib
import os
import secrets
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from appliance.ledger import Ledger, reception
from appliance.spool import sync_folder
from bench.figures import Figure, main, plain

OBJECT = 3_600_000  # bytes
PIECE, RECEIVED = 1 << 16, 1 << 18  # bytes written, and received, at a time: as reception does
ROUNDS, OBJECTS, QUICK_OBJECTS = 5, 80, 20


def measure(quick: bool) -> list[Figure]:
    """Take each part alone, in interleaved rounds; medians, in seconds for 1 GB."""
    count = QUICK_OBJECTS if quick else OBJECTS
    parts: dict[str, Callable[[int], float]] = {
        "bytes from a local socket": _receive,
        "files written and synced": _write,
        "SHA-256": _hash,
        "a name and a row for each 3.6 MB, synced": _name_and_record,
    }
    found: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(ROUNDS):
        for name, part in parts.items():
            found[name].append(part(count) / (count * OBJECT) * 1e9)
    medians = {name: statistics.median(values) for name, values in found.items()}
    figures = [plain(f"{name}, 1 GB", seconds, "s") for name, seconds in medians.items()]
    return [*figures, plain("all of it, 1 GB", sum(medians.values()), "s")]


def _receive(count: int) -> float:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()

    def send() -> None:
        data = secrets.token_bytes(1 << 17)
        for _ in range(count * OBJECT // len(data)):
            sender.sendall(data)
        sender.close()

    thread = threading.Thread(target=send)
    thread.start()
    buffer = memoryview(bytearray(RECEIVED))
    before = time.thread_time()
    with receiver:
        while receiver.recv_into(buffer):
            pass
        spent = time.thread_time() - before
    thread.join()
    return spent


def _write(count: int) -> float:
    piece = secrets.token_bytes(PIECE)
    with tempfile.TemporaryDirectory(prefix="echocart-bench-") as folder:
        before = time.thread_time()
        for number in range(count):
            descriptor = os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY)
            for _ in range(OBJECT // PIECE):
                os.write(descriptor, piece)
            os.write(descriptor, piece[: OBJECT % PIECE])
            os.fsync(descriptor)
            os.close(descriptor)
        return time.thread_time() - before


def _hash(count: int) -> float:
    digest, block = hashlib.sha256(), secrets.token_bytes(RECEIVED)
    before = time.thread_time()
    for _ in range(count * OBJECT // RECEIVED):
        digest.update(block)
    return time.thread_time() - before


def _name_and_record(count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="echocart-bench-") as name:
        folder = Path(name)
        ledger = Ledger(folder)
        received = folder / "received"
        received.touch()
        before = time.thread_time()
        for number in range(count):
            os.link(received, folder / f"{number}.dcm")
            sync_folder(folder)
            sha256 = secrets.token_hex(32)
            reception.record(
                ledger,
                reception.Received(
                    SOPInstanceUID=f"1.2.826.0.1.3680043.8.498.{number}",
                    SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1",
                    TransferSyntaxUID="1.2.840.10008.1.2.4.50",
                    sha256=sha256,
                    size=OBJECT,
                    calling_ae_title="BENCH",
                    peer="127.0.0.1",
                ),
            )
        spent = time.thread_time() - before
        ledger.close()
    return spent


if __name__ == "__main__":
    main(__doc__.splitlines()[0], measure)
