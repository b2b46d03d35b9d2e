"""Tells carts which objects the box answers for, over a new association, until they take it.

PS3.4 J.3.3: the report comes when it comes; carts that are switched off for the night get it in
the morning.
"""

import logging
from dataclasses import dataclass

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import build_context, build_role

from appliance import carts, dimse, tls
from appliance.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, report, verify
from appliance.config import Cart, Settings
from appliance.dimse import Peer
from appliance.errors import ApplianceError, DeliveryError
from appliance.ledger import Ledger, commitment
from appliance.ledger.commitment import Due, Outcome
from appliance.spool import Spool
from appliance.sync.courier import back_off

log = logging.getLogger("echocart.sync")

LEASE_S = 3600.0  # a night's objects on a slow disk are read again within it
_ANSWER_S = 30.0
_NO_ADDRESS_S = 3600.0  # nothing helps but a person; `carts allow` makes it due at once
_OPERATION = "report storage commitment"


class NoAddressError(DeliveryError):
    """Nobody has said where this cart takes its reports."""


@dataclass
class Reporter:
    """Delivers the reports of storage commitment, oldest first.

    Parameters
    ----------
    ledger, spool, settings
        The box's.
    """

    ledger: Ledger
    spool: Spool
    settings: Settings
    name: str = "carts"

    @property
    def owner(self) -> str:
        """What its leases are called."""
        return "sync:commitment"

    def recover(self) -> None:
        """Free its leases: what was cut short is taken up again."""
        commitment.recover(self.ledger, self.owner)

    def deliver_next(self) -> bool:
        """Try the oldest report that is due; False when there is none."""
        if not commitment.waits(self.ledger):
            return False
        due = commitment.claim(self.ledger, self.owner, LEASE_S)
        if due is None:
            return False
        try:
            self._deliver(due)
        except NoAddressError as problem:
            commitment.postpone(self.ledger, due, str(problem), _NO_ADDRESS_S)
        except ApplianceError as problem:
            log.warning("request %d for commitment: %s", due.id, problem)
            commitment.postpone(self.ledger, due, str(problem), back_off(due.tries))
        except Exception as problem:  # noqa: BLE001
            # One report must not stop the others; the text of an unknown error is not ours.
            words = f"an internal error ({type(problem).__name__})"
            log.error("request %d for commitment: %s", due.id, words)
            commitment.postpone(self.ledger, due, words, back_off(due.tries))
        return True

    def _deliver(self, due: Due) -> None:
        outcomes = self._verified(due)
        cart = carts.known(self.settings, self.ledger).find(due.calling_ae, due.peer)
        if cart is None or cart.commit_port is None:
            raise NoAddressError(
                _OPERATION,
                "the report waits: no address",
                f"Set it with: echocart carts allow {due.calling_ae}@{due.peer} --commit PORT",
            )
        self._send(due, cart, outcomes)
        commitment.reported(self.ledger, due)
        lost = sum(1 for item in outcomes if item.reason)
        log.info("request %d for commitment: reported, %d objects failed", due.id, lost)

    def _verified(self, due: Due) -> list[Outcome]:
        items = commitment.items(self.ledger, due.id)
        if due.state == "requested":
            items = verify(self.ledger, self.spool, items)
            commitment.verified(self.ledger, due, items)
        return items

    def _send(self, due: Due, cart: Cart, outcomes: list[Outcome]) -> None:
        called = cart.commit_ae or due.calling_ae
        peer = Peer(cart.commit_host or due.peer, cart.commit_port or 0, called, due.called_ae)
        ae = dimse.entity(peer.calling_ae, answer_s=_ANSWER_S)
        context = build_context(PUSH_MODEL, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
        secure = tls.client_context(self.settings.scp) if cart.tls else None
        roles = [build_role(UID(PUSH_MODEL), scp_role=True)]
        association = dimse.associate(ae, peer, [context], _OPERATION, roles, secure=secure)
        try:
            event_type, information = report(due.transaction_uid, outcomes)
            answer, _ = association.send_n_event_report(
                information, event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE
            )
        finally:
            if association.is_established:
                association.release()
        status = answer.get("Status")
        if status != 0:
            said = "nothing" if status is None else f"status 0x{status:04X}"
            subject = f"{called} at {peer.host}:{peer.port} answered {said}"
            hint = "It is asked again; have its service look at its commitment settings."
            raise DeliveryError(_OPERATION, subject, hint, retry=True)
