"""Deliveries whose next try is brought forward, because somebody has mended what was in the way."""

from appliance.ledger.connection import Ledger


def at_once(ledger: Ledger, destination: str) -> int:
    """Have everything that waits for a destination tried now; return how much waits.

    Parameters
    ----------
    ledger
        The box's.
    destination
        Its name.
    """
    with ledger.transaction() as db:
        db.conn.execute(
            "UPDATE destination_state SET next_try_at = 0 WHERE name = ?", [destination]
        )
        return db.conn.execute(
            "UPDATE outbox SET next_try_at = NULL, next_try_boot_id = NULL"
            " WHERE destination = ? AND state IN ('queued', 'sent') AND owner IS NULL",
            [destination],
        ).rowcount
