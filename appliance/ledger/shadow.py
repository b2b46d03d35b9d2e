"""What a candidate drew beside the model in force: a row a loop, and a row a correction of one."""

import json
from typing import Any

from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.current import VIEW, in_force

MOST = 5000  # rows that are kept of each kind; the oldest go
_PERSONS_VIEW = VIEW.replace("SELECT *", "SELECT CASE source WHEN 'person' THEN view END")


def drew(
    ledger: Ledger, name: str, sha256: str, against: str, analysis_id: int, figures: dict[str, Any]
) -> None:
    """Keep what a candidate drew on a loop, held against the model in force.

    Parameters
    ----------
    ledger
        The box's.
    name, sha256
        Of the candidate's folder, and of its bundle.
    against, analysis_id
        The model in force, and its analysis.
    figures
        Plain values.
    """
    _keep(ledger, "shadow_loop", name, sha256, against, {"analysis_id": analysis_id}, figures)


def held_against(
    ledger: Ledger, name: str, sha256: str, against: str, review_id: int, figures: dict[str, Any]
) -> None:
    """Keep how near candidate and model in force come to a person's correction; else as `drew`."""
    _keep(ledger, "shadow_review", name, sha256, against, {"review_id": review_id}, figures)


def loops(ledger: Ledger, sha256: str, against: str) -> list[dict[str, Any]]:
    """Return the figures of each loop that a candidate drew beside a model, oldest first."""
    rows = ledger.read(
        "SELECT figures FROM shadow_loop WHERE sha256 = ? AND against = ? ORDER BY id",
        [sha256, against],
    )
    return [json.loads(row["figures"]) for row in rows]


def reviews(ledger: Ledger, sha256: str, against: str) -> list[dict[str, Any]]:
    """Return the figures of each correction in force that both were held against, oldest first."""
    rows = ledger.read(
        "SELECT s.figures FROM shadow_review s JOIN review r ON r.id = s.review_id"
        " JOIN instance i ON i.seq = r.seq WHERE s.sha256 = ? AND s.against = ?"
        f" AND r.id = {in_force('i')} ORDER BY s.id",
        [sha256, against],
    )
    return [json.loads(row["figures"]) for row in rows]


def next_loop(ledger: Ledger, sha256: str, against: str, after: int) -> Row | None:
    """Return the newest loop that a candidate has yet to draw, or None.

    Parameters
    ----------
    ledger, sha256
        The box's ledger; the candidate's bundle.
    against
        The model in force: only loops that it drew.
    after
        Analysis after which it is on trial.

    Returns
    -------
    dict
        analysis_id, seq, sha256 of the object, and view, which a person set (None where nobody
        did).
    """
    name, _, version = against.rpartition("-")
    said = _PERSONS_VIEW.replace("?", "i.seq")
    return ledger.read_one(
        f"SELECT a.id AS analysis_id, a.seq, i.sha256, ({said}) AS view"
        " FROM analysis a JOIN instance i ON i.seq = a.seq"
        " WHERE a.id > :after AND a.state = 'sealed' AND a.model_name = :name"
        " AND a.model_version = :version AND i.state = 'analysed' AND i.purged_at = ''"
        " AND a.id = (SELECT max(id) FROM analysis WHERE seq = a.seq AND state = 'sealed')"
        " AND NOT EXISTS (SELECT 1 FROM shadow_loop s WHERE s.sha256 = :sha256"
        "   AND s.analysis_id = a.id AND s.against = :against)"
        " ORDER BY a.id DESC LIMIT 1",
        {
            "after": after,
            "name": name,
            "version": version,
            "sha256": sha256,
            "against": against,
        },
    )


def next_review(ledger: Ledger, sha256: str, against: str) -> Row | None:
    """Return the newest correction of a loop that both drew, not compared yet, or None.

    Returns
    -------
    dict
        review_id, analysis_id, seq and sha256 of the object.
    """
    return ledger.read_one(
        "SELECT r.id AS review_id, r.analysis_id, i.seq, i.sha256"
        " FROM shadow_loop s JOIN review r ON r.analysis_id = s.analysis_id"
        " JOIN instance i ON i.seq = r.seq"
        " WHERE s.sha256 = :sha256 AND s.against = :against AND r.decision = 'corrected'"
        f" AND i.purged_at = '' AND r.id = {in_force('i')}"
        " AND json_extract(s.figures, '$.why') = ''"
        " AND EXISTS (SELECT 1 FROM review_chunk c WHERE c.review_id = r.id)"
        " AND NOT EXISTS (SELECT 1 FROM shadow_review d WHERE d.sha256 = :sha256"
        "   AND d.review_id = r.id AND d.against = :against)"
        " ORDER BY r.id DESC LIMIT 1",
        {"sha256": sha256, "against": against},
    )


def _keep(
    ledger: Ledger,
    table: str,
    name: str,
    sha256: str,
    against: str,
    about: dict[str, int],
    figures: dict[str, Any],
) -> None:
    of = {"name": name, "sha256": sha256, "against": against, **about}
    with ledger.transaction() as db:
        where = " AND ".join(f"{column} = :{column}" for column in of)
        db.conn.execute(f"DELETE FROM {table} WHERE {where}", of)
        number = insert(db, table, {**of, "figures": json.dumps(figures), "at": utc_now()})
        db.conn.execute(f"DELETE FROM {table} WHERE id <= ?", [number - MOST])
