"""What `echocart status --deliveries` and `echocart destination list` show of each destination."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from appliance.config import Destination, Settings
from appliance.hours import Window, opens_at
from appliance.ledger import Ledger, destination

_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("waiting", "in_flight", "awaiting_commitment", "not_taken"), 0),
    **dict.fromkeys(("refused", "proven", "unproven"), 0),
    "oldest": "",
    "next_try_s": None,
    "problems": [],
}
_COUNTED = {
    "waiting": "waiting",
    "in_flight": "in flight",
    "awaiting_commitment": "sent, commitment asked",
    "proven": "proven",
    "unproven": "sent, unproven",
    "refused": "not sent",
}

_PUT_BACK = ": put it back under this name, and what waits is delivered"


def account(
    settings: Settings, ledger: Ledger, now: datetime | None = None
) -> list[dict[str, Any]]:
    """Return a JSON-ready account of each destination, those last that are no longer configured.

    Each with name, kind ("" when not configured), gets, paused (by, at, why; or None), opens_at
    (UTC; None when it may be served now), resting (problem, since, next_try_s; or None), and
    what `ledger.destination.waiting` gives.
    """
    now = now or datetime.now().astimezone()
    waiting, paused = destination.waiting(ledger), destination.paused(ledger)
    resting = destination.resting(ledger)
    configured: dict[str, Destination | None] = {item.name: item for item in settings.destination}
    every = {**configured, **{name: None for name in waiting if name not in configured}}
    return [
        {
            "name": name,
            "kind": item.kind if item else "",
            "gets": list(item.gets) if item else [],
            "paused": vars(paused[name]) if name in paused else None,
            "opens_at": _opens_at(item.hours if item else (), now),
            "resting": resting.get(name),
            **waiting.get(name, _NOTHING),
        }
        for name, item in every.items()
    ]


def in_words(rows: Iterable[Mapping[str, Any]], now: datetime | None = None) -> list[str]:
    """Say it in lines for a person, times in the machine's own zone."""
    now = now or datetime.now().astimezone()
    said = []
    for row in rows:
        counts = [f"{row[key]} {words}" for key, words in _COUNTED.items() if row[key]]
        said.append(f"{row['name']}: {', '.join(counts) or 'nothing yet'}")
        said += [f"  {line}" for line in _particulars(row, now)]
    return said or ["no destination is configured"]


def _particulars(row: Mapping[str, Any], now: datetime) -> Iterable[str]:
    if row["oldest"]:
        yield f"the oldest waits since {_local(row['oldest'])}"
    if not row["kind"]:  # nobody tries it: what it said last, and when, is no longer true
        waits = bool(row["oldest"])
        yield f"no longer in the configuration{_PUT_BACK if waits else ''}"
        return
    if stopped := row["paused"]:
        yield f"paused by {stopped['by']} on {_local(stopped['at'])}: {stopped['why']}"
    if row["opens_at"]:
        yield f"scheduled: served again from {_local(row['opens_at'])}"
    if resting := row["resting"]:
        when = (now + timedelta(seconds=resting["next_try_s"])).strftime("%H:%M:%S")
        yield f"can't be used since {_local(resting['since'])}, tried again at {when}:"
        yield f"  {resting['problem']}"
    elif row["next_try_s"] is not None:
        when = (now + timedelta(seconds=row["next_try_s"])).strftime("%H:%M:%S")
        yield f"next try at {when}"
    if row["not_taken"]:
        yield f"{row['not_taken']} are not taken there: ask its administrator; they are tried again"
    for item in row["problems"]:
        if not (row["resting"] and item["problem"] == row["resting"]["problem"]):
            yield f"{item['objects']} × {item['problem']}"


def _opens_at(hours: Iterable[str], now: datetime) -> str | None:
    at = opens_at([Window.parse(text) for text in hours], now)
    if at <= now.timestamp():
        return None
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _local(at: str) -> str:
    when = datetime.fromisoformat(at.replace("Z", "+00:00")).astimezone()
    return when.strftime("%Y-%m-%d %H:%M")
