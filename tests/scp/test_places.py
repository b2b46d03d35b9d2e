"""How many associations may be open at the same time: no cart, and no address, locks others out."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance import pairing
from appliance.ledger import caller
from appliance.scu import Outcome, send
from tests.box import Box
from tests.scp.carts import IMPLICIT, VERIFICATION
from tests.scp.objects import write_object
from tests.scp.peer import ABORT, RELEASE, Peer

TRY_LATER = (2, 3, 2)  # transient, local limit exceeded: PS3.8 9.3.4
ROUTER = "127.0.0.7"


@pytest.fixture
def open_ones() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def ask(
    box: Box, open_ones: ExitStack, title: str, address: str = "127.0.0.1"
) -> tuple[Peer, tuple[int, ...] | None]:
    """Open an association and keep it; with result, source and reason when it was rejected."""
    peer = open_ones.enter_context(Peer(box.dicom_port, address))
    answer = peer.associate([(VERIFICATION, [IMPLICIT])], calling=title.encode())
    assert answer[0] in (2, 3)
    return peer, tuple(answer[7:10]) if answer[0] == 3 else None


def turned_away(box: Box) -> list[tuple[str, str]]:
    return [(row["peer"], row["why"]) for row in caller.turned_away(box.ledger)]


def test_one_cart_with_50_idle_associations_keeps_only_itself_out(
    tmp_path: Path, receive_path: str, open_ones: ExitStack
) -> None:
    with Box(tmp_path / "box", ["scp"], scp=receive_path) as box:
        pairing.allow(box.settings, box.ledger, "CART", ROUTER, {}, "test")
        pairing.allow(box.settings, box.ledger, "OTHER", "", {}, "test")
        pairing.allow(box.settings, box.ledger, "PEER", "", {}, "test")
        answers = [ask(box, open_ones, "CART", ROUTER)[1] for _ in range(50)]
        assert answers == [None] * 20 + [TRY_LATER] * 30
        path = write_object(tmp_path / "a.dcm")
        (sent,) = send([path], "127.0.0.1", box.dicom_port, "OTHER")
        assert sent.outcome is Outcome.STORED
        assert ask(box, open_ones, "OTHER", ROUTER)[1] is None  # beside it behind one router
        why = "one cart had 20 associations open, the most at the same time"
        words = f"CART was told to try again later: {why}"
        box.wait_for(lambda: (ROUTER, words) in turned_away(box), "it to be listed")
        assert f"CART from {ROUTER} rejected for now: {why}" in box.log("scp")
        command = [sys.executable, "-m", "appliance", "carts", "--config", str(box.config)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert re.search(rf"^turned away: {ROUTER}, \d+ times, last 20.+: {words}$", shown, re.M)


def test_one_address_with_many_titles_keeps_only_itself_out(
    tmp_path: Path, receive_path: str, open_ones: ExitStack
) -> None:
    with Box(tmp_path, ["scp"], scp=receive_path) as box:
        answers = [ask(box, open_ones, f"X{n // 8}", ROUTER)[1] for n in range(50)]
        assert answers == [None] * 30 + [TRY_LATER] * 20
        assert ask(box, open_ones, "CART")[1] is None
        why = "one address had 30 associations open, the most at the same time"
        box.wait_for(lambda: (ROUTER, why) in turned_away(box), "it to be listed")


def test_associations_beyond_all_places_are_rejected_whoever_asks(
    tmp_path: Path, receive_path: str, open_ones: ExitStack
) -> None:
    with Box(tmp_path, ["scp"], scp=receive_path) as box:
        answers = [ask(box, open_ones, "X", f"127.0.1.{n + 1}")[1] for n in range(51)]
    assert answers == [None] * 50 + [TRY_LATER]


def test_a_site_sets_the_numbers(tmp_path: Path, receive_path: str, open_ones: ExitStack) -> None:
    lines = f"{receive_path}\nassociations_of_a_cart = 2\nassociations_of_an_address = 3\n"
    with Box(tmp_path, ["scp"], scp=f"{lines}maximum_associations = 5") as box:
        asked = [(title, ROUTER) for title in "AAAB"] + [("B", ROUTER)]
        asked += [("A", "127.0.0.8"), ("A", "127.0.0.9"), ("A", "127.0.0.10")]
        answers = [ask(box, open_ones, *one)[1] for one in asked]
    assert [answer is None for answer in answers] == [
        *(True, True, False, True, False),
        *(True, True, False),
    ]


@pytest.mark.parametrize("end", ["release", "abort", "reset", "half-close"])
def test_an_association_that_ends_gives_its_place_back(
    tmp_path: Path, receive_path: str, open_ones: ExitStack, end: str
) -> None:
    with Box(tmp_path, ["scp"], scp=f"{receive_path}\nassociations_of_a_cart = 1") as box:
        peer, _ = ask(box, open_ones, "CART")
        assert ask(box, open_ones, "CART")[1] == TRY_LATER
        if end == "release":
            peer.socket.sendall(RELEASE)
            assert peer.read_pdu()[0] == 6
        elif end == "abort":
            peer.socket.sendall(ABORT)
        elif end == "reset":
            peer.reset()
        else:
            peer.socket.shutdown(socket.SHUT_WR)

        def is_taken() -> bool:
            return ask(box, open_ones, "CART")[1] is None

        if end == "release":
            assert is_taken()  # at once: a cart may open one association for each image
        else:
            box.wait_for(is_taken, "the place")


def test_a_peer_that_lost_its_power_is_found_by_keepalive(
    tmp_path: Path, receive_path: str, open_ones: ExitStack
) -> None:
    with Box(tmp_path, ["scp"], scp=receive_path) as box:
        peer, _ = ask(box, open_ones, "CART")
        ours, theirs = (f"{port:04X}" for port in (box.dicom_port, peer.socket.getsockname()[1]))
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ends = [row for row in rows if row[1].endswith(ours) and row[2].endswith(theirs)]
        assert [row[5].split(":")[0] for row in ends] == ["02"]  # the timer that runs: keepalive


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "it speaks HTTP"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "it speaks TLS on the plain port"),
        (bytes(64), "it sent something else than DICOM"),
        (b"\4\0\0\0\0\6\0\0\0\2\1\3", "it began with another PDU than an association request"),
        (b"\1\0\0\0\0\4\0\1\0\0", "its association request can't be understood"),
    ],
)
def test_what_is_no_association_request_is_listed_with_its_kind(
    receiver: Box, sent: bytes, why: str
) -> None:
    # pynetdicom's own reading doesn't tell what came.
    listed = (ROUTER, why if _is_pumped(receiver) else "it asked for no association")
    with Peer(receiver.dicom_port, ROUTER) as peer:
        peer.socket.sendall(sent)
        peer.socket.shutdown(socket.SHUT_WR)
        while peer.read_pdu():
            pass
    receiver.wait_for(lambda: listed in turned_away(receiver), "it to be listed")


def test_a_port_that_is_only_looked_at_is_not_listed(tmp_path: Path) -> None:
    with Box(tmp_path, ["scp"]) as box:
        with Peer(box.dicom_port, "127.0.0.2"):
            pass
        with Peer(box.dicom_port, "127.0.0.3") as peer:
            peer.socket.sendall(b"garbage")
            peer.read_pdu()
        box.wait_for(lambda: turned_away(box), "the other to be listed")
        assert [address for address, _ in turned_away(box)] == ["127.0.0.3"]


def _is_pumped(box: Box) -> bool:
    return box.settings.scp.receive_path == "pump"
