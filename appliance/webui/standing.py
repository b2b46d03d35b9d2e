"""How storage, engine, models, carts and destinations stand, in words for the board."""

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from appliance import deliveries, pace, pairing, space
from appliance.config import Settings
from appliance.errors import ApplianceError
from appliance.ledger import (
    Ledger,
    analysis,
    command,
    engine_state,
    quarantine,
    release,
    setting,
    skew,
)
from appliance.releases import model_store, promotion
from appliance.spool import Spool
from appliance.webui import drifting
from appliance.webui.language import N_, _, told, told_all

OK, ATTENTION, BROKEN, UNTRIED = "good", "attention", "broken", "untried"
_FEW_DAYS = 7.0
_OLD_S = 86400.0
_SKEWED_S = 300
_KINDS = {
    "folder": N_("folder"),
    "dicom": N_("DICOM archive (PACS)"),
    "dicomweb": N_("DICOMweb server"),
    "fhir": N_("FHIR server"),
}
_REJECTED = {
    "no cart is paired with this title": N_("It is not paired."),
    "no cart is paired from this address": N_("Its title is paired, at another address."),
    "this cart must use the TLS port": N_("It must use the TLS port."),
}
_UNITS = ((86400, N_("{count} days")), (3600, N_("{count} h")), (60, N_("{count} min")))


def parts(settings: Settings, ledger: Ledger, spool: Spool) -> dict[str, Any]:
    """Return what the board shows; no patient.

    Returns
    -------
    dict
        storage, engine, model: each with `state` (good, attention, broken, untried) and `lines`; carts,
        rejected, destinations: rows; aside: objects put aside; is_asking: whether a service is
        just asked something.
    """
    rows = [_destination(ledger, row) for row in deliveries.account(settings, ledger)]
    account = pairing.account(settings, ledger)
    return {
        "storage": _storage(space.account(settings, ledger, spool)),
        "engine": _engine(ledger),
        "model": _model(settings, ledger),
        "carts": [_cart(row) for row in account["carts"]],
        "closed": account["closed"],
        "rejected": [_rejected(row) for row in account["rejected"]],
        "destinations": rows,
        "aside": len(quarantine.listed(ledger)),
        "is_asking": any(row["is_asking"] for row in rows),
    }


def models_before(settings: Settings, ledger: Ledger) -> tuple[str, ...]:
    """Return the models that were in use before those that are now; none when there were no others."""
    now = model_store.resolved(model_store.chosen(ledger, settings))
    for row in setting.history(ledger, setting.MODELS)[1:]:
        chosen = json.loads(row["value"]) or model_store.configured(settings)
        before = model_store.resolved(chosen)
        # One that was taken back or withdrawn doesn't come again by a slip of the finger.
        if before != now and not any(promotion.is_gone(ledger, settings, item) for item in before):
            return before
    own = model_store.resolved(model_store.configured(settings))
    return own if own != now else ()


def _storage(room: Mapping[str, Any]) -> dict[str, Any]:
    free = _("{gigabytes} GB free", gigabytes=f"{room['free_mb'] / 1000:.1f}")
    held = _("{gigabytes} GB of images", gigabytes=f"{room['used_mb'] / 1000:.1f}")
    days = room["days_left"]
    if room["free_mb"] < room["floor_mb"]:
        head, state = _("No room: images are refused until there is some again."), BROKEN
    elif days is None:
        head, state = _("How many days are left is known after a day of use."), OK
    else:
        head = _("{days} days left at this week's rate", days=f"{days:g}")
        state = ATTENTION if days < _FEW_DAYS else OK
    return {"state": state, "lines": [head, free, held]}


def _engine(ledger: Ledger) -> dict[str, Any]:
    row = engine_state.get(ledger)
    if row is None:
        line = _("The engine has not been started yet.")
        return {"state": ATTENTION, "lines": [line], "degraded": False}
    problem = engine_state.problem(row)
    lines = [_("{engine} at {precision}", engine=row["backend"], precision=row["precision"])]
    found = pace.rates(analysis.latest_timings(ledger, pace.LATEST))
    slow = False
    if found:
        drawn, played = found
        slow = drawn < played
        lines.append(
            _(
                "{time} ms a frame; loops play at {due} ms",
                time=f"{1000 / drawn:.1f}",
                due=f"{1000 / played:.0f}",
            )
        )
    waiting = analysis.behind(ledger)
    lines.append(_("Loops that wait: {count}", count=waiting))
    lines += [told(problem)] if problem else []
    state = ATTENTION if problem or slow else OK
    return {"state": state, "lines": lines, "degraded": bool(problem)}


