"""The echo machines a box knows: what the TOML file says, and over it what was paired since."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from appliance.config import Cart, DicomPeer, Settings
from appliance.ledger import Ledger, caller, cart
from appliance.ledger.connection import Row

NOT_PAIRED = "no cart is paired"  # how the reason begins that pairing would mend
CALLING_AE_NOT_RECOGNIZED = 3  # PS3.8 9.3.4, source 1: DICOM UL service-user
CALLED_AE_NOT_RECOGNIZED = 7


@dataclass(frozen=True)
class Call:
    """What an association request says of both ends, titles stripped (PS3.8 9.3.2)."""

    calling_ae: str
    called_ae: str
    peer: str
    tls: bool


@dataclass(frozen=True)
class Admission:
    """What a caller may do.

    Attributes
    ----------
    why
        Why it is refused; "" when it is let in.
    diagnostic
        For the A-ASSOCIATE-RJ, result 1 (permanent), source 1.
    cart
        Which one it is; None while anybody may send, and for a destination.
    reports_only
        It may verify and send N-EVENT-REPORT, and store nothing.
    """

    why: str = ""
    diagnostic: int = 0
    cart: Cart | None = None
    reports_only: bool = False


@dataclass(frozen=True)
class Carts:
    """Who may send.

    Attributes
    ----------
    paired
        Known echo machines.
    closed
        Whether anybody else is refused: from the first pairing on, also after the last one
        was taken back. A box that never had any takes what anybody sends.
    """

    paired: tuple[Cart, ...]
    closed: bool

    def find(self, calling_ae: str, peer: str) -> Cart | None:
        """Return the cart with this title at this address; the narrowest network wins."""
        found = [item for item in self.paired if _answers_to(item, calling_ae, peer)]
        return max(found, key=_narrowness, default=None)

    def known_title(self, calling_ae: str) -> bool:
        """Tell whether a cart has this title, at whatever address."""
        return any(calling_ae in _titles(item) for item in self.paired)


def known(settings: Settings, ledger: Ledger) -> Carts:
    """Return the carts of the TOML file, and over them what the ledger says."""
    decisions = cart.decided(ledger)
    paired = {(item.calling_ae, item.address): item for item in settings.cart}
    for row in decisions:
        key = (row["calling_ae"], row["address"])
        paired.pop(key, None)
        if row["allowed"]:
            # A later release may have written fields that this one doesn't know.
            fields = {
                name: row["value"][name] for name in Cart.model_fields if name in row["value"]
            }
            paired[key] = Cart.model_validate(fields)
    return Carts(tuple(paired.values()), bool(settings.cart or decisions))


def admit(settings: Settings, carts: Carts, call: Call) -> Admission:
    """Decide whether a caller may have an association, and for what.

    Notes
    -----
    A destination of the TOML file may always verify and report back (N-EVENT-REPORT), under
    its own title; once the list is closed it may do no more than that.
    """
    if is_the_box_itself(settings, call):
        return Admission()
    item = carts.find(call.calling_ae, call.peer)
    reports = item is None and _is_destination(settings, call.calling_ae)
    if item is None and carts.closed and not reports:
        where = "from this address" if carts.known_title(call.calling_ae) else "with this title"
        return Admission(f"{NOT_PAIRED} {where}", CALLING_AE_NOT_RECOGNIZED)
    if item and item.tls and not call.tls:
        return Admission("this cart must use the TLS port", CALLING_AE_NOT_RECOGNIZED)
    own = {settings.box.ae_title, *settings.scp.also_called}
    if call.called_ae not in own and "*" not in own:
        words = f"it calls {call.called_ae}; this box is {settings.box.ae_title}"
        return Admission(words, CALLED_AE_NOT_RECOGNIZED)
    return Admission(cart=item, reports_only=reports and carts.closed)


def refused(settings: Settings, ledger: Ledger) -> list[Row]:
    """Return the callers that were refused and would be again, the latest first.

    Rows of `ledger.caller.callers`: what a person may want to allow.
    """
    carts = known(settings, ledger)
    rows = [row for row in caller.callers(ledger) if row["rejected"]]
    return [row for row in rows if _again(settings, carts, row)]


def _again(settings: Settings, carts: Carts, row: Row) -> str:
    call = Call(row["calling_ae"], row["called_ae"], row["peer"], bool(row["tls"]))
    return admit(settings, carts, call).why


def is_the_box_itself(settings: Settings, call: Call) -> bool:
    """Tell whether the box calls itself: the page hands over imported files, the receiver tests itself.

    From another machine nobody has its address.
    """
    here = ("127.0.0.1", "::1", plain_address(settings.scp.host))
    return call.calling_ae == call.called_ae == settings.box.ae_title and call.peer in here


def _is_destination(settings: Settings, calling_ae: str) -> bool:
    return any(
        isinstance(item, DicomPeer) and calling_ae in (item.called_ae, item.commit_ae)
        for item in settings.destination
    )


def plain_address(peer: str) -> str:
    """Return an IP address as people write it: an IPv4 one that came over IPv6 as IPv4."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    return str(getattr(address, "ipv4_mapped", None) or address)


def _answers_to(item: Cart, calling_ae: str, peer: str) -> bool:
    if calling_ae not in _titles(item):
        return False
    if not item.address:
        return True
    try:
        return ip_address(plain_address(peer)) in ip_network(item.address)
    except ValueError:
        return False


def _titles(item: Cart) -> Sequence[str]:
    return (item.calling_ae, item.commit_ae) if item.commit_ae else (item.calling_ae,)


def _narrowness(item: Cart) -> int:
    return ip_network(item.address).prefixlen if item.address else -1
