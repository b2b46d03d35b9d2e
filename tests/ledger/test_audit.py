"""The audit's chain: what is in it, and that whoever changes it is found out."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.ledger import Ledger, audit, cart, review, setting, user
from tests.ledger.test_states import analysed, decision, received


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    for number in range(5):
        audit.note(ledger, "AK", "test", f"thing {number}", number=number)
    return ledger


def tamper(ledger: Ledger, *statements: str) -> None:
    """Change the file as somebody with SQL would, past the triggers."""
    with sqlite3.connect(ledger.path) as connection:
        for table in ("audit", "review", "review_chunk"):
            for verb in ("changed", "deleted"):
                connection.execute(f"DROP TRIGGER {table}_is_never_{verb}")
        for statement in statements:
            connection.execute(statement)
    connection.close()


def reviewed(ledger: Ledger, uid: str = "1.2.3") -> dict[str, Any]:
    """A loop with a correction of its own."""
    seq, sha256 = analysed(ledger, received(uid, StudyInstanceUID=uid))
    plain = decision(seq, sha256, key=uid, decision="corrected")
    chunks = [(0, 8, "d" * 64), (8, 8, "e" * 64)]
    made = replace(plain, chunks=chunks, geometry={"rows": 8}, measures={"ef_percent": 55})
    return review.record(ledger, made, [])


def recount(ledger: Ledger, change: Callable[[dict[str, Any]], None]) -> None:
    """Write the audit anew as an earlier release would have written it."""
    rows = audit.listed(ledger, 1000)[::-1]
    tamper(ledger, "DELETE FROM audit")
    with ledger.transaction() as db:
        for row in rows:
            change(row["detail"])
            audit.record(db, row["who"], row["what"], row["subject"], **row["detail"])


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
    content = row["detail"].pop("content")
    assert len(content) == 64
    assert row["detail"] == {"decision": "accepted", "review": last["id"], "analysis": sha256}
    tamper(ledger, "DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)")
    assert audit.verify(ledger).problem == f"review {last['id']} of loop {seq} has no row"


_EVERY_COLUMN = {
    **dict.fromkeys(
        ["seq", "analysis_id", "ed_frame", "es_frame", "parent", "restores", "decided_boot_s"],
        "1 + coalesce({}, 1)",
    ),
    **dict.fromkeys(["analysis_sha256", "patient_id", "reviewer", "reason", "key"], "{} || 'x'"),
    **dict.fromkeys(["at", "view", "view_by", "measures", "geometry"], "{} || 'x'"),
    "decided_boot_id": "{} || 'x'",
    **dict.fromkeys(["result_sop_instance_uid", "result_series_instance_uid"], "{} || '1'"),
    "decision": "'rejected'",
}


def test_a_change_of_any_column_of_a_review_is_named(ledger):
    made = reviewed(ledger)
    assert {*_EVERY_COLUMN, "id"} == set(made)
    tamper(ledger)
    for column, value in _EVERY_COLUMN.items():
        with sqlite3.connect(ledger.path) as connection:
            connection.execute(f'UPDATE review SET "{column}" = {value.format(column)}')
        assert audit.verify(ledger).problem == "review 1 of loop 1 was changed", column
        with sqlite3.connect(ledger.path) as connection:
            connection.execute(f'UPDATE review SET "{column}" = ?', [made[column]])
        assert audit.verify(ledger).problem == "", column


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE review_chunk SET sha256 = 'f' WHERE id = 2",
        "UPDATE review_chunk SET frame_count = 9 WHERE id = 2",
        "DELETE FROM review_chunk WHERE id = 2",
        "INSERT INTO review_chunk VALUES (9, 1, 16, 1, 'f')",
    ],
)
def test_a_change_of_what_was_drawn_for_a_review_is_named(ledger, statement):
    reviewed(ledger)
    tamper(ledger, statement)
    assert audit.verify(ledger).problem == "review 1 of loop 1 was changed"


@pytest.mark.parametrize("number", [1, 2])
def test_a_review_taken_out_is_named(ledger, number):
    reviewed(ledger)
    reviewed(ledger, "1.2.4")
    chunks = f"DELETE FROM review_chunk WHERE review_id = {number}"
    tamper(ledger, chunks, f"DELETE FROM review WHERE id = {number}")
    assert audit.verify(ledger).problem == f"review {number} of loop {number} is missing"


def test_reviews_of_an_earlier_release_are_compared_as_far_as_their_rows_go(ledger):
    reviewed(ledger)
    recount(ledger, lambda detail: detail.pop("content", None))
    found = audit.verify(ledger)
    assert (found.problem, found.unhashed) == ("", 1)
    reviewed(ledger, "1.2.4")
    assert audit.verify(ledger).unhashed == 1
    ledger.db.conn.execute("UPDATE review SET reviewer = 'BM' WHERE id = 1")
    assert audit.verify(ledger).problem == "review 1 of loop 1 was changed"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE user SET roles = 'expert admin' WHERE initials = 'AK'", "AK has other roles"),
        ("UPDATE user SET removed_at = '' WHERE initials = 'BM'", "BM was let in again without"),
        ("UPDATE user SET removed_at = 'x' WHERE initials = 'AK'", "AK was removed without"),
        ("DELETE FROM user WHERE initials = 'BM'", "BM is missing"),
        (
            "INSERT INTO user (initials, roles, pin, added_at) VALUES ('EV', 'admin', 'x', 'x')",
            "EV has no row",
        ),
    ],
)
def test_a_user_changed_past_the_audit_is_named(ledger, statement, said):
    for name in ("AK", "BM"):
        user.add(ledger, name, ["expert"], "hash", "steve")
    user.set_roles(ledger, "AK", ["sonographer"], "steve")
    user.remove(ledger, "BM", "steve")
    user.restore(ledger, "BM", ["expert"], "hash", "steve")
    user.remove(ledger, "BM", "steve")
    assert audit.verify(ledger).problem == ""
    ledger.db.conn.execute(statement)
    assert audit.verify(ledger).problem.startswith(f"user {said}")


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
