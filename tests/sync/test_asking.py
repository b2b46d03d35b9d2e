"""Storage commitment as the one who asks: of Orthanc, and of a PACS that reports when it is told."""

import pytest
import requests

from appliance import pairing
from appliance.ledger import asked, space, worklist
from appliance.sync import asking as asking_module
from appliance.sync.asking import Asker
from appliance.sync.courier import Courier
from appliance.sync.destinations import made_from
from appliance.sync.outgoing import Outgoing
from tests.box import Box
from tests.orthanc import PASSWORD, USER, Orthanc
from tests.sync.material import analysed, label_maps, write_source
from tests.sync.promiser import Promiser
from tests.sync.servers import introduce, problems_at, states_at, with_results


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    """Neither before the next request, nor for a report on the association that asked."""
    monkeypatch.setattr(asking_module, "_PAUSE_S", 0.0)
    monkeypatch.setattr(asking_module, "_STAYS_S", 0.2)
    monkeypatch.setattr(asking_module, "back_off", lambda tries: 0.0)


class Desk:
    """What `sync` does for the destination `pacs`, step by step, beside a receiver that runs."""

    def __init__(self, box: Box) -> None:
        self.box, self.ledger = box, box.ledger
        setting, place, _ = made_from(box.settings)["pacs"]
        outgoing = Outgoing(box.ledger, box.spool, box.settings)
        self.courier = Courier(box.ledger, "pacs", place, outgoing)
        self.asker = Asker(box.ledger, box.settings, setting)

    def original(self, number: int = 0, **elements) -> int:
        source = write_source(self.box.root / f"{number}.dcm", **elements)
        maps = label_maps(8, 48, 64, number)
        return analysed(self.ledger, self.box.spool, source, maps, ["pacs"])[0]

    def send(self) -> None:
        while self.courier.deliver_next():
            pass

    def ask(self) -> bool:
        return self.asker.deliver_next()

    def states(self) -> list[str]:
        return states_at(self.box, "pacs")

    def may_leave(self) -> list[int]:
        return [row["seq"] for row in space.may_leave(self.ledger, 100)]

    def overdue(self) -> None:
        self.ledger.db.conn.execute("UPDATE asked SET until_s = 0")

    def due(self) -> None:
        self.ledger.db.conn.execute("UPDATE outbox SET next_try_at = 0")


def orthanc_box(tmp_path, allow_get=False, more='proof = "commitment"', services=("scp", "sync")):
    server = Orthanc(tmp_path / "orthanc", allow_get)
    extra = f"{server.toml('pacs', 'dicom', 'originals results')}{more}\n"
    box = Box(tmp_path / "box", services, extra)
    introduce(server, box)
    return server, box


@pytest.fixture
def promiser():
    with Promiser() as pacs:
        yield pacs


@pytest.fixture
def desk(tmp_path, promiser):
    extra = promiser.toml(more='proof = "commitment"')
    with Box(tmp_path / "box", ["scp"], extra) as box:
        yield Desk(box)


@pytest.mark.parametrize("more", ['proof = "commitment"', ""], ids=["asked for", "by itself"])
def test_orthanc_commits_to_originals_and_results_and_only_then_may_they_leave(tmp_path, more):
    server, box = orthanc_box(tmp_path, more=more)
    with server, box:
        # From here on nobody but paired carts may call; the destination may, for its reports.
        pairing.allow(box.settings, box.ledger, "CART", "127.0.0.1", {}, "test")
        reviews = with_results(box, 3, [("pacs", "seg")], ["pacs"])
        box.wait_for(lambda: set(states_at(box, "pacs")) == {"proven"}, "the commitment")
        uids = [loop["sop_instance_uid"] for loop in box.loops()]
        uids += [review["result_sop_instance_uid"] for review in reviews]
        assert server.instances() == sorted(uids)
        seqs = sorted(loop["seq"] for loop in box.loops())
        assert [row["seq"] for row in space.may_leave(box.ledger, 10)] == seqs
        history = worklist.history(box.ledger, seqs[0])
        states = [row["state"] for row in history if row["subject"] == "delivery:pacs"]
        assert sorted(states) == ["proven"] * 2 + ["queued"] * 2 + ["sent"] * 2
        assert box.ledger.read_one("SELECT 1 FROM asked WHERE state != 'reported'") is None


