"""Which object goes next, and what happens when it can't: it is tried again, for ever.

A fault of one object postpones that object. A fault of the destination lets the whole destination
rest: a thousand results waiting for an unplugged stick cost one try at a time. Each destination
has couriers of its own, so that a server that hangs holds up nobody else.

The oldest goes first. Behind a backlog the newest decision would wait for hours, and somebody
looks for it at the PACS: every `OVERTAKES_S` its objects may go before all others.
"""

import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from appliance.errors import ApplianceError, DeliveryError
from appliance.ledger import Ledger, asked, delivery
from appliance.ledger import destination as states
from appliance.ledger.delivery import Delivery
from appliance.sync.destinations import (
    Absent,
    Awaited,
    Destination,
    NotTaken,
    Proof,
    Unproven,
    Unreachable,
)
from appliance.sync.outgoing import MustStay
from appliance.sync.seg import Part10

log = logging.getLogger("echocart.sync")

LEASE_S = 600.0  # a slow stick writes 1 MB/s; the longest loops give 100 MB
FIRST_BACK_OFF_S = 2.0
LONGEST_BACK_OFF_S = 300.0
OVERTAKES_S = 2.0  # twice within the 5 s that somebody may wait
_LONG_LOOK_S = 0.1  # looking through so many rows isn't done at each of the engine's commits
_IDLE_SHARE = 10.0  # but takes at most one part in so many of the time


def back_off(tries: int) -> float:
    """Return the seconds until the next try, after `tries` failed ones (from 1).

    Exponential with full jitter: what failed together doesn't come back together.
    """
    longest = min(LONGEST_BACK_OFF_S, FIRST_BACK_OFF_S * 2.0 ** min(tries - 1, 30))
    return random.uniform(0.0, longest)  # noqa: S311


