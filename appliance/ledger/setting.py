"""What the command line or the page decides while the box runs, merged over the TOML file.

Each decision is a row that is never changed, with who took it and when; the newest one of a
name is in force.
"""

import json
from collections.abc import Sequence

from sqlite_utils import Database

from appliance.ledger import audit
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert

MODEL = "engine.model"  # the first in order
MODELS = "engine.models"  # a JSON list of all; in force where it begins with MODEL's newest
RETRY = "engine.retry"  # each row is one wish that the GPU be tried again


def choose_models(ledger: Ledger, names: Sequence[str], by: str) -> None:
    """Choose the models that the engine runs, by the names of their folders.

    Parameters
    ----------
    ledger
        The box's ledger.
    names
        As `model_store` knows them, in the order in which they are asked for a loop; none goes
        back to what the TOML file says.
    by
        Who chose it: a person's name on this machine.
    """
    with ledger.transaction() as db:
        choose(db, names, by)


def choose(db: Database, names: Sequence[str], by: str) -> None:
    """Choose models as `choose_models` does, inside a transaction."""
    first, every = names[0] if names else "", json.dumps(list(names))
    for name, value in ((MODEL, first), (MODELS, every)):
        insert(db, "setting", {"name": name, "value": value, "by": by, "at": utc_now()})
    audit.record(db, by, "choose model", ", ".join(names))


def chosen_models(ledger: Ledger) -> tuple[str, ...]:
    """Return the chosen models' names in order; none when nobody chose over the TOML file."""
    rows = ledger.read(
        "SELECT name, value FROM setting WHERE id IN"
        " (SELECT max(id) FROM setting WHERE name IN (?, ?) GROUP BY name)",
        [MODEL, MODELS],
    )
    newest = {str(row["name"]): str(row["value"]) for row in rows}
    first = newest.get(MODEL, "")
    every = json.loads(newest.get(MODELS, "[]"))
    # A release that knows one model only writes the first of these rows.
    if every[:1] == [first]:
        return tuple(every)
    return (first,) if first else ()


def retry_gpu(ledger: Ledger, by: str) -> None:
    """Ask the engine to try the GPU again. `by` is who asks."""
    with ledger.transaction() as db:
        insert(db, "setting", {"name": RETRY, "value": "", "by": by, "at": utc_now()})
        audit.record(db, by, "retry GPU")


def history(ledger: Ledger, name: str) -> list[Row]:
    """Return every decision on a setting, newest first: value, by, at."""
    return ledger.read(
        'SELECT value, "by", at FROM setting WHERE name = ? ORDER BY id DESC', [name]
    )
