"""Reads for the page and for `echocart status`: what is here, in what state, decided how, delivered where."""

import json
from typing import Any

from appliance.ledger.connection import Ledger, Row
from appliance.ledger.current import newest, patients

# The analysis and the review in force are the newest of their instance.
_LOOPS = f"""
SELECT i.*,
  i.seq = {newest("i")} AS current,
  {patients("i")} AS patients,
  (SELECT max(id) FROM analysis WHERE seq = i.seq AND state = 'sealed') AS analysis_id,
  (SELECT max(id) FROM review WHERE seq = i.seq) AS review_id
FROM instance i
"""
_JSON = ("measures", "per_frame", "quality", "timings", "geometry", "timing", "calibration")


def version(ledger: Ledger) -> int:
    """Return a number that grows with every change of state; what the page polls."""
    row = ledger.read_one("SELECT coalesce(max(id), 0) AS version FROM event")
    assert row is not None
    return int(row["version"])


def loops(ledger: Ledger, limit: int = 1000) -> list[Row]:
    """Return the newest instances, newest first, each as `loop` gives it."""
    rows = ledger.read(f"{_LOOPS} ORDER BY i.seq DESC LIMIT ?", [limit])
    return [_complete(ledger, row) for row in rows]


def loop(ledger: Ledger, seq: int) -> Row | None:
    """Return one instance, or None.

    Returns
    -------
    dict
        The columns of `instance`; `current` (False when the UID came again with other
        content); `patients` (PatientIDs in its study, of current objects only); `analysis` and
        `review` in force or None; `deliveries` of every review.
    """
    row = ledger.read_one(f"{_LOOPS} WHERE i.seq = ?", [seq])
    return _complete(ledger, row) if row else None


def study(ledger: Ledger, study_instance_uid: str) -> list[Row]:
    """Return the current instances of a study in the order of their arrival."""
    rows = ledger.read(f"{_LOOPS} WHERE i.study_instance_uid = ?", [study_instance_uid])
    return [_complete(ledger, row) for row in rows if row["current"]]


def _complete(ledger: Ledger, row: Row) -> Row:
    analysis_id, review_id = row.pop("analysis_id"), row.pop("review_id")
    return {
        **row,
        "current": bool(row["current"]),
        "analysis": analysis(ledger, analysis_id) if analysis_id else None,
        "review": _in_force(review(ledger, review_id) if review_id else None),
        "deliveries": deliveries(ledger, row["seq"]),
    }


def _in_force(newest: Row | None) -> Row | None:
    """A decision that was undone leaves none in force."""
    return None if newest is None or newest["decision"] == "undone" else newest


def analysis(ledger: Ledger, analysis_id: int) -> Row | None:
    """Return one analysis with its structured columns decoded, or None."""
    row = ledger.read_one("SELECT * FROM analysis WHERE id = ?", [analysis_id])
    return _decode(row, (*_JSON, "labels")) if row else None


def latest_analysis(ledger: Ledger, seq: int) -> Row | None:
    """Return the newest sealed analysis of an instance, else the one under way, else None.

    One that was begun and then refused, or cut short, is never shown.
    """
    row = ledger.read_one(
        "SELECT a.id FROM analysis a JOIN instance i ON i.seq = a.seq WHERE a.seq = ?"
        " AND (a.state = 'sealed' OR i.state = 'analysing')"
        " ORDER BY a.state = 'sealed' DESC, a.id DESC LIMIT 1",
        [seq],
    )
    return analysis(ledger, row["id"]) if row else None


def chunks(ledger: Ledger, analysis_id: int) -> list[Row]:
    """Return first_frame, frame_count and sha256 of an analysis's chunks so far, in order."""
    return ledger.read(
        "SELECT first_frame, frame_count, sha256 FROM chunk WHERE analysis_id = ?"
        " ORDER BY first_frame",
        [analysis_id],
    )


def review(ledger: Ledger, review_id: int) -> Row | None:
    """Return one review with its measures and geometry decoded, or None."""
    row = ledger.read_one("SELECT * FROM review WHERE id = ?", [review_id])
    return _decode(row, ("measures", "geometry")) if row else None


def reviews(ledger: Ledger, seq: int) -> list[Row]:
    """Return every review of an instance, oldest first."""
    rows = ledger.read("SELECT * FROM review WHERE seq = ? ORDER BY id", [seq])
    return [_decode(row, ("measures", "geometry")) for row in rows]


def review_chunks(ledger: Ledger, review_id: int) -> list[Row]:
    """Return first_frame, frame_count and sha256 of the frames a review changed, in order."""
    return ledger.read(
        "SELECT first_frame, frame_count, sha256 FROM review_chunk WHERE review_id = ?"
        " ORDER BY first_frame",
        [review_id],
    )


def deliveries(ledger: Ledger, seq: int) -> list[Row]:
    """Return the outbox rows of an instance, oldest first."""
    return ledger.read(
        "SELECT o.review_id, o.destination, o.kind, o.state, o.tries, o.problem, o.queued_at,"
        " o.changed_at, o.sha256, o.size, r.result_sop_instance_uid"
        " FROM outbox o LEFT JOIN review r ON r.id = o.review_id WHERE o.seq = ? ORDER BY o.id",
        [seq],
    )


def history(ledger: Ledger, seq: int) -> list[Row]:
    """Return every change of state of an instance with its time, oldest first."""
    return ledger.read(
        "SELECT subject, state, detail, at FROM event WHERE seq = ? ORDER BY id", [seq]
    )


def _decode(row: Row, names: tuple[str, ...]) -> Row:
    decoded: dict[str, Any] = {name: json.loads(row[name]) if row[name] else None for name in names}
    return {**row, **decoded}
