"""What the board says of a destination: in order only once it has shown that it is."""

from pathlib import Path
from typing import Any

import pytest

from appliance.ledger import command, destination
from appliance.webui import standing
from appliance.webui.app import create_app
from tests.upkeep.material import Kept


@pytest.fixture
def box(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "box")


def shown(box: Kept) -> dict[str, Any]:
    with create_app(box.settings).test_request_context("/box"):
        (row,) = standing.parts(box.settings, box.ledger, box.spool)["destinations"]
    return row


def answered(box: Kept, *, done: bool, said: list[str]) -> None:
    command.ask(box.ledger, "sync", command.TEST, "usb", "BT")
    row = command.take(box.ledger, "sync")
    assert row is not None
    command.answer(box.ledger, row["id"], done=done, said=said)


def test_one_that_was_never_used_is_not_said_to_be_in_order(box):
    assert shown(box)["state"] == "untried"


def test_one_whose_test_failed_does_not_work_and_says_why(box):
    answered(box, done=False, said=["nobody listens there {x} %s"])
    row = shown(box)
    assert (row["state"], row["test"]["said"]) == ("broken", ["nobody listens there {x} %s"])


def test_one_that_rests_says_what_is_wrong(box):
    box.reviewed(1)
    destination.rests(box.ledger, "usb", "The stick is unplugged", 60.0)
    row = shown(box)
    assert row["state"] == "broken"
    assert "The stick is unplugged." in row["lines"]


def test_one_that_works_is_in_order(box):
    answered(box, done=True, said=[])
    assert shown(box)["state"] == "good"


def test_one_that_refuses_what_it_is_sent_is_not_said_to_be_in_order(box):
    answered(box, done=True, said=[])
    box.reviewed(1)
    assert shown(box)["state"] == "good"
    why = "PACS refuses Segmentation Storage"
    box.ledger.db.conn.execute("UPDATE outbox SET awaits = 'permission', problem = ?", [why])
    row = shown(box)
    assert (row["state"], row["lines"][-1]) == ("attention", f"{why}.")


def test_one_taken_out_of_the_configuration_is_asked_back_only_while_something_waits(box):
    box.reviewed(1)
    bare = box.settings.model_copy(update={"destination": []})
    back = "No longer in the configuration: put it back, and they are delivered."

    def lines() -> list[str]:
        with create_app(bare).test_request_context("/box"):
            (row,) = standing.parts(bare, box.ledger, box.spool)["destinations"]
        return row["lines"]

    assert back in lines()
    box.ledger.db.conn.execute("UPDATE outbox SET state = 'proven'")
    assert back not in lines()


def test_a_question_that_nobody_answered_is_told_as_that(box):
    command.ask(box.ledger, "sync", command.TEST, "usb", "BT")
    assert shown(box)["is_asking"]
    box.ledger.db.conn.execute("UPDATE command SET at = '2020-01-01T00:00:00.000Z'")
    row = shown(box)
    assert not row["is_asking"]
    assert "gave no answer" in row["test"]["head"]
