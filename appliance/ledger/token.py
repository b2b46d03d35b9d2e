"""Tokens of programs that read what the box holds, as DICOMweb clients do.

A token is 256 random bits, so its plain SHA-256 can't be reversed; nothing else of it is kept.
It opens nothing but reading. A name is never used twice: it stands in the audit.
"""

import re
import secrets
from hashlib import sha256

from appliance.errors import LedgerError
from appliance.ledger import audit
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert

_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class TokenError(LedgerError):
    """The change can't be made; `subject` and `hint` say why and what to do instead."""


def add(ledger: Ledger, name: str, by: str) -> str:
    """Make a token for a program and return it; it can't be shown again.

    Parameters
    ----------
    ledger
        The box's ledger.
    name
        Of the program or its user: letters, digits, `.`, `_`, `-`, at most 40.
    by
        Who decided it.

    Raises
    ------
    TokenError
        When the name isn't one, or stands or stood for another token.
    """
    if not _NAME.fullmatch(name):
        hint = "Write letters, digits, dots, dashes and underlines, at most 40."
        raise TokenError("make a token", "that can't be its name", hint)
    token = secrets.token_urlsafe(_BYTES)
    with ledger.transaction() as db:
        known = db.conn.execute("SELECT removed_at FROM token WHERE name = ?", [name]).fetchone()
        if known is not None:
            subject = f"{name} {'was' if known['removed_at'] else 'is'} another token's name"
            raise TokenError("make a token", subject, "Choose another name.")
        row = {"name": name, "token_sha256": _hash(token), "added_by": by, "added_at": utc_now()}
        insert(db, "token", row)
        audit.record(db, by, "add token", name)
    return token


def remove(ledger: Ledger, name: str, by: str) -> None:
    """Let a token open nothing from now on.

    Raises
    ------
    TokenError
        When there is no such token.
    """
    with ledger.transaction() as db:
        changed = db.conn.execute(
            "UPDATE token SET removed_at = ? WHERE name = ? AND removed_at = ''", [utc_now(), name]
        )
        if not changed.rowcount:
            hint = "`echocart token list` shows those that there are."
            raise TokenError("remove a token", "there is none of that name", hint)
        audit.record(db, by, "remove token", name)


def listed(ledger: Ledger) -> list[Row]:
    """Return all tokens, removed ones too: name, added_by, added_at, removed_at."""
    return ledger.read("SELECT name, added_by, added_at, removed_at FROM token ORDER BY id")


def whose(ledger: Ledger, token: str) -> str | None:
    """Return the name of a token; None when it is unknown or removed."""
    row = ledger.read_one(
        "SELECT name FROM token WHERE token_sha256 = ? AND removed_at = ''", [_hash(token)]
    )
    return row["name"] if row else None


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
