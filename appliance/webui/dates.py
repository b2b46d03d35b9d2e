"""Dates and times that a machine wrote, told apart from text that is none."""

import re

from appliance.webui import words
from appliance.webui.language import _

_DAY = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", re.ASCII)


def day(value: str) -> str:
    """Return a DICOM date (DA, PS3.5 6.2) as year-month-day; what is none, in quotes.

    Examples
    --------
    >>> day("19600203")
    '1960-02-03'
    >>> day("1994.11.")
    'date unreadable: “1994.11.”'
    """
    return _told(words.date(value), value)


def minute(value: str) -> str:
    """Return a DICOM date and time (DT) to the minute; what begins with no date, in quotes.

    Examples
    --------
    >>> minute("19941103101500")
    '1994-11-03 10:15'
    >>> minute("1994.11.03101500")
    'date unreadable: “1994.11.03101500”'
    """
    digits = value.replace(" ", "")
    return _told(words.machine_time(value), value) if digits else words.machine_time(value)


def day_of(value: str) -> str:
    """Return the day of a DICOM date and time (DT); what begins with no date, in quotes.

    Examples
    --------
    >>> day_of("19941103101500")
    '1994-11-03'
    >>> day_of("1994.11.03101500")
    'date unreadable: “1994.11.03101500”'
    """
    shown = minute(value)
    return shown[:10] if _DAY.match(shown) else shown


def _told(shown: str, written: str) -> str:
    if not written or _DAY.match(shown):
        return shown
    return _("date unreadable: “{written}”", written=written.strip())
