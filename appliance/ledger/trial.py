"""What a released model did wrong, and how loops went before and since it draws."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from appliance.ledger.clock import boot_id, utc_now
from appliance.ledger.connection import Ledger, Row, insert

CRASH, FAILED = "crash", "failed"
MOST = 1000  # faults that are kept
# A result that a network's own gate held back, by how its reason begins.
NOT_RECOGNISED = (
    "No apical heart could be recognised",
    "Nothing is drawn on this loop",
    "No apical four- or two-chamber view",
    "No view that the model draws",
)
_STEP = "SELECT coalesce(max(id), 0) FROM release_step WHERE name = ? AND sha256 = ?"
_DECIDED = "r.decision IN ('accepted', 'corrected', 'rejected')"


def fault(ledger: Ledger, name: str, sha256: str, kind: str, why: str) -> int:
    """Count one more fault of a release; return how many it has of this kind since its last step.

    Parameters
    ----------
    ledger
        The box's.
    name, sha256
        Of the release.
    kind
        `CRASH`: it ended its process or hung; `FAILED`: a loop couldn't be drawn.
    why
        In words, without the loop.
    """
    with ledger.transaction() as db:
        row = {"name": name, "sha256": sha256, "kind": kind, "why": why, "at": utc_now()}
        step = db.conn.execute(_STEP, [name, sha256]).fetchone()[0]
        number = insert(db, "release_fault", {**row, "step": step})
        db.conn.execute("DELETE FROM release_fault WHERE id <= ?", [number - MOST])
    return len(faults(ledger, name, sha256, kind))


def faults(ledger: Ledger, name: str, sha256: str, kind: str) -> list[Row]:
    """Return the faults of a kind since a release's last step: why, at."""
    return ledger.read(
        f"SELECT why, at FROM release_fault WHERE sha256 = ? AND kind = ? AND step = ({_STEP})"
        " ORDER BY id",
        [sha256, kind, name, sha256],
    )


@contextmanager
def loading(ledger: Ledger, name: str) -> Iterator[None]:
    """Say that a model is being loaded: who finds that said at a start knows what ended the engine."""
    with ledger.transaction() as db:
        db.conn.execute(
            "INSERT OR REPLACE INTO release_loading (id, name, boot_id, at) VALUES (1, ?, ?, ?)",
            [name, boot_id(), utc_now()],
        )
    try:
        yield
    finally:
        with ledger.transaction() as db:
            db.conn.execute("DELETE FROM release_loading")


def died(ledger: Ledger) -> str:
    """Say in what the engine before this one died in this boot; "" when it didn't, or idle.

    Called once at a start, before leases are freed and models loaded.
    """
    row = ledger.read_one("SELECT name FROM release_loading WHERE boot_id = ?", [boot_id()])
    if ledger.read_one("SELECT 1 FROM release_loading"):
        with ledger.transaction() as db:
            db.conn.execute("DELETE FROM release_loading")
    if row:
        return f"the engine ended while it loaded {row['name']}"
    held = ledger.read_one(
        "SELECT 1 FROM job WHERE state = 'queued' AND owner IS NOT NULL AND boot_id = ?",
        [boot_id()],
    )
    return "the engine ended while it drew a loop" if held else ""


def slow(ledger: Ledger, model: str, first: int, last: int, limit: int) -> tuple[int, int]:
    """Return of how many loops that a model drew the masks came more slowly than they play, of all.

    Parameters
    ----------
    ledger, model
        The box's; name of the model's folder.
    first, last
        Analyses after the one and up to the other.
    limit
        The newest so many.
    """
    name, _, version = model.rpartition("-")
    rows = ledger.read(
        "SELECT timings, timing FROM analysis WHERE id > ? AND id <= ? AND state = 'sealed'"
        " AND model_name = ? AND model_version = ? ORDER BY id DESC LIMIT ?",
        [first, last, name, version, limit],
    )
    missed = [_missed(json.loads(row["timings"]), json.loads(row["timing"])) for row in rows]
    return sum(missed), len(missed)


def unrecognised(ledger: Ledger, first: int, last: int, limit: int) -> tuple[int, int]:
    """Return on how many loops the network found nothing to draw, of all that it looked at.

    `first`, `last` and `limit` as for `slow`, of events.
    """
    begins = " OR ".join("detail LIKE ? || '%'" for _ in NOT_RECOGNISED)
    rows = ledger.read(
        "SELECT state FROM event WHERE id > ? AND id <= ? AND subject = 'instance'"
        f" AND (state = 'analysed' OR (state = 'kept' AND ({begins}))) ORDER BY id DESC LIMIT ?",
        [first, last, *NOT_RECOGNISED, limit],
    )
    return sum(row["state"] == "kept" for row in rows), len(rows)


def not_accepted(ledger: Ledger, model: str, first: int, last: int, limit: int) -> tuple[int, int]:
    """Return how many of the decisions on a model's loops corrected or rejected it, of all.

    `first`, `last` and `limit` as for `slow`, of reviews.
    """
    name, _, version = model.rpartition("-")
    rows = ledger.read(
        "SELECT r.decision FROM review r JOIN analysis a ON a.id = r.analysis_id"
        f" WHERE r.id > ? AND r.id <= ? AND {_DECIDED} AND a.model_name = ?"
        " AND a.model_version = ? ORDER BY r.id DESC LIMIT ?",
        [first, last, name, version, limit],
    )
    return sum(row["decision"] != "accepted" for row in rows), len(rows)


def failed(ledger: Ledger, first: int) -> tuple[int, int]:
    """Return how many loops couldn't be drawn since an event, and as long before it."""
    row = ledger.read_one("SELECT max(id) AS newest FROM event")
    newest = int((row and row["newest"]) or 0)
    windows = ((first, newest), (max(0, first - (newest - first)), first))
    since, before = (_failed(ledger, *window) for window in windows)
    return since, before


def _failed(ledger: Ledger, first: int, last: int) -> int:
    row = ledger.read_one(
        "SELECT count(DISTINCT seq) AS n FROM event WHERE id > ? AND id <= ?"
        " AND subject = 'instance' AND (state = 'quarantined'"
        "   OR (state = 'received' AND detail LIKE '%It is tried again.'))",
        [first, last],
    )
    return int(row["n"]) if row else 0


def _missed(timings: dict[str, Any], timing: dict[str, Any]) -> bool:
    return bool(timings) and bool(
        timings["total_ms"] / timings["frames"] > 1000 / timing["rate_hz"]
    )
