"""Which engine draws the masks now, as the engine last said it: for `echocart status` and the page."""

from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row

CPU_SERVES = "the CPU serves: "  # how `detail` begins where a GPU should and doesn't


def put(ledger: Ledger, model: str, backend: str, precision: str, detail: str) -> None:
    """Say what serves now.

    Parameters
    ----------
    ledger
        The box's.
    model, backend, precision
        As an analysis names them.
    detail
        How it stands with the GPU, in words; "" on a box that has none.
    """
    with ledger.transaction() as db:
        db.execute(
            "INSERT OR REPLACE INTO engine_state (id, model, backend, precision, detail, at)"
            " VALUES (1, ?, ?, ?, ?, ?)",
            [model, backend, precision, detail, utc_now()],
        )


def get(ledger: Ledger) -> Row | None:
    """Return model, backend, precision, detail and at; None before the engine's first start."""
    return ledger.read_one("SELECT * FROM engine_state WHERE id = 1")


def in_words(row: Row | None) -> str:
    """Say what serves, and how it stands with the GPU; "" before the first start."""
    if row is None:
        return ""
    detail = f" ({row['detail']})" if row["detail"] else ""
    serving = f"{row['model']} on {row['backend']} at {row['precision']}"
    return f"engine, as of {row['at']}: {serving}{detail}"


def problem(row: Row | None) -> str:
    """Say for a sonographer that the GPU doesn't serve, and why; "" where all is as it should be."""
    if row is None or not row["detail"].startswith(CPU_SERVES):
        return ""
    return f"Masks are drawn without the GPU: {row['detail'].removeprefix(CPU_SERVES)}."
