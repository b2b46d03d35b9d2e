"""What drift is told from: figures of loops and reviews, and what each day's look found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.current import in_force, newest

DRAWN, REFUSED = "drawn", "refused"
_NEWEST = 2000  # objects among which undecided loops are looked for

_LOOPS = (
    "SELECT d.id, d.seq, d.outcome, d.day, d.scanner, d.figures, coalesce(nullif("
    "i.study_instance_uid, ''), 'alone-' || i.seq) AS study"
    " FROM drift_loop d JOIN instance i ON i.seq = d.seq WHERE d.model = ?"
)
# A decision that was taken back, or replaced by a later one, counts no more.
_REVIEWS = (
    "SELECT d.review_id AS id, d.seq, d.decision, d.day, d.size, coalesce(nullif("
    "i.study_instance_uid, ''), 'alone-' || i.seq) AS study"
    " FROM drift_review d JOIN instance i ON i.seq = d.seq"
    f" WHERE d.model = ? AND d.review_id = {in_force('d')}"
)


@dataclass(frozen=True)
class Found:
    """What a look found of one feature.

    Attributes
    ----------
    feature
        As `appliance.drift.features` names it.
    span
        "day" or "weeks".
    source
        Of the reference: "model" or "box".
    studies, reference
        How many there were, and the reference's; too few of either, and nothing was compared.
    distance, threshold
        Kolmogorov-Smirnov distance, and the least one that counts; None where nothing was compared.
    mean, reference_mean
        Of the values; None without any.
    differs
        Whether the distance counts.
    """

    feature: str
    span: str
    source: str
    studies: int
    reference: int
    distance: float | None
    threshold: float | None
    mean: float | None
    reference_mean: float | None
    differs: bool


def note(
    ledger: Ledger,
    seq: int,
    model: str,
    outcome: str,
    day: str,
    scanner: str,
    figures: Mapping[str, float],
) -> None:
    """Write down the figures of a loop that a model's gates have judged."""
    row = {"seq": seq, "model": model, "outcome": outcome, "day": day, "scanner": scanner}
    with ledger.transaction() as db:
        insert(db, "drift_loop", {**row, "figures": json.dumps(figures)})


def loops(ledger: Ledger, model: str, since: str = "", first: int = 0) -> list[Row]:
    """Return the loops of a model, oldest first: of the days from `since` on, or the `first` ones.

    Returns
    -------
    list of dict
        id, seq, outcome, day, scanner, figures (dict), study (which loops belong together).
    """
    if first:
        rows = ledger.read(f"{_LOOPS} ORDER BY d.id LIMIT ?", [model, first])
    else:
        rows = ledger.read(f"{_LOOPS} AND d.day >= ? ORDER BY d.id", [model, since])
    return [{**row, "figures": json.loads(row["figures"])} for row in rows]


def reviews(ledger: Ledger, model: str, since: str = "", first: int = 0) -> list[Row]:
    """Return the reviews in force of what a model drew, as `loops`: decision, day, size, study."""
    if first:
        return ledger.read(f"{_REVIEWS} ORDER BY d.review_id LIMIT ?", [model, first])
    return ledger.read(f"{_REVIEWS} AND d.day >= ? ORDER BY d.review_id", [model, since])


def unseen_review(ledger: Ledger) -> Row | None:
    """Return the oldest review whose figures aren't written down yet, with its model; or None."""
    return ledger.read_one(
        "SELECT r.id, r.seq, r.decision, r.analysis_id, r.at,"
        " a.model_name || '-' || a.model_version AS model"
        " FROM review r JOIN analysis a ON a.id = r.analysis_id"
        " WHERE r.id > (SELECT coalesce(max(review_id), 0) FROM drift_review) ORDER BY r.id LIMIT 1"
    )


