"""What the page says about a loop: plain, short words for what the ledger holds."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from appliance.ledger import identity
from appliance.views import OTHER

Row = Mapping[str, Any]

_TOGETHER = "\u00a0"  # a space that no line ends at
_VOLUMES = (
    *(("EDV", "edv_ml"), ("ESV", "esv_ml"), ("SV", "stroke_volume_ml")),
    ("LA", "la_volume_ml"),
)

REASONS = (
    "Wrong contours, no time to correct",
    "Poor image",
    "Wrong view",
    "Wrong patient",
    "Not needed",
)
KEYS = (
    ("Space", "play, pause"),
    ("← →", "frame before, after"),
    ("↑ ↓", "loop before, after"),
    ("D  S", "go to ED, ES; with Shift: it is here"),
    ("B", "play one beat"),
    ("A", "accept, or save and accept"),
    ("C", "correct, leave"),
    ("X", "reject"),
    ("E", "not sure: to an expert"),
    ("V", "another view"),
    ("H", "hide the contours"),
    ("M", "model's or mine"),
    ("O", "picture beside the contours"),
    ("[ ]", "weaker, stronger contours; size of the brush"),
    ("+ − 0", "zoom in, out, fit"),
    ("R", "ruler"),
    ("1 … 6", "tool"),
    (", .", "take the point before, after"),
    ("Shift ← → ↑ ↓", "move the point, or the zoomed picture"),
    ("N", "carry to neighbouring frames"),
    ("I", "fill the frames between"),
    ("⌫", "reset the frame"),
    ("Z", "undo; with Shift: redo"),
    ("L", "lock"),
    ("?", "these keys"),
)
_STATUS = {
    "received": ("waiting", "…", "quiet"),
    "analysing": ("being measured", "◔", "quiet"),
    "analysed": ("needs eyes", "●", "attention"),
    "kept": ("kept, not analysed", "○", "quiet"),
    "quarantined": ("could not be analysed", "▲", "broken"),
    "accepted": ("accepted", "✓", "good"),
    "corrected": ("corrected", "✓", "good"),
    "rejected": ("rejected", "✕", "quiet"),
}
_REPLACED = {"word": "replaced by a newer one", "sign": "–", "tone": "quiet"}
_DELIVERY = {
    "queued": ("on its way to {name}", "○", "quiet"),
    "sent": ("sent to {name}, not proven yet", "◐", "quiet"),
    "proven": ("in {name}, proven", "●", "good"),
    "unproven": ("in {name}, which offers no proof", "●", "quiet"),
    "refused": ("not sent to {name}: {problem}", "▲", "attention"),
    "withdrawn": ("not sent to {name}: taken back before it left", "–", "quiet"),
}
_TAKEN_BACK = "the result before is marked as replaced in {name}"
# What is told of several objects at one place: the least far.
_PROGRESS = ("queued", "sent", "refused", "unproven", "proven", "withdrawn")
_ON_ITS_WAY = ("queued", "sent")


def person_name(value: str) -> str:
    """Return a PatientName (PS3.5 6.2.1) as people write it, the native script first.

    Examples
    --------
    >>> person_name("DOE^JANE")
    'DOE, JANE'
    >>> person_name("Yamada^Tarou=山田^太郎=やまだ^たろう")
    '山田, 太郎 · Yamada, Tarou'
    """
    groups = [_one_name(group) for group in value.split("=")[:2]]
    shown = [name for name in reversed(groups) if name]
    return " · ".join(shown) or "No name"


def _one_name(group: str) -> str:
    parts = [part.strip() for part in group.split("^")]
    family, rest = parts[0], " ".join(part for part in parts[1:] if part)
    return ", ".join(part for part in (family, rest) if part)


def date(value: str) -> str:
    """Return a DICOM date (DA) as year-month-day; anything else as it is."""
    if len(value) == 8 and value.isascii() and value.isdigit():
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    return value


def machine_time(value: str) -> str:
    """Return a DICOM date and time (DT) as the machine wrote it, to the minute."""
    digits = value.replace(" ", "")
    if len(digits) >= 12 and digits[:12].isascii() and digits[:12].isdigit():
        return f"{date(digits[:8])} {digits[8:10]}:{digits[10:12]}"
    return date(digits[:8]) if digits else "no time given"


def clock(value: str) -> str:
    """Return the hour and minute, on this box's clock, of a ledger time (ISO 8601, UTC)."""
    when = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return when.astimezone().strftime("%H:%M")


