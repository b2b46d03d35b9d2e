"""Which engine draws the masks now, as the engine last said it: for `echocart status` and the page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert

CPU_SERVES = "the CPU serves: "  # how `detail` begins where a GPU should and doesn't


@dataclass(frozen=True)
class ModelState:
    """A model in force.

    Attributes
    ----------
    model
        Name of its folder.
    views
        That it draws, as its manifest names them, with commas.
    backend, precision
        As an analysis names them; "" while it isn't in memory.
    problem
        Why it can't be used; "" when it can.
    """

    model: str
    views: str = ""
    backend: str = ""
    precision: str = ""
    problem: str = ""


def put(ledger: Ledger, models: Sequence[ModelState], detail: str) -> None:
    """Say what serves now.

    Parameters
    ----------
    ledger
        The box's.
    models
        In the order in which they are asked for a loop; one at least can be used.
    detail
        How it stands with the GPU, in words; "" on a box that has none.
    """
    serving = next(item for item in models if not item.problem)
    with ledger.transaction() as db:
        db.execute(
            "INSERT OR REPLACE INTO engine_state (id, model, backend, precision, detail, at)"
            " VALUES (1, ?, ?, ?, ?, ?)",
            [serving.model, serving.backend, serving.precision, detail, utc_now()],
        )
        db.execute("DELETE FROM engine_model")
        for place, item in enumerate(models, 1):
            insert(db, "engine_model", {"id": place, **asdict(item)})


def get(ledger: Ledger) -> Row | None:
    """Return model, backend, precision, detail and at of the first model that serves.

    `models` are rows of `ModelState`, all in order. None before the engine's first start.
    """
    row = ledger.read_one("SELECT * FROM engine_state WHERE id = 1")
    if row is None:
        return None
    every = ledger.read(
        "SELECT model, views, backend, precision, problem FROM engine_model ORDER BY id"
    )
    return {**row, "models": every}


def in_words(row: Row | None) -> str:
    """Say what serves, and how it stands with the GPU; "" before the first start."""
    if row is None:
        return ""
    detail = f" ({row['detail']})" if row["detail"] else ""
    serving = f"{row['model']} on {row['backend']} at {row['precision']}"
    if len(row["models"]) > 1:
        serving = "; ".join(_in_words(ModelState(**item)) for item in row["models"])
    return f"engine, as of {row['at']}: {serving}{detail}"


def problem(row: Row | None) -> str:
    """Say for a sonographer what of the engine doesn't serve, and why; "" where all does."""
    if row is None:
        return ""
    said = []
    if row["detail"].startswith(CPU_SERVES):
        said = [f"Masks are drawn without the GPU: {row['detail'].removeprefix(CPU_SERVES)}."]
    broken = (item for item in row["models"] if item["problem"])
    said += [f"Nothing is drawn with {item['model']}: {item['problem']}." for item in broken]
    return " ".join(said)


def _in_words(item: ModelState) -> str:
    views = f" for {item.views}" if item.views else ""
    if item.problem:
        return f"{item.model}{views} can't be used: {item.problem}"
    if not item.backend:
        return f"{item.model}{views}, loaded with its next loop"
    return f"{item.model}{views} on {item.backend} at {item.precision}"
