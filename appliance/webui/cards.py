"""What the list shows of a study, and the list and the rail of one loop."""

from collections.abc import Iterator, Sequence
from typing import Any

from flask import url_for

from appliance.config import DicomPeer, DicomWebPeer, Settings
from appliance.ledger import identity
from appliance.ledger.person import told_apart
from appliance.webui import attention, dates, words
from appliance.webui.label import word
from appliance.webui.language import _, told
from appliance.webui.thumbnails import name as drawn_on
from appliance.webui.visible import visible

# Of several objects the one that is least far is told: a sign's place in this order.
_SIGNS = ("▲", "○", "◐", "–", "●")

STANDS_OUT = "stands out"  # of what a study is: a loop of it needs a closer look


def shown_of(loops: Sequence[words.Row], settings: Settings) -> dict[str, Any]:
    """Return what the list shows of a study's loops, which come oldest first."""
    newest = loops[-1]
    current = [loop for loop in loops if loop["current"]]
    several = len(told_apart(map(identity.of, current or loops))) > 1
    return {
        "patient_name": _("Several patients") if several else _name(newest),
        "patient_id": "" if several else visible(newest["patient_id"]),
        "time": dates.minute(newest["content_date_time"]),
        "machine": f"{newest['manufacturer']} {newest['manufacturer_model_name']}".strip(),
        "views": _views(current),
        "ef": _ef([loop for loop in current if _is_of_the_patient(loop)]),
        "needs": sum(map(attention.needs_eyes, loops)),
        "warning": _warning(newest),
        "marks": list(_marks(loops, settings)),
        "loops": [tile(loop, named=several) for loop in _in_order(loops)],
    }


def kinds_of(loops: Sequence[words.Row]) -> Iterator[str]:
    """Give the filters that a study of these loops is listed under, and whether it stands out."""
    if any(map(attention.reasons, loops)):
        yield STANDS_OUT
    if any(map(attention.needs_eyes, loops)):
        yield "needs"
    elif any(words.decided(loop) for loop in loops if loop["current"]):
        yield "done"
    if any(loop["state"] in ("kept", "quarantined") for loop in loops if loop["current"]):
        yield "kept"


def card(loop: words.Row) -> dict[str, Any]:
    """Return what the list and the rail show of one loop."""
    ef, volumes = words.summary(loop)
    return {
        "seq": loop["seq"],
        "number": loop["instance_number"] or loop["seq"],
        "url": url_for("loops.viewer", seq=loop["seq"]),
        "thumbnail": _thumbnail_url(loop),
        "status": words.status(loop),
        "view": word(loop["view"]) if loop["view"] and loop["view"]["view"] else "",
        "ef": ef,
        "volumes": volumes,
        "why": _why(loop),
        "marks": words.marks(loop),
    }


def _why(loop: words.Row) -> str:
    """Why there are no contours; that it was kept, the status says already."""
    why = words.why(loop)
    said = why == _("Kept, not analysed: {reason}", reason=words.kept_because(loop))
    return words.kept_because(loop) if said else why


def tile(loop: words.Row, *, named: bool) -> dict[str, Any]:
    """Return what a list shows of one loop; `named`: whose it is, too."""
    shown = card(loop)
    found = (loop["analysis"] or {}).get("quality") or {}
    status = shown["status"]
    if attention.needs_eyes(loop) and loop["state"] == "kept":
        status = {"word": _("needs eyes"), "sign": "●", "tone": "attention"}
    return {
        **shown,
        "status": status,
        "quality": told(found.get("word", "")) if words.in_force(loop) else "",
        "patient": f"{_name(loop)} · {visible(loop['patient_id'])}" if named else "",
        "reasons": attention.reasons(loop),
        "undecided": attention.undecided(loop),
        # The study's own marks tell how far it is; here only what somebody should know of.
        "marks": [mark for mark in shown["marks"] if mark["tone"] == "attention"],
    }


