"""Corrections not saved yet: what a person drew, kept on the box until it is decided on.

The only rows of a review that are changed and deleted: nothing was said with them yet.
"""

from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row

_UPSERT = """
INSERT INTO draft (seq, reviewer, analysis_sha256, content, at)
SELECT :seq, :reviewer, :analysis_sha256, :content, :at
WHERE NOT EXISTS (SELECT 1 FROM review WHERE seq = :seq AND reviewer = :reviewer AND id > :seen)
ON CONFLICT (seq, reviewer) DO UPDATE SET
  analysis_sha256 = excluded.analysis_sha256, content = excluded.content, at = excluded.at
"""


def keep(
    ledger: Ledger, seq: int, reviewer: str, *, analysis_sha256: str, content: str, seen: int
) -> None:
    """Keep what somebody has drawn on a loop, in the place of what was kept before.

    Parameters
    ----------
    ledger
        The box's.
    seq, reviewer
        Whose drawing on which loop.
    analysis_sha256
        Of the analysis it was drawn on.
    content
        As the page wants it back; holds no name.
    seen
        Id of the newest review on the screen, 0 for none. A draft on its way while its drawer
        decided is not kept: it would rise again after the decision.
    """
    row = {"seq": seq, "reviewer": reviewer, "analysis_sha256": analysis_sha256}
    with ledger.transaction() as db:
        db.conn.execute(_UPSERT, {**row, "content": content, "at": utc_now(), "seen": seen})


def of(ledger: Ledger, seq: int, reviewer: str) -> Row | None:
    """Return analysis_sha256, content and time of what somebody drew on a loop, or None."""
    return ledger.read_one(
        "SELECT analysis_sha256, content, at FROM draft WHERE seq = ? AND reviewer = ?",
        [seq, reviewer],
    )


def forget(ledger: Ledger, seq: int, reviewer: str) -> None:
    """Forget what somebody drew on a loop; nothing happens when there is nothing."""
    with ledger.transaction() as db:
        db.conn.execute("DELETE FROM draft WHERE seq = ? AND reviewer = ?", [seq, reviewer])
