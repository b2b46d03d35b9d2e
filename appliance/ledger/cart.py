"""Which echo machines were paired, and who has called: allowed, refused, when and why.

A decision is a row that is never changed; the newest one for a title and address is in force,
over what the TOML file says. Titles and addresses belong to machines, not to patients.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from appliance.ledger import commitment
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert

MOST_CALLERS = 500  # whoever invents titles can't fill the disk with them


@dataclass
class Sighting:
    """What one caller did since it was last written down.

    Attributes
    ----------
    calling_ae, called_ae
        As it called itself and us; "" when the connection never got that far.
    peer
        Its IP address.
    tls
        Whether it came by TLS.
    why
        Why it was refused; "" when it was let in.
    count
        How often.
    """

    calling_ae: str
    called_ae: str
    peer: str
    tls: bool
    why: str = ""
    count: int = 1


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


def note(ledger: Ledger, sightings: Iterable[Sighting]) -> None:
    """Add up who called; the oldest of more than `MOST_CALLERS` are forgotten."""
    now = utc_now()
    with ledger.transaction() as db:
        for seen in sightings:
            db.conn.execute(_SEEN, _seen(seen, now))
        db.conn.execute(
            "DELETE FROM caller WHERE id NOT IN (SELECT id FROM caller"
            " ORDER BY accepted > 0 DESC, max(accepted_at, rejected_at) DESC LIMIT ?)",
            [MOST_CALLERS],
        )


def callers(ledger: Ledger) -> list[Row]:
    """Return everybody who has called, the latest first.

    Each with calling_ae, called_ae, peer, tls, accepted and rejected (how often), first_at,
    accepted_at and rejected_at ("" for never) and why it was refused the last time.
    """
    return ledger.read("SELECT * FROM caller ORDER BY max(accepted_at, rejected_at) DESC, id DESC")


def kept(ledger: Ledger) -> list[Row]:
    """Return calling_ae, peer, objects and last_at of everybody whose objects are kept."""
    return ledger.read(
        "SELECT calling_ae_title AS calling_ae, peer, count(*) AS objects,"
        " max(received_at) AS last_at FROM instance GROUP BY calling_ae_title, peer"
    )


_SEEN = """
INSERT INTO caller (calling_ae, peer, called_ae, tls, accepted, rejected,
                    first_at, accepted_at, rejected_at, why)
VALUES (:calling_ae, :peer, :called_ae, :tls, :accepted, :rejected,
        :now, :accepted_at, :rejected_at, :why)
ON CONFLICT (calling_ae, peer) DO UPDATE SET
  called_ae = excluded.called_ae,
  tls = excluded.tls,
  accepted = accepted + excluded.accepted,
  rejected = rejected + excluded.rejected,
  accepted_at = max(accepted_at, excluded.accepted_at),
  rejected_at = max(rejected_at, excluded.rejected_at),
  why = CASE WHEN excluded.rejected > 0 THEN excluded.why ELSE why END
"""


def _seen(seen: Sighting, now: str) -> dict[str, Any]:
    refused = bool(seen.why)
    return {
        "calling_ae": seen.calling_ae,
        "called_ae": seen.called_ae,
        "peer": seen.peer,
        "tls": int(seen.tls),
        "why": seen.why,
        "now": now,
        "accepted": 0 if refused else seen.count,
        "rejected": seen.count if refused else 0,
        "accepted_at": "" if refused else now,
        "rejected_at": now if refused else "",
    }
