"""Corrections not saved yet: what a person drew, kept on the box until it is decided on.

The only rows of a review that are changed and deleted: nothing was said with them yet.
"""

from collections.abc import Callable

from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row

_OVERTAKEN = "SELECT 1 FROM review WHERE seq = ? AND reviewer = ? AND id > ?"
_UPSERT = """
INSERT INTO draft (seq, reviewer, analysis_sha256, content, at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (seq, reviewer) DO UPDATE SET
  analysis_sha256 = excluded.analysis_sha256, content = excluded.content, at = excluded.at
"""


def keep(
    ledger: Ledger,
    seq: int,
    reviewer: str,
    *,
    analysis_sha256: str,
    content: Callable[[Row | None], str],
    seen: int,
) -> str | None:
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
        Gives what is to be kept, from what is kept until now (as `of` returns it); "" keeps
        nothing. Called in the transaction: nobody writes in between. Holds no name.
    seen
        Id of the newest review on the screen, 0 for none. A draft on its way while its drawer
        decided is not kept: it would rise again after the decision.

    Returns
    -------
    str or None
        What is kept now; None for a draft that its drawer's own decision has overtaken.
    """
    with ledger.transaction() as db:
        if db.conn.execute(_OVERTAKEN, [seq, reviewer, seen]).fetchone():
            return None
        drawn = content(of(ledger, seq, reviewer))
        if drawn:
            db.conn.execute(_UPSERT, [seq, reviewer, analysis_sha256, drawn, utc_now()])
        else:
            db.conn.execute("DELETE FROM draft WHERE seq = ? AND reviewer = ?", [seq, reviewer])
    return drawn


def of(ledger: Ledger, seq: int, reviewer: str) -> Row | None:
    """Return analysis_sha256, content and time of what somebody drew on a loop, or None."""
    return ledger.read_one(
        "SELECT analysis_sha256, content, at FROM draft WHERE seq = ? AND reviewer = ?",
        [seq, reviewer],
    )
