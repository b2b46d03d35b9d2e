"""Who is signed in where, and until when: a session ends by lock, sign-out, idleness, age or reboot.

Only the hash of a session's token is kept: whoever reads the ledger can't take a session over.
"""

from collections.abc import Mapping
from hashlib import sha256

from appliance.ledger import audit, user
from appliance.ledger.clock import boot_id, boot_seconds
from appliance.ledger.connection import Ledger, insert
from appliance.ledger.user import User

LONGEST_S = 12 * 3600.0  # a shift; whoever is still there signs in again
_WRITE_EVERY_S = 10.0  # somebody who works is written down so often, not with every touch


def begin(ledger: Ledger, token: str, who: User, address: str) -> None:
    """Record that a user signed in, and forget the bad PINs before it.

    Parameters
    ----------
    ledger
        The box's ledger.
    token
        Random, known to this browser alone.
    who
        Who typed the right PIN.
    address
        IP address of the browser.
    """
    now = boot_seconds()
    times = {"boot_id": boot_id(), "begun_s": now, "seen_s": now}
    with ledger.transaction() as db:
        db.conn.execute(
            "DELETE FROM session WHERE boot_id <> ? OR begun_s < ?", [boot_id(), now - LONGEST_S]
        )
        insert(db, "session", {"token_sha256": _hash(token), "user_id": who.id, **times})
        db.conn.executemany(
            "DELETE FROM bad_pin WHERE subject = ?",
            [[f"user:{who.initials}"], [f"address:{address}"]],
        )
        audit.record(db, who.initials, "sign in", address)


def whose(ledger: Ledger, token: str, idle_s: float) -> User | None:
    """Return whose session a token is; None when it has ended, which is then recorded.

    Parameters
    ----------
    ledger
        The box's ledger.
    token
        As the browser's cookie holds it.
    idle_s
        Longest time without somebody's touch.
    """
    row = ledger.read_one(_WHOSE, [_hash(token)])
    if row is None:
        return None
    now = boot_seconds()
    same_boot = row["boot_id"] == boot_id()
    if same_boot and now - row["seen_s"] <= idle_s and now - row["begun_s"] <= LONGEST_S:
        return user.of(row)
    end(ledger, token, "lock", "idle" if same_boot else "restarted")
    return None


def touch(ledger: Ledger, token: str, idle_s: float) -> None:
    """Record that somebody is there: a person's touch, never what a page does by itself."""
    now = boot_seconds()
    every = min(_WRITE_EVERY_S, idle_s / 10)
    ledger.db.conn.execute(
        "UPDATE session SET seen_s = ? WHERE token_sha256 = ? AND boot_id = ? AND seen_s < ?",
        [now, _hash(token), boot_id(), now - every],
    )


def end(ledger: Ledger, token: str, what: str, why: str = "") -> None:
    """End a session; one that has ended already is no news.

    Parameters
    ----------
    ledger
        The box's ledger.
    token
        As the browser's cookie holds it.
    what
        "lock" or "sign out".
    why
        "" when a person asked for it.
    """
    with ledger.transaction() as db:
        row = db.conn.execute(_WHOSE, [_hash(token)]).fetchone()
        if row is not None:
            db.conn.execute("DELETE FROM session WHERE token_sha256 = ?", [_hash(token)])
            facts: Mapping[str, str] = {"why": why} if why else {}
            audit.record(db, row["initials"], what, **facts)


_WHOSE = """
SELECT u.*, s.boot_id, s.begun_s, s.seen_s FROM session s JOIN user u ON u.id = s.user_id
WHERE s.token_sha256 = ? AND u.removed_at = ''
"""


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
