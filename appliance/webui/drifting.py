"""What the board says of drift: what differs, from what, and since when."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from appliance.drift import account
from appliance.drift.watch import BOX, MODEL
from appliance.ledger import Ledger
from appliance.webui.language import N_, _

NAMES = {
    "brightness": N_("brightness"),
    "contrast": N_("contrast"),
    "fan_aspect": N_("width of the sector"),
    "fan_fill": N_("shape of the sector"),
    "depth_mm": N_("depth"),
    "unknown_scanner": N_("scanners or software not seen before"),
    "lv_area": N_("area of the left ventricle"),
    "wall_area": N_("area of the myocardium"),
    "la_area": N_("area of the left atrium"),
    "confidence_lv": N_("confidence in the left ventricle"),
    "confidence_wall": N_("confidence in the myocardium"),
    "confidence_la": N_("confidence in the left atrium"),
    "certainty": N_("certainty along the outlines"),
    "doubtful": N_("frames with doubtful outlines"),
    "refused": N_("loops that a gate refused"),
    "accepted": N_("loops accepted as drawn"),
    "correction": N_("size of corrections"),
}


def lines(ledger: Ledger, model: str) -> tuple[list[str], bool]:
    """Return what there is to say of a model, and whether anything differs."""
    found = account.state(ledger, model, date.today().isoformat())
    if not found["day"]:
        return [_("Drift: no whole day of the last four weeks has been looked at.")], False
    differing = account.differing(found)
    said = [
        *_said(N_("Not as where the model was made: {what}."), differing, MODEL),
        *_said(N_("Not as in this box's first studies with it: {what}."), differing, BOX),
    ]
    day = _(
        "Drift: {count} studies looked at, up to {day}.", count=found["studies"], day=found["day"]
    )
    calm = _("Pictures, outlines and decisions are as they were.")
    return [*(said or [calm]), day], bool(said)


def _said(text: str, differing: Sequence[Mapping[str, Any]], source: str) -> list[str]:
    what = [
        _("{name} (since {day})", name=_(NAMES[item["feature"]]), day=item["since"])
        for item in differing
        if item["source"] == source
    ]
    return [_(text, what=", ".join(what))] if what else []