def _in_order(loops: Sequence[words.Row]) -> list[words.Row]:
    """Those in which something stands out, those that wait; each group as the machine took them."""

    def rank(loop: words.Row) -> tuple[bool, bool, int]:
        return (not attention.reasons(loop), not attention.needs_eyes(loop), int(loop["seq"]))

    return sorted(loops, key=rank)


def _name(loop: words.Row) -> str:
    return words.person_name(loop["patient_name"])


def _warning(loop: words.Row) -> str | None:
    """What stops every loop of a study, not one alone."""
    stopped = loop["patients"] > 1 or not loop["study_instance_uid"]
    return words.blocked(loop) if stopped and loop["current"] else None


def _views(loops: Sequence[words.Row]) -> str:
    """The views found, each once, in the order they were taken."""
    named = [word(loop["view"]) for loop in loops if loop["analysis"] and loop["view"]]
    return " ".join(dict.fromkeys(name for name in named if name))


def _ef(loops: Sequence[words.Row]) -> str:
    # A rejected loop's numbers count for nothing.
    measured = [words.in_force(loop) for loop in loops if not _rejected(loop)]
    found = [item["ef_percent"] for item in measured if item and item["ef_percent"] is not None]
    if not found:
        return ""
    low, high = f"{min(found):.0f}", f"{max(found):.0f}"
    return _("EF {value}", value=f"{low} %" if low == high else f"{low}–{high} %")


def _is_of_the_patient(loop: words.Row) -> bool:
    """Whether it is certain enough whose a loop is to put its numbers beside others'."""
    in_doubt = loop["patients"] > 1 and loop["identity"] is None
    return not (in_doubt or words.is_another_patient(loop))


def _rejected(loop: words.Row) -> bool:
    return words.decided(loop) and loop["review"]["decision"] == "rejected"


def _marks(loops: Sequence[words.Row], settings: Settings) -> Iterator[dict[str, str]]:
    """How far what was decided is: on its way to people, to the archive, and proven to be there."""
    kinds = {item.name: _place(item) for item in settings.destination}
    by_place: dict[str, list[dict[str, str]]] = {}
    for loop in loops:
        # Where a replaced loop's results are says nothing of what stands, unless something is wrong.
        marks = words.marks(loop)
        for mark in marks if loop["current"] else [m for m in marks if m["tone"] == "attention"]:
            by_place.setdefault(kinds.get(mark["word"], mark["word"]), []).append(mark)
    for place, marks in by_place.items():
        least = min(marks, key=lambda mark: _SIGNS.index(mark["sign"]))
        alike = sum(mark["title"] == least["title"] for mark in marks)
        of = _("({some} of {count} loops)", some=alike, count=len(marks))
        title = f"{least['title']} {of}" if alike < len(marks) else least["title"]
        yield {**least, "word": place, "title": title}
    if by_place:
        yield _proven([loop for loop in loops if loop["current"]])


def _place(destination: Any) -> str:
    if isinstance(destination, DicomPeer):
        return _("PACS")
    return _("archive") if isinstance(destination, DicomWebPeer) else str(destination.name)


def _proven(loops: Sequence[words.Row]) -> dict[str, str]:
    states = [row["state"] for loop in loops for row in loop["deliveries"]]
    sent = [state for state in states if state != "withdrawn"]
    if sent and all(state == "proven" for state in sent):
        title = _("Each place has given back what it was sent, and it was the same.")
        return {"word": _("proven"), "sign": "●", "tone": "good", "title": title}
    proven = sum(state == "proven" for state in sent)
    title = _(
        "Given back and found the same: {proven} of {count} objects.",
        proven=proven,
        count=len(sent),
    )
    return {"word": _("not proven yet"), "sign": "○", "tone": "quiet", "title": title}


def _thumbnail_url(loop: words.Row) -> str | None:
    if loop["number_of_frames"] < 1 or not loop["rows"]:
        return None
    return url_for("thumbnails.thumbnail", seq=loop["seq"], drawn=drawn_on(loop))
