"""The echo views the box tells apart, their words and their codes.

Codes: PS3.16 CID 12226, Echocardiography Image View.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

OTHER = "other"
UNCERTAIN = 0.8  # below it the view's name is shown with a question mark
# Why nothing is measured of a loop that no network has looked at and no person has named.
NO_VIEW = "No EF: nobody has told whether this is A4C or A2C; set the view."


class Named(NamedTuple):
    """A view as the page and as results write it."""

    words: str
    code: str
    meaning: str


APICAL = {
    "A4C": Named("apical four-chamber", "399214001", "Apical four chamber"),
    "A2C": Named("apical two-chamber", "399232001", "Apical two chamber"),
}


def sure_of(row: Mapping[str, Any] | None) -> str:
    """Return the apical view that a loop is taken for in two planes; "" when nobody is sure.

    Parameters
    ----------
    row
        `view`, `source` and `certainty` of the row that stands: a person's word, or a model's
        where it is sure enough. None when nothing has looked.
    """
    if row is None or row["view"] not in APICAL:
        return ""
    sure = row["source"] == "person" or (row["certainty"] or 0) >= UNCERTAIN
    return str(row["view"]) if sure else ""