def _model(settings: Settings, ledger: Ledger) -> dict[str, Any]:
    state, cards = OK, []
    for name in model_store.resolved(model_store.chosen(ledger, settings)):
        try:
            known = model_store.load(settings.box.state_dir, name)
        except ApplianceError:
            state = BROKEN
            cards.append({"name": name, "facts": [_("It can't be used.")]})
            continue
        facts = [
            _("Draws: {views}", views=", ".join(known.gates.views)),
            _("Licence: {licence}", licence=known.licence),
            _("Research use only") if known.research_use_only else "",
            *(
                _(
                    "{structure}: Dice {value} on {frames} frames",
                    **_accuracy(name, dice, one.frames),
                )
                for one in known.variants[0].accuracy[:1]
                for name, dice in one.dice.items()
            ),
        ]
        drift, differs = drifting.lines(ledger, name)
        state = ATTENTION if differs and state == OK else state
        cards.append({"name": name, "facts": [fact for fact in facts if fact], "drift": drift})
    return {
        "state": state,
        "cards": cards,
        "candidate": _candidate(settings, ledger),
        "ended": _ended(ledger),
        "before": models_before(settings, ledger),
    }


def _candidate(settings: Settings, ledger: Ledger) -> dict[str, Any] | None:
    """How the model that is on trial does beside the one in force, in figures."""
    found = promotion.candidate(ledger, settings)
    if found is None:
        return None
    figures, verdict = promotion.standing(ledger, settings, found)
    wanted = promotion.thresholds(settings, found)
    facts = [
        _("Loops: {count} of {wanted}", count=figures.loops, wanted=wanted.loops),
        *(
            _("{structure}: agrees with Dice {value}", structure=name, value=f"{dice:.3f}")
            for name, dice in figures.agreement.items()
        ),
    ]
    if figures.ef_points is not None:
        facts.append(_("EF apart by {points} points", points=f"{figures.ef_points:.1f}"))
    if figures.frame_ms is not None:
        facts.append(
            _(
                "{time} ms a frame; the model in use {own} ms",
                time=f"{figures.frame_ms:.1f}",
                own=f"{figures.own_ms:.1f}",
            )
        )
    if figures.refused:
        facts.append(_("Loops that it would not have drawn: {count}", count=figures.refused))
    if wanted.corrections or figures.corrections:
        facts.append(
            _(
                "Corrected loops: {count} of {wanted}",
                count=figures.corrections,
                wanted=wanted.corrections,
            )
        )
    if figures.corrections:
        dice = {"value": f"{figures.candidate_dice:.3f}", "own": f"{figures.own_dice:.3f}"}
        facts.append(_("Dice to these {value}; the model in use {own}", **dice))
    if verdict.state == "passed":
        facts.append(_("Its figures are enough: echocart model promote lets it draw."))
    names = {"name": found.name, "other": found.against}
    head = _("{name} draws in the shadow of {other}", **names)
    if not found.staged:
        head = _("{name} was fetched; once it is proven it draws in the shadow of {other}", **names)
    return {"head": head, "facts": facts}


def _ended(ledger: Ledger) -> list[str]:
    """Say of the last release that was refused or taken back why; nothing once another came."""
    rows = sorted(release.newest(ledger).values(), key=lambda row: int(row["id"]))
    said = {
        "refused": N_("{name} was refused: {why}"),
        "taken back": N_("{name} was taken back: {why}"),
        "withdrawn": N_("Its makers have withdrawn {name}: {why}"),
    }
    return [
        _(said[row["state"]], name=row["name"], why=told(row["why"]))
        for row in rows[-1:]
        if row["state"] in said
    ]


def _accuracy(structure: str, dice: float, frames: int) -> dict[str, Any]:
    return {"structure": structure, "value": f"{dice:.3f}", "frames": frames}


