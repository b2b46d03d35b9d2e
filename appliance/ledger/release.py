"""Models that came by a signed update: what happened to each, step by step, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.ledger import audit, setting
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert


@dataclass(frozen=True)
class Mark:
    """How far the ledger was at a step: the newest analysis, review and event then, 0 for none."""

    analysis: int = 0
    review: int = 0
    event: int = 0


STATES = ("fetched", "refused", "staged", "promoted", "taken back", "withdrawn")


def step(
    ledger: Ledger,
    name: str,
    sha256: str,
    state: str,
    why: str,
    by: str = "box",
    before: str = "",
    models: Sequence[str] = (),
) -> None:
    """Record what became of a release.

    Parameters
    ----------
    ledger
        The box's.
    name
        Of the model's folder.
    sha256
        Of its bundle.
    state
        One of `STATES`.
    why
        In words; "" where the state says it all.
    by
        Who did it; "box" when it did by itself.
    before
        Of a promoted one: the model that it replaced.
    models
        Chosen together with the step, where it changes which draw.
    """
    with ledger.transaction() as db:
        row = {"name": name, "sha256": sha256, "state": state, "why": why, "before": before}
        number = insert(db, "release_step", {**row, "by": by, "at": utc_now()})
        db.conn.execute(_MARK, [number])
        if models:
            setting.choose(db, models, by)
        audit.record(db, by, f"model {state}", name, why=why)


_MARK = (
    "INSERT INTO release_mark (step, analysis, review, event) SELECT ?,"
    " (SELECT coalesce(max(id), 0) FROM analysis), (SELECT coalesce(max(id), 0) FROM review),"
    " (SELECT coalesce(max(id), 0) FROM event)"
)


def mark(ledger: Ledger, step_id: int) -> Mark | None:
    """Return how far the ledger was at a step; None where an earlier release of the box kept none."""
    row = ledger.read_one(
        "SELECT analysis, review, event FROM release_mark WHERE step = ?", [step_id]
    )
    return Mark(**row) if row else None


def newest(ledger: Ledger) -> dict[str, Row]:
    """Return the last step of each release, by name: name, sha256, state, why, before, by, at."""
    rows = ledger.read(
        "SELECT * FROM release_step WHERE id IN (SELECT max(id) FROM release_step GROUP BY name)"
    )
    return {str(row["name"]): row for row in rows}


def history(ledger: Ledger, name: str) -> list[Row]:
    """Return every step of a release, oldest first."""
    return ledger.read("SELECT * FROM release_step WHERE name = ? ORDER BY id", [name])


def promoted(ledger: Ledger) -> list[str]:
    """Return the names of all that were ever promoted, newest first, each once."""
    rows = ledger.read(
        "SELECT name FROM release_step WHERE state = 'promoted' GROUP BY name ORDER BY max(id) DESC"
    )
    return [str(row["name"]) for row in rows]


def replaced(ledger: Ledger, name: str) -> str:
    """Return the model that a release replaced when it was last promoted; "" when it never was."""
    row = ledger.read_one(
        "SELECT before FROM release_step WHERE name = ? AND state = 'promoted'"
        " ORDER BY id DESC LIMIT 1",
        [name],
    )
    return str(row["before"]) if row else ""
