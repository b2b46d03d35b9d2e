"""What the looks found: for the page, the command line and monitoring, and as aggregates for export.

An export holds no study: only weeks that are over, of so many studies that no one's value can be
told from their mean, and counts in whole tens. Two exports differ by whole weeks.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from appliance import __version__
from appliance.drift import watch
from appliance.drift.features import BY_NAME, FEATURES
from appliance.drift.watch import BOX, MODEL, WEEKS, YEAR, Plan, Series
from appliance.ledger import Ledger, drift
from appliance.ledger.connection import Row

FEW = 10  # studies: nothing is exported of fewer
_LATEST = 7  # days: a difference on one of them is told
_WEEKS = 52  # are exported
_DIGITS = 4


def state(ledger: Ledger, model: str, today: str, plan: Plan = YEAR) -> dict[str, Any]:
    """Return how a model stands.

    Returns
    -------
    dict
        model; day, the last one looked at, "" before the first look; studies in the weeks before
        it; features: a dict for each of them and each reference, those that differ first.
    """
    since = (date.fromisoformat(today) - timedelta(days=plan.days)).isoformat()
    rows = drift.found(ledger, model, since)
    by_feature: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_feature[row["feature"], row["source"]].append(row)
    sides = [(feature.name, source) for feature in FEATURES for source in (MODEL, BOX)]
    features = [_feature(by_feature[side], plan) for side in sides if by_feature[side]]
    return {
        "model": model,
        "day": rows[-1]["day"] if rows else "",
        "studies": max((item["studies"] for item in features), default=0),
        "features": sorted(features, key=lambda item: not item["differs"]),
    }


def in_words(found: Mapping[str, Any], plan: Plan = YEAR) -> list[str]:
    """Say how a model stands in lines, the differences first."""
    if not found["day"]:
        return [f"{found['model']}: no day of the last four weeks has been looked at"]
    lines = [f"{found['model']}: {found['studies']} studies up to {found['day']}"]
    return lines + [f"  {_in_words(item, plan)}" for item in found["features"]]


def differing(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the features of a `state` that differ."""
    return [item for item in found["features"] if item["differs"]]


def exported(ledger: Ledger, model: str, today: str, plan: Plan = YEAR) -> dict[str, Any]:
    """Return what may leave the box of a model: means over weeks, rounded counts, what was found.

    No UID, name, time of day, person, address or serial number, and no value of a study.
    """
    this_week = _week_of(today)
    since = (date.fromisoformat(this_week) - timedelta(weeks=_WEEKS)).isoformat()
    told = watch.series(ledger, model, since, plan)
    looks = [row for row in drift.found(ledger, model, since) if row["span"] == WEEKS]
    loops = drift.loops(ledger, model, since)
    return {
        "drift_version": 1,
        "appliance": __version__,
        "model": model,
        "rule": {
            "test": "two-sample Kolmogorov-Smirnov, exact, Bonferroni over features, windows, days",
            "false_alarms_a_year": plan.rate,
            "level": plan.level,
        },
        "suppressed_below": FEW,
        "weeks": _weeks(told, since, this_week),
        "looks": _looks([row for row in looks if _week_of(row["day"]) < this_week]),
        "scanners": _scanners([row for row in loops if _week_of(row["day"]) < this_week]),
    }


def _feature(rows: Sequence[Row], plan: Plan) -> dict[str, Any]:
    """How a feature stands by its looks, oldest first; `since`, the first day it has differed on."""
    last = date.fromisoformat(rows[-1]["day"])
    alarms = [row for row in rows if row["differs"]]
    recent = [row for row in alarms if (last - date.fromisoformat(row["day"])).days < _LATEST]
    weeks = [row for row in rows if row["span"] == WEEKS]
    shown = recent[-1] if recent else weeks[-1]
    known = BY_NAME[shown["feature"]]
    names = (*("feature", "span", "source", "studies", "reference", "mean", "reference_mean"),
             *("distance", "threshold"))  # fmt: skip
    return {
        **{name: shown[name] for name in names},
        "kind": known.kind,
        "words": known.words,
        "differs": bool(recent),
        "since": alarms[0]["day"] if recent else "",
        "learning": shown["source"] == BOX and shown["reference"] < plan.own,
    }


def _in_words(item: Mapping[str, Any], plan: Plan) -> str:
    words = item["words"]
    if item["learning"]:
        return f"learning  {words}: {item['reference']} of the first {plan.own} studies"
    where = "the box's first studies" if item["source"] == BOX else "where the model was made"
    if item["mean"] is None or item["distance"] is None:
        return f"few       {words}: {item['studies']} studies, too few to compare"
    text = f"{words}: {item['mean']:g}; {where} {item['reference_mean']:g}"
    text += f" ({item['studies']} studies; distance {item['distance']:.2f}"
    text += f", {min(item['threshold'], 1):.2f} counts)"
    return f"differs   {text}, since {item['since']}" if item["differs"] else f"like      {text}"


def _weeks(told: Series, since: str, before: str) -> list[dict[str, Any]]:
    made = []
    for feature in FEATURES:
        weeks: dict[str, list[float]] = defaultdict(list)
        for day, value in told.get(feature.name, ()):
            if since <= day < before:
                weeks[_week_of(day)].append(value)
        for week, values in sorted(weeks.items()):
            row: dict[str, Any] = {"week": week, "feature": feature.name, "studies": None}
            if len(values) >= FEW:
                figures = {"mean": np.mean(values), "deviation": np.std(values)}
                row["studies"] = len(values)
                row |= {name: round(float(value), _DIGITS) for name, value in figures.items()}
            made.append(row)
    return made


def _looks(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The last look of each week: every day's would tell how many studies a day had."""
    last = {(_week_of(row["day"]), row["feature"], row["source"]): row for row in rows}
    names = ("studies", "reference", "distance", "threshold")
    return [
        {
            "week": week,
            "feature": feature,
            "source": source,
            **({name: row[name] for name in names} if row["studies"] >= FEW else {}),
            "differs": bool(row["differs"]),
        }
        for (week, feature, source), row in last.items()
    ]


def _scanners(rows: Sequence[Row]) -> dict[str, int]:
    """Studies of each maker, model and software, in whole tens; rare ones together."""
    studies: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        studies[row["scanner"]].add(row["study"])
    rare = {name for name, found in studies.items() if len(found) < FEW}
    counted = {name: len(found) for name, found in studies.items() if name not in rare}
    counted["others"] = len(set().union(*(studies[name] for name in rare)))
    return {name: count // FEW * FEW for name, count in sorted(counted.items()) if count >= FEW}


def _week_of(day: str) -> str:
    """Return the Monday of a day's week."""
    when = date.fromisoformat(day)
    return (when - timedelta(days=when.weekday())).isoformat()
