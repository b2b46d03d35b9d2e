"""What the page shows beside a loop's own numbers: two planes together, and earlier studies."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from appliance.ledger import Ledger, beside
from appliance.measures import Biplane, Measures, biplane
from appliance.views import APICAL, sure_of
from appliance.webui import dates, words
from appliance.webui.language import _, told_all


def described(ledger: Ledger, loop: words.Row, siblings: Sequence[words.Row]) -> dict[str, Any]:
    """Describe what stands beside a loop.

    Parameters
    ----------
    ledger
        The box's.
    loop
        A row of `worklist.loop`.
    siblings
        Its study, with the loop itself.

    Returns
    -------
    dict
        `biplane`: None for a loop that isn't measured, else `ef`, `volumes` (texts), `why`
        (sentences) and `with` (which other loop, "" without one). `earlier`: a line each, the
        newest first.
    """
    return {
        "biplane": _biplane(loop, siblings),
        "earlier": [_sentence(row) for row in beside.earlier(ledger, loop)],
    }


def _biplane(loop: words.Row, siblings: Sequence[words.Row]) -> dict[str, Any] | None:
    measures = words.in_force(loop)
    if measures is None or loop["state"] != "analysed" or not loop["current"]:
        return None
    view = sure_of(loop["view"])
    if not view:
        return _told(None, None, [_("No biplane EF: nobody is sure of this loop's view.")])
    (wanted,) = (name for name in APICAL if name != view)
    partner = _partner(loop, siblings, wanted)
    if partner is None:
        return _told(
            None, None, [_("No biplane EF: no {view} loop of this study is measured.", view=wanted)]
        )
    theirs = words.in_force(partner)
    assert theirs is not None
    of_view = {view: Measures.from_dict(measures), wanted: Measures.from_dict(theirs)}
    found = biplane(of_view["A4C"], of_view["A2C"])
    return _told(found, partner, list(dict.fromkeys(found.withheld.values())))


def _partner(loop: words.Row, siblings: Sequence[words.Row], wanted: str) -> words.Row | None:
    """The loop of the other view: what a person accepted before what nobody saw, then the newest."""
    doubtful = loop["patients"] > 1 and loop["identity"] is None
    if doubtful or words.is_another_patient(loop) or not loop["study_instance_uid"]:
        return None
    fit = [
        row
        for row in siblings
        if row["current"]
        and row["state"] == "analysed"
        and sure_of(row["view"]) == wanted
        and row["patient_id"] == loop["patient_id"]
        and not words.is_another_patient(row)
        and not (words.decided(row) and row["review"]["decision"] == "rejected")
    ]
    return max(fit, key=lambda row: (words.decided(row), row["seq"]), default=None)


def _told(found: Biplane | None, partner: words.Row | None, why: list[str]) -> dict[str, Any]:
    ef = found.ef_percent if found else None
    return {
        "ef": "" if ef is None else f"{ef:.0f} %",
        "volumes": words.volumes(asdict(found)) if found else [],
        "why": told_all(why),
        "with": _with(partner) if partner else "",
    }


def _with(partner: words.Row) -> str:
    number = partner["instance_number"] or partner["seq"]
    if words.decided(partner):
        return _("with loop {number}", number=number)
    return _("with loop {number}, not accepted yet", number=number)


def _sentence(row: words.Row) -> str:
    written = row["content_date_time"]
    return _(
        "{when}: EF {ef} % ({who})",
        when=dates.day_of(written) if written else _("earlier"),
        ef=f"{row['ef_percent']:.0f}",
        who=", ".join(filter(None, [row["reviewer"], row["view"]])),
    )
