"""Reads for the page and for `echocart status`: what is here, in what state, decided how, delivered where."""

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from appliance.ledger import identity
from appliance.ledger.connection import Ledger, Row
from appliance.ledger.current import in_force, newest, view_id

# What stands is named by its id. Studies are looked at once, not once for each of their loops:
# the list is read again at every change, whatever the catalogue has grown to.
_LOOPS = f"""
WITH wanted AS (SELECT i.* FROM instance i {{which}}),
mixed AS MATERIALIZED (
  SELECT c.study_instance_uid AS study, json_group_array(DISTINCT json_array(
    p.patient_id, p.patient_name, p.patient_birth_date, p.seq = c.seq)) AS versions
  {identity.VERSIONS} AND c.study_instance_uid IN (SELECT study_instance_uid FROM wanted)
  GROUP BY c.study_instance_uid)
SELECT i.*,
  i.seq = {newest("i")} AS current,
  coalesce(mixed.versions, '[]') AS versions,
  (SELECT max(id) FROM analysis WHERE seq = i.seq AND state = 'sealed') AS analysis_id,
  {in_force("i")} AS review_id,
  (SELECT max(id) FROM review WHERE seq = i.seq) AS newest_review,
  (SELECT max(id) FROM expert WHERE seq = i.seq) AS expert_id,
  (SELECT max(id) FROM identity WHERE study_instance_uid = mixed.study) AS identity_id,
  {view_id("i")} AS view_id
FROM wanted i LEFT JOIN mixed ON mixed.study = i.study_instance_uid
ORDER BY i.seq
"""
_FLOOR = "coalesce((SELECT seq FROM instance ORDER BY seq DESC LIMIT 1 OFFSET :count), 0)"
_JSON = ("measures", "quality", "timings", "geometry", "timing", "calibration", "labels")


def version(ledger: Ledger) -> int:
    """Return a number that grows with every change of state; what the page polls."""
    row = ledger.read_one("SELECT coalesce(max(id), 0) AS version FROM event")
    assert row is not None
    return int(row["version"])


def loops(ledger: Ledger, limit: int = 1000) -> list[Row]:
    """Return the newest instances, newest first, each as `study` gives it."""
    which = "ORDER BY i.seq DESC LIMIT ?"
    return _complete(ledger, ledger.read(_LOOPS.format(which=which), [limit]))[::-1]


def changed(ledger: Ledger, since: int, newest_first: int) -> list[Row]:
    """Return the loops of every study in which something has changed, newest first.

    Parameters
    ----------
    ledger
        The box's.
    since
        `version` of the time from which on changes count.
    newest_first
        Only of the so many newest instances.
    """
    which = f"""WHERE i.seq IN (
      WITH news AS (SELECT DISTINCT seq FROM event WHERE id > :since),
        touched AS (SELECT study_instance_uid AS study, sop_instance_uid AS uid FROM instance
          WHERE seq IN (SELECT seq FROM news))
      SELECT seq FROM news
      UNION SELECT seq FROM instance WHERE sop_instance_uid IN (SELECT uid FROM touched)
      UNION SELECT seq FROM instance
        WHERE study_instance_uid IN (SELECT study FROM touched WHERE study != ''))
      AND i.seq > {_FLOOR}"""
    wanted = {"since": since, "count": newest_first}
    return _complete(ledger, ledger.read(_LOOPS.format(which=which), wanted))[::-1]


def floor(ledger: Ledger, newest_first: int) -> int:
    """Return the `seq` that the so many newest instances lie above."""
    row = ledger.read_one(f"SELECT {_FLOOR} AS floor", {"count": newest_first})
    return int(row["floor"]) if row else 0


def found(ledger: Ledger, words: Sequence[str], limit: int) -> list[Row]:
    """Return the newest loops whose patient's name or ID holds every word, newest first."""
    like = "(i.patient_name LIKE ? ESCAPE '!' OR i.patient_id LIKE ? ESCAPE '!')"
    which = f"WHERE {' AND '.join([like] * len(words))} ORDER BY i.seq DESC LIMIT ?"
    parts = [re.sub(r"([!%_])", r"!\1", word) for word in words for _ in "12"]
    wanted = [*(f"%{part}%" for part in parts), limit]
    return _complete(ledger, ledger.read(_LOOPS.format(which=which), wanted))[::-1]


def these(ledger: Ledger, seqs: Sequence[int]) -> list[Row]:
    """Return the instances of these numbers in their order, each as `study` gives it."""
    which = "WHERE i.seq IN (SELECT value FROM json_each(?))"
    rows = _complete(ledger, ledger.read(_LOOPS.format(which=which), [json.dumps(list(seqs))]))
    there = {row["seq"]: row for row in rows}
    return [there[seq] for seq in seqs if seq in there]


