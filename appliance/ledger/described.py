"""What searches look at, of every file once: an index that can be made anew from the files."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from appliance.ledger.connection import Ledger, Row

# Of files that are here: received objects, and results.
_FILES = """
SELECT sha256, NULL AS is_result FROM instance WHERE purged_at = '' AND study_instance_uid != ''
UNION ALL SELECT sha256, 1 FROM result_object WHERE purged_at = ''
"""


def missing(ledger: Ledger, limit: int) -> list[Row]:
    """Return files that are not described, as `Spool.served_path` takes them."""
    rows = ledger.read(
        f"SELECT * FROM ({_FILES}) f WHERE NOT EXISTS"
        " (SELECT 1 FROM described d WHERE d.sha256 = f.sha256) LIMIT ?",
        [limit],
    )
    return [row if row["is_result"] else {"sha256": row["sha256"]} for row in rows]


def put(ledger: Ledger, rows: Iterable[Row]) -> None:
    """Write descriptions down: sha256, study_instance_uid, study_date, accession_number, content."""
    with ledger.transaction() as db:
        db.conn.executemany(
            "INSERT OR REPLACE INTO described VALUES (:sha256, :study_instance_uid, :study_date,"
            " :accession_number, :content)",
            list(rows),
        )


def of(ledger: Ledger, hashes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what is written of some files, by their hashes."""
    rows = ledger.read(
        "SELECT sha256, content FROM described WHERE sha256 IN (SELECT value FROM json_each(?))",
        [json.dumps(list(hashes))],
    )
    return {row["sha256"]: json.loads(row["content"]) for row in rows}
