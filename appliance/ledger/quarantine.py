"""Objects that are not what was announced: refused, kept aside, never analysed nor forwarded."""

from dataclasses import dataclass

from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert


@dataclass(frozen=True)
class Refused:
    """What was announced, what came instead, from whom, and why it was refused."""

    sha256: str
    size: int
    announced_sop_instance_uid: str
    announced_sop_class_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    calling_ae_title: str
    peer: str
    why: str


def record(ledger: Ledger, refused: Refused) -> None:
    """Write that an object was put aside; once for the same bytes."""
    with ledger.transaction() as db:
        known = "SELECT 1 FROM quarantine WHERE sha256 = ?"
        if db.conn.execute(known, [refused.sha256]).fetchone() is None:
            insert(db, "quarantine", {**vars(refused), "at": utc_now()})


def forget(ledger: Ledger, sha256: str) -> None:
    """Remove the row of an object whose file is gone."""
    with ledger.transaction() as db:
        db.conn.execute("DELETE FROM quarantine WHERE sha256 = ?", [sha256])


def listed(ledger: Ledger, limit: int = 1000) -> list[Row]:
    """Return what was put aside, newest first."""
    return ledger.read("SELECT * FROM quarantine ORDER BY id DESC LIMIT ?", [limit])
