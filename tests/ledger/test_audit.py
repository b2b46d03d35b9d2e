"""The audit's chain: what is in it, and that whoever changes it is found out."""

import sqlite3
from pathlib import Path

import pytest

from appliance.ledger import Ledger, audit, cart, review, setting, user
from tests.ledger.test_states import analysed, decision, received


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    for number in range(5):
        audit.note(ledger, "AK", "test", f"thing {number}", number=number)
    return ledger


def tamper(ledger: Ledger, statement: str) -> None:
    """Change the file as somebody with SQL would, past the triggers."""
    with sqlite3.connect(ledger.path) as connection:
        for verb in ("changed", "deleted"):
            connection.execute(f"DROP TRIGGER audit_is_never_{verb}")
        connection.execute(statement)
    connection.close()


def test_a_whole_chain_is_whole(ledger):
    found = audit.verify(ledger)
    assert (found.rows, found.problem) == (6, "")
    assert found.head == audit.listed(ledger)[0]["sha256"]


def test_the_database_itself_refuses_a_change(ledger):
    for statement in ("UPDATE audit SET who = 'BM'", "DELETE FROM audit"):
        with pytest.raises(sqlite3.IntegrityError, match="immutable"):
            ledger.db.conn.execute(statement)


@pytest.mark.parametrize("column", ["at", "who", "what", "subject", "detail", "sha256"])
def test_a_changed_row_is_named(ledger, column):
    tamper(ledger, f"UPDATE audit SET {column} = {column} || ' ' WHERE id = 3")
    found = audit.verify(ledger)
    assert (found.rows, found.problem) == (2, "row 3 was changed")


def test_an_empty_table_is_not_whole(ledger):
    tamper(ledger, "DELETE FROM audit")
    assert audit.verify(ledger).problem == "row 1 is missing"


def test_reviews_older_than_the_audit_need_no_row(ledger):
    """As on a box that ran before there was an audit."""
    seq, sha256 = analysed(ledger)
    review.record(ledger, decision(seq, sha256), [])
    tamper(ledger, "DELETE FROM audit")
    with ledger.transaction() as db:
        audit.begin(db)
    assert audit.verify(ledger).problem == ""


def test_a_row_taken_out_is_named(ledger):
    tamper(ledger, "DELETE FROM audit WHERE id = 2")
    assert audit.verify(ledger).problem == "row 2 is missing"


def test_a_row_made_up_and_hashed_right_breaks_the_next(ledger):
    made_up = audit._chained(  # what somebody who knows the rule would write
        audit.listed(ledger)[-2]["sha256"],
        {"id": 3, "at": "now", "who": "BM", "what": "x", "subject": "", "detail": "{}"},
    )
    tamper(
        ledger,
        "UPDATE audit SET at='now', who='BM', what='x', subject='', detail='{}',"
        f" sha256='{made_up}' WHERE id = 3",
    )
    assert audit.verify(ledger).problem == "row 4 was changed"


def test_rows_cut_off_at_the_end_are_found_by_a_head_noted_before(ledger):
    head = audit.verify(ledger).head
    tamper(ledger, "DELETE FROM audit WHERE id > 3")
    assert audit.verify(ledger).problem == ""
    assert head in audit.verify(ledger, head).problem


def test_a_review_without_its_row_is_named(ledger):
    for uid in ("1.2.3", "1.2.4"):
        seq, sha256 = analysed(ledger, received(uid, StudyInstanceUID=uid))
        last = review.record(ledger, decision(seq, sha256, key=uid), [])
    assert audit.verify(ledger).problem == ""
    row = audit.listed(ledger, 1)[0]
    assert (row["who"], row["what"], row["subject"]) == ("AK", "review", f"loop {seq}")
    assert row["detail"] == {"decision": "accepted", "review": last["id"], "analysis": sha256}
    tamper(ledger, "DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)")
    assert audit.verify(ledger).problem == f"review {last['id']} has no row"


def test_carts_models_and_users_are_in_it(ledger):
    cart.allow(ledger, "VIVID", "10.1.2.3", {"name": "room-3"}, "steve")
    cart.remove(ledger, "VIVID", "10.1.2.3", "steve")
    setting.choose_models(ledger, ["some-model-1.0.0"], "steve")
    user.add(ledger, "AK", ["expert"], "hash", "steve")
    rows = [(row["who"], row["what"], row["subject"]) for row in audit.listed(ledger, 4)]
    assert rows == [
        ("steve", "add user", "AK"),
        ("steve", "choose model", "some-model-1.0.0"),
        ("steve", "remove cart", "VIVID@10.1.2.3"),
        ("steve", "allow cart", "VIVID@10.1.2.3"),
    ]


def test_no_pin_and_no_hash_of_one_is_in_it(ledger):
    user.add(ledger, "AK", ["expert"], "$argon2id$SECRET", "steve")
    user.set_pin(ledger, "AK", "$argon2id$SECRET2", "steve")
    assert "argon2" not in str(audit.listed(ledger))


def test_a_change_that_fails_leaves_no_row(ledger):
    def fail() -> None:
        with ledger.transaction() as db:
            audit.record(db, "AK", "never")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert audit.verify(ledger).rows == 6
