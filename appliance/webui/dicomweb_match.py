"""Whether an element is what a search asks for (PS3.4 C.2.2.2, by PS3.18 8.3.4)."""

import re
from functools import lru_cache
from http import HTTPStatus

from appliance.webui.app import Refused
from appliance.webui.dicomweb_json import Json, texts

_RANGES = {"DA": 8, "TM": 6, "DT": 14}  # digits of a whole value; fractions come behind
_WILD = frozenset(["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])
_NUMBERS = frozenset(["DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"])
_WRITTEN = {
    "DA": re.compile(r"(\d{8})?(-)?(\d{8})?"),
    "TM": re.compile(r"(\d{2,6}(?:\.\d{1,6})?)?(-)?(\d{2,6}(?:\.\d{1,6})?)?"),
    "DT": re.compile(r"(\d{4,14}(?:\.\d{1,6})?)?(-)?(\d{4,14}(?:\.\d{1,6})?)?"),
}


def matches(element: Json | None, vr: str, wanted: str) -> bool:
    """Tell whether an element fits a value that is asked for; "" fits everything.

    Raises
    ------
    Refused
        With 400, when nothing of this VR can be asked for so.
    """
    if not wanted or wanted == '""':
        return True
    found = texts(element)
    if vr == "UI" or (vr == "CS" and not set(wanted) & set("*?")):
        choices = set(re.split(r"[\\,]", wanted))
        return any(value in choices for value in found)
    if vr in _RANGES:
        low, high = bounds(vr, wanted)
        return any(low <= _padded(value, "0", _RANGES[vr]) <= high for value in found)
    if vr in _NUMBERS:
        return any(_number(value) == _number(wanted) for value in found)
    if vr in _WILD:
        pattern = _pattern(wanted, folded=vr == "PN")
        return any(pattern.fullmatch(_plain(value, vr)) for value in found)
    raise Refused(HTTPStatus.BAD_REQUEST, f"The box doesn't search by values of type {vr}.")


def bounds(vr: str, wanted: str) -> tuple[str, str]:
    """Return between which texts a date or time must lie.

    Raises
    ------
    Refused
        With 400, when it isn't written as one, or as a range.
    """
    parts = _WRITTEN[vr].fullmatch(wanted.replace(":", "") if vr == "TM" else wanted)
    if parts is None or not (parts[1] or parts[3]):
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            "Write a date as 20260131, a time as 0830, a range with a dash between the two.",
        )
    low, high = (parts[1] or "", parts[3] or "") if parts[2] else (parts[1], parts[1])
    width = _RANGES[vr]
    return _padded(low, "0", width), _padded(high, "9", width + 7)


def _padded(value: str, filling: str, width: int) -> str:
    return value.replace(":", "").ljust(width, filling)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, "That element holds numbers.") from None


@lru_cache(maxsize=256)
def _pattern(wanted: str, *, folded: bool) -> re.Pattern[str]:
    text = _plain(wanted, "PN" if folded else "")
    # Stars in a row would make the matching slow, and mean the same.
    parts = re.split(r"(\*+|\?)", text)
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(p[:1], re.escape(p)) for p in parts), re.DOTALL)


def _plain(value: str, vr: str) -> str:
    # PS3.5 6.2.1.1: a name without the delimiters at its end is the same name.
    return value.casefold().rstrip("^ ") if vr == "PN" else value.strip()
