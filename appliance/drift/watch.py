"""The daily look: the studies of a day, and of four weeks, held against two references.

One is what the model brings (`reference`): how it was where the model was made. The other are the
box's own first studies with the model: what changes here is told even where the site was never
like the makers', and what no model can bring (people, refused loops, scanners) is told at all.

The chance that a box is told of any difference in a year, where nothing has changed, is at most
`Plan.rate`. It is divided evenly over the looks of a year, both windows, both references and all
features (Bonferroni), which holds however these depend on each other, and windows of following days share
most of their studies. Each comparison is the exact two-sample Kolmogorov-Smirnov test
(`kolmogorov`), which asks nothing of how a feature is distributed. What is counted is the study,
not the loop: loops of one study are alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from appliance.drift import reference
from appliance.drift.features import FEATURES, PEOPLE, Feature
from appliance.drift.kolmogorov import Values, distance, limit
from appliance.ledger import Ledger, drift
from appliance.ledger.connection import Row
from appliance.ledger.drift import Found

DAY, WEEKS = "day", "weeks"
MODEL, BOX = "model", "box"
_FIRST = 5000  # loops and reviews among which the box's own first studies are found
_DIGITS = 4

Series = Mapping[
    str, Sequence[tuple[str, float]]
]  # feature to (day, value) of each study, in order


@dataclass(frozen=True)
class Plan:
    """How sure the box is before it says that something differs.

    Attributes
    ----------
    rate
        Chance of one or more false alarms of a model in `looks` looks.
    looks
        A year of days.
    own
        Studies of the box itself that are a reference, beside what the model brings.
    fewest, most
        Studies of a window: fewer are not compared, older ones than the newest `most` not either.
    days
        Length of the longer window.
    """

    rate: float = 0.05
    looks: int = 365
    own: int = 100
    fewest: int = 10
    most: int = 200
    days: int = 28

    @property
    def level(self) -> float:
        """Chance of a false alarm in one comparison."""
        return self.rate / (self.looks * len((DAY, WEEKS)) * len((MODEL, BOX)) * len(FEATURES))


YEAR = Plan()


def look(ledger: Ledger, state_dir: Path, today: str, plan: Plan = YEAR) -> bool:
    """Look at one past day of one model that was not looked at, and write down what was found.

    Parameters
    ----------
    ledger
        The box's.
    state_dir
        Where added models are.
    today
        Which isn't over: it is left for tomorrow. ISO 8601.
    plan
        What counts as a difference.

    Returns
    -------
    bool
        False when there was none.
    """
    since = _back(today, plan.days)
    for model in drift.models(ledger):
        days = drift.days(ledger, model, today, since)
        if not days:
            continue
        told = series(ledger, model, _back(days[0], plan.days), plan)
        references = reference.samples(reference.of(state_dir, model))
        for day in days:
            # Nothing is found where all that was decided on that day was taken back.
            if found := of_day(told, references, day, plan):
                drift.looked(ledger, model, day, found)
                return True
    return False


def of_day(
    told: Series, references: Mapping[str, Values], day: str, plan: Plan = YEAR
) -> list[Found]:
    """Compare a day, and the weeks up to it, with the reference of each feature.

    Parameters
    ----------
    told
        The studies.
    references
        That the model brings. The first `plan.own` studies of the box are a second one, for every
        feature, and nothing is compared with them before they are there.
    day
        ISO 8601.
    plan
        What counts as a difference.
    """
    since = _back(day, plan.days)
    found = []
    for feature in FEATURES:
        every = [item for item in told.get(feature.name, ()) if item[0] <= day]
        own = np.array([value for _, value in every[: plan.own]])
        brought = references.get(feature.name, np.empty(0))
        sides = [(MODEL, brought, every, True)] if len(brought) else []
        sides += [(BOX, own, every[plan.own :], len(own) >= plan.own)] if every else []
        for source, known, studies, is_ready in sides:
            spans = {
                DAY: [value for when, value in studies if when == day],
                WEEKS: [value for when, value in studies if when > since][-plan.most :],
            }
            found += [
                _compared(feature, span, source, np.array(values), known, plan, ready=is_ready)
                for span, values in spans.items()
            ]
    return found


def series(ledger: Ledger, model: str, since: str, plan: Plan = YEAR) -> Series:
    """Return the studies of a model: its first ones, and those from a day on."""
    loops = _joined(drift.loops(ledger, model, first=_FIRST), drift.loops(ledger, model, since))
    reviews = _joined(
        drift.reviews(ledger, model, first=_FIRST), drift.reviews(ledger, model, since)
    )
    told: dict[str, list[tuple[str, float]]] = {}
    for day, values in [*_of_loops(loops, plan.own), *_of_reviews(reviews)]:
        for name, value in values.items():
            told.setdefault(name, []).append((day, value))
    return told


def _of_loops(rows: Sequence[Row], own: int) -> list[tuple[str, dict[str, float]]]:
    """Day and values of each study; a loop drawn again counts as it was drawn last."""
    newest = {row["seq"]: row for row in rows}
    studies = list(_by_study([row for row in rows if newest[row["seq"]] is row]).values())
    first = [{row["scanner"] for row in study} for study in studies[:own]]
    known = set().union(*first)
    # One that only a single study of the first ones is of was new then: as likely as now.
    alone = {name for name in known if sum(name in scanners for scanners in first) == 1}
    made = []
    for place, study in enumerate(studies):
        drawn = [row["figures"] for row in study if row["outcome"] == drift.DRAWN]
        names = {name for figures in drawn for name in figures}
        values = {name: _mean([f[name] for f in drawn if name in f]) for name in names}
        strangers = alone if place < own else {row["scanner"] for row in study} - known
        values["unknown_scanner"] = _mean([row["scanner"] in strangers for row in study])
        values["refused"] = _mean([row["outcome"] == drift.REFUSED for row in study])
        made.append((study[0]["day"], values))
    return made


def _of_reviews(rows: Sequence[Row]) -> list[tuple[str, dict[str, float]]]:
    made = []
    for study in _by_study(rows).values():
        values = {"accepted": _mean([row["decision"] == "accepted" for row in study])}
        sizes = [row["size"] for row in study if row["size"] is not None]
        if sizes:
            values["correction"] = _mean(sizes)
        made.append((study[0]["day"], values))
    return made


def _compared(
    feature: Feature,
    span: str,
    source: str,
    values: Values,
    known: Values,
    plan: Plan,
    *,
    ready: bool,
) -> Found:
    apart = least = None
    # Decisions on a day are few, and say more about the one who decides: weeks count.
    alone = feature.kind == PEOPLE and span == DAY
    if ready and len(values) >= plan.fewest and len(known) and not alone:
        apart = round(distance(values, known), _DIGITS + 4)
        least = round(limit(len(values), len(known), plan.level), _DIGITS + 4)
    return Found(
        feature=feature.name,
        span=span,
        source=source,
        studies=len(values),
        reference=len(known),
        distance=apart,
        threshold=least,
        mean=round(float(values.mean()), _DIGITS) if len(values) else None,
        reference_mean=round(float(known.mean()), _DIGITS) if len(known) else None,
        differs=apart is not None and least is not None and apart >= least,
    )


def _joined(first: list[Row], recent: list[Row]) -> list[Row]:
    rows: dict[int, Row] = {row["id"]: row for row in (*first, *recent)}
    return [rows[key] for key in sorted(rows)]


def _by_study(rows: Sequence[Row]) -> dict[str, list[Row]]:
    studies: dict[str, list[Row]] = {}
    for row in rows:
        studies.setdefault(row["study"], []).append(row)
    return studies


def _mean(values: Sequence[Any]) -> float:
    return float(sum(values)) / len(values)


def _back(day: str, days: int) -> str:
    return (date.fromisoformat(day) - timedelta(days=days)).isoformat()
