"""What is around the box: carts, destinations, and what waits for whom."""

from collections.abc import Sequence
from datetime import datetime, timezone
from functools import partial

from appliance import check, deliveries, pairing
from appliance.config import Destination
from appliance.doctor.probe import Asked, Finding, Probe, attention, broken, examine, ok
from appliance.ledger import analysis, skew

_SILENT_DAYS = 14.0
_SKEWED_S = 300
_OLD_H = 24.0
_MANY_LOOPS = 20
_ANSWER_S = 8.0  # several steps of at most 3 s each


def _carts(asked: Asked) -> Sequence[Finding]:
    account = pairing.account(asked.settings, asked.ledger)
    found = [_cart(row) for row in account["carts"]]
    if not account["closed"]:
        todo = "Allow the carts you have (`echocart carts allow`): then nobody else may send."
        found.append(attention("carts", "none is paired: any machine may send", todo))
    elif rejected := len(account["rejected"]):
        todo = "`echocart carts` names them; allow those that are yours."
        found.append(attention("carts", f"{rejected} other callers were rejected", todo))
    return found


def _cart(row: dict[str, object]) -> Finding:
    name, seen = f"cart {row['name']}", str(row["last_seen"])
    if not seen:
        todo = "Try it from the cart: C-ECHO, then an image."
        return attention(name, "it has never called", todo)
    days = _age_s(seen) / 86400
    text = f"last seen {seen[:16].replace('T', ' ')} UTC, {row['objects']} objects"
    facts = {"last_seen": seen, "clocks": row["clocks"]}
    clocks = row["clocks"]
    assert isinstance(clocks, list)
    worst = max((abs(item["ahead_s"]) for item in clocks), default=0)
    if any(item["ahead_s"] > _SKEWED_S for item in clocks):
        todo = "Set the cart's clock by NTP."
        return attention(name, f"{text}; its clock is {skew.duration(worst)} ahead", todo, **facts)
    if days > _SILENT_DAYS:
        todo = "If it is in use, look at its network and its send settings."
        return attention(name, f"{text}, {days:.0f} days ago", todo, **facts)
    return ok(name, text, **facts)


def _destinations(asked: Asked) -> Sequence[Finding]:
    settings = asked.settings
    if not settings.destination:
        return [attention("destinations", "none is configured", "Results stay here: name one.")]
    probes = [
        Probe(f"destination {item.name}", partial(_try, item)) for item in settings.destination
    ]
    return examine(probes, asked, _ANSWER_S)


def _try(item: Destination, asked: Asked) -> Finding:
    return _destination(f"destination {item.name}", check.destination(item, asked.settings))


def _destination(name: str, answer: check.Finding) -> Finding:
    todo = "`echocart destination test` tells more; what waits is kept until it works."
    if not answer.ok:
        return broken(name, answer.text, todo)
    return attention(name, answer.text, todo) if answer.attention else ok(name, answer.text)


def _backlog(asked: Asked) -> Sequence[Finding]:
    found = []
    for row in deliveries.account(asked.settings, asked.ledger):
        waiting = row["waiting"] + row["in_flight"]
        hours = _age_s(row["oldest"]) / 3600 if row["oldest"] else 0.0
        text = f"{waiting} wait for {row['name']}"
        todo = "`echocart status --deliveries` says why."
        facts = {"waiting": waiting, "oldest_h": round(hours, 1)}
        if row["paused"]:
            todo = f"`echocart destination resume {row['name']}`"
            found.append(attention("deliveries", f"{text}, which is paused", todo, **facts))
        elif hours > _OLD_H or row["not_taken"] or (waiting and not row["kind"]):
            text = f"{text}, the oldest since {hours:.0f} hours"
            found.append(attention("deliveries", text, todo, **facts))
    return found or [ok("deliveries", "nothing waits for long")]


def _analysis(asked: Asked) -> Finding:
    waiting = analysis.behind(asked.ledger)
    row = asked.ledger.read_one("SELECT count(*) AS n FROM instance WHERE state = 'quarantined'")
    failed = row["n"] if row else 0
    facts = {"waiting": waiting, "quarantined": failed}
    if waiting > _MANY_LOOPS:
        todo = "Look whether the engine runs; `echocart status --timings` tells how fast it is."
        return attention("analysis", f"{waiting} loops wait for it", todo, **facts)
    if failed:
        todo = "They are kept and shown; send the file of --bundle to support."
        return attention("analysis", f"of {failed} loops it failed three times", todo, **facts)
    return ok("analysis", f"{waiting} loops wait", **facts)


def _age_s(at: str) -> float:
    then = datetime.fromisoformat(at.replace("Z", "+00:00"))
    return (datetime.now(timezone.utc) - then).total_seconds()


PROBES = (
    Probe("carts", _carts),
    Probe("destinations", _destinations),
    Probe("deliveries", _backlog),
    Probe("analysis", _analysis),
)