def status(loop: Row) -> dict[str, str]:
    """Return word, sign and tone of where a loop stands; a review hides the machine's state."""
    review = loop["review"]
    if is_other(loop):
        return {"word": "other view, not measured", "sign": "○", "tone": "quiet"}
    if loop["state"] == "analysed" and decided(loop):
        word, sign, tone = _STATUS[review["decision"]]
        return {"word": f"{word} {review['reviewer']}", "sign": sign, "tone": tone}
    if not loop["current"]:
        return dict(_REPLACED)
    if loop["expert"]:
        return {
            "word": f"for an expert, asks {loop['expert']['by']}",
            "sign": "?",
            "tone": "attention",
        }
    word, sign, tone = _STATUS.get(loop["state"], (loop["state"], "?", "quiet"))
    return {"word": word, "sign": sign, "tone": tone}


def needs_eyes(loop: Row) -> bool:
    """Tell whether a person should look: measured and not decided on, or set aside."""
    if loop["state"] == "quarantined":
        return bool(loop["current"])
    waiting = loop["state"] == "analysed" and loop["current"] and not is_other(loop)
    return bool(waiting) and not decided(loop)


def decided(loop: Row) -> bool:
    """Tell whether a review in force is about this analysis and the view that now stands."""
    review, analysis = loop["review"], loop["analysis"]
    if review is None or analysis is None or review["analysis_id"] != analysis["id"]:
        return False
    view = (loop["view"] or {}).get("view", "")
    # Reviews of earlier releases name no view; a rejected loop needs no eyes in any view.
    return review["decision"] == "rejected" or review["view"] in ("", view)


def is_other(loop: Row) -> bool:
    """Tell whether a person has said that a measured loop shows another view."""
    view = loop["view"]
    said = bool(view) and view["source"] == "person" and view["view"] == OTHER
    return bool(said and loop["state"] == "analysed" and loop["current"])


def removed(loop: Row) -> str:
    """Return where an object is whose file was removed to make room; empty when it is here."""
    if not loop["purged_at"]:
        return ""
    places = loop["kept_in"].replace(",", " and ")
    return f"Kept in the archive {places}, removed here on {loop['purged_at'][:10]}."


def why(loop: Row) -> str:
    """Return why a loop has no contours, as a sentence; empty when it has, or will have."""
    if loop["purged_at"]:
        return removed(loop)
    if not loop["current"]:
        return "The machine has sent this loop again with other content: look at the newer one."
    if is_other(loop):
        return f"Not measured: {loop['view']['by']} has said that this is another view."
    if loop["state"] == "kept":
        return f"Kept, not analysed: {sentence(loop['reason'])}"
    if loop["state"] == "quarantined":
        return f"Could not be analysed: {sentence(loop['reason'])}"
    return ""


def sentence(text: str) -> str:
    """Return a text with one full stop at its end."""
    return f"{text.strip().rstrip('.')}."


def blocked(loop: Row) -> str | None:
    """Return why this loop can't be accepted now, or None (promise 12)."""
    if loop["purged_at"]:
        return f"{removed(loop)} Send it again from there, or from the machine, to decide on it."
    if not loop["current"]:
        return "The machine has sent this loop again: look at the newer one."
    if loop["patients"] > 1 and loop["identity"] is None:
        told = f"{loop['told'][0].upper()}{loop['told'][1:]}"
        return f"{told}. Nothing can be accepted until somebody says whose it is."
    if is_another_patient(loop):
        return (
            f"{loop['identity']['by']} has said that this study is another patient's. Reject this"
            " loop, or correct the patient on the echo machine and send it again."
        )
    if not loop["study_instance_uid"]:
        return (
            "The machine sent no study with this loop: it can't be delivered."
            " Send it again from the machine."
        )
    return None


def is_another_patient(loop: Row) -> bool:
    """Tell whether a person has said that a study is another patient's than the loop's."""
    return identity.excludes(loop["identity"], identity.of(loop))


def numbers(measures: Row) -> dict[str, Any]:
    """Return EF and volumes with their reasons, as the panel shows them.

    Returns
    -------
    dict
        `ef`, `spread`, `volumes` (texts), `lines` (quiet facts), `why` (what is withheld and
        why, as sentences).
    """
    ef, spread = measures["ef_percent"], measures.get("ef_spread")
    beats = measures.get("beats") or ()
    lines = [] if not beats else ["1 beat" if len(beats) == 1 else f"{len(beats)} beats"]
    if measures.get("ef_mean") is not None:
        lines.append(f"mean{_TOGETHER}{measures['ef_mean']:.0f}{_TOGETHER}%")
    return {
        "ef": "–" if ef is None else f"{ef:.0f} %",
        # Half of what lies between the highest and the lowest beat.
        "spread": "" if ef is None or spread is None else f"±{spread / 2:.0f}",
        "volumes": volumes(measures),
        "lines": lines,
        "why": [*_reasons(measures["withheld"]), *_disagreeing(beats)],
    }