def loop(ledger: Ledger, seq: int) -> Row | None:
    """Return one instance, or None.

    Returns
    -------
    dict
        The columns of `instance`; `current` (False when the UID came again with other
        content); `patients` (how many its study tells of, replaced objects included), `told`
        (that in words, "" for one); `analysis`, `review` and `view` in force or None; `expert`
        (who asked for one, while nobody has decided since) or None; `identity` (who has said
        whose study of several patients it is) or None; `deliveries` of every review.
    """
    found = _complete(ledger, ledger.read(_LOOPS.format(which="WHERE i.seq = ?"), [seq]))
    for row in found:
        row["analysis"] = row["analysis"] and analysis(ledger, row["analysis"]["id"])
    return found[0] if found else None


def study(ledger: Ledger, study_instance_uid: str) -> list[Row]:
    """Return the current instances of a study in the order of their arrival.

    Each as `loop` gives it, but without its analysis's `per_frame`: for a list that is far the
    most to read.
    """
    which = "WHERE i.study_instance_uid = ?"
    rows = ledger.read(_LOOPS.format(which=which), [study_instance_uid])
    return _complete(ledger, [row for row in rows if row["current"]])


def _complete(ledger: Ledger, rows: list[Row]) -> list[Row]:
    """Add what stands for each row; one query for each table, however many rows."""
    analyses = _named(ledger, "analysis", [row.pop("analysis_id") for row in rows], _JSON)
    decided = _named(
        ledger, "review", [row.pop("review_id") for row in rows], ("measures", "geometry")
    )
    views = _named(ledger, "view", [row.pop("view_id") for row in rows], ("figures",))
    asked = _named(ledger, "expert", [row.pop("expert_id") for row in rows], ())
    said = _named(ledger, "identity", [row.pop("identity_id") for row in rows], ())
    delivered = _deliveries(ledger, [row["seq"] for row in rows])
    question = cache(lambda versions: identity.question(json.loads(versions)))
    columns = zip(rows, analyses, decided, views, asked, said, strict=True)
    for row, made, review, shows, expert, whose in columns:
        of = question(row.pop("versions"))
        newest_review = row.pop("newest_review") or 0
        if made:
            del made["per_frame"]
        row |= {
            "current": bool(row["current"]),
            "analysis": made,
            "review": review,
            "view": shows,
            "expert": expert if expert and expert["after"] == newest_review else None,
            "patients": len(of.people),
            "told": of.told,
            "identity": identity.in_force(whose, of.people),
            "deliveries": delivered[row["seq"]],
        }
    return rows


def _named(
    ledger: Ledger, table: str, ids: list[int | None], structured: tuple[str, ...]
) -> list[Row | None]:
    """Return the rows with these ids, in their order, with structured columns decoded."""
    sql = f"SELECT * FROM {table} WHERE id IN (SELECT value FROM json_each(?))"
    loads = cache(json.loads)  # labels and geometry are the same in loop after loop
    found = {}
    for row in ledger.read(sql, [json.dumps(ids)]):
        found[row["id"]] = row | {n: loads(row[n]) if row[n] else None for n in structured}
    return [found.get(number) if number else None for number in ids]


def analysis(ledger: Ledger, analysis_id: int) -> Row | None:
    """Return one analysis with its structured columns decoded, or None."""
    row = ledger.read_one("SELECT * FROM analysis WHERE id = ?", [analysis_id])
    return _decode(row, (*_JSON, "per_frame")) if row else None


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
    """Return first_frame, frame_count, sha256 and certainty_sha256 of the chunks so far, in order."""
    return ledger.read(
        "SELECT first_frame, frame_count, sha256, certainty_sha256 FROM chunk WHERE analysis_id = ?"
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
    return _deliveries(ledger, [seq])[seq]


def _deliveries(ledger: Ledger, seqs: list[int]) -> dict[int, list[Row]]:
    rows = ledger.read(
        "SELECT o.seq, o.review_id, o.destination, o.kind, o.state, o.tries, o.problem,"
        " o.queued_at, o.changed_at, o.sha256, o.size, r.result_sop_instance_uid"
        " FROM outbox o LEFT JOIN review r ON r.id = o.review_id"
        " WHERE o.seq IN (SELECT value FROM json_each(?)) ORDER BY o.id",
        [json.dumps(seqs)],
    )
    found: dict[int, list[Row]] = {seq: [] for seq in seqs}
    for row in rows:
        found[row.pop("seq")].append(row)
    return found


def history(ledger: Ledger, seq: int) -> list[Row]:
    """Return every change of state of an instance with its time, oldest first."""
    return ledger.read(
        "SELECT subject, state, detail, at FROM event WHERE seq = ? ORDER BY id", [seq]
    )


def _decode(row: Row, names: tuple[str, ...]) -> Row:
    decoded: dict[str, Any] = {name: json.loads(row[name]) if row[name] else None for name in names}
    return {**row, **decoded}
