"""Users, their sessions, and the wait after bad PINs, as the ledger keeps them."""

from pathlib import Path

import pytest

from appliance.ledger import Ledger, audit, clock, lockout, session, user
from appliance.ledger.user import PeopleError

HOUR = 3600.0


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def add(ledger: Ledger, initials: str, *roles: str) -> user.User:
    return user.add(ledger, initials, roles or ("sonographer",), "hash", "test")


def test_a_user_is_found_however_the_initials_are_typed(ledger):
    add(ledger, " ak ", "expert")
    found = user.find(ledger, "Ak")
    assert (found.initials, found.roles, found.pin) == ("AK", {"expert"}, "hash")


@pytest.mark.parametrize("initials", ["", "A", "ABCDE", "A1", "<b>", "A K"])
def test_initials_are_two_to_four_letters(ledger, initials):
    with pytest.raises(PeopleError, match="2 to 4 letters"):
        add(ledger, initials)


def test_initials_of_any_script_are_taken(ledger):
    assert add(ledger, "äß").initials == "ÄSS"
    assert add(ledger, "李明").initials == "李明"


@pytest.mark.parametrize("roles", [(), ("boss",), ("admin", "boss")])
def test_roles_are_of_the_list_and_at_least_one(ledger, roles):
    with pytest.raises(PeopleError, match="role"):
        user.add(ledger, "AK", roles, "hash", "test")


def test_initials_of_a_removed_user_are_nobody_else_s(ledger):
    add(ledger, "AD", "admin")
    add(ledger, "AK")
    user.remove(ledger, "AK", "AD")
    assert user.find(ledger, "AK") is None
    with pytest.raises(PeopleError, match="former"):
        add(ledger, "AK")
    assert [row["initials"] for row in user.listed(ledger)] == ["AD", "AK"]
    user.restore(ledger, "AK", ["expert"], "other", "AD")
    assert user.find(ledger, "AK").roles == {"expert"}


def test_the_only_admin_stays(ledger):
    add(ledger, "AD", "admin", "sonographer")
    with pytest.raises(PeopleError, match="only admin"):
        user.remove(ledger, "AD", "AD")
    with pytest.raises(PeopleError, match="only admin"):
        user.set_roles(ledger, "AD", ["sonographer"], "AD")
    add(ledger, "BD", "admin")
    user.remove(ledger, "AD", "BD")
    assert user.has_admin(ledger)


def test_a_refused_change_leaves_no_row_in_the_audit(ledger):
    add(ledger, "AD", "admin")
    with pytest.raises(PeopleError):
        user.remove(ledger, "AD", "AD")
    assert [row["what"] for row in audit.listed(ledger)] == ["add user", "audit begun"]


def test_a_session_is_its_user_s_until_signed_out(ledger):
    who = add(ledger, "AK")
    session.begin(ledger, "token", who, "10.0.0.1")
    assert session.whose(ledger, "token", HOUR).initials == "AK"
    assert session.whose(ledger, "other", HOUR) is None
    session.end(ledger, "token", "sign out")
    assert session.whose(ledger, "token", HOUR) is None


def test_roles_given_count_in_the_session_that_is_open(ledger):
    who = add(ledger, "AK")
    session.begin(ledger, "token", who, "10.0.0.1")
    user.set_roles(ledger, "AK", ["biomed"], "AD")
    assert session.whose(ledger, "token", HOUR).roles == {"biomed"}


@pytest.mark.parametrize("change", ["remove", "pin"])
def test_a_removed_user_and_a_new_pin_end_the_sessions(ledger, change):
    who = add(ledger, "AK")
    session.begin(ledger, "token", who, "10.0.0.1")
    if change == "remove":
        user.remove(ledger, "AK", "AD")
    else:
        user.set_pin(ledger, "AK", "new", "AD")
    assert session.whose(ledger, "token", HOUR) is None


def test_nobody_s_touch_ends_a_session_and_says_so_once(ledger, monkeypatch):
    who = add(ledger, "AK")
    session.begin(ledger, "token", who, "10.0.0.1")
    now = clock.boot_seconds()
    monkeypatch.setattr(session, "boot_seconds", lambda: now + 500)
    session.touch(ledger, "token", 600)
    monkeypatch.setattr(session, "boot_seconds", lambda: now + 1000)
    assert session.whose(ledger, "token", 600) is not None
    monkeypatch.setattr(session, "boot_seconds", lambda: now + 1200)
    assert session.whose(ledger, "token", 600) is None
    assert session.whose(ledger, "token", 600) is None
    said = [(row["what"], row["detail"]) for row in audit.listed(ledger)]
    assert said.count(("lock", {"why": "idle"})) == 1


