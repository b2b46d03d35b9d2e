"""Kinds of value that settings have: what may be written, and the words for what may not."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def ae_title(value: str) -> str:
    """Check an AE title (PS3.5 6.2): 16 characters of the default repertoire, no backslash.

    Raises
    ------
    ValueError
        With the rule.
    """
    if not re.fullmatch(r"[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]{0,15}", value):
        raise ValueError("an AE title has 1 to 16 plain characters, no backslash")
    return value.strip()


def _short_string(value: str) -> str:
    """PS3.5 6.2, SH: the backslash separates values, and control characters mean nothing."""
    if len(value) > 16 or "\\" in value or not value.isprintable():
        raise ValueError("must be at most 16 characters on one line, no backslash")
    return value


def _whole_path(value: Path) -> Path:
    """Each service is started from a directory of its own: what is relative differs for each."""
    if not value.is_absolute():
        raise ValueError("must be a whole path, from / on")
    return value


def not_a_truth(value: Any) -> Any:
    """Refuse true and false where a number is meant.

    Raises
    ------
    ValueError
        With the rule.
    """
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def host_name(value: str) -> str:
    """Return a name as browsers send it, or an IP address; no port, no asterisk.

    Raises
    ------
    ValueError
        With the rule.
    """
    try:
        return str(ip_address(value))
    except ValueError:
        pass  # a name, then
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", value):
        raise ValueError("must be a host name or IP address, without port")
    return value.lower()


def network_address(value: str) -> str:
    """Return an IP address, or a network in CIDR notation, as it is always written; "" is any.

    Raises
    ------
    ValueError
        With the rule.
    """
    if not value:
        return ""
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise ValueError("must be an IP address or a network like 10.1.2.0/24") from None
    alone = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if alone else str(network)


AETitle = Annotated[str, AfterValidator(ae_title)]
ShortString = Annotated[str, AfterValidator(_short_string)]
Address = Annotated[str, AfterValidator(network_address)]
WholePath = Annotated[Path, AfterValidator(_whole_path)]
Whole = Annotated[int, BeforeValidator(not_a_truth)]
Seconds = Annotated[float, BeforeValidator(not_a_truth), Field(ge=0, allow_inf_nan=False)]
Port = Annotated[Whole, Field(ge=1, le=65535)]
HostName = Annotated[str, AfterValidator(host_name)]


class Section(BaseModel):
    """A table of the file: unknown keys are refused, and nothing changes while a service runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


WEB = r"^https?://"
MINISIGN = r"^RW[A-Za-z0-9+/]{54}$"  # a public key
NAME = r"^[A-Za-z0-9_-]{1,32}$"
Name = Annotated[str, Field(pattern=NAME, description="as shown on the page")]
