"""Who may use the page: initials, roles, PIN. Every change is in the audit.

A user who is removed stays in the audit and on their reviews; nobody else gets the initials.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from sqlite_utils import Database

from appliance.errors import LedgerError
from appliance.ledger import audit
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert

ROLES = ("sonographer", "expert", "biomed", "admin")
ADMIN = "admin"
_INITIALS = re.compile(r"[^\W\d_]{2,4}")  # letters of any script


class PeopleError(LedgerError):
    """The change can't be made; `subject` and `hint` say why and what to do instead."""


@dataclass(frozen=True)
class User:
    """A person who may use the page.

    Attributes
    ----------
    initials
        2 to 4 capital letters: what stands on reviews.
    roles
        Among `ROLES`, at least one.
    pin
        argon2id string (`pins.hashed`), never the PIN.
    """

    id: int
    initials: str
    roles: frozenset[str]
    pin: str


def normal(initials: str) -> str:
    """Return initials as they are always written.

    Raises
    ------
    PeopleError
        When they aren't 2 to 4 letters.
    """
    text = initials.strip().upper()
    if not _INITIALS.fullmatch(text):
        raise PeopleError("name a user", "initials are 2 to 4 letters", "Write others.")
    return text


def add(ledger: Ledger, initials: str, roles: Collection[str], pin: str, by: str) -> User:
    """Let a person in. A user who was removed comes back with their own initials by `restore`.

    Parameters
    ----------
    ledger
        The box's ledger.
    initials
        2 to 4 letters of any script.
    roles
        Among `ROLES`.
    pin
        As `pins.hashed` returns it.
    by
        Who decided it.

    Raises
    ------
    PeopleError
        When the initials belong or belonged to somebody, or a role isn't known.
    """
    name, sorted_roles = normal(initials), _checked(roles)
    with ledger.transaction() as db:
        known = _row(db, name)
        if known is not None and known["removed_at"]:
            hint = "Choose other initials; the same person comes back by `echocart user return`."
            raise PeopleError("add a user", f"{name} stands on a former user's reviews", hint)
        if known is not None:
            raise PeopleError("add a user", f"{name} is there already", "Choose other initials.")
        row = {"initials": name, "roles": sorted_roles, "pin": pin, "added_at": utc_now()}
        number = insert(db, "user", row)
        audit.record(db, by, "add user", name, roles=sorted_roles)
    return User(number, name, frozenset(sorted_roles.split()), pin)


def restore(ledger: Ledger, initials: str, roles: Collection[str], pin: str, by: str) -> None:
    """Let a person in again who was removed, with a new PIN.

    Raises
    ------
    PeopleError
        When no such user was removed, or a role isn't known.
    """
    name, sorted_roles = normal(initials), _checked(roles)
    with ledger.transaction() as db:
        known = _row(db, name)
        if known is None or not known["removed_at"]:
            hint = "Add a new one instead."
            raise PeopleError("take a user back", f"no {name} was removed", hint)
        change = {"roles": sorted_roles, "pin": pin, "removed_at": ""}
        _update(db, known["id"], change)
        audit.record(db, by, "take user back", name, roles=sorted_roles)


def set_roles(ledger: Ledger, initials: str, roles: Collection[str], by: str) -> None:
    """Give a user other roles, from their next request on.

    Raises
    ------
    PeopleError
        When there is no such user, a role isn't known, or nobody would be admin.
    """
    sorted_roles = _checked(roles)
    with ledger.transaction() as db:
        row = _present(db, initials)
        if ADMIN not in sorted_roles.split():
            _must_leave_an_admin(db, row)
        _update(db, row["id"], {"roles": sorted_roles})
        audit.record(db, by, "set roles", row["initials"], roles=sorted_roles)


def set_pin(ledger: Ledger, initials: str, pin: str, by: str) -> None:
    """Give a user another PIN (as `pins.hashed` returns it), end their sessions and their wait.

    The waits of addresses end, too: their tablets are shared, and whoever is shut out there
    comes to an admin.

    Raises
    ------
    PeopleError
        When there is no such user.
    """
    with ledger.transaction() as db:
        row = _present(db, initials)
        _update(db, row["id"], {"pin": pin})
        db.conn.execute("DELETE FROM session WHERE user_id = ?", [row["id"]])
        db.conn.execute(
            "DELETE FROM bad_pin WHERE subject = ? OR subject LIKE 'address:%'",
            [f"user:{row['initials']}"],
        )
        audit.record(db, by, "set PIN", row["initials"])


def remove(ledger: Ledger, initials: str, by: str) -> None:
    """Let a user in no more; their sessions end at once.

    Raises
    ------
    PeopleError
        When there is no such user, or nobody would be admin.
    """
    with ledger.transaction() as db:
        row = _present(db, initials)
        _must_leave_an_admin(db, row)
        _update(db, row["id"], {"removed_at": utc_now()})
        db.conn.execute("DELETE FROM session WHERE user_id = ?", [row["id"]])
        audit.record(db, by, "remove user", row["initials"])


def find(ledger: Ledger, initials: str) -> User | None:
    """Return a user who may come in; None when there is none with these initials."""
    row = ledger.read_one(
        "SELECT * FROM user WHERE initials = ? AND removed_at = ''", [initials.strip().upper()]
    )
    return of(row) if row else None


def listed(ledger: Ledger) -> list[Row]:
    """Return everybody, also who was removed: initials, roles (a list), added_at, removed_at."""
    rows = ledger.read("SELECT * FROM user ORDER BY removed_at > '', initials")
    kept = ("initials", "added_at", "removed_at")
    return [{**{name: row[name] for name in kept}, "roles": row["roles"].split()} for row in rows]


def has_admin(ledger: Ledger) -> bool:
    """Tell whether somebody may manage users; until then a one-time code makes the first."""
    rows = ledger.read("SELECT roles FROM user WHERE removed_at = ''")
    return any(ADMIN in row["roles"].split() for row in rows)


def of(row: Row) -> User:
    """Return a row of the table as a user."""
    return User(row["id"], row["initials"], frozenset(row["roles"].split()), row["pin"])


def _checked(roles: Collection[str]) -> str:
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        subject = f"{', '.join(unknown)} is no role" if unknown else "a user needs a role"
        raise PeopleError("give roles", subject, f"Roles: {', '.join(ROLES)}.")
    return " ".join(role for role in ROLES if role in roles)


def _row(db: Database, initials: str) -> Row | None:
    row = db.conn.execute("SELECT * FROM user WHERE initials = ?", [initials]).fetchone()
    return dict(row) if row else None


def _present(db: Database, initials: str) -> Row:
    row = _row(db, initials.strip().upper())
    if row is None or row["removed_at"]:
        subject = f"there is no user {initials.strip().upper()[:8]!r}"
        raise PeopleError("change a user", subject, "`echocart user list` names them.")
    return row


def _update(db: Database, number: int, change: Row) -> None:
    names = ", ".join(f"{name} = ?" for name in change)
    db.conn.execute(f"UPDATE user SET {names} WHERE id = ?", [*change.values(), number])


def _must_leave_an_admin(db: Database, leaving: Row) -> None:
    others = db.conn.execute(
        "SELECT roles FROM user WHERE removed_at = '' AND id <> ?", [leaving["id"]]
    ).fetchall()
    if ADMIN in leaving["roles"].split() and not any(ADMIN in row[0].split() for row in others):
        subject = f"{leaving['initials']} is the only admin"
        raise PeopleError("change a user", subject, "Make somebody else admin first.")
