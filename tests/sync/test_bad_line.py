"""Deliveries over a line that is slow, loses packets, or is cut: all of it arrives, once.

The line is the loopback of a network namespace of its own, so that nothing else is disturbed.
"""

import ctypes
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.box import Box
from tests.orthanc import Orthanc
from tests.sync.servers import states_at, with_results

CLONE_NEWNET = 0x40000000
CUT_S = 1.0
BREAKS = 2  # by each relay: a courier waits longer after each
COUNT = 3


def apart(work: Callable[[], None]) -> None:
    """Do something in a thread with a network of its own; what it starts is in there, too."""

    def begin() -> None:
        if ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
            pytest.skip("a network of its own can't be made here (not root)")
        run("ip", "link", "set", "lo", "up")
        work()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(begin).result()


def run(*command: str) -> str:
    """Run a command; return what it complains of."""
    return subprocess.run(command, capture_output=True, text=True).stderr


def make_bad(*how: str) -> None:
    if told := run("tc", "qdisc", "replace", "dev", "lo", "root", "netem", *how):
        pytest.skip(f"this kernel has no netem ({told.strip()})")


def deliver(
    root: Path,
    meanwhile: Callable[[Box], None],
    through: Callable[[int], int] = lambda port: port,
) -> None:
    """Have results delivered to a PACS and an archive; each object must be there once.

    `through` gives the port that leads to a port of theirs.
    """
    with Orthanc(root / "orthanc") as server:
        extra = server.toml("pacs", "dicom") + "mbit_per_s = 0.5\n"
        extra += server.toml("archive", "dicomweb", "corrections results") + "mbit_per_s = 0.5\n"
        for port in (server.dicom_port, server.http_port):
            extra = extra.replace(str(port), str(through(port)))
        with Box(root / "box", ["sync"], extra) as box:
            wanted = [("pacs", "seg"), ("archive", "sr")]
            reviews = with_results(box, COUNT, wanted)
            meanwhile(box)
            for name in ("pacs", "archive"):
                box.wait_for(lambda: set(states_at(box, name)) == {"proven"}, f"all at {name}")  # noqa: B023
            there = server.instances()
            assert len(there) == len(set(there)) == 2 * COUNT
            assert {review["result_sop_instance_uid"] for review in reviews} <= set(there)
            assert "Traceback" not in box.log("sync")
            assert "DOE" not in box.log("sync")


def test_a_line_that_is_cut_and_comes_back_loses_nothing_and_doubles_nothing(tmp_path):
    chance = random.Random(3)

    def cut(box: Box) -> None:
        for _ in range(2):
            time.sleep(chance.uniform(0.1, 0.6))
            run("ip", "link", "set", "lo", "down")
            time.sleep(CUT_S)
            run("ip", "link", "set", "lo", "up")

    apart(lambda: deliver(tmp_path, cut))


class Relay:
    """A port that leads to another; every so many pieces it breaks the connection off."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._to, self._chance = port, chance
        self.broken = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            ours, _ = self._server.accept()
            theirs = socket.create_connection(("127.0.0.1", self._to))
            for pair in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(2048):
                time.sleep(0.005)
                if self.broken < BREAKS and self._chance.random() < 0.1:
                    self.broken += 1
                    sink.sendall(data[: len(data) // 2])
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_connections_that_break_off_anywhere_lose_nothing_and_double_nothing(tmp_path):
    chance, relays = random.Random(11), []

    def through(port: int) -> int:
        relays.append(Relay(port, chance))
        return relays[-1].port

    deliver(tmp_path, lambda box: None, through)
    assert sum(relay.broken for relay in relays) >= BREAKS


@pytest.mark.parametrize("how", ["delay 40ms 10ms loss 2%", "loss 10%"])
def test_a_slow_line_that_loses_packets_loses_nothing_and_doubles_nothing(tmp_path, how):
    def work() -> None:
        make_bad(*how.split())
        deliver(tmp_path, lambda box: None)

    apart(work)
