"""Destinations while the box runs: paused by a person, resting because they can't be used, and what waits.

A pause is a setting over the TOML file: a row with who decided it and when, and one in the audit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from appliance.ledger import audit
from appliance.ledger.clock import boot_id, boot_seconds, utc_now
from appliance.ledger.connection import Ledger, Row, insert

_PAUSE = "destination.pause:"  # and the destination's name; its value is why, or _GOES_ON
_GOES_ON = ""
_NO_REASON = "no reason given"


@dataclass(frozen=True)
class Pause:
    """Who stopped deliveries to a destination, when (UTC), and why."""

    by: str
    at: str
    why: str


def pause(ledger: Ledger, name: str, by: str, why: str = "") -> None:
    """Stop deliveries to a destination; what is under way is finished."""
    _decide(ledger, name, by, why or _NO_REASON, "pause destination")


def resume(ledger: Ledger, name: str, by: str) -> None:
    """Let deliveries to a destination go on."""
    _decide(ledger, name, by, _GOES_ON, "resume destination")


def paused(ledger: Ledger) -> dict[str, Pause]:
    """Return the destinations that are paused."""
    rows = ledger.read(
        'SELECT name, value, "by", at FROM setting WHERE id IN (SELECT max(id) FROM setting'
        " WHERE name >= ? AND name < ? GROUP BY name) AND value != ?",
        [_PAUSE, _PAUSE[:-1] + ";", _GOES_ON],
    )
    return {
        row["name"].removeprefix(_PAUSE): Pause(row["by"], row["at"], row["value"]) for row in rows
    }


def is_paused(ledger: Ledger, name: str) -> bool:
    """Tell whether one destination is paused."""
    sql = "SELECT value FROM setting WHERE name = ? ORDER BY id DESC LIMIT 1"
    row = ledger.read_one(sql, [_PAUSE + name])
    return row is not None and row["value"] != _GOES_ON


def rests(ledger: Ledger, name: str, problem: str, seconds: float) -> None:
    """Record that a destination can't be used, why, and when it is tried again."""
    with ledger.transaction() as db:
        db.conn.execute(
            "INSERT INTO destination_state VALUES (:name, :problem, :boot, :next, :now)"
            " ON CONFLICT (name) DO UPDATE SET next_try_boot_id = :boot, next_try_at = :next,"
            " since = CASE WHEN problem = '' THEN :now ELSE since END, problem = :problem",
            {
                "name": name,
                "problem": problem,
                "now": utc_now(),
                "boot": boot_id(),
                "next": boot_seconds() + seconds,
            },
        )


def works(ledger: Ledger, name: str) -> None:
    """Record that a destination that couldn't be used can be again."""
    with ledger.transaction() as db:
        db.conn.execute(
            "UPDATE destination_state SET problem = '', since = ? WHERE name = ? AND problem != ''",
            [utc_now(), name],
        )


def resting(ledger: Ledger) -> dict[str, Row]:
    """Return the destinations that can't be used now.

    Returns
    -------
    dict
        By name: problem, since (UTC), and next_try_s, seconds until the next try.
    """
    rows = ledger.read("SELECT * FROM destination_state WHERE problem != ''")
    return {
        row["name"]: {
            "problem": row["problem"],
            "since": row["since"],
            "next_try_s": _until(row["next_try_boot_id"], row["next_try_at"]),
        }
        for row in rows
    }


def waiting(ledger: Ledger) -> dict[str, Row]:
    """Return what waits for each destination, and what became of the rest.

    Returns
    -------
    dict
        By name: waiting, in_flight, awaiting_commitment, not_taken (tried again; its
        administrator must allow them), refused (must not leave the box), proven, unproven:
        numbers of objects; oldest (UTC, "" for none); next_try_s, seconds until a row is due,
        None when one is or none waits; problems: what keeps rows, each with its number.
    """
    rows = ledger.read(_COUNTS, {"boot": boot_id(), "now": boot_seconds()})
    problems = ledger.read(_PROBLEMS)
    due = {row["destination"]: row for row in ledger.read(_NEXT, {"boot": boot_id()})}
    return {
        row["destination"]: {
            **{name: row[name] for name in _NUMBERS},
            "oldest": row["oldest"] or "",
            "next_try_s": _next_try(due.get(row["destination"])),
            "problems": [
                {"problem": item["problem"], "state": item["state"], "objects": item["n"]}
                for item in problems
                if item["destination"] == row["destination"]
            ],
        }
        for row in rows
    }


_NUMBERS = (
    *("waiting", "in_flight", "awaiting_commitment", "not_taken", "refused"),
    *("proven", "unproven"),
)
_OPEN = "state IN ('queued', 'sent')"
_IN_FLIGHT = "owner IS NOT NULL AND boot_id = :boot AND lease_until >= :now"
_COUNTS = f"""
SELECT destination,
  sum({_OPEN} AND awaits != 'commitment' AND NOT coalesce({_IN_FLIGHT}, 0)) AS waiting,
  sum({_OPEN} AND coalesce({_IN_FLIGHT}, 0)) AS in_flight,
  sum({_OPEN} AND awaits = 'commitment') AS awaiting_commitment,
  sum({_OPEN} AND awaits = 'permission') AS not_taken,
  sum(state = 'refused') AS refused, sum(state = 'proven') AS proven,
  sum(state = 'unproven') AS unproven,
  min(CASE WHEN {_OPEN} THEN queued_at END) AS oldest
FROM outbox GROUP BY destination ORDER BY destination
"""
_PROBLEMS = f"""
SELECT destination, state, problem, count(*) AS n FROM outbox
WHERE problem != '' AND ({_OPEN} OR state IN ('refused', 'unproven'))
GROUP BY destination, state, problem ORDER BY destination, n DESC
"""
_NEXT = f"""
SELECT destination, min(next_try_at) AS at, next_try_boot_id AS boot,
  sum(next_try_at IS NULL OR next_try_boot_id != :boot) AS at_once
FROM outbox WHERE {_OPEN} AND owner IS NULL GROUP BY destination
"""


def _next_try(row: Mapping[str, object] | None) -> float | None:
    if row is None or row["at_once"] or row["at"] is None:
        return None
    return _until(str(row["boot"]), float(str(row["at"]))) or None


def _until(boot: str, at: float) -> float:
    return max(0.0, at - boot_seconds()) if boot == boot_id() else 0.0


def _decide(ledger: Ledger, name: str, by: str, value: str, what: str) -> None:
    with ledger.transaction() as db:
        row = {"name": _PAUSE + name, "value": value, "by": by, "at": utc_now()}
        insert(db, "setting", row)
        audit.record(db, by, what, name, **({"why": value} if value else {}))
