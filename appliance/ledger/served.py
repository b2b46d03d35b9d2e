"""What the box shows to other programs: current objects whose patient is not in doubt, and results.

Not served are objects that a newer one of their UID has replaced, quarantined ones, and those
whose study tells of several patients until somebody has said whose it is, or said another.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from appliance.ledger import identity
from appliance.ledger.connection import Ledger, Row
from appliance.ledger.current import in_force, newest

_STANDS = f"i.study_instance_uid != '' AND i.seq = {newest('i')} AND i.state != 'quarantined'"
_PIECE = 500  # rows looked at together: short readers

# Results of the decision in force that have left the box, under the number of their loop. What a
# result doesn't say itself is its loop's.
_RESULTS = f"""
SELECT r.*, i.seq FROM result_object r JOIN review v ON v.id = r.review_id
JOIN instance i ON i.seq = v.seq
WHERE i.study_instance_uid = ? AND {_STANDS} AND r.review_id = {in_force("i")}
AND EXISTS (SELECT 1 FROM outbox o WHERE o.review_id = r.review_id AND o.kind = r.kind
  AND o.state IN ('sent', 'proven', 'unproven'))
ORDER BY r.series_number, r.series_instance_uid, r.number, r.id
"""
# By what a search is narrowed, of objects and results alike.
_SEARCHED = """
(SELECT seq, study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid, modality,
  patient_id, patient_name FROM instance
 UNION ALL
 SELECT n.seq, n.study_instance_uid, r.series_instance_uid, r.sop_instance_uid, r.sop_class_uid,
  r.modality, n.patient_id, n.patient_name
 FROM result_object r JOIN review v ON v.id = r.review_id JOIN instance n ON n.seq = v.seq)
"""


def of_study(ledger: Ledger, study_instance_uid: str) -> list[Row]:
    """Return a study's instances that are served, by series and instance number.

    Rows of received objects, and of results: those have `is_result`, and the `seq` of their loop.
    """
    rows = ledger.read(
        f"SELECT i.* FROM instance i WHERE i.study_instance_uid = ? AND {_STANDS}"
        " ORDER BY i.series_number, i.series_instance_uid, i.instance_number, i.seq",
        [study_instance_uid],
    )
    return _of_one_patient(ledger, study_instance_uid, [*rows, *_results(ledger, rows)])


def _results(ledger: Ledger, rows: list[Row]) -> list[Row]:
    """The results of loops, shaped like received objects, with `is_result`."""
    loops = {row["seq"]: row for row in rows}
    if not loops:
        return []
    found = []
    for row in ledger.read(_RESULTS, [rows[0]["study_instance_uid"]]):
        own = {name: row[name] for name in _OWN}
        unknown = dict.fromkeys(_UNKNOWN)
        named = {"instance_number": row["number"], "kept_in": "", "is_result": True}
        found.append({**loops[row["seq"]], **unknown, **own, **named})
    return found


_OWN = (
    *("sop_class_uid", "sop_instance_uid", "series_instance_uid", "transfer_syntax_uid"),
    *("modality", "series_number", "sha256", "size", "purged_at"),
)
# Of the loop, and of nothing that was made of it.
_UNKNOWN = (
    *("manufacturer", "manufacturer_model_name", "series_description", "number_of_frames"),
    *("rows", "columns"),
)


def _of_one_patient(ledger: Ledger, study_instance_uid: str, rows: list[Row]) -> list[Row]:
    versions = ledger.read(
        "SELECT DISTINCT p.patient_id, p.patient_name, p.patient_birth_date, p.seq = c.seq"
        f" {identity.VERSIONS} AND c.study_instance_uid = ?",
        [study_instance_uid],
    )
    asked = identity.question(row.values() for row in versions)
    if len(asked.people) < 2:
        return rows
    word = ledger.read_one(
        "SELECT * FROM identity WHERE study_instance_uid = ? ORDER BY id DESC LIMIT 1",
        [study_instance_uid],
    )
    standing = identity.in_force(word, asked.people)
    if standing is None:
        return []
    return [row for row in rows if not identity.excludes(standing, identity.of(row))]


def is_held_back(ledger: Ledger, study_instance_uid: str) -> bool:
    """Tell whether a study has objects here though none, or not all, of them is served."""
    row = ledger.read_one(
        f"SELECT count(*) AS n FROM instance i WHERE i.study_instance_uid = ? AND {_STANDS}",
        [study_instance_uid],
    )
    assert row is not None
    shown = [row for row in of_study(ledger, study_instance_uid) if "is_result" not in row]
    return int(row["n"]) > len(shown)


def studies(
    ledger: Ledger, conditions: Sequence[str] = (), parameters: Sequence[Any] = ()
) -> Iterator[str]:
    """Give the StudyInstanceUID of each study once, that with the newest object first.

    Parameters
    ----------
    ledger
        The box's ledger.
    conditions, parameters
        SQL on what `_SEARCHED` holds of objects and results, as `i`: at least one must fulfil all
        of them. A study that is given may hold none that is served.
    """
    seen, last = set[str](), 2**63 - 1
    narrowed = " AND ".join(["i.seq < ?", "i.study_instance_uid != ''", *conditions])
    while rows := ledger.read(
        f"SELECT i.seq, i.study_instance_uid AS study FROM {_SEARCHED} i WHERE {narrowed}"
        " ORDER BY i.seq DESC LIMIT ?",
        [last, *parameters, _PIECE],
    ):
        last = rows[-1]["seq"]
        for row in rows:
            if row["study"] not in seen:
                seen.add(row["study"])
                yield row["study"]
