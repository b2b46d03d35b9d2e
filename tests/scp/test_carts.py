"""Who may send: anybody at first, the paired carts once there is one; whoever is rejected is listed."""

import json
import shlex
import subprocess
import sys

import pytest
from pynetdicom import AE
from pynetdicom.presentation import build_context, build_role

from appliance import pairing
from appliance.carts import Call, Carts, admit
from appliance.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from appliance.config import Cart
from appliance.errors import ConfigError
from appliance.ledger import Ledger, caller, cart
from appliance.ledger.caller import MANY_TITLES, MOST_CALLERS, MOST_OF_AN_ADDRESS, Sighting
from appliance.scu import Outcome, send
from tests.box import REPOSITORY, Box
from tests.ledger.test_skew import arrive, written
from tests.scp.carts import IMPLICIT, US, VERIFICATION
from tests.scp.objects import write_object
from tests.scp.peer import Peer

ACCEPTED, REJECTED, ABORT = 2, 3, 7  # PDU types, PS3.8 9.3
NO_SUCH_CALLER, NO_SUCH_CALLED = (1, 1, 3), (1, 1, 7)  # PS3.8 9.3.4


@pytest.fixture(params=["pump", "stock"])
def box(request, tmp_path):
    return Box(
        tmp_path,
        ["scp"],
        '[[destination]]\nname = "pacs"\nkind = "dicom"\nhost = "h"\nport = 104\ncalled_ae = "PACS"\n',
        scp=f'receive_path = "{request.param}"',
    )


def knock(box: Box, calling: str, called: str = "ECHOCART") -> tuple[int, int, int] | None:
    """Ask for an association; return (result, source, diagnostic) of its rejection, or None."""
    with Peer(box.dicom_port) as peer:
        proposal = [(VERIFICATION, [IMPLICIT])]
        answer = peer.associate(proposal, calling=calling.encode(), called=called.encode())
        assert answer[0] in (ACCEPTED, REJECTED)
        return (answer[7], answer[8], answer[9]) if answer[0] == REJECTED else None


def allow(box: Box, machine: str, **given) -> None:
    title, _, address = machine.partition("@")
    pairing.allow(box.settings, box.ledger, title, address, given, "test")


def may_enter(box: Box, calling: str) -> bool:
    answer = knock(box, calling)
    assert answer in (None, NO_SUCH_CALLER)
    return answer is None


def rejected(box: Box) -> list[dict]:
    return pairing.account(box.settings, box.ledger)["rejected"]


def test_anybody_may_send_until_the_first_cart_is_allowed_and_then_only_that_one(box, tmp_path):
    with box:
        assert may_enter(box, "STRANGER")
        allow(box, "CART")
        assert not may_enter(box, "STRANGER")
        path = write_object(tmp_path / "a.dcm")
        (sent,) = send([path], "127.0.0.1", box.dicom_port, "CART")
        assert sent.outcome is Outcome.STORED
        assert not may_enter(box, "STRANGER")
        row = box.wait_for(lambda: [row for row in rejected(box) if row["rejected"] >= 2], "rows")[
            0
        ]
    assert (row["calling_ae"], row["peer"]) == ("STRANGER", "127.0.0.1")
    assert row["called_ae"] == "ECHOCART"
    assert row["accepted"] > 0
    assert row["rejected_at"] >= row["first_at"]
    assert row["why"] == "no cart is paired with this title"


def test_a_cart_is_let_in_at_its_first_try_after_it_was_allowed(box):
    allow(box, "OTHER")
    with box:
        assert not may_enter(box, "CART")
        allow(box, "CART@127.0.0.0/8")
        assert may_enter(box, "CART")
        box.wait_for(lambda: not rejected(box), "nobody to be listed as rejected")


def test_a_removed_cart_is_rejected_and_an_empty_list_lets_nobody_in(box):
    allow(box, "CART")
    with box:
        assert may_enter(box, "CART")
        assert pairing.remove(box.settings, box.ledger, "CART", "", "test") == 0
        assert not may_enter(box, "CART")
        assert not may_enter(box, "STRANGER")


def test_the_same_title_from_another_address_is_rejected(box):
    allow(box, "CART@10.1.2.0/24")
    with box:
        assert not may_enter(box, "CART")
        row = box.wait_for(lambda: rejected(box), "the caller to be listed")[0]
    assert row["why"] == "no cart is paired from this address"


def test_whoever_calls_another_title_than_ours_is_rejected(box):
    with box:
        assert knock(box, "CART", "ELSEWHERE") == NO_SUCH_CALLED
        row = box.wait_for(lambda: rejected(box), "the caller to be listed")[0]
    assert row["why"] == "it calls ELSEWHERE; this box is ECHOCART"


