"""What the box shows to other programs: current objects whose patient is not in doubt.

Not served are objects that a newer one of their UID has replaced, quarantined ones, and those
whose study tells of several patients until somebody has said whose it is, or said another.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from appliance.ledger import identity
from appliance.ledger.connection import Ledger, Row
from appliance.ledger.current import newest

_STANDS = f"i.study_instance_uid != '' AND i.seq = {newest('i')} AND i.state != 'quarantined'"
_PIECE = 500  # rows looked at together: short readers


def of_study(ledger: Ledger, study_instance_uid: str) -> list[Row]:
    """Return a study's instances that are served, by series and instance number."""
    rows = ledger.read(
        f"SELECT i.* FROM instance i WHERE i.study_instance_uid = ? AND {_STANDS}"
        " ORDER BY i.series_number, i.series_instance_uid, i.instance_number, i.seq",
        [study_instance_uid],
    )
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
    return int(row["n"]) > len(of_study(ledger, study_instance_uid))


def studies(
    ledger: Ledger, conditions: Sequence[str] = (), parameters: Sequence[Any] = ()
) -> Iterator[str]:
    """Give the StudyInstanceUID of each study once, that with the newest object first.

    Parameters
    ----------
    ledger
        The box's ledger.
    conditions, parameters
        SQL on the table `instance` as `i`: at least one object must fulfil all of them. A study
        that is given may hold none that is served.
    """
    seen, last = set[str](), 2**63 - 1
    narrowed = " AND ".join(["i.seq < ?", "i.study_instance_uid != ''", *conditions])
    while rows := ledger.read(
        f"SELECT i.seq, i.study_instance_uid AS study FROM instance i WHERE {narrowed}"
        " ORDER BY i.seq DESC LIMIT ?",
        [last, *parameters, _PIECE],
    ):
        last = rows[-1]["seq"]
        for row in rows:
            if row["study"] not in seen:
                seen.add(row["study"])
                yield row["study"]
