"""Corrections that must not leave unless a person has looked: what would leave of them.

The command line and the page show the same: what is let go is exactly what was looked at.
"""

from appliance.cine import open_cine
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, upstream, worklist
from appliance.scrub import Scrubbed, scrub
from appliance.spool import Spool

_OPERATION = "look at a correction"


def would_leave(ledger: Ledger, spool: Spool, seq: int) -> Scrubbed:
    """Return what would leave of a loop whose correction was refused.

    Parameters
    ----------
    ledger, spool
        The box's.
    seq
        The loop.

    Raises
    ------
    ApplianceError
        When nothing of it was refused, or its file was removed to make room.
    appliance.scrub.Refused
        When nothing of it could leave, whoever looked.
    CineError
        When it can't be read.
    """
    row = worklist.loop(ledger, seq)
    if row is None or not upstream.refused(ledger, seq):
        hint = "`echocart correction list` shows those that are kept back."
        raise ApplianceError(_OPERATION, f"no correction of loop {seq} is kept back", hint)
    if row["purged_at"]:
        hint = "Send the loop again from the machine, and decide anew."
        raise ApplianceError(_OPERATION, "the loop was removed to make room", hint)
    with open_cine(spool.object_path(row["sha256"])) as cine:
        return scrub(cine)