@pytest.mark.parametrize("also", ["COMMIT-SERVER", "*"])
def test_further_titles_of_the_box_are_answered_to(tmp_path, also):
    with Box(tmp_path, ["scp"], scp=f'also_called = ["{also}"]') as box:
        assert knock(box, "CART", "COMMIT-SERVER") is None


def test_a_cart_that_must_use_tls_is_rejected_on_the_plain_port(tmp_path):
    extra = '[[cart]]\nname = "c"\ncalling_ae = "CART"\ntls = true\n'
    files = "".join(f'tls_{name} = "/absent"\n' for name in ("certificate", "key", "ca"))
    with Box(tmp_path, ["scp"], extra, scp=f"tls_port = 1\n{files}") as box:
        assert knock(box, "CART") == NO_SUCH_CALLER
        # Certificates that can't be used must not stop the plain port.
        assert "no TLS port: use TLS: scp.tls_certificate: /absent: No such file" in box.log("scp")


def test_a_destination_may_verify_and_report_and_store_nothing(box):
    allow(box, "CART")
    with box:
        association = AE("PACS").associate(
            "127.0.0.1",
            box.dicom_port,
            contexts=[build_context(uid) for uid in (VERIFICATION, US, PUSH_MODEL)],
            ae_title="ECHOCART",
            ext_neg=[build_role(PUSH_MODEL, scu_role=True, scp_role=True)],
        )
        taken = {context.abstract_syntax for context in association.accepted_contexts}
        assert taken == {VERIFICATION, PUSH_MODEL}
        assert association.send_c_echo().Status == 0
        answer, _ = association.send_n_event_report(None, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        assert answer.Status == 0x0115  # invalid argument: we never asked
        answer, _ = association.send_n_action(None, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        assert answer.Status == 0x0124  # not authorized
        association.release()


def test_carts_of_the_file_and_of_the_ledger_are_merged(tmp_path):
    extra = '[[cart]]\nname = "room-1"\ncalling_ae = "A"\naddress = "10.0.0.1"\ncommit_port = 104\n'
    box = Box(tmp_path, ["scp"], extra)
    allow(box, "A@10.0.0.1", same_association=True)
    allow(box, "B")
    account = pairing.account(box.settings, box.ledger)
    assert [(c["name"], c["commit_port"], c["same_association"]) for c in account["carts"]] == [
        ("room-1", 104, True),
        ("B", None, False),
    ]
    pairing.remove(box.settings, box.ledger, "A", "10.0.0.1", "test")
    account = pairing.account(box.settings, box.ledger)
    assert [item["name"] for item in account["carts"]] == ["B"]
    history = cart.history(box.ledger)
    assert [(row["calling_ae"], row["allowed"], row["by"]) for row in history] == [
        ("A", 0, "test"),
        ("B", 1, "test"),
        ("A", 1, "test"),
    ]
    with pytest.raises(Exception, match="immutable"):
        box.ledger.db.execute("DELETE FROM cart")


@pytest.mark.parametrize(
    ("machine", "given", "words"),
    [
        ("A\\B", {}, "no backslash"),
        ("A@nowhere", {}, "IP address or a network"),
        ("A", {"tls": True}, "no TLS port"),
        ("A", {"commit_ae": "SEVENTEEN-LETTERS"}, "1 to 16"),
    ],
)
def test_what_can_not_be_used_is_refused_in_words(tmp_path, machine, given, words):
    box = Box(tmp_path, ["scp"])
    with pytest.raises(ConfigError, match=words):
        allow(box, machine, **given)
    assert cart.history(box.ledger) == []


def test_the_narrowest_network_wins_and_ipv4_over_ipv6_is_ipv4():
    wide = Cart(name="wide", calling_ae="C")
    net = Cart(name="net", calling_ae="C", address="10.1.0.0/16")
    one = Cart(name="one", calling_ae="C", address="10.1.2.3", commit_ae="COMMIT")
    known = Carts((net, one, wide), closed=True)
    assert known.find("C", "10.1.2.3") == one
    assert known.find("C", "::ffff:10.1.2.3") == one
    assert known.find("COMMIT", "10.1.2.3") == one
    assert known.find("C", "10.1.9.9") == net
    assert known.find("C", "192.168.0.1") == wide
    assert known.find("COMMIT", "10.1.9.9") is None


def titles(ledger) -> set[str]:
    return {row["calling_ae"] for row in caller.callers(ledger)}


@pytest.mark.parametrize("why", ["", "no cart is paired with this title"])
def test_titles_invented_at_one_address_push_nobody_out(tmp_path, why):
    ledger = Box(tmp_path, ["scp"]).ledger
    genuine = (
        Sighting("WAITS", "E", "10.0.0.1", False, "no"),
        Sighting("SAME", "E", "10.0.0.2", False),
    )
    caller.note(ledger, genuine)
    for start in range(0, 3 * MOST_CALLERS, MOST_CALLERS):
        strangers = [f"X{number}" for number in range(start, start + MOST_CALLERS)]
        caller.note(ledger, [Sighting(title, "E", "10.0.0.2", False, why) for title in strangers])
    paired = Sighting("PAIRED", "E", "10.0.0.2", False, paired=True)
    caller.note(ledger, [Sighting("LATER", "E", "10.0.0.3", False, "no"), genuine[1], paired])
    assert {"WAITS", "SAME", "LATER", "PAIRED"} <= titles(ledger)
    assert len(titles(ledger)) == MOST_OF_AN_ADDRESS + 3
    if not why:  # let in: nobody was turned away
        assert caller.turned_away(ledger) == []
        return
    (row,) = caller.turned_away(ledger)
    told = MOST_OF_AN_ADDRESS - 1
    assert (row["peer"], row["why"], row["times"]) == (
        "10.0.0.2",
        MANY_TITLES,
        3 * MOST_CALLERS - told,
    )


def test_a_title_that_has_not_called_for_long_makes_room_for_a_new_one_of_its_address(tmp_path):
    ledger = Box(tmp_path, ["scp"]).ledger
    first = [Sighting(f"X{n}", "E", "10.0.0.2", False) for n in range(MOST_OF_AN_ADDRESS)]
    caller.note(ledger, first)
    caller.note(ledger, [Sighting("NEW", "E", "10.0.0.2", False)])
    assert "NEW" not in titles(ledger)
    ledger.db.execute("UPDATE caller SET accepted_at = '2026-01-01' WHERE calling_ae = 'X7'")
    caller.note(ledger, [Sighting("NEW", "E", "10.0.0.2", False)])
    assert "NEW" in titles(ledger)
    assert "X7" not in titles(ledger)


def test_many_addresses_can_not_fill_the_ledger(tmp_path):
    ledger = Box(tmp_path, ["scp"]).ledger
    for title in ("X", ""):
        many = [Sighting(title, "E", f"10.0.{n // 250}.{n % 250}", False, "no") for n in range(600)]
        caller.note(ledger, many)
    assert len(caller.callers(ledger)) == len(caller.turned_away(ledger)) == MOST_CALLERS


def test_who_an_earlier_release_listed_without_a_title_is_listed_by_the_reason(tmp_path):
    ledger = Box(tmp_path, ["scp"]).ledger
    for sql in (
        "DROP TABLE turned_away",
        "DELETE FROM _sqlite_migrations WHERE name = '0022_turned_away'",
        "INSERT INTO caller (calling_ae, called_ae, peer, tls, accepted, rejected, first_at,"
        " accepted_at, rejected_at, why) VALUES ('', '', '10.0.0.1', 1, 0, 3, 'a', '', 'b', 'no')",
    ):
        ledger.db.conn.execute(sql)
    ledger.close()
    ledger = Ledger(ledger.path.parent)
    assert caller.callers(ledger) == []
    (row,) = caller.turned_away(ledger)
    told = {"peer": "10.0.0.1", "why": "no", "times": 3, "first_at": "a", "last_at": "b"}
    assert row == {"id": 1, **told}


def test_a_flood_of_titles_leaves_a_cart_that_waits_in_the_list(box):
    allow(box, "CART")
    with box:
        for number in range(MOST_OF_AN_ADDRESS + 20):
            assert knock(box, f"FLOOD{number}") == NO_SUCH_CALLER
        with Peer(box.dicom_port, "127.0.0.9") as peer:
            assert peer.associate([(VERIFICATION, [IMPLICIT])], calling=b"WAITS")[0] == REJECTED
        assert knock(box, "CART") is None
        box.wait_for(lambda: "CART" in titles(box.ledger), "the callers to be listed")
        rows = {row["calling_ae"] for row in rejected(box)}
        assert "WAITS" in rows
        assert len(rows) <= MOST_OF_AN_ADDRESS + 1
        assert any(row["why"] == MANY_TITLES for row in caller.turned_away(box.ledger))


def test_a_title_can_not_forge_a_line_of_the_log(box):
    allow(box, "CART")
    with box:
        with Peer(box.dicom_port) as peer:
            answer = peer.associate([(VERIFICATION, [IMPLICIT])], calling=b"A\nECHO\x1b[0m")
        assert answer[:1] in (b"", bytes([ABORT]))
    assert all(line.startswith("echocart-scp: ") for line in box.log("scp").splitlines())
    assert "\x1b" not in box.log("scp")


def echocart(*arguments) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_the_command_line_allows_lists_and_removes(tmp_path):
    with Box(tmp_path, ["scp"], scp="archive = true") as box:
        config = ("--config", box.config)
        assert "open: anybody may send" in echocart("carts", *config).stdout
        path = write_object(tmp_path / "a.dcm")
        send([path], "127.0.0.1", box.dicom_port, "CART 1")
        done = echocart("carts", "allow", "CART 1@127.0.0.1", "--commit", "104", *config)
        assert done.stdout == "CART 1 from 127.0.0.1 may send; unknown callers are rejected\n"
        knock(box, "STRANGER")
        box.wait_for(lambda: rejected(box), "the stranger to be listed")
        shown = echocart("carts", *config).stdout
        assert "CART-1: CART 1 from 127.0.0.1: 1 objects, last 20" in shown
        assert "storage commitment: to CART 1 at its own address:104" in shown
        assert "rejected: STRANGER from 127.0.0.1, 1 times, last 20" in shown
        assert "echocart carts allow STRANGER@127.0.0.1" in shown
        account = json.loads(echocart("carts", "--json", *config).stdout)
        assert account["carts"][0]["objects"] == 1
        done = echocart("carts", "remove", "CART 1@127.0.0.1", *config)
        assert "nobody may send until one is allowed" in done.stdout
        done = echocart("carts", "remove", "CART 1@127.0.0.1", *config)
        assert done.returncode == 1
        assert "is not paired" in done.stderr
        echocart("carts", "allow", "CART 1@10.1.2.3", *config)
        done = echocart("carts", "remove", "cart 1", *config)
        assert done.stderr.endswith("Perhaps: echocart carts remove 'CART 1@10.1.2.3'\n")
        done = echocart("carts", "allow", "A", "--commit", "nowhere", *config)
        assert "names no port" in done.stderr


def test_what_is_to_be_copied_into_a_shell_is_safe_and_helps(tmp_path):
    with Box(tmp_path, ["scp"]) as box:
        allow(box, "CART")
        assert knock(box, "X';reboot;'") == NO_SUCH_CALLER
        assert knock(box, "CART", called="OTHER")
        box.wait_for(lambda: len(rejected(box)) == 2, "both to be listed")
        shown = echocart("carts", "--config", box.config).stdout
        hints = [line.strip() for line in shown.splitlines() if "carts allow" in line]
        # Pairing would not let CART in: it calls another title.
        assert [shlex.split(hint) for hint in hints] == [
            ["echocart", "carts", "allow", "X';reboot;'@127.0.0.1"]
        ]


def test_the_box_named_before_the_subcommand_is_the_one_that_changes(tmp_path, monkeypatch):
    here, there = Box(tmp_path / "here", ["scp"]), Box(tmp_path / "there", ["scp"])
    monkeypatch.setenv("ECHOCART_CONFIG", str(there.config))
    done = echocart("carts", "--config", here.config, "allow", "CART")
    assert done.returncode == 0, done.stderr
    assert "CART" in echocart("carts", "--config", here.config).stdout
    assert "open: anybody may send" in echocart("carts", "--config", there.config).stdout


def test_admission_is_decided_for_a_title_before_its_called_title(tmp_path):
    settings = Box(tmp_path, ["scp"]).settings
    known = Carts((Cart(name="c", calling_ae="C"),), closed=True)
    assert admit(settings, known, Call("X", "Y", "1.1.1.1", False)).diagnostic == 3
    assert admit(settings, known, Call("C", "Y", "1.1.1.1", False)).diagnostic == 7
    assert admit(settings, known, Call("C", "ECHOCART", "1.1.1.1", False)).cart


def test_two_machines_of_one_title_each_have_their_clock(tmp_path):
    """Paired by their network: the one that goes right says nothing of the other."""
    extra = '[[cart]]\nname = "ward"\ncalling_ae = "A"\naddress = "10.0.0.0/8"\n'
    box = Box(tmp_path, ["scp"], extra)
    for address, hours in (("10.0.0.1", 5), ("10.0.0.2", 0)):
        for _ in range(3):
            arrive(box.ledger, written(0, hours=hours), cart="A", peer=address)
    (ward,) = pairing.account(box.settings, box.ledger)["carts"]
    fast, right = ward["clocks"]
    assert (fast["peer"], right["peer"]) == ("10.0.0.1", "10.0.0.2")
    assert fast["ahead_s"] == pytest.approx(5 * 3600, abs=60)
    assert right["ahead_s"] == pytest.approx(0, abs=60)
    shown = echocart("carts", "--config", str(box.config)).stdout
    assert "the clock of 10.0.0.1 5 h ahead" in shown
    assert "clock of 10.0.0.2" not in shown
