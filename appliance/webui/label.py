"""What the page says about a loop's view: who says which, how sure, and what else it could be."""

from typing import Any

from appliance.ledger import Ledger, view
from appliance.views import APICAL, OTHER, UNCERTAIN
from appliance.webui import words
from appliance.webui.language import N_, _, told

_NAMES = {"": N_("unknown"), OTHER: N_("another view")}


def described(ledger: Ledger, loop: words.Row) -> dict[str, Any] | None:
    """Describe a loop's view for the page; None when nothing has looked at it.

    Returns
    -------
    dict
        `id` of the row in force, `view`, `word` (what the header shows), `said` (who says so, as
        sentences), `choices` (view, label), `measures` (whether a choice has the loop measured).
    """
    row, model = loop["view"], view.by_model(ledger, loop["seq"])
    if row is None:
        return None
    kept = loop["state"] == "kept"
    said = [_model_said(model)] if model else []
    if row["source"] == "person":
        who, when = row["by"], words.clock(row["at"])
        named = _(
            "{initials} set it to {view} at {time}.", initials=who, view=_name(row), time=when
        )
        said.append(named)
    lead = _("Measure as {view}") if kept else "{view}"
    return {
        "id": row["id"],
        "view": row["view"],
        "word": word(row),
        "said": said,
        "measures": kept,
        "choices": [
            *(
                {"view": name, "label": lead.format(view=f"{name}, {told(APICAL[name].words)}")}
                for name in APICAL
            ),
            {"view": OTHER, "label": _("Another view: not measured")},
        ],
        "changeable": bool(loop["current"]) and loop["state"] in ("analysed", "kept"),
    }


def word(row: words.Row) -> str:
    """Return the view in a word, with a question mark where the model isn't sure."""
    name = {"": _("view?"), OTHER: _("other view")}.get(row["view"], row["view"])
    if row["source"] == "person":
        return f"{name} · {row['by']}"
    unsure = row["view"] in APICAL and (row["certainty"] or 0) < UNCERTAIN
    return f"{name}?" if unsure else str(name)


def _model_said(row: words.Row) -> str:
    if not row["view"]:
        return _("The model tells no views.")
    if row["view"] == OTHER:
        return _("The model recognised no apical four- or two-chamber view.")
    certainty = row["certainty"] or 0
    # Nobody is: 100 % would be a claim about machines it never saw.
    if certainty < UNCERTAIN:
        return _("The model says {view}, not sure.", view=_name(row))
    share = f"{min(99, 100 * certainty):.0f} %"
    return _("The model says {view}, {share} sure.", view=_name(row), share=share)


def _name(row: words.Row) -> str:
    return _(_NAMES[row["view"]]) if row["view"] in _NAMES else str(row["view"])
