"""What the received objects take, and which of them may leave: proven elsewhere, waited for by nobody."""

from appliance.ledger import event
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row
from appliance.ledger.current import in_force, newest

# Without an original read back from a destination there is no archive, and nothing may leave.
# That also keeps what was committed to a cart (PS3.4 Annex J) until an archive has proven it.
_PROVEN = "o.seq = i.seq AND o.kind = 'original' AND o.state = 'proven' AND o.sha256 = i.sha256"
_MAY_LEAVE = f"""
i.purged_at = '' AND i.state NOT IN ('received', 'analysing')
AND EXISTS (SELECT 1 FROM outbox o WHERE {_PROVEN})
AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.seq = i.seq AND o.state IN ('queued', 'sent'))
"""
_UNDECIDED = f"""
(i.state = 'analysed' AND i.seq = {newest("i")} AND {in_force("i")} IS NULL)
"""
_KEPT_IN = f"(SELECT group_concat(DISTINCT o.destination) FROM outbox o WHERE {_PROVEN})"


def used_bytes(ledger: Ledger) -> int:
    """Return the bytes of all received objects that are here."""
    row = ledger.read_one("SELECT coalesce(sum(size), 0) AS n FROM instance WHERE purged_at = ''")
    assert row is not None
    return int(row["n"])


def received_since(ledger: Ledger, since: str) -> tuple[int, str]:
    """Return the bytes that have arrived since a time, and when the first of all did.

    Parameters
    ----------
    ledger
        The box's ledger.
    since
        As `clock.utc_now` writes times; so is the one returned, "" when nothing ever came.
    """
    total = ledger.read_one(
        "SELECT coalesce(sum(size), 0) AS n FROM instance WHERE received_at >= ?", [since]
    )
    first = ledger.read_one("SELECT received_at FROM instance ORDER BY seq LIMIT 1")
    assert total is not None
    return int(total["n"]), first["received_at"] if first else ""


def may_leave(ledger: Ledger, limit: int) -> list[Row]:
    """Return the objects whose files may be removed, in the order in which they go.

    Oldest first; those that nobody has decided on go after all others.

    Returns
    -------
    list of dict
        seq, sha256, size in bytes, and kept_in: the destinations that have them.
    """
    found: list[Row] = []
    for undecided in (0, 1):
        found += ledger.read(
            f"SELECT i.seq, i.sha256, i.size, {_KEPT_IN} AS kept_in FROM instance i"
            f" WHERE {_MAY_LEAVE} AND {_UNDECIDED} = ? ORDER BY i.seq LIMIT ?",
            [undecided, limit - len(found)],
        )
        if len(found) >= limit:
            break
    return found


def staying(ledger: Ledger) -> Row:
    """Return how many objects whose files are here may not be removed, by what is missing first.

    Returns
    -------
    dict
        unproven: no archive has proven that it holds them; unseen: the engine has not looked at
        them; awaited: a destination still gets something made of them.
    """
    row = ledger.read_one(f"""
      SELECT coalesce(sum(NOT proven), 0) AS unproven,
        coalesce(sum(proven AND unseen), 0) AS unseen,
        coalesce(sum(proven AND NOT unseen AND awaited), 0) AS awaited
      FROM (SELECT EXISTS (SELECT 1 FROM outbox o WHERE {_PROVEN}) AS proven,
        i.state IN ('received', 'analysing') AS unseen,
        EXISTS (SELECT 1 FROM outbox o WHERE o.seq = i.seq AND o.state IN ('queued', 'sent'))
          AS awaited
        FROM instance i WHERE i.purged_at = '')""")
    assert row is not None
    return row


def purged(ledger: Ledger, seq: int) -> bool:
    """Record that an object's file is removed; False when it may not be, any more."""
    with ledger.transaction() as db:
        row = db.conn.execute(
            f"SELECT {_KEPT_IN} AS kept_in FROM instance i WHERE i.seq = ? AND {_MAY_LEAVE}", [seq]
        ).fetchone()
        if row is None:
            return False
        db.conn.execute(
            "UPDATE instance SET purged_at = ?, kept_in = ? WHERE seq = ?",
            [utc_now(), row["kept_in"], seq],
        )
        event.record(db, seq, "instance", "purged", f"kept in {row['kept_in']}")
    return True


def is_purged(ledger: Ledger, sha256: str) -> bool:
    """Tell whether the file with this content was removed to make room."""
    sql = "SELECT 1 FROM instance WHERE sha256 = ? AND purged_at != ''"
    return ledger.read_one(sql, [sha256]) is not None
