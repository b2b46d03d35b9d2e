"""What stands beside a loop: the other view of its study, earlier studies of its patient."""

import json
from collections.abc import Mapping
from typing import Any

from appliance.ledger import worklist
from appliance.ledger.connection import Ledger, Row
from appliance.ledger.current import in_force, newest
from appliance.views import APICAL, sure_of

_DATE = 8  # digits of a DA
_NEWEST = 60  # loops of earlier studies looked at

# Only what lay in the ledger before a review may go into its report: a delivery that is tried
# again sends the same object. Its loop had not been replaced by then either. One decided anew
# before the report first left is told by its own report, which is the newer one; what was in
# force when the first try began is asked at each.
_FIRST_TRY = "(SELECT newest_review + 1 FROM report_basis WHERE review_id = r.id)"
_OTHER_VIEW = f"""
SELECT p.id FROM review r
JOIN instance mine ON mine.seq = r.seq
JOIN instance i ON i.study_instance_uid = mine.study_instance_uid AND i.seq != mine.seq
JOIN review p ON p.id = {in_force("i", before="r.id")}
WHERE r.id = ? AND mine.study_instance_uid != ''
  AND p.decision IN ('accepted', 'corrected') AND p.view = ? AND p.patient_id = r.patient_id
  AND p.id = {in_force("i", before=f"coalesce({_FIRST_TRY}, 9e18)")}
  AND NOT EXISTS (
    SELECT 1 FROM instance n WHERE n.sop_instance_uid = i.sop_instance_uid
      AND n.seq > i.seq AND n.received_at < r.at
  )
ORDER BY p.id DESC LIMIT 1
"""
_MODEL_THEN = """
SELECT view, source, certainty FROM view
WHERE seq = ? AND source = 'model' AND at <= ? ORDER BY id DESC LIMIT 1
"""
# A PatientID is given anew at times: another date of birth is another person.
_EARLIER = f"""
SELECT i.seq, i.study_instance_uid, i.content_date_time, r.decision, r.reviewer, r.view,
  CASE r.decision WHEN 'corrected' THEN r.measures ELSE a.measures END AS measures
FROM instance i
JOIN review r ON r.id = {in_force("i")}
JOIN analysis a ON a.id = r.analysis_id
WHERE i.patient_id = :patient_id AND i.study_instance_uid != :study_instance_uid
  AND i.patient_id != '' AND i.seq = {newest("i")}
  AND r.decision IN ('accepted', 'corrected') AND r.patient_id = i.patient_id
  AND (i.patient_birth_date = :patient_birth_date
    OR i.patient_birth_date = '' OR :patient_birth_date = '')
ORDER BY r.id DESC LIMIT {_NEWEST}
"""


def other_view(ledger: Ledger, review_id: int) -> Row | None:
    """Return the accepted loop of the other apical view that a review stands beside, or None.

    The newest decision that came before this one, in the same study and for the same patient,
    if it still stood when this one's results first left.

    Returns
    -------
    dict
        `review`, `analysis` and `loop` as `worklist` gives them; `measures` in force.
    """
    mine = worklist.review(ledger, review_id)
    if mine is None or not _sure(ledger, mine):
        return None
    (wanted,) = (view for view in APICAL if view != mine["view"])
    found = ledger.read_one(_OTHER_VIEW, [review_id, wanted])
    review = worklist.review(ledger, found["id"]) if found else None
    if review is None or not _sure(ledger, review):
        return None
    analysis = worklist.analysis(ledger, review["analysis_id"])
    loop = worklist.loop(ledger, review["seq"])
    if analysis is None or loop is None:
        return None
    measures = review["measures"] or analysis["measures"]
    return {"review": review, "analysis": analysis, "loop": loop, "measures": measures}


def _sure(ledger: Ledger, review: Row) -> bool:
    """Whether the view that a review was about was sure then: the rule of the page."""
    if review["view_by"]:
        return sure_of({**review, "source": "person"}) != ""
    row = ledger.read_one(_MODEL_THEN, [review["seq"], review["at"]])
    return sure_of(row) != ""


def earlier(ledger: Ledger, loop: Mapping[str, Any], studies: int = 3) -> list[Row]:
    """Return what people accepted of this patient in earlier studies, the newest first.

    Parameters
    ----------
    ledger
        The box's.
    loop
        A row of `worklist.loop`.
    studies
        At most so many, one EF of each: the one decided last.

    Returns
    -------
    list of dict
        content_date_time as the machine wrote it, ef_percent, view, reviewer.
    """
    wanted = {name: loop[name] for name in _WANTED}
    found: dict[str, dict[str, Any]] = {}
    for row in ledger.read(_EARLIER, wanted):
        ef = json.loads(row["measures"]).get("ef_percent")
        if ef is not None and _came_before(row, loop):
            kept = {name: row[name] for name in ("content_date_time", "view", "reviewer")}
            found.setdefault(row["study_instance_uid"], {**kept, "ef_percent": ef})
    by_date = sorted(found.values(), key=lambda row: str(row["content_date_time"]), reverse=True)
    return by_date[:studies]


_WANTED = ("patient_id", "patient_birth_date", "study_instance_uid")


def _came_before(row: Row, loop: Mapping[str, Any]) -> bool:
    """By the days that the machines wrote; by order of arrival where one wrote none."""
    then, now = row["content_date_time"][:_DATE], loop["content_date_time"][:_DATE]
    if then and now and then != now:
        return bool(then < now)
    return bool(row["seq"] < loop["seq"])
