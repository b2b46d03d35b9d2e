"""How many associations may be open: in all, of one address, of one cart; so none locks others out."""

import threading
from weakref import ReferenceType, ref

from pynetdicom.association import Association

from appliance.config import Scp


class Places:
    """Counts the associations of all ports.

    Parameters
    ----------
    limits
        The three numbers.
    """

    def __init__(self, limits: Scp) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        # Weakly: one that died by an exception must let its half-received file go.
        self._taken: list[tuple[ReferenceType[Association], str, str]] = []

    def take(self, association: Association, peer: str, calling_ae: str) -> str:
        """Give a place to an association that is requested.

        Parameters
        ----------
        association
            Holds it until it ends.
        peer, calling_ae
            IP address and title of the caller; together, one cart.

        Returns
        -------
        str
            Why there is none; "" when it has one.
        """
        with self._lock:
            # Looked at rather than told: an association that ends in an unforeseen way can't
            # keep its place.
            self._taken = [one for one in self._taken if holds(one[0])]
            why = self._why_not(peer, calling_ae)
            if not why:
                self._taken.append((ref(association), peer, calling_ae))
            return why

    def count(self) -> int:
        """Return how many are taken."""
        with self._lock:
            return sum(holds(one[0]) for one in self._taken)

    def _why_not(self, peer: str, calling_ae: str) -> str:
        of_address = [title for _, address, title in self._taken if address == peer]
        for taken, most, whose in (
            (of_address.count(calling_ae), self._limits.associations_of_a_cart, "one cart"),
            (len(of_address), self._limits.associations_of_an_address, "one address"),
            (len(self._taken), self._limits.maximum_associations, "all callers"),
        ):
            if taken >= most:
                return f"{whose} had {most} associations open, the most at the same time"
        return ""


def holds(taken: "ReferenceType[Association]") -> bool:
    """Whether an association that was requested goes on."""
    association = taken()
    if association is None or not association.is_alive():
        return False
    ended = association.is_released or association.is_aborted or association.is_rejected
    return is_open(association) and not ended


def is_open(association: Association) -> bool:
    """Whether its connection is; the thread of one that closed early lives until its time-out."""
    connection = association.dul.socket
    return connection is not None and connection.socket is not None
