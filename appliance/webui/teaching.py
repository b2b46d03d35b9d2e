"""For experts: the undecided loops that teach the model's makers most, first."""

from typing import Any

from flask import Blueprint, render_template

from appliance import ranking
from appliance.ledger import worklist
from appliance.webui import cards, words
from appliance.webui.app import here
from appliance.webui.language import N_, _

blueprint = Blueprint("teaching", __name__)

SHOWN = 48  # loops; whoever decides on these comes back
_REASONS = {
    ranking.UNSURE: N_("network unsure"),
    ranking.DISAGREE: N_("beats disagree"),
    ranking.RARE: N_("rare scanner"),
}


@blueprint.get("/learn")
def learn_page() -> str:
    """Show undecided loops in the order of what a decision on them teaches."""
    every = ranking.undecided(here().ledger)
    first = {item.seq: item for item in every[:SHOWN]}
    loops = [_tile(row, first[row["seq"]]) for row in worklist.these(here().ledger, list(first))]
    return render_template("learn.html", loops=loops, count=len(every))


def _tile(row: words.Row, found: ranking.Ranked) -> dict[str, Any]:
    shown = cards.tile(row, named=True)
    reasons = [_(_REASONS[name]) for name in found.reasons]
    return {**shown, "reasons": list(dict.fromkeys([*reasons, *shown["reasons"]]))}