def note_review(ledger: Ledger, review: Row, day: str, size: float | None) -> None:
    """Write down the figures of a review that `unseen_review` has given."""
    row = {name: review[name] for name in ("seq", "model", "decision")}
    with ledger.transaction() as db:
        insert(db, "drift_review", {"review_id": review["id"], **row, "day": day, "size": size})


def corrected_frames(ledger: Ledger, review_id: int) -> list[int]:
    """Return the frames (from 0) that a correction drew anew."""
    rows = ledger.read(
        "SELECT first_frame, frame_count FROM review_chunk WHERE review_id = ?", [review_id]
    )
    return sorted(
        {
            frame
            for r in rows
            for frame in range(r["first_frame"], r["first_frame"] + r["frame_count"])
        }
    )


def undecided(ledger: Ledger) -> list[Row]:
    """Return the newest loops with masks on which nobody has decided, newest first.

    Returns
    -------
    list of dict
        seq, beats (each with its ef), scanner and figures as the model noted them last; "" and {}
        for loops of an earlier release.
    """
    rows = ledger.read(
        "SELECT i.seq, coalesce(json_extract(a.measures, '$.beats'), '[]') AS beats,"
        " coalesce(d.scanner, '') AS scanner, coalesce(d.figures, '{}') AS figures"
        " FROM (SELECT * FROM instance ORDER BY seq DESC LIMIT ?) i"
        " JOIN analysis a ON a.id ="
        "   (SELECT max(id) FROM analysis WHERE seq = i.seq AND state = 'sealed')"
        " LEFT JOIN drift_loop d ON d.id = (SELECT max(id) FROM drift_loop WHERE seq = i.seq)"
        f" WHERE i.state = 'analysed' AND i.purged_at = '' AND i.seq = {newest('i')}"
        f" AND {in_force('i')} IS NULL ORDER BY i.seq DESC",
        [_NEWEST],
    )
    read = ("beats", "figures")
    return [{**row, **{name: json.loads(row[name]) for name in read}} for row in rows]


def scanners(ledger: Ledger, limit: int) -> dict[str, int]:
    """Return how many of the newest loops each scanner (maker, model, software) made."""
    rows = ledger.read(
        "SELECT scanner, count(*) AS n FROM"
        " (SELECT scanner FROM drift_loop ORDER BY id DESC LIMIT ?) GROUP BY scanner",
        [limit],
    )
    return {row["scanner"]: row["n"] for row in rows}


def models(ledger: Ledger) -> list[str]:
    """Return the models that have figures."""
    return [r["model"] for r in ledger.read("SELECT DISTINCT model FROM drift_loop ORDER BY model")]


def days(ledger: Ledger, model: str, before: str, since: str) -> list[str]:
    """Return the days from `since` on and before another that have figures and were never looked at."""
    rows = ledger.read(
        "SELECT day FROM drift_loop WHERE model = :model AND day >= :since AND day < :before"
        " UNION SELECT day FROM drift_review WHERE model = :model AND day >= :since"
        " AND day < :before EXCEPT SELECT day FROM drift_day WHERE model = :model ORDER BY 1",
        {"model": model, "before": before, "since": since},
    )
    return [row["day"] for row in rows]


def looked(ledger: Ledger, model: str, day: str, found: Sequence[Found]) -> None:
    """Write down what a day's look found; a day is looked at once."""
    with ledger.transaction() as db:
        known = db.conn.execute(
            "SELECT 1 FROM drift_day WHERE model = ? AND day = ? LIMIT 1", [model, day]
        ).fetchone()
        for item in found if known is None else ():
            row: dict[str, Any] = {**asdict(item), "differs": int(item.differs)}
            insert(db, "drift_day", {"model": model, "day": day, **row})


def found(ledger: Ledger, model: str, since: str) -> list[Row]:
    """Return what was found of a model on the days from `since` on, oldest first."""
    return ledger.read(
        "SELECT * FROM drift_day WHERE model = ? AND day >= ? ORDER BY day, id", [model, since]
    )
