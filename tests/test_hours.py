"""Times of day at which a destination is served, also when the clocks change."""

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from appliance.hours import Window, opens_at

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = [Window.parse("22:00-06:00")]


@pytest.fixture(autouse=True)
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)


def opens(windows, now: datetime) -> str:
    """When, as the clock on the wall shows it; "" for now."""
    found = opens_at(windows, now)
    if found == now.timestamp():
        return ""
    return datetime.fromtimestamp(found, BERLIN).strftime("%m-%d %H:%M")


def hours_open(windows, first: str, last: str) -> float:
    """Count the minutes of a span of real time in which it is open."""
    begin, end = int(at(first).timestamp()), int(at(last).timestamp())
    spans = range(begin, end, 60)
    is_open = [opens_at(windows, datetime.fromtimestamp(n, BERLIN)) == n for n in spans]
    return sum(is_open) / 60


def test_without_hours_it_is_always_open():
    assert opens([], at("2026-11-21T12:00")) == ""


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-21T21:59", "11-21 22:00"),
        ("2026-11-21T22:00", ""),
        ("2026-11-21T23:59", ""),
        ("2026-11-22T00:00", ""),
        ("2026-11-22T05:59", ""),
        ("2026-11-22T06:00", "11-22 22:00"),
    ],
)
def test_a_night_goes_over_midnight(now, expected):
    assert opens(NIGHT, at(now)) == expected


def test_several_windows_the_next_one_counts():
    windows = [Window.parse("12:00-13:00"), Window.parse("18:00-24:00")]
    assert opens(windows, at("2026-11-21T11:00")) == "11-21 12:00"
    assert opens(windows, at("2026-11-21T13:00")) == "11-21 18:00"
    assert opens(windows, at("2026-11-21T23:59")) == ""
    assert opens(windows, at("2026-11-22T00:00")) == "11-22 12:00"


def test_the_night_of_the_clock_change_is_an_hour_shorter_or_longer():
    assert hours_open(NIGHT, "2026-03-28T12:00", "2026-03-29T12:00") == 7
    assert hours_open(NIGHT, "2026-10-24T12:00", "2026-10-25T12:00") == 9
    assert hours_open(NIGHT, "2026-11-21T12:00", "2026-11-22T12:00") == 8


def test_a_window_in_the_hour_that_is_skipped_is_not_skipped():
    windows = [Window.parse("02:15-02:45")]
    assert opens(windows, at("2026-03-29T01:59")) == "03-29 03:15"
    assert hours_open(windows, "2026-03-29T00:00", "2026-03-29T12:00") == 0.5


def test_a_window_in_the_hour_that_comes_twice_opens_once():
    windows = [Window.parse("02:15-02:45")]
    assert hours_open(windows, "2026-10-25T00:00", "2026-10-25T12:00") == 0.5


@pytest.mark.parametrize("text", ["", "22-06", "22:00", "24:00-06:00", "22:60-06:00", "7:00-8:00"])
def test_what_is_no_window_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="22:00-06:00"):
        Window.parse(text)


def test_a_window_without_length_is_refused():
    with pytest.raises(ValueError, match="whole day"):
        Window.parse("08:00-08:00")