@dataclass
class Shared:
    """What the couriers of one destination know together.

    Attributes
    ----------
    failures, until, was_gone
        Whether the destination can be used now: since how many tries not, until when it is left
        alone, and whether it didn't answer at all.
    ahead, ahead_at
        The loop whose objects are overtaking the others; when the last one had done so.
    """

    failures: int = 0
    until: float = 0.0
    was_gone: bool = False
    ahead: int | None = None
    ahead_at: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Courier:
    """Delivers what the outbox holds for one destination, oldest first.

    Parameters
    ----------
    ledger
        The box's ledger.
    name
        The destination's.
    destination
        Where it goes.
    objects
        Makes the objects of a delivery, in order; the same ones every time.
    closes_after_s
        Quiet seconds after which a study is closed.
    is_open
        Tells whether deliveries may begin now.
    longest_s
        Tells how many seconds more an object of so many bytes may take.
    number
        Which of the destination's couriers this is, from 0.
    shared
        What they know together.
    """

    ledger: Ledger
    name: str
    destination: Destination
    objects: Callable[[Delivery], Sequence[Part10]]
    closes_after_s: float = 0.0
    is_open: Callable[[], bool] = lambda: True
    longest_s: Callable[[int], float] = lambda size: 0.0
    number: int = 0
    shared: Shared = field(default_factory=Shared)
    _look_again: float = 0.0

    @property
    def owner(self) -> str:
        """What its leases are called."""
        return f"sync:{self.name}:{self.number}" if self.number else f"sync:{self.name}"

    def recover(self) -> None:
        """Free its leases: what was cut short is taken up again."""
        delivery.recover(self.ledger, self.owner)

    def deliver_next(self) -> bool:
        """Try the oldest object that is due; False when there is none."""
        claimed = self._claim() if self._is_awake() and self.is_open() else None
        if claimed is None:
            return False
        try:
            self._deliver(claimed)
        except MustStay as problem:
            log.warning("instance %d: %s", claimed.seq, problem)
            delivery.refuse(self.ledger, claimed, problem.subject)
        except Unreachable as problem:
            gone = self._let_rest(str(problem))
            # A destination that is gone is gone for every object: this one is due as soon as
            # it is back. One that is there may refuse only this object.
            self._postpone(claimed, str(problem), 0.0 if gone else back_off(claimed.tries))
        except NotTaken as problem:
            self._postpone(claimed, str(problem), back_off(claimed.tries), "permission")
        except ApplianceError as problem:
            self._postpone(claimed, str(problem), back_off(claimed.tries))
        except Exception as problem:  # noqa: BLE001
            # A fault of ours in one object must not stop the others. Its text may quote the
            # patient, so only its kind is told.
            kind = type(problem).__name__
            unknown = DeliveryError(
                "deliver a result",
                f"an internal error ({kind})",
                "Report it with the loop's number.",
            )
            self._postpone(claimed, str(unknown), back_off(claimed.tries))
        return True

    def _claim(self) -> Delivery | None:
        if time.monotonic() < self._look_again:
            return None
        began = time.monotonic()
        found = self._claim_fresh() or delivery.claim(
            self.ledger, self.owner, LEASE_S, [self.name], self.closes_after_s
        )
        took_s = time.monotonic() - began
        if found is None and took_s > _LONG_LOOK_S:
            self._look_again = time.monotonic() + _IDLE_SHARE * took_s
        return found

    def _claim_fresh(self) -> Delivery | None:
        """Lease what overtakes now, if it is time for that and there is something."""
        shared = self.shared
        with shared.lock:
            if shared.ahead is None and time.monotonic() - shared.ahead_at < OVERTAKES_S:
                return None
            found = delivery.claim_fresh(
                *(self.ledger, self.owner, LEASE_S, self.name, self.closes_after_s, shared.ahead)
            )
            shared.ahead = found.seq if found else None
            shared.ahead_at = time.monotonic()
        return found

    def _deliver(self, claimed: Delivery) -> None:
        self.destination.check()  # nothing is built that can't leave
        items = self.objects(claimed)
        left: list[Part10] = []  # has been handed over now
        found = [self._hand_over(claimed, item, left) for item in items]
        self._wake()
        gaps = [item.why for item in found if isinstance(item, Unproven)]
        whole = _together([Proof(item.sha256, item.size) for item in items])
        awaited = [item for item in found if isinstance(item, Awaited)]
        if gaps:
            delivery.unproven(self.ledger, claimed, gaps[0])
            log.info("instance %d: %s sent to %s", claimed.seq, claimed.kind, self.name)
        elif awaited:
            objects = [(item.SOPClassUID, item.SOPInstanceUID) for item in awaited]
            asked.await_report(self.ledger, claimed, objects, whole.sha256, whole.size)
            log.info("instance %d: %s sent to %s", claimed.seq, claimed.kind, self.name)
        else:
            delivery.proven(self.ledger, claimed, whole.sha256, whole.size)
            log.info("instance %d: %s proven at %s", claimed.seq, claimed.kind, self.name)

    def _hand_over(
        self, claimed: Delivery, item: Part10, left: list[Part10]
    ) -> Proof | Unproven | Awaited:
        if (more_s := self.longest_s(item.size)) > 0:
            delivery.renew(self.ledger, claimed, LEASE_S + more_s)
        if claimed.tries > 1 and (proof := self._arrived_before(item)):
            return proof
        self.destination.put(item)
        if left:
            delivery.must_hold(self.ledger.db, claimed)  # the state says it already
        else:
            delivery.sent(self.ledger, claimed)
        left.append(item)
        return self.destination.prove(item)

    def _arrived_before(self, item: Part10) -> Proof | None:
        """Look before sending again: an earlier try may have been cut short after it arrived."""
        try:
            found = self.destination.prove(item)
        except Absent:
            return None
        return found if isinstance(found, Proof) else None

    def _postpone(self, claimed: Delivery, problem: str, delay_s: float, awaits: str = "") -> None:
        log.warning("instance %d: %s", claimed.seq, problem)
        delivery.postpone(self.ledger, claimed, problem, delay_s, awaits)

    def _wake(self) -> None:
        with self.shared.lock:
            did_rest = self.shared.failures > 0
            self.shared.failures, self.shared.until, self.shared.was_gone = 0, 0.0, False
        if did_rest:
            states.works(self.ledger, self.name)

    def _let_rest(self, problem: str) -> bool:
        gone = not self.destination.is_there()
        with self.shared.lock:
            self.shared.failures += 1
            rest_s = back_off(self.shared.failures)
            self.shared.until, self.shared.was_gone = time.monotonic() + rest_s, gone
        states.rests(self.ledger, self.name, problem, rest_s)
        return gone

    def _is_awake(self) -> bool:
        if time.monotonic() >= self.shared.until:
            return True
        # Somebody plugged it in again and looks at the page: don't let them wait.
        return self.shared.was_gone and self.destination.is_there()


def _together(proofs: Sequence[Proof]) -> Proof:
    """Return the proof of a delivery: its object's, or of several the hash of their hashes."""
    if len(proofs) == 1:
        return proofs[0]
    digest = hashlib.sha256("".join(proof.sha256 for proof in proofs).encode()).hexdigest()
    return Proof(digest, sum(proof.size for proof in proofs))
