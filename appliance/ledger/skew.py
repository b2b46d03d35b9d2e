"""How far each cart's clock is from the box's, told from its objects; nothing is ordered by it."""

from collections import defaultdict
from datetime import datetime, timezone, tzinfo

from appliance.ledger.connection import Ledger, Row

_NEWEST = 2000  # rows looked at
_NEWEST_OF_A_CART = 50  # an older one may tell of a clock that was set since
_FEWEST = 3  # objects; one alone may have been stored last year
_DIGITS = 14
_UNITS = ((365.25 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min"))


def content_time(written: str, offset: str, local: tzinfo | None = None) -> datetime | None:
    """Return the instant that a cart's clock showed, or None when it wrote no whole time.

    Parameters
    ----------
    written
        ContentDate and ContentTime, one after the other (PS3.5 6.2: DA, TM), or a DT.
    offset
        TimezoneOffsetFromUTC (0008,0201), "+0100"; "" takes the offset within a DT, or else
        the box's own zone.
    local
        The box's zone, where it isn't the machine's.

    Examples
    --------
    >>> content_time("20261120101500.5", "+0100").isoformat()
    '2026-11-20T10:15:00+01:00'
    """
    zone = offset or (written[-5:] if written[-5:-4] in ("+", "-") else "")
    digits = written[:_DIGITS]
    if len(digits) < _DIGITS or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        moment = datetime.strptime(digits, "%Y%m%d%H%M%S")
        if zone:
            return moment.replace(tzinfo=datetime.strptime(zone, "%z").tzinfo)
        return moment.replace(tzinfo=local) if local else moment.astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def by_cart(ledger: Ledger) -> list[Row]:
    """Return how far the clocks of the carts that sent lately are ahead of the box's.

    An object is made before it is sent: of the delays of a cart's objects the shortest comes
    nearest to its clock's error, and a negative one is a clock that goes ahead for sure.

    Returns
    -------
    list of dict
        calling_ae_title, peer, objects, ahead_s (seconds; negative: behind, or sent so long
        after).
    """
    delays: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for row in ledger.read(
        "SELECT calling_ae_title, peer, content_date_time, timezone_offset_from_utc, received_at"
        " FROM instance WHERE content_date_time != '' ORDER BY seq DESC LIMIT ?",
        [_NEWEST],
    ):
        known = delays[row["calling_ae_title"], row["peer"]]
        made = content_time(row["content_date_time"], row["timezone_offset_from_utc"])
        if made is not None and len(known) < _NEWEST_OF_A_CART:
            came = datetime.fromisoformat(row["received_at"].replace("Z", "+00:00"))
            known.append((came - made.astimezone(timezone.utc)).total_seconds())
    return [
        {
            "calling_ae_title": title,
            "peer": peer,
            "objects": len(found),
            "ahead_s": round(-min(found)),
        }
        for (title, peer), found in sorted(delays.items())
        if len(found) >= _FEWEST
    ]


def duration(seconds: float) -> str:
    """Say a time's length, whichever its sign, in the largest unit that leaves at least two.

    Examples
    --------
    >>> duration(-5400), duration(1e9)
    ('90 min', '31 years')
    """
    for unit, name in _UNITS:
        if abs(seconds) >= 2 * unit:
            return f"{abs(seconds) / unit:.0f} {name}"
    return f"{abs(seconds):.0f} s"


def in_words(row: Row) -> str:
    """Say a cart's skew in one line."""
    size = duration(row["ahead_s"])
    way = "ahead" if row["ahead_s"] > 0 else "behind, or it sends that long after the exam"
    return f"clock of {row['calling_ae_title']} ({row['peer']}): {size} {way}"