def test_what_orthanc_has_lost_meanwhile_is_sent_again(tmp_path):
    server, box = orthanc_box(tmp_path, services=["scp"])
    with server, box:
        desk = Desk(box)
        desk.original()
        desk.send()
        assert (desk.states(), desk.may_leave()) == (["sent"], [])
        base = f"http://127.0.0.1:{server.http_port}"
        (there,) = requests.get(f"{base}/instances", auth=(USER, PASSWORD)).json()
        requests.delete(f"{base}/instances/{there}", auth=(USER, PASSWORD)).raise_for_status()
        assert desk.ask()
        box.wait_for(desk.ask, "the report")
        assert desk.states() == ["sent"]
        assert "it doesn't have it (reason 0x0112). It is sent again" in problems_at(box, "pacs")
        desk.due()
        desk.send()
        assert len(server.instances()) == 1
        assert desk.ask()
        box.wait_for(desk.ask, "the second report")
        assert (desk.states(), len(desk.may_leave())) == (["proven"], 1)


def test_orthanc_that_may_not_commit_leaves_objects_unproven_and_says_why(tmp_path):
    server, box = orthanc_box(tmp_path, more="", services=["scp"])
    text = server.configuration.read_text()
    server.configuration.write_text(
        text.replace('"AllowStorageCommitment": true', '"AllowStorageCommitment": false')
    )
    with server, box:
        desk = Desk(box)
        desk.original()
        desk.send()
        assert desk.ask()
        assert desk.states() == ["sent"]
        assert "when asked for storage commitment" in problems_at(box, "pacs")
        while desk.ask():
            pass
        assert (desk.states(), desk.may_leave()) == (["unproven"], [])
        assert "C-GET" in problems_at(box, "pacs")


def test_a_report_on_the_association_that_asked_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(asking_module, "_STAYS_S", 60.0)
    with Promiser(here=True) as pacs:
        box = Box(tmp_path / "box", [], pacs.toml(more='proof = "commitment"'))
        with box:
            desk = Desk(box)
            desk.original()
            desk.send()
            assert desk.ask()
            assert desk.ask()
            assert desk.states() == ["proven"]


def test_many_objects_go_in_one_request_and_each_gets_its_own_answer(desk, promiser):
    seqs = [desk.original(number) for number in range(3)]
    desk.send()
    assert desk.ask()
    transaction, (first, second, third) = promiser.asked.get(timeout=10)
    assert promiser.report(desk.box, transaction, [first, third], [(second, 0x0110)]) == 0
    assert desk.ask()
    assert desk.states().count("proven") == 2
    assert "it failed while processing it" in problems_at(desk.box, "pacs")
    assert desk.may_leave() == [seqs[0], seqs[2]]
    desk.send()
    assert promiser.stored == [first[1], second[1], third[1], second[1]]


def test_without_a_report_in_time_another_transaction_asks_and_the_old_one_still_counts(
    desk, promiser
):
    desk.original()
    desk.send()
    assert desk.ask()
    first, items = promiser.asked.get(timeout=10)
    assert not desk.ask(), "asked twice"
    desk.overdue()
    assert desk.ask()
    second, again = promiser.asked.get(timeout=10)
    assert (again, second != first) == (items, True)
    assert promiser.report(desk.box, first, [], [(items[0], 0x0112)]) == 0
    assert desk.ask()
    assert desk.states() == ["sent"], "a failure of an earlier transaction changes nothing"
    assert promiser.report(desk.box, first, items) == 0
    assert desk.ask()
    assert desk.states() == ["proven"]
    assert promiser.report(desk.box, second, items) == 0
    assert desk.ask()
    assert (desk.states(), promiser.stored) == (["proven"], [items[0][1]])


