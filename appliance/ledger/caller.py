"""Who has called: let in, refused, when and why; and who never came to ask for an association.

Titles and addresses belong to machines, not to patients.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlite_utils import Database

from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row

MOST_CALLERS = 500  # whoever invents titles can't fill the disk with them,
MOST_OF_AN_ADDRESS = 50  # nor push out who calls from elsewhere
MANY_TITLES = (
    f"rejected under more than {MOST_OF_AN_ADDRESS} titles from there: the others are not listed"
)
_STALE = timedelta(days=7)  # without a call, a title gives its line to a new one of its address


@dataclass
class Sighting:
    """What one caller did since it was last written down.

    Attributes
    ----------
    calling_ae, called_ae
        As it called itself and us; "" when it isn't told by its title.
    peer
        Its IP address.
    tls
        Whether it came by TLS.
    why
        Why it was refused; "" when it was let in.
    count
        How often.
    paired
        Whether it is a cart that was allowed: listed whatever others do.
    """

    calling_ae: str
    called_ae: str
    peer: str
    tls: bool
    why: str = ""
    count: int = 1
    paired: bool = False


def note(ledger: Ledger, sightings: Iterable[Sighting]) -> None:
    """Add up who called; the oldest of more than `MOST_CALLERS` are forgotten."""
    now = utc_now()
    with ledger.transaction() as db:
        for seen in sightings:
            if not seen.calling_ae:
                db.conn.execute(_TURNED_AWAY, _seen(seen, now))
            elif seen.paired or _has_a_line(db, seen):
                db.conn.execute(_SEEN, _seen(seen, now))
            elif seen.why:
                many = replace(seen, calling_ae="", why=MANY_TITLES)
                db.conn.execute(_TURNED_AWAY, _seen(many, now))
        db.conn.execute(
            "DELETE FROM caller WHERE id NOT IN (SELECT id FROM caller"
            " ORDER BY accepted > 0 DESC, max(accepted_at, rejected_at) DESC LIMIT ?)",
            [MOST_CALLERS],
        )
        db.conn.execute(
            "DELETE FROM turned_away WHERE id NOT IN"
            " (SELECT id FROM turned_away ORDER BY last_at DESC, id DESC LIMIT ?)",
            [MOST_CALLERS],
        )


def _has_a_line(db: Database, seen: Sighting) -> bool:
    """Whoever of an address came first keeps its line; one that is gone for long makes room."""
    titles = db.conn.execute(
        "SELECT id, calling_ae, max(accepted_at, rejected_at) AS last_at FROM caller"
        " WHERE peer = ? ORDER BY last_at",
        [seen.peer],
    ).fetchall()
    if len(titles) < MOST_OF_AN_ADDRESS or seen.calling_ae in [row["calling_ae"] for row in titles]:
        return True
    stale = datetime.now(timezone.utc) - _STALE
    if titles[0]["last_at"] >= stale.isoformat(timespec="milliseconds").replace("+00:00", "Z"):
        return False
    db.conn.execute("DELETE FROM caller WHERE id = ?", [titles[0]["id"]])
    return True


def callers(ledger: Ledger) -> list[Row]:
    """Return everybody who has called by a title, the latest first.

    Each with calling_ae, called_ae, peer, tls, accepted and rejected (how often), first_at,
    accepted_at and rejected_at ("" for never) and why it was refused the last time.
    """
    return ledger.read(
        "SELECT * FROM caller WHERE calling_ae != ''"
        " ORDER BY max(accepted_at, rejected_at) DESC, id DESC"
    )


def turned_away(ledger: Ledger) -> list[Row]:
    """Return who was turned away for another reason than its title, the latest first.

    Each with peer, why, times (how often), first_at and last_at; one line for each address
    and reason.
    """
    return ledger.read("SELECT * FROM turned_away ORDER BY last_at DESC, id DESC")


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
_TURNED_AWAY = """
INSERT INTO turned_away (peer, why, times, first_at, last_at)
VALUES (:peer, :why, :count, :now, :now)
ON CONFLICT (peer, why) DO UPDATE SET
  times = times + excluded.times, last_at = excluded.last_at
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
        "count": seen.count,
        "accepted": 0 if refused else seen.count,
        "rejected": seen.count if refused else 0,
        "accepted_at": "" if refused else now,
        "rejected_at": now if refused else "",
    }
