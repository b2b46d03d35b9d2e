"""Dates a machine wrote, and text where a date should be."""

import pytest

from appliance.webui import dates


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("", ""),
        ("19600203", "1960-02-03"),
        ("1994.11.", "date unreadable: “1994.11.”"),
        ("19601302", "date unreadable: “19601302”"),
        ("19600200", "date unreadable: “19600200”"),
        ("unknown", "date unreadable: “unknown”"),
    ],
)
def test_a_day_is_a_date_or_said_to_be_unreadable(written: str, shown: str) -> None:
    assert dates.day(written) == shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("", "no time given"),
        ("   ", "no time given"),
        ("19941103", "1994-11-03"),
        ("19941103101500.000+0100", "1994-11-03 10:15"),
        ("1994.11.", "date unreadable: “1994.11.”"),
    ],
)
def test_a_time_begins_with_a_date_or_is_said_to_be_unreadable(written: str, shown: str) -> None:
    assert dates.minute(written) == shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("", "no time given"),
        ("19941103101500.000+0100", "1994-11-03"),
        ("19941103", "1994-11-03"),
        ("1994.11.03101500", "date unreadable: “1994.11.03101500”"),
    ],
)
def test_the_day_of_an_earlier_study_is_a_date_or_said_to_be_unreadable(
    written: str, shown: str
) -> None:
    assert dates.day_of(written) == shown
