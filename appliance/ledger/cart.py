"""Which echo machines were paired.

A decision is a row that is never changed; the newest one for a title and address is in force,
over what the TOML file says. Titles and addresses belong to machines, not to patients.
"""

import json
from collections.abc import Mapping
from typing import Any

from appliance.ledger import audit, commitment
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert


def allow(ledger: Ledger, calling_ae: str, address: str, value: Mapping[str, Any], by: str) -> None:
    """Let an echo machine send, from its next association on.

    Parameters
    ----------
    ledger
        The box's ledger.
    calling_ae, address
        How it calls itself, and its IP address or network; "" is any address.
    value
        The fields of `config.Cart`.
    by
        Who decided it.
    """
    _decide(ledger, calling_ae, address, True, value, by)


def remove(ledger: Ledger, calling_ae: str, address: str, by: str) -> None:
    """Take an echo machine's pairing back, also one of the TOML file."""
    _decide(ledger, calling_ae, address, False, {}, by)


def _decide(
    ledger: Ledger,
    calling_ae: str,
    address: str,
    allowed: bool,
    value: Mapping[str, Any],
    by: str,
) -> None:
    row = {"calling_ae": calling_ae, "address": address, "allowed": int(allowed)}
    with ledger.transaction() as db:
        insert(db, "cart", {**row, "value": json.dumps(value), "by": by, "at": utc_now()})
        commitment.all_due(db)  # reports that waited for an address
        what = "allow cart" if allowed else "remove cart"
        audit.record(db, by, what, f"{calling_ae}@{address}" if address else calling_ae, **value)


def decided(ledger: Ledger) -> list[Row]:
    """Return what is in force for each title and address: allowed, value (decoded), by, at."""
    rows = ledger.read(
        'SELECT calling_ae, address, allowed, value, "by", at FROM cart'
        " WHERE id IN (SELECT max(id) FROM cart GROUP BY calling_ae, address) ORDER BY id"
    )
    return [
        {**row, "allowed": bool(row["allowed"]), "value": json.loads(row["value"])} for row in rows
    ]


def version(ledger: Ledger) -> int:
    """Return a number that changes with every decision."""
    row = ledger.read_one("SELECT coalesce(max(id), 0) AS n FROM cart")
    return int(row["n"]) if row else 0


def history(ledger: Ledger) -> list[Row]:
    """Return every decision, newest first: calling_ae, address, allowed, by, at."""
    return ledger.read('SELECT calling_ae, address, allowed, "by", at FROM cart ORDER BY id DESC')


def kept(ledger: Ledger) -> list[Row]:
    """Return calling_ae, peer, objects and last_at of everybody whose objects are kept."""
    return ledger.read(
        "SELECT calling_ae_title AS calling_ae, peer, count(*) AS objects,"
        " max(received_at) AS last_at FROM instance GROUP BY calling_ae_title, peer"
    )
