"""Times of day at which something may run, on the clock on the wall; nights and clock changes included."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

_TIME = r"([01]\d|2[0-3]):([0-5]\d)"


@dataclass(frozen=True)
class Window:
    """From a time of day to another; to the next day's where it isn't later."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read a window as people write it ("22:00-06:00").

        Raises
        ------
        ValueError
            With the rule.
        """
        found = re.fullmatch(rf"{_TIME}-({_TIME}|24:00)", text)
        if found is None:
            raise ValueError('must be two times of day, as in "22:00-06:00"')
        start = time(int(found[1]), int(found[2]))
        end = time() if found[3] == "24:00" else time(int(found[4]), int(found[5]))
        if start == end and found[3] != "24:00":
            raise ValueError("begins when it ends: leave it away for the whole day")
        return cls(start, end)

    def on(self, day: date) -> tuple[float, float]:
        """Return when it opens and closes, in seconds since the epoch, if it opens that day.

        A time that the clock skips in spring is the moment after; one that it shows twice in
        autumn is the first.
        """
        last = day if self.end > self.start else day + timedelta(days=1)
        return _instant(day, self.start), _instant(last, self.end)


def opens_at(windows: Iterable[Window], now: datetime) -> float:
    """Return when something may run next.

    Parameters
    ----------
    windows
        When it may; none at all means always.
    now
        The present, with its time zone.

    Returns
    -------
    float
        Seconds since the epoch: the present when it may run now.
    """
    windows, present = list(windows), now.timestamp()
    if not windows:
        return present
    today = now.astimezone().date()
    spans = [w.on(today + timedelta(days=n)) for n in (-1, 0, 1, 2) for w in windows]
    if any(start <= present < end for start, end in spans):
        return present
    return min(start for start, _ in spans if start > present)


def _instant(day: date, at: time) -> float:
    # Without a zone: the machine's own, with all its clock changes.
    return datetime.combine(day, at).timestamp()
