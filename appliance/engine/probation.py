"""A released model that draws since lately is taken back when it does worse than the one before.

Looked at for its first loops, between two of them, each against the last loops of the model that
it replaced:

- the engine died twice while it loaded the model or drew with it;
- three loops more than in as long a time before couldn't be drawn;
- a larger share of loops comes more slowly than they play, shows nothing that it recognises, or
  isn't accepted: by ten points at least, and by Fisher's exact test (one-sided) at 0.001.

The test is asked with each look. For each of the three shares it takes less than one in a hundred
models back that are as good as the one before, over the whole probation; a test of ours holds that.
"""

import logging
import math
import time

from appliance.config import Settings
from appliance.ledger import Ledger, release, trial
from appliance.ledger.connection import Row
from appliance.releases import promotion

log = logging.getLogger("echocart.engine")

LOOPS = 200  # for which a promoted model is on probation, and of the one before that count
CRASHES, FAILED = 2, 3  # a loop that fails a third time would be set aside
LEAST = 5  # loops or decisions, before which shares tell nothing
WORSE = 0.1  # of the share, that a person would notice
LEVEL = 0.001
_LOOK_S = 10.0
_LAST = 1 << 62


class Probation:
    """Watches a promoted model.

    Parameters
    ----------
    ledger, settings
        The box's.
    """

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger, self._settings = ledger, settings
        self._looked = -_LOOK_S

    def begin(self) -> None:
        """At a start, before anything is loaded or freed: what ended the engine before counts."""
        how = trial.died(self._ledger)
        promoted = promotion.promoted_in_force(self._ledger, self._settings)
        if how and promoted:
            last = promoted[0]
            trial.fault(self._ledger, last["name"], last["sha256"], trial.CRASH, how)
            log.error("%s: %s", last["name"], how)
        self._look(promoted)

    def look(self) -> None:
        """Between two loops: take back what does worse."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            self._looked = now
            self._look(promotion.promoted_in_force(self._ledger, self._settings))

    def _look(self, promoted: list[Row]) -> None:
        for row in promoted:
            if why := against(self._ledger, row):
                again = promotion.take_back(self._ledger, self._settings, row["name"], why)
                log.error("%s is taken back: %s; %s draws again", row["name"], why, again)


def against(ledger: Ledger, row: Row) -> str:
    """Say what speaks against a promoted model; "" for nothing, and after its probation.

    Parameters
    ----------
    ledger
        The box's.
    row
        The step that promoted it.
    """
    name, before = row["name"], row["before"]
    since = release.mark(ledger, row["id"])
    if since is None:
        return ""
    late = trial.slow(ledger, name, since.analysis, _LAST, LOOPS)
    if late[1] >= LOOPS:
        return ""
    crashes = trial.faults(ledger, name, row["sha256"], trial.CRASH)
    if len(crashes) >= CRASHES:
        return f"{crashes[-1]['why']}, {len(crashes)} times"
    failed, earlier = trial.failed(ledger, since.event)
    if failed >= FAILED + earlier:
        return f"{failed} loops could not be drawn, {earlier} in as long a time before"
    shares = (
        (
            "slower than they play",
            late,
            trial.slow(ledger, before, 0, since.analysis, LOOPS),
        ),
        (
            "without anything recognised",
            trial.unrecognised(ledger, since.event, _LAST, LOOPS),
            trial.unrecognised(ledger, 0, since.event, LOOPS),
        ),
        (
            "not accepted",
            trial.not_accepted(ledger, name, since.review, _LAST, LOOPS),
            trial.not_accepted(ledger, before, 0, since.review, LOOPS),
        ),
    )
    for what, now, then in shares:
        if is_worse(now, then):
            return f"{now[0]} of {now[1]} loops {what}, {then[0]} of {then[1]} before"
    return ""


def is_worse(now: tuple[int, int], then: tuple[int, int]) -> bool:
    """Tell whether a share has grown, beyond chance and so that it matters.

    Parameters
    ----------
    now, then
        How many are bad, of how many.
    """
    if now[1] < LEAST or then[1] == 0:
        return False
    grown = now[0] / now[1] - then[0] / then[1]
    return grown >= WORSE and fisher(now, then) < LEVEL


def fisher(now: tuple[int, int], then: tuple[int, int]) -> float:
    """Return Fisher's exact probability, one-sided, that chance makes the first share so large.

    Examples
    --------
    >>> round(fisher((3, 4), (1, 4)), 4)
    0.2429
    """
    bad, all_bad = now[0], now[0] + then[0]
    whole = math.comb(now[1] + then[1], now[1])
    most = min(now[1], all_bad)
    good = now[1] + then[1] - all_bad
    ways = sum(
        math.comb(all_bad, count) * math.comb(good, now[1] - count)
        for count in range(bad, most + 1)
        if now[1] - count <= good
    )
    return ways / whole
