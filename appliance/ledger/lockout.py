"""After several bad PINs a wait, longer each time; a restart of service or machine ends none."""

from collections.abc import Iterable, Mapping

from sqlite_utils import Database

from appliance.ledger import audit
from appliance.ledger.clock import boot_id, boot_seconds
from appliance.ledger.connection import Ledger

FREE_TRIES = 5
FIRST_WAIT_S = 30.0
_MOST_ADDRESSES = 1000
LONGEST_WAIT_S = 900.0  # 96 tries a day: a PIN of six digits holds, and its owner isn't shut out


def begin_try(ledger: Ledger, subjects: Mapping[str, int]) -> float:
    """Count a try before its PIN is looked at, so that many at once are not many free ones.

    Parameters
    ----------
    ledger
        The box's ledger.
    subjects
        Who tries ("user:AK", "address:10.1.2.3") and how many bad tries each has free.

    Returns
    -------
    float
        Seconds to wait; 0 when the PIN may be looked at. `session.begin` forgets the tries.
    """
    with ledger.transaction() as db:
        waits = [_remaining(db, subject) for subject in subjects]
        if any(waits):
            return max(waits)
        for subject, free in subjects.items():
            _count(db, subject, free)
    return 0.0


def bad(ledger: Ledger, who: str, address: str) -> None:
    """Write a bad try into the audit, and the wait that it brought."""
    with ledger.transaction() as db:
        audit.record(db, "", "bad PIN", who, address=address)
        for subject in (f"user:{who}", f"address:{address}"):
            if wait := _remaining(db, subject):
                audit.record(db, "", "lock-out", subject, seconds=round(wait))


def _remaining(db: Database, subject: str) -> float:
    row = db.conn.execute("SELECT * FROM bad_pin WHERE subject = ?", [subject]).fetchone()
    if row is None or not row["wait_s"]:
        return 0.0
    if row["boot_id"] != boot_id():
        # The clock that counts began anew: so does the wait.
        _store(db, subject, row["tries"], row["wait_s"])
        return float(row["wait_s"])
    return max(0.0, float(row["until_s"] - boot_seconds()))


def _count(db: Database, subject: str, free: int) -> None:
    row = db.conn.execute("SELECT tries FROM bad_pin WHERE subject = ?", [subject]).fetchone()
    tries = (row["tries"] if row else 0) + 1
    wait = min(FIRST_WAIT_S * 2.0 ** min(tries - free, 30), LONGEST_WAIT_S) if tries >= free else 0
    _store(db, subject, tries, wait)


def _store(db: Database, subject: str, tries: int, wait_s: float) -> None:
    values = [subject, tries, boot_id(), boot_seconds() + wait_s, wait_s]
    db.conn.execute("INSERT OR REPLACE INTO bad_pin VALUES (?, ?, ?, ?, ?)", values)
    # Whoever has many addresses can't fill the disk with them.
    db.conn.execute(
        "DELETE FROM bad_pin WHERE subject IN (SELECT subject FROM bad_pin"
        " WHERE subject LIKE 'address:%' ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
        [_MOST_ADDRESSES],
    )


def forget(ledger: Ledger, subjects: Iterable[str]) -> None:
    """Forget bad tries: a right one followed."""
    with ledger.transaction() as db:
        for subject in subjects:
            db.conn.execute("DELETE FROM bad_pin WHERE subject = ?", [subject])