def volumes(measures: Row) -> list[str]:
    """Return each volume that isn't withheld, with its unit."""
    return [
        f"{name}{_TOGETHER}{measures[key]:.0f}{_TOGETHER}ml"
        for name, key in _VOLUMES
        if measures.get(key) is not None
    ]


def _disagreeing(beats: Sequence[Row]) -> list[str]:
    """Which beats an EF rests on when they don't agree; the one shown is the median."""
    if all(beat.get("agrees", True) for beat in beats):
        return []
    each = ", ".join(f"{beat['ef']:.0f}" for beat in beats)
    return [f"The beats disagree: EF {each}{_TOGETHER}%."]


def _reasons(withheld: Mapping[str, str]) -> list[str]:
    """Each reason once: several numbers are often withheld for the same one."""
    sentences = [sentence(reason) for reason in dict.fromkeys(withheld.values())]
    return [text if text.startswith("No ") else f"No volume: {text}" for text in sentences]


def quality(analysis: Row) -> list[str]:
    """Return what an analysis rests on: quality as stored with it, doubtful frames, frame rate."""
    found = analysis["quality"] or {}
    seen = [str(found["word"])] if found.get("word") else []
    return [*seen, f"{analysis['timing']['rate_hz']:.0f} Hz"]


def summary(loop: Row) -> tuple[str, str]:
    """Return a loop's EF and its volumes in a few words for the worklist."""
    measures = in_force(loop)
    if measures is None:
        return "", ""
    shown = numbers(measures)
    ef = "No EF" if measures["ef_percent"] is None else f"EF {shown['ef']} {shown['spread']}"
    return ef.strip(), " · ".join(shown["volumes"])


def in_force(loop: Row) -> Row | None:
    """Return the measures that count: a correction's, else the model's, else None."""
    review = loop["review"]
    if is_other(loop):
        return None
    if review and review["decision"] == "corrected" and review["measures"]:
        measures: Row = review["measures"]
        return measures
    return loop["analysis"]["measures"] if loop["analysis"] else None


def undoable(loop: Row) -> bool:
    """Tell whether the decision in force can be undone: nothing of it has left the box."""
    review = loop["review"]
    return bool(review is not None and loop["current"]) and all(
        row["state"] in ("queued", "withdrawn")
        for row in loop["deliveries"]
        if row["review_id"] == review["id"]
    )


def no_longer_in_force(told: dict[str, Any], later: Row) -> None:
    """Write into what is told of a review why it isn't in force any more."""
    if not told["stands"]:
        return
    undone = later["decision"] == "undone"
    why_not = f"Undone by {later['reviewer']} {clock(later['at'])}." if undone else "Replaced."
    told["note"] = f"{sentence(told['note'])} {why_not}" if told["note"] else why_not
    told["sign"] = "↶" if undone else told["sign"]


def marks(loop: Row) -> list[dict[str, str]]:
    """Return a small mark for each destination: how far the newest delivery there is."""
    by_name: dict[str, list[Row]] = {}
    for row in loop["deliveries"]:
        by_name.setdefault(row["destination"], []).append(row)
    return [_mark(name, rows) for name, rows in by_name.items()]


def _mark(name: str, rows: list[Row]) -> dict[str, str]:
    newest = _newest(rows)
    row = min(newest, key=lambda row: _PROGRESS.index(row["state"]))
    text, sign, tone = _DELIVERY[row["state"]]
    if row["state"] in ("unproven", "proven") and newest[-1]["kind"] == "rejection":
        text = _TAKEN_BACK
    title = text.format(name=name, problem=row["problem"])
    title = sentence(f"{title[0].upper()}{title[1:]}")
    stuck = [other for other in newest if other["problem"] and other["state"] in _ON_ITS_WAY]
    refused = [other for other in newest if other["state"] == "refused"]
    if stuck:
        when = f"since {clock(min(other['queued_at'] for other in stuck))}"
        title = f"Not delivered to {name} {when}. It will go on trying."
        sign, tone = "▲", "attention"
    elif refused and row["state"] in _ON_ITS_WAY:
        title = f"{title} Not all of it: {sentence(refused[0]['problem'])}"
        sign, tone = "▲", "attention"
    return {"word": name, "sign": sign, "tone": tone, "title": title}


def _newest(rows: list[Row]) -> list[Row]:
    """What is on its way, and what the newest review that sends anything has sent."""
    alive = [row for row in rows if row["state"] != "withdrawn"] or rows
    review = max((row["review_id"] or 0) for row in alive)
    return [
        row for row in alive if row["state"] in _ON_ITS_WAY or (row["review_id"] or 0) == review
    ]
