"""Leases on rows that one process works on: taken, renewed, released when their holder died."""

from typing import Any

from sqlite_utils import Database

from appliance.ledger.clock import boot_id, boot_seconds


def free_row(alias: str) -> str:
    """Return the SQL condition under which a row may be taken, with `parameters` bound."""
    return f"({alias}.owner IS NULL OR {alias}.boot_id != :boot OR {alias}.lease_until < :now)"


def parameters(**more: Any) -> dict[str, Any]:
    """Return the bindings that `free_row` needs, and `more`."""
    return {"boot": boot_id(), "now": boot_seconds(), **more}


def take(db: Database, table: str, row: int, owner: str, seconds: float) -> None:
    """Give `owner` the row for some seconds and count the try. Call inside a transaction."""
    db.conn.execute(
        f"UPDATE {table} SET owner = :owner, boot_id = :boot, lease_until = :now + :seconds,"
        " tries = tries + 1 WHERE id = :row",
        parameters(owner=owner, seconds=seconds, row=row),
    )


def renew(db: Database, table: str, row: int, owner: str, seconds: float) -> bool:
    """Prolong a lease; False when somebody else has it now or the work is over."""
    done = db.conn.execute(
        f"UPDATE {table} SET lease_until = :now + :seconds WHERE id = :row AND owner = :owner"
        " AND boot_id = :boot",
        parameters(owner=owner, seconds=seconds, row=row),
    )
    return done.rowcount == 1


def holds(db: Database, table: str, row: int, owner: str) -> bool:
    """Tell whether `owner` still holds the row in this boot."""
    found = db.conn.execute(
        f"SELECT 1 FROM {table} WHERE id = :row AND owner = :owner AND boot_id = :boot",
        parameters(row=row, owner=owner),
    )
    return found.fetchone() is not None


def free(db: Database, table: str, row: int) -> None:
    """Give a row back."""
    db.conn.execute(
        f"UPDATE {table} SET owner = NULL, boot_id = NULL, lease_until = NULL WHERE id = ?", [row]
    )
