"""The echo views the box tells apart, their words and their codes.

Codes: PS3.16 CID 12226, Echocardiography Image View.
"""

from typing import NamedTuple

OTHER = "other"
UNCERTAIN = 0.8  # below it the view's name is shown with a question mark


class Named(NamedTuple):
    """A view as the page and as results write it."""

    words: str
    code: str
    meaning: str


APICAL = {
    "A4C": Named("apical four-chamber", "399214001", "Apical four chamber"),
    "A2C": Named("apical two-chamber", "399232001", "Apical two chamber"),
}