def test_what_a_report_leaves_out_is_asked_for_again(desk, promiser):
    for number in range(2):
        desk.original(number)
    desk.send()
    desk.ask()
    transaction, (first, second) = promiser.asked.get(timeout=10)
    promiser.report(desk.box, transaction, [first])
    assert desk.ask()
    assert desk.ask()
    assert promiser.asked.get(timeout=10)[1] == [second]


def test_a_request_that_is_refused_for_now_is_made_again(desk, promiser):
    desk.original()
    desk.send()
    promiser.status = 0x0213
    assert desk.ask()
    assert "status 0x0213" in problems_at(desk.box, "pacs")
    promiser.status = 0x0000
    assert desk.ask()
    first, second = (promiser.asked.get(timeout=10)[0] for _ in range(2))
    assert first != second
    assert desk.states() == ["sent"]


def test_a_kill_while_asking_makes_it_ask_anew(desk, promiser):
    desk.original()
    desk.send()
    cut_short = asked.begin(desk.ledger, "pacs", 600)
    assert not desk.ask(), "it may have been asked"
    desk.asker.recover()
    assert desk.ask()
    transaction, _ = promiser.asked.get(timeout=10)
    assert transaction != cut_short.transaction_uid


def test_reports_of_strangers_and_about_nothing_are_refused(desk, promiser):
    desk.original()
    desk.send()
    desk.ask()
    transaction, items = promiser.asked.get(timeout=10)
    assert promiser.report(desk.box, "1.2.3", items) == 0x0115
    assert promiser.report(desk.box, "", items) == 0x0115
    assert promiser.report(desk.box, transaction, items, calling="STRANGER") == 0x0124
    pairing.allow(desk.box.settings, desk.ledger, "CART", "127.0.0.1", {}, "test")
    assert promiser.report(desk.box, transaction, items, calling="STRANGER") is None
    assert not desk.ask()
    assert desk.states() == ["sent"]
    assert promiser.report(desk.box, transaction, items) == 0x0000


def test_commitment_to_a_uid_that_came_with_two_contents_proves_neither(desk, promiser):
    uid = "1.2.3.4"
    for number in range(2):
        desk.original(number, SOPInstanceUID=uid)
    desk.send()
    desk.ask()
    transaction, items = promiser.asked.get(timeout=10)
    promiser.report(desk.box, transaction, items)
    desk.ask()
    assert set(desk.states()) == {"unproven"}
    assert "other content" in problems_at(desk.box, "pacs")
    assert desk.may_leave() == []


def test_originals_sent_before_anybody_asked_are_asked_for_once_it_is_configured(desk, promiser):
    seq = desk.original()
    desk.send()
    desk.ledger.db.conn.execute("DELETE FROM asked_item")
    desk.ledger.db.conn.execute("UPDATE outbox SET state = 'unproven', awaits = '', problem = 'x'")
    assert not desk.ask()
    desk.asker.recover()
    assert desk.ask()
    transaction, items = promiser.asked.get(timeout=10)
    promiser.report(desk.box, transaction, items)
    assert desk.ask()
    assert (desk.states(), desk.may_leave()) == (["proven"], [seq])


def test_results_do_not_wait_for_the_proof_of_their_loop(desk, promiser):
    (review,) = with_results(desk.box, 1, [("pacs", "seg")], ["pacs"])
    desk.send()
    loop = worklist.loop(desk.ledger, review["seq"])
    assert promiser.stored == [loop["sop_instance_uid"], review["result_sop_instance_uid"]]


def test_a_commit_server_of_another_title_may_report(tmp_path, promiser):
    with Promiser("PACS-COMMIT") as server:
        more = f'proof = "commitment"\ncommit_ae = "PACS-COMMIT"\ncommit_port = {server.port}'
        with Box(tmp_path / "box", ["scp"], promiser.toml(more=more)) as box:
            pairing.allow(box.settings, box.ledger, "CART", "127.0.0.1", {}, "test")
            desk = Desk(box)
            desk.original()
            desk.send()
            desk.ask()
            transaction, items = server.asked.get(timeout=10)
            assert server.report(box, transaction, items) == 0
            assert desk.ask()
            assert desk.states() == ["proven"]