def _cart(row: Mapping[str, Any]) -> dict[str, Any]:
    lines, state = [], OK
    if row["last_seen"]:
        lines.append(_("Last seen {time} ago", time=_span(_age_s(row["last_seen"]))))
        lines.append(_("Images: {count}", count=row["objects"]))
    else:
        state = ATTENTION
        lines.append(_("It has never called."))
    if row["tls"]:
        lines.append(_("By TLS"))
    for clock in row["clocks"]:
        if clock["ahead_s"] > _SKEWED_S:
            state = ATTENTION
            lines.append(_("Its clock is {time} ahead.", time=skew.duration(clock["ahead_s"])))
    return {
        "state": state,
        "name": row["name"],
        "title": row["calling_ae"],
        "address": row["address"],
        "lines": lines,
    }


def _rejected(row: Mapping[str, Any]) -> dict[str, Any]:
    known = _REJECTED.get(row["why"])
    own = _("It calls this box by another title: {title}.", title=row["called_ae"])
    when = _("{time} ago", time=_span(_age_s(row["rejected_at"])))
    # Pairing mends the first two; the others are the cart's own settings.
    may_allow = row["why"].startswith("no cart is paired")
    return {
        "title": row["calling_ae"],
        "address": row["peer"],
        "lines": [_(known) if known else own, when],
        "may_allow": may_allow,
    }


def _destination(ledger: Ledger, row: Mapping[str, Any]) -> dict[str, Any]:
    waiting = row["waiting"] + row["in_flight"] + row["awaiting_commitment"]
    lines = [_("Waiting: {count}", count=waiting), _("Proven: {count}", count=row["proven"])]
    state = OK
    if waiting and row["oldest"]:
        age = _age_s(row["oldest"])
        state = ATTENTION if age > _OLD_S else OK
        lines.append(_("The oldest waits for {time}.", time=_span(age)))
    problems = [item["problem"] for item in row["problems"]]
    asked = [command.newest(ledger, what, row["name"]) for what in (command.TEST, command.RETRY)]
    test = asked[0] if asked[0] and asked[0]["state"] not in command.OPEN else None
    if not (waiting or row["proven"] or row["unproven"] or test):
        state = UNTRIED
    if row["not_taken"]:  # tried again for ever: without its administrator they never arrive
        state = ATTENTION
    if row["resting"] or (test and test["state"] == "failed"):
        state = BROKEN
    if row["resting"]:
        problems = [row["resting"]["problem"], *problems]
    lines += told_all(list(dict.fromkeys(f"{text.rstrip('.')}." for text in problems))[:3])
    if row["paused"]:
        state = ATTENTION
        lines.append(_("Paused by {who}.", who=row["paused"]["by"]))
    if not row["kind"] and waiting:
        state = ATTENTION
        lines.append(_("No longer in the configuration: put it back, and they are delivered."))
    return {
        "state": state,
        "name": row["name"],
        "kind": _(_KINDS[row["kind"]]) if row["kind"] in _KINDS else row["kind"],
        "is_known": bool(row["kind"]),
        "is_paused": bool(row["paused"]),
        "waiting": waiting,
        "lines": lines,
        "is_asking": any(one is not None and one["state"] in command.OPEN for one in asked),
        "test": _test(test) if test else None,
    }


def _test(row: Mapping[str, Any]) -> dict[str, Any]:
    time = _span(_age_s(row["at"]))
    if row["state"] == "done":
        head = _("Tested {time} ago: everything that is needed works.", time=time)
    elif row["answer"]:
        head = _("Tested {time} ago: not everything works.", time=time)
    else:
        head = _("The test {time} ago gave no answer: is delivery running?", time=time)
    return {"state": OK if row["state"] == "done" else BROKEN, "head": head, "said": row["answer"]}


def _age_s(at: str) -> float:
    then = datetime.fromisoformat(at.replace("Z", "+00:00"))
    return max(0.0, (datetime.now(timezone.utc) - then).total_seconds())


def _span(seconds: float) -> str:
    for unit, text in _UNITS:
        if seconds >= 2 * unit or unit == _UNITS[-1][0]:
            return _(text, count=int(seconds // unit))
    return ""
