"""Masks voted over neighbouring frames; off unless the site's settings ask for it.

docs/engine.md ("Temporal sense") has the figures behind that default.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from appliance.engine.backend import Inference
from appliance.masks import LabelMap


def voted(inferences: Iterable[Inference | None]) -> Iterator[Inference | None]:
    """Give each pixel what two of three frames say: its own, the one before, the one after.

    Parameters
    ----------
    inferences
        In order; None for a damaged frame.

    Yields
    ------
    Inference or None
        One frame later than they came. The first and the last frame, and those beside a damaged
        one, stay as they are: a vote of two is none.
    """
    before: Inference | None = None
    current: Inference | None = None
    begun = False
    for after in inferences:
        if begun:
            yield _vote(before, current, after)
        before, current, begun = current, after, True
    if begun:
        yield current


def _vote(
    before: Inference | None, current: Inference | None, after: Inference | None
) -> Inference | None:
    if before is None or current is None or after is None:
        return current
    agree = before.labels == after.labels
    labels: LabelMap = np.where(agree, before.labels, current.labels)
    return replace(current, labels=labels)
