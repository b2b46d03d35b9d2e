"""Pairing echo machines with the box, by the command line or the page, and what to show of them."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from appliance import carts
from appliance.config import Cart, Settings, network_address
from appliance.config.mistakes import in_plain_words
from appliance.errors import ConfigError
from appliance.ledger import Ledger, caller, cart, commitment, skew


def allow(
    settings: Settings,
    ledger: Ledger,
    calling_ae: str,
    address: str,
    given: Mapping[str, Any],
    by: str,
) -> Cart:
    """Pair an echo machine, or change what is known of it; return it as it is now.

    Parameters
    ----------
    settings, ledger
        The box's.
    calling_ae, address
        How it calls itself, and its IP address or network; "" is any.
    given
        Fields of `Cart` to set; the others stay as they were.
    by
        Who decides it.

    Raises
    ------
    ConfigError
        When a value can't be used.
    """
    before = _exact(settings, ledger, calling_ae, address)
    name = re.sub(r"[^A-Za-z0-9_-]", "-", calling_ae)[:32] or "-"
    fields = before.model_dump() if before else {"name": name}
    try:
        item = Cart.model_validate(
            {**fields, **given, "calling_ae": calling_ae, "address": address}
        )
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        subject = f"{problem['loc'][0]} {problem['input']!r}: {in_plain_words(dict(problem))}"
        raise ConfigError("allow a cart", subject, "Nothing was changed.") from error
    if item.tls and not settings.scp.tls_port:
        hint = "Run `echocart tls init` and set scp.tls_port first."
        raise ConfigError("allow a cart", "there is no TLS port", hint)
    cart.allow(ledger, item.calling_ae, item.address, item.model_dump(mode="json"), by)
    return item


def remove(settings: Settings, ledger: Ledger, calling_ae: str, address: str, by: str) -> int:
    """Take a pairing back; return how many are left.

    Raises
    ------
    ConfigError
        When there is none with this title and address.
    """
    item = _exact(settings, ledger, calling_ae, address)
    if item is None:
        subject = f"{calling_ae}{'@' if address else ''}{address} is not paired"
        hint = _likely(settings, ledger, calling_ae)
        raise ConfigError("remove a cart", subject, hint)
    cart.remove(ledger, item.calling_ae, item.address, by)
    return len(carts.known(settings, ledger).paired)


def _likely(settings: Settings, ledger: Ledger, calling_ae: str) -> str:
    """Say which carts may have been meant, as a command to copy."""
    paired = carts.known(settings, ledger).paired
    meant = [item for item in paired if item.calling_ae.lower() == calling_ae.lower()]
    meant += [item for item in paired if calling_ae in (item.name, item.commit_ae)]
    lines = [
        f"echocart carts remove {shlex.quote(item.calling_ae + '@' * bool(item.address) + item.address)}"
        for item in dict.fromkeys(meant)
    ]
    if lines:
        return f"Perhaps: {', or '.join(lines)}"
    return "`echocart carts` shows each with its title and address."


def account(settings: Settings, ledger: Ledger) -> dict[str, Any]:
    """Return a JSON-ready account of who may send, sent, was rejected, turned away, or waits."""
    paired = carts.known(settings, ledger)
    sent: dict[tuple[str, str], dict[str, Any]] = {
        _key(item): {"objects": 0, "last_seen": "", "clocks": []} for item in paired.paired
    }
    others = []
    for row in cart.kept(ledger):
        item = paired.find(row["calling_ae"], row["peer"])
        if item is None:
            others.append(row)
        else:
            sent[_key(item)]["objects"] += row["objects"]
    for row in caller.callers(ledger):
        if item := paired.find(row["calling_ae"], row["peer"]):
            seen = sent[_key(item)]
            seen["last_seen"] = max(seen["last_seen"], row["accepted_at"])
    for row in skew.by_cart(ledger):
        if item := paired.find(row["calling_ae_title"], row["peer"]):
            # Paired by its network, one title may be several machines, each with its clock.
            clock = {"peer": row["peer"], "ahead_s": row["ahead_s"]}
            sent[_key(item)]["clocks"].append(clock)
    return {
        "closed": paired.closed,
        "carts": [{**item.model_dump(), **sent[_key(item)]} for item in paired.paired],
        "callers": others,
        "rejected": carts.refused(settings, ledger),
        "turned_away": caller.turned_away(ledger),
        "reports": commitment.open_requests(ledger),
    }


def _key(item: Cart) -> tuple[str, str]:
    return item.calling_ae, item.address


def _exact(settings: Settings, ledger: Ledger, calling_ae: str, address: str) -> Cart | None:
    for item in carts.known(settings, ledger).paired:
        if _key(item) == (calling_ae, _canonical(address)):
            return item
    return None


def _canonical(address: str) -> str:
    try:
        return network_address(address)
    except ValueError:
        return address
