"""Whether reviews and users are what the audit's rows tell of them."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

from appliance.ledger.connection import Ledger, Row

_PIECE = 1000  # a reader that stays keeps the WAL from being folded
_USER_ROWS = "('add user', 'take user back', 'set roles', 'remove user')"


def canonical(value: Mapping[str, Any]) -> str:
    """Return one text for one value (keys sorted, no spaces), as RFC 8785 asks for plain values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_sha256(review: Row, chunks: Iterable[tuple[int, int, str]]) -> str:
    """Return what a review's row in the audit holds of its content.

    Its key and UIDs are random, so that nobody finds a PatientID by trying all.

    Parameters
    ----------
    review
        All columns. An empty one counts as absent: a column that a later release adds changes
        no hash.
    chunks
        (first frame, frame count, SHA-256) of each corrected chunk.

    Returns
    -------
    str
        SHA-256 in hexadecimal digits.
    """
    filled = {name: value for name, value in review.items() if value not in (None, "")}
    content = {"review": filled, "chunks": sorted(list(chunk) for chunk in chunks)}
    return sha256(canonical(content).encode()).hexdigest()


def stored_sha256(read: Callable[[str, list[int]], Iterable[Any]], number: int) -> str:
    """Return `content_sha256` of a review as it stands in the tables.

    Parameters
    ----------
    read
        Runs a query with its parameters (a connection's `execute`).
    number
        The review's id.
    """
    (review,) = read("SELECT * FROM review WHERE id = ?", [number])
    chunks = read(
        "SELECT first_frame, frame_count, sha256 FROM review_chunk WHERE review_id = ?", [number]
    )
    return content_sha256(dict(review), [tuple(chunk) for chunk in chunks])


class Told:
    """What the audit's rows tell of reviews, gathered while they are walked.

    Parameters
    ----------
    ledger
        The box's ledger. Reviews made after now need no row: the walk may end before theirs.

    Attributes
    ----------
    unhashed
        Reviews whose rows hold no hash of their content: they were made by an earlier release.
        Set by `problem`.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._newest = _number(ledger, "SELECT coalesce(max(id), 0) AS number FROM review")
        self._older = 0
        self._reviews: dict[int, Row] = {}
        self.unhashed = 0

    def begun(self, row: Row) -> None:
        """Note which reviews are older than the audit."""
        self._older = json.loads(row["detail"])["older_reviews"]

    def review(self, row: Row) -> None:
        """Note what a row tells of a review."""
        detail = json.loads(row["detail"])
        known = {"reviewer": row["who"], "loop": row["subject"], "content": detail.get("content")}
        known |= {"decision": detail["decision"], "analysis": detail["analysis"]}
        self._reviews[detail["review"]] = known

    def problem(self) -> str:
        """Tell the first review or user that differs from its row; "" when none does."""
        return self._problem_of_reviews() or _problem_of_users(self._ledger)

    def _problem_of_reviews(self) -> str:
        present = set[int]()
        self.unhashed = 0
        for review, chunks in _reviews(self._ledger):
            present.add(review["id"])
            known = self._reviews.get(review["id"])
            if known is None and self._older < review["id"] <= self._newest:
                return f"review {review['id']} of loop {review['seq']} has no row"
            if known is not None and _differs(known, review, chunks):
                return f"review {review['id']} of {known['loop']} was changed"
            self.unhashed += review["id"] <= self._newest and not (known and known["content"])
        # None was ever deleted, so their numbers have no gap.
        lost = sorted({*range(1, self._older + 1), *self._reviews} - present)
        if not lost:
            return ""
        known = self._reviews.get(lost[0])
        return f"review {lost[0]}{' of ' + known['loop'] if known else ''} is missing"


def _differs(known: Row, review: Row, chunks: list[tuple[int, int, str]]) -> bool:
    plain = {
        "reviewer": review["reviewer"],
        "loop": f"loop {review['seq']}",
        "decision": review["decision"],
        "analysis": review["analysis_sha256"],
    }
    if any(known[name] != value for name, value in plain.items()):
        return True
    return known["content"] not in (None, content_sha256(review, chunks))


def _reviews(ledger: Ledger) -> Iterable[tuple[Row, list[tuple[int, int, str]]]]:
    last = 0
    while rows := ledger.read(
        "SELECT * FROM review WHERE id > ? ORDER BY id LIMIT ?", [last, _PIECE]
    ):
        chunks = defaultdict[int, list[tuple[int, int, str]]](list)
        for chunk in ledger.read(
            "SELECT * FROM review_chunk WHERE review_id BETWEEN ? AND ?",
            [rows[0]["id"], rows[-1]["id"]],
        ):
            plain = (chunk["first_frame"], chunk["frame_count"], chunk["sha256"])
            chunks[chunk["review_id"]].append(plain)
        yield from ((row, chunks[row["id"]]) for row in rows)
        last = rows[-1]["id"]


def _problem_of_users(ledger: Ledger) -> str:
    # One statement sees one state: a change made meanwhile is in both tables or in neither.
    rows = ledger.read(
        f"WITH told AS (SELECT * FROM audit WHERE what IN {_USER_ROWS}),"
        " name AS (SELECT initials FROM user UNION SELECT subject FROM told)"
        " SELECT name.initials, user.id, user.roles, user.removed_at,"
        "  (SELECT what FROM told WHERE subject = name.initials ORDER BY id DESC LIMIT 1) AS what,"
        "  (SELECT detail FROM told WHERE subject = name.initials AND what <> 'remove user'"
        "   ORDER BY id DESC LIMIT 1) AS detail"
        " FROM name LEFT JOIN user USING (initials) ORDER BY name.initials"
    )
    return next(filter(None, map(_problem_of_user, rows)), "")


def _problem_of_user(row: Row) -> str:
    name = f"user {row['initials']}"
    if row["id"] is None:
        return f"{name} is missing"
    if row["detail"] is None:
        return f"{name} has no row"
    if json.loads(row["detail"])["roles"] != row["roles"]:
        return f"{name} has other roles than were given"
    if bool(row["removed_at"]) != (row["what"] == "remove user"):
        return f"{name} was {'removed' if row['removed_at'] else 'let in again'} without a row"
    return ""


def _number(ledger: Ledger, sql: str) -> int:
    row = ledger.read_one(sql)
    assert row is not None
    return int(row["number"])
