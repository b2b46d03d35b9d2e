"""What the command line or the page decides while the box runs, merged over the TOML file.

Each decision is a row that is never changed, with who took it and when; the newest one of a
name is in force.
"""

from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert

MODEL = "engine.model"
RETRY = "engine.retry"  # each row is one wish that the GPU be tried again


def choose_model(ledger: Ledger, name: str, by: str) -> None:
    """Choose the model that the engine runs, by the name of its folder.

    Parameters
    ----------
    ledger
        The box's ledger.
    name
        As `model_store` knows it; "" goes back to what the TOML file says.
    by
        Who chose it: a person's name on this machine.
    """
    with ledger.transaction() as db:
        insert(db, "setting", {"name": MODEL, "value": name, "by": by, "at": utc_now()})


def chosen_model(ledger: Ledger) -> str:
    """Return the chosen model's name; "" when nobody chose one over the TOML file."""
    row = ledger.read_one(
        "SELECT value FROM setting WHERE name = ? ORDER BY id DESC LIMIT 1", [MODEL]
    )
    return str(row["value"]) if row else ""


def retry_gpu(ledger: Ledger, by: str) -> None:
    """Ask the engine to try the GPU again. `by` is who asks."""
    with ledger.transaction() as db:
        insert(db, "setting", {"name": RETRY, "value": "", "by": by, "at": utc_now()})


def history(ledger: Ledger, name: str) -> list[Row]:
    """Return every decision on a setting, newest first: value, by, at."""
    return ledger.read(
        'SELECT value, "by", at FROM setting WHERE name = ? ORDER BY id DESC', [name]
    )
