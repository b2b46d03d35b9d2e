"""How much room there is, and for how long at the rate at which loops arrive."""

from datetime import datetime, timedelta, timezone
from typing import Any

from appliance.config import Settings
from appliance.ledger import Ledger, space
from appliance.spool import Spool

_MB = 1_000_000
_DAYS = 7.0  # a clinic's week: weekends belong to the rate
_FEWEST_DAYS = 1.0  # less says nothing about a week


def account(settings: Settings, ledger: Ledger, spool: Spool) -> dict[str, Any]:
    """Return a JSON-ready account of the spool's room.

    Returns
    -------
    dict
        free_mb; used_mb, by received objects; floor_mb; ceiling_mb (0: none); mb_per_day, over
        the past week, and days_left until images are refused at that rate if nothing leaves:
        both None while too little is known.
    """
    free = spool.free_bytes() / _MB
    rate = _mb_per_day(ledger, datetime.now(timezone.utc))
    floor = settings.scp.space_floor_mb
    return {
        "free_mb": round(free),
        "used_mb": round(space.used_bytes(ledger) / _MB),
        "floor_mb": floor,
        "ceiling_mb": settings.scp.space_ceiling_mb,
        "mb_per_day": None if rate is None else round(rate, 1),
        "days_left": None if not rate else round(max(0.0, free - floor) / rate, 1),
    }


def _mb_per_day(ledger: Ledger, now: datetime) -> float | None:
    since = (now - timedelta(days=_DAYS)).isoformat(timespec="milliseconds")
    received, first = space.received_since(ledger, since.replace("+00:00", "Z"))
    if not first:
        return None
    age = now - datetime.fromisoformat(first.replace("Z", "+00:00"))
    days = min(_DAYS, age / timedelta(days=1))
    return received / _MB / days if days >= _FEWEST_DAYS else None


def in_words(room: dict[str, Any]) -> str:
    """Say an account in one line."""
    left = "not known yet"
    if room["days_left"] is not None:
        left = f"{room['days_left']:g} days at {room['mb_per_day']:g} MB a day"
    elif room["mb_per_day"] == 0:
        left = "nothing arrived in the past week"
    if room["free_mb"] < room["floor_mb"]:
        left = "NONE: objects are refused (A700) until there is room again"
    ceiling = f", ceiling {room['ceiling_mb']} MB" if room["ceiling_mb"] else ""
    return (
        f"space: {room['free_mb']} MB free, {room['used_mb']} MB of objects,"
        f" floor {room['floor_mb']} MB{ceiling}; left: {left}"
    )
