"""Which result goes next, and what happens when it can't: it is tried again, for ever.

A fault of one result postpones that result. A fault of a destination lets the whole destination
rest: a thousand results waiting for an unplugged stick cost one try at a time.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from appliance.errors import ApplianceError, DeliveryError
from appliance.ledger import Ledger, delivery
from appliance.ledger.delivery import Delivery
from appliance.sync.folder import Folder, Unreachable
from appliance.sync.seg import Part10

log = logging.getLogger("echocart.sync")

OWNER = "sync"
LEASE_S = 600.0  # a slow stick writes 1 MB/s; the longest loops give 100 MB
FIRST_BACK_OFF_S = 2.0
LONGEST_BACK_OFF_S = 300.0


def back_off(tries: int) -> float:
    """Return the seconds until the next try, after `tries` failed ones (from 1).

    Exponential with full jitter: what failed together doesn't come back together.
    """
    longest = min(LONGEST_BACK_OFF_S, FIRST_BACK_OFF_S * 2.0 ** min(tries - 1, 30))
    return random.uniform(0.0, longest)  # noqa: S311


@dataclass
class _Rest:
    """A destination that can't be used now: since how many tries, and until when."""

    failures: int = 0
    until: float = 0.0
    was_gone: bool = False


@dataclass
class Courier:
    """Delivers what the outbox holds, oldest first.

    Parameters
    ----------
    ledger
        The box's ledger.
    folders
        Destinations by name.
    build
        Makes the object of a delivery; the same one every time.
    """

    ledger: Ledger
    folders: Mapping[str, Folder]
    build: Callable[[Delivery], Part10]
    _rests: dict[str, _Rest] = field(default_factory=dict)

    def deliver_next(self) -> bool:
        """Try the oldest result that is due; False when there is none."""
        awake = [name for name, folder in self.folders.items() if self._is_awake(name, folder)]
        claimed = delivery.claim(self.ledger, OWNER, LEASE_S, awake) if awake else None
        if claimed is None:
            return False
        try:
            self._deliver(claimed)
        except Unreachable as problem:
            gone = self._let_rest(claimed.destination)
            # A folder that is gone is gone for every result: this one is due as soon as the
            # folder is back. One that is there may refuse only this result.
            self._postpone(claimed, str(problem), 0.0 if gone else back_off(claimed.tries))
        except ApplianceError as problem:
            self._postpone(claimed, str(problem), back_off(claimed.tries))
        except Exception as problem:  # noqa: BLE001
            # A fault of ours in one result must not stop the others. Its text may quote the
            # patient, so only its kind is told.
            kind = type(problem).__name__
            unknown = DeliveryError(
                "deliver a result",
                f"an internal error ({kind})",
                "Report it with the loop's number.",
            )
            self._postpone(claimed, str(unknown), back_off(claimed.tries))
        return True

    def _deliver(self, claimed: Delivery) -> None:
        folder = self.folders[claimed.destination]
        folder.check()  # nothing is built that can't leave
        result = self.build(claimed)
        folder.put(result)
        delivery.sent(self.ledger, claimed)
        sha256, size = folder.prove(result)
        delivery.proven(self.ledger, claimed, sha256, size)
        self._rests.pop(claimed.destination, None)
        log.info("instance %d: proven at %s", claimed.seq, claimed.destination)

    def _postpone(self, claimed: Delivery, problem: str, delay_s: float) -> None:
        log.warning("instance %d: %s", claimed.seq, problem)
        delivery.postpone(self.ledger, claimed, problem, delay_s)

    def _let_rest(self, name: str) -> bool:
        rest = self._rests.setdefault(name, _Rest())
        rest.failures += 1
        rest.until = time.monotonic() + back_off(rest.failures)
        rest.was_gone = not self.folders[name].is_there()
        return rest.was_gone

    def _is_awake(self, name: str, folder: Folder) -> bool:
        rest = self._rests.get(name)
        if rest is None or time.monotonic() >= rest.until:
            return True
        # Somebody plugged it in again and looks at the page: don't let them wait.
        return rest.was_gone and folder.is_there()
