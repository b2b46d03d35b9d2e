"""What the page asks of delivery is done once, answered in sentences, and never by a stale wish."""

from pathlib import Path

import pytest

from appliance.ledger import command, delivery
from appliance.sync.commands import answer_next
from tests.upkeep.material import Kept


@pytest.fixture
def box(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "box")


def nobody(name: str) -> None:
    del name


def test_a_test_is_answered_with_what_was_tried(box):
    command.ask(box.ledger, "sync", command.TEST, "usb", "BT")
    assert answer_next(box.settings, box.ledger, nobody)
    row = command.newest(box.ledger, command.TEST, "usb")
    assert row["state"] == "done"
    assert any("takes files" in text for text in row["answer"]), row["answer"]
    assert not answer_next(box.settings, box.ledger, nobody)


def test_what_is_open_is_not_asked_twice(box):
    first = command.ask(box.ledger, "sync", command.TEST, "usb", "BT")
    assert command.ask(box.ledger, "sync", command.TEST, "usb", "AD") == first


def test_a_retry_makes_everything_due_and_wakes_the_couriers(box):
    box.reviewed(1)
    claimed = delivery.claim(box.ledger, "test", 60.0, ["usb"], 0.0)
    assert claimed is not None
    delivery.postpone(box.ledger, claimed, "the disk is gone", 3600.0)
    command.ask(box.ledger, "sync", command.RETRY, "usb", "BT")
    woken: list[str] = []
    assert answer_next(box.settings, box.ledger, woken.append)
    assert woken == ["usb"]
    again = delivery.claim(box.ledger, "test", 60.0, ["usb"], 0.0)
    assert again is not None
    assert again.id == claimed.id


def test_a_command_for_a_destination_that_is_gone_fails_with_a_sentence(box):
    command.ask(box.ledger, "sync", command.TEST, "elsewhere", "BT")
    answer_next(box.settings, box.ledger, nobody)
    row = command.newest(box.ledger, command.TEST, "elsewhere")
    assert row["state"] == "failed"
    assert "none is called 'elsewhere'" in row["answer"][0]


def test_a_wish_of_long_ago_is_given_up(box):
    number = command.ask(box.ledger, "sync", command.TEST, "usb", "BT")
    box.ledger.db.conn.execute("UPDATE command SET at = '2020-01-01T00:00:00.000Z'")
    assert not answer_next(box.settings, box.ledger, nobody)
    row = command.newest(box.ledger, command.TEST, "usb")
    assert (row["id"], row["state"]) == (number, "failed")
    assert command.ask(box.ledger, "sync", command.TEST, "usb", "BT") > number
