"""Which object goes next, and what happens when it can't: it is tried again, for ever.

A fault of one object postpones that object. A fault of the destination lets the whole destination
rest: a thousand results waiting for an unplugged stick cost one try at a time. Each destination
has a courier of its own, so that a server that hangs holds up nobody else.
"""

import hashlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from appliance.errors import ApplianceError, DeliveryError
from appliance.ledger import Ledger, delivery
from appliance.ledger.delivery import Delivery
from appliance.sync.destinations import Absent, Destination, Proof, Unproven, Unreachable
from appliance.sync.outgoing import MustStay
from appliance.sync.seg import Part10

log = logging.getLogger("echocart.sync")

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
    """Whether the destination can be used now: since how many tries not, and until when."""

    failures: int = 0
    until: float = 0.0
    was_gone: bool = False


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
    """

    ledger: Ledger
    name: str
    destination: Destination
    objects: Callable[[Delivery], Sequence[Part10]]
    closes_after_s: float = 0.0
    _rest: _Rest = field(default_factory=_Rest)

    @property
    def owner(self) -> str:
        """What its leases are called."""
        return f"sync:{self.name}"

    def recover(self) -> None:
        """Free its leases: what was cut short is taken up again."""
        delivery.recover(self.ledger, self.owner)

    def deliver_next(self) -> bool:
        """Try the oldest object that is due; False when there is none."""
        claimed = self._claim() if self._is_awake() else None
        if claimed is None:
            return False
        try:
            self._deliver(claimed)
        except MustStay as problem:
            log.warning("instance %d: %s", claimed.seq, problem)
            delivery.refuse(self.ledger, claimed, problem.subject)
        except Unreachable as problem:
            gone = self._let_rest()
            # A destination that is gone is gone for every object: this one is due as soon as
            # it is back. One that is there may refuse only this object.
            self._postpone(claimed, str(problem), 0.0 if gone else back_off(claimed.tries))
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
        return delivery.claim(self.ledger, self.owner, LEASE_S, [self.name], self.closes_after_s)

    def _deliver(self, claimed: Delivery) -> None:
        self.destination.check()  # nothing is built that can't leave
        found = [self._hand_over(claimed, item) for item in self.objects(claimed)]
        self._rest = _Rest()
        gaps = [item.why for item in found if isinstance(item, Unproven)]
        if gaps:
            delivery.unproven(self.ledger, claimed, gaps[0])
            log.info("instance %d: %s sent to %s", claimed.seq, claimed.kind, self.name)
            return
        proof = _together([item for item in found if isinstance(item, Proof)])
        delivery.proven(self.ledger, claimed, proof.sha256, proof.size)
        log.info("instance %d: %s proven at %s", claimed.seq, claimed.kind, self.name)

    def _hand_over(self, claimed: Delivery, item: Part10) -> Proof | Unproven:
        if claimed.tries > 1 and (proof := self._arrived_before(item)):
            return proof
        self.destination.put(item)
        delivery.sent(self.ledger, claimed)
        return self.destination.prove(item)

    def _arrived_before(self, item: Part10) -> Proof | None:
        """Look before sending again: an earlier try may have been cut short after it arrived."""
        try:
            found = self.destination.prove(item)
        except Absent:
            return None
        return found if isinstance(found, Proof) else None

    def _postpone(self, claimed: Delivery, problem: str, delay_s: float) -> None:
        log.warning("instance %d: %s", claimed.seq, problem)
        delivery.postpone(self.ledger, claimed, problem, delay_s)

    def _let_rest(self) -> bool:
        self._rest.failures += 1
        self._rest.until = time.monotonic() + back_off(self._rest.failures)
        self._rest.was_gone = not self.destination.is_there()
        return self._rest.was_gone

    def _is_awake(self) -> bool:
        if time.monotonic() >= self._rest.until:
            return True
        # Somebody plugged it in again and looks at the page: don't let them wait.
        return self._rest.was_gone and self.destination.is_there()


def _together(proofs: Sequence[Proof]) -> Proof:
    """Return the proof of a delivery: its object's, or of several the hash of their hashes."""
    if len(proofs) == 1:
        return proofs[0]
    digest = hashlib.sha256("".join(proof.sha256 for proof in proofs).encode()).hexdigest()
    return Proof(digest, sum(proof.size for proof in proofs))