def test_whoever_works_all_day_signs_in_again_after_a_shift(ledger, monkeypatch):
    session.begin(ledger, "token", add(ledger, "AK"), "10.0.0.1")
    now = clock.boot_seconds()
    for hour in range(1, 12):
        monkeypatch.setattr(session, "boot_seconds", lambda hour=hour: now + hour * HOUR)
        session.touch(ledger, "token", 2 * HOUR)
        assert session.whose(ledger, "token", 2 * HOUR) is not None
    monkeypatch.setattr(session, "boot_seconds", lambda: now + 12.1 * HOUR)
    assert session.whose(ledger, "token", 2 * HOUR) is None


def test_a_session_does_not_outlive_a_reboot(ledger, monkeypatch):
    session.begin(ledger, "token", add(ledger, "AK"), "10.0.0.1")
    monkeypatch.setattr(session, "boot_id", lambda: "the next boot")
    assert session.whose(ledger, "token", HOUR) is None


def test_the_token_itself_is_not_in_the_file(ledger, tmp_path):
    session.begin(ledger, "a-very-secret-token", add(ledger, "AK"), "10.0.0.1")
    ledger.checkpoint()
    assert b"a-very-secret-token" not in (tmp_path / "ledger.db").read_bytes()


def test_the_wait_after_bad_pins_grows_to_a_limit(ledger, monkeypatch):
    tries = {"user:AK": 5}
    assert [lockout.begin_try(ledger, tries) for _ in range(5)] == [0] * 5
    now, waits = clock.boot_seconds(), []
    for _ in range(8):
        wait = lockout.begin_try(ledger, tries)
        waits.append(round(wait))
        now += wait + 1
        monkeypatch.setattr(lockout, "boot_seconds", lambda now=now: now)
        assert lockout.begin_try(ledger, tries) == 0
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]


def test_one_who_waits_does_not_shut_out_another(ledger):
    for _ in range(5):
        lockout.begin_try(ledger, {"user:AK": 5, "address:a": 10})
    assert lockout.begin_try(ledger, {"user:AK": 5, "address:a": 10}) > 0
    assert lockout.begin_try(ledger, {"user:BM": 5, "address:a": 10}) == 0


def test_one_address_waits_whoever_it_says_it_is(ledger):
    for name in "ABCDEFGHIJ":
        assert lockout.begin_try(ledger, {f"user:{name}{name}": 5, "address:a": 10}) == 0
    assert lockout.begin_try(ledger, {"user:KK": 5, "address:a": 10}) > 0
    assert lockout.begin_try(ledger, {"user:KK": 5, "address:b": 10}) == 0


def test_many_addresses_do_not_fill_the_disk(ledger, monkeypatch):
    monkeypatch.setattr(lockout, "_MOST_ADDRESSES", 3)
    for number in range(9):
        lockout.begin_try(ledger, {f"address:{number}": 10, "user:AK": 50})
    rows = ledger.read("SELECT subject FROM bad_pin ORDER BY subject")
    assert [row["subject"] for row in rows] == ["address:6", "address:7", "address:8", "user:AK"]


def test_a_reboot_begins_the_wait_anew(ledger, monkeypatch):
    for _ in range(5):
        lockout.begin_try(ledger, {"user:AK": 5})
    monkeypatch.setattr(lockout, "boot_id", lambda: "the next boot")
    monkeypatch.setattr(lockout, "boot_seconds", lambda: 12.0)
    assert lockout.begin_try(ledger, {"user:AK": 5}) == pytest.approx(30)
    monkeypatch.setattr(lockout, "boot_seconds", lambda: 43.0)
    assert lockout.begin_try(ledger, {"user:AK": 5}) == 0


def test_the_right_pin_forgets_the_wrong_ones(ledger):
    who = add(ledger, "AK")
    for _ in range(4):
        lockout.begin_try(ledger, {"user:AK": 5, "address:a": 10})
    session.begin(ledger, "token", who, "a")
    assert [lockout.begin_try(ledger, {"user:AK": 5}) for _ in range(5)] == [0] * 5
