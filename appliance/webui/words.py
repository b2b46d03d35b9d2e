"""What the page says about a loop: plain, short words for what the ledger holds."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from appliance.ledger import identity, outbox
from appliance.views import OTHER
from appliance.webui.language import N_, _, n_, told, told_all
from appliance.webui.visible import visible

Row = Mapping[str, Any]

_TOGETHER = "\u00a0"  # a space that no line ends at
_VOLUMES = (
    *((N_("EDV"), "edv_ml"), (N_("ESV"), "esv_ml"), (N_("SV"), "stroke_volume_ml")),
    (N_("LA"), "la_volume_ml"),
)

REASONS = (
    N_("Wrong contours, no time to correct"),
    N_("Poor image"),
    N_("Wrong view"),
    N_("Wrong patient"),
    N_("Not needed"),
)
KEYS = (
    (N_("Space"), N_("play, pause")),
    ("← →", N_("frame before, after")),
    ("↑ ↓", N_("loop before, after")),
    ("D  S", N_("go to ED, ES; with Shift: it is here")),
    ("B", N_("play one beat")),
    ("A", N_("accept, or save and accept")),
    ("C", N_("correct, leave")),
    ("X", N_("reject")),
    ("E", N_("not sure: to an expert")),
    ("V", N_("another view")),
    ("H", N_("hide the contours")),
    ("M", N_("model's or mine")),
    ("O", N_("picture beside the contours")),
    ("[ ]", N_("weaker, stronger contours; size of the brush")),
    ("+ − 0", N_("zoom in, out, fit")),
    ("R", N_("ruler")),
    ("1 … 6", N_("tool")),
    (", .", N_("take the point before, after")),
    (N_("Shift ← → ↑ ↓"), N_("move the point, or the zoomed picture")),
    ("N", N_("carry to neighbouring frames")),
    ("I", N_("fill the frames between")),
    ("⌫", N_("reset the frame")),
    ("Z", N_("undo; with Shift: redo")),
    ("L", N_("lock")),
    ("?", N_("these keys")),
)
_STATUS = {
    "received": (N_("waiting"), "…", "quiet"),
    "analysing": (N_("being measured"), "◔", "quiet"),
    "analysed": (N_("needs eyes"), "●", "attention"),
    "kept": (N_("kept, not analysed"), "○", "quiet"),
    "quarantined": (N_("could not be analysed"), "▲", "broken"),
    "accepted": (N_("accepted"), "✓", "good"),
    "corrected": (N_("corrected"), "✓", "good"),
    "rejected": (N_("rejected"), "✕", "quiet"),
}
_REPLACED = {"word": N_("replaced by a newer one"), "sign": "–", "tone": "quiet"}
_DELIVERY = {
    "queued": (N_("on its way to {name}"), "○", "quiet"),
    "sent": (N_("sent to {name}, not proven yet"), "◐", "quiet"),
    "proven": (N_("in {name}, proven"), "●", "good"),
    "unproven": (N_("in {name}, which offers no proof"), "●", "quiet"),
    "refused": (N_("not sent to {name}: {problem}"), "▲", "attention"),
    "withdrawn": (N_("not sent to {name}: taken back before it left"), "–", "quiet"),
}
_REPLACED_FIRST = N_("not sent to {name}: the machine sent the loop again with other content first")
_TAKEN_BACK = N_("the result before is marked as replaced in {name}")
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
    groups = [_one_name(group) for group in visible(value).split("=")[:2]]
    shown = [name for name in reversed(groups) if name]
    return " · ".join(shown) or _("No name")


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
    return date(digits[:8]) if digits else _("no time given")


def clock(value: str) -> str:
    """Return the hour and minute, on this box's clock, of a ledger time (ISO 8601, UTC)."""
    when = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return when.astimezone().strftime("%H:%M")


def status(loop: Row) -> dict[str, str]:
    """Return word, sign and tone of where a loop stands; a review hides the machine's state."""
    review = loop["review"]
    if is_other(loop):
        return {"word": _("other view, not measured"), "sign": "○", "tone": "quiet"}
    if not loop["current"]:
        return {**_REPLACED, "word": _(_REPLACED["word"])}
    if loop["state"] == "analysed" and decided(loop):
        word, sign, tone = _STATUS[review["decision"]]
        return {"word": f"{_(word)} {review['reviewer']}", "sign": sign, "tone": tone}
    if loop["expert"]:
        return {
            "word": _("for an expert, asks {initials}", initials=loop["expert"]["by"]),
            "sign": "?",
            "tone": "attention",
        }
    word, sign, tone = _STATUS.get(loop["state"], (loop["state"], "?", "quiet"))
    return {"word": _(word), "sign": sign, "tone": tone}


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
    return _(
        "Kept in the archive {places}, removed here on {day}.",
        places=loop["kept_in"].replace(",", ", "),
        day=loop["purged_at"][:10],
    )


def why(loop: Row) -> str:
    """Return why a loop has no contours, as a sentence; empty when it has, or will have."""
    if loop["purged_at"]:
        return removed(loop)
    if not loop["current"]:
        return _("The machine has sent this loop again with other content: look at the newer one.")
    if is_other(loop):
        return _(
            "Not measured: {initials} has said that this is another view.",
            initials=loop["view"]["by"],
        )
    if loop["state"] == "kept":
        return _("Kept, not analysed: {reason}", reason=kept_because(loop))
    if loop["state"] == "quarantined":
        return _("Could not be analysed: {reason}", reason=sentence(told(loop["reason"])))
    return ""


def sentence(text: str) -> str:
    """Return a text with one full stop at its end."""
    return f"{text.strip().rstrip('.')}."


def kept_because(loop: Row) -> str:
    """Return why a loop was kept and not analysed, without saying that it was."""
    return sentence(told(loop["reason"]))


def spoken(text: str) -> str:
    """Return what another part of the box tells, as a sentence of the page."""
    said = told(text)
    return sentence(f"{said[:1].upper()}{said[1:]}")


def blocked(loop: Row) -> str | None:
    """Return why this loop can't be accepted now, or None (promise 12)."""
    if loop["purged_at"]:
        again = _("Send it again from there, or from the machine, to decide on it.")
        return f"{removed(loop)} {again}"
    if not loop["current"]:
        return _("The machine has sent this loop again: look at the newer one.")
    if loop["patients"] > 1 and loop["identity"] is None:
        return _(
            "{doubt} Nothing can be accepted until somebody says whose it is.",
            doubt=spoken(loop["told"]),
        )
    if is_another_patient(loop):
        return _(
            "{initials} has said that this study is another patient's. Reject this loop, or"
            " correct the patient on the echo machine and send it again.",
            initials=loop["identity"]["by"],
        )
    if not loop["study_instance_uid"]:
        return _(
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
    lines = [n_("1 beat", "{count} beats", len(beats))] if beats else []
    if measures.get("ef_mean") is not None:
        mean = f"{measures['ef_mean']:.0f}{_TOGETHER}%"
        lines.append(_("mean {ef}", ef=mean).replace(" ", _TOGETHER))
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
        f"{_(name)}{_TOGETHER}{measures[key]:.0f}{_TOGETHER}ml"
        for name, key in _VOLUMES
        if measures.get(key) is not None
    ]


def _disagreeing(beats: Sequence[Row]) -> list[str]:
    """Which beats an EF rests on when they don't agree; the one shown is the median."""
    if all(beat.get("agrees", True) for beat in beats):
        return []
    each = ", ".join(f"{beat['ef']:.0f}" for beat in beats)
    return [_("The beats disagree: EF {each} %.", each=each)]


def _reasons(withheld: Mapping[str, str]) -> list[str]:
    """Each reason once: several numbers are often withheld for the same one."""
    sentences = [sentence(reason) for reason in dict.fromkeys(withheld.values())]
    return [
        told(text) if text.startswith("No ") else _("No volume: {reason}", reason=told(text))
        for text in sentences
    ]


def quality(analysis: Row) -> list[str]:
    """Return what an analysis rests on: quality as stored with it, doubtful frames, frame rate."""
    found = analysis["quality"] or {}
    seen = told_all([str(found["word"])]) if found.get("word") else []
    return [*seen, _("{rate} Hz", rate=f"{analysis['timing']['rate_hz']:.0f}")]


def damaged(analysis: Row) -> list[str]:
    """Return that frames could not be read, as a sentence; nothing where all could."""
    count = len((analysis["quality"] or {}).get("damaged") or ())
    told_of = n_(
        "1 of {frames} frames could not be read: nothing is measured on it.",
        "{count} of {frames} frames could not be read: nothing is measured on them.",
        count,
        frames=analysis["frames"],
    )
    return [told_of] if count else []


def summary(loop: Row) -> tuple[str, str]:
    """Return a loop's EF and its volumes in a few words for the worklist."""
    measures = in_force(loop)
    if measures is None:
        return "", ""
    shown = numbers(measures)
    value = f"{shown['ef']} {shown['spread']}".strip()
    ef = _("No EF") if measures["ef_percent"] is None else _("EF {value}", value=value)
    return ef, " · ".join(shown["volumes"])


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


def no_longer_in_force(item: dict[str, Any], later: Row) -> None:
    """Write into what is told of a review why it isn't in force any more."""
    undone = later["decision"] == "undone"
    if undone:
        who, when = later["reviewer"], clock(later["at"])
        why_not = _("Undone by {initials} {time}.", initials=who, time=when)
    else:
        why_not = _("Replaced.")
    item["note"] = f"{sentence(item['note'])} {why_not}" if item["note"] else why_not
    item["sign"] = "↶" if undone else item["sign"]


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
    if row["state"] == "withdrawn" and row["problem"] == outbox.REPLACED:
        text, sign, tone = _REPLACED_FIRST, "▲", "attention"
    title = _(text, name=name, problem=told(row["problem"]))
    title = sentence(f"{title[0].upper()}{title[1:]}")
    stuck = [other for other in newest if other["problem"] and other["state"] in _ON_ITS_WAY]
    refused = [other for other in newest if other["state"] == "refused"]
    if stuck:
        when = clock(min(other["queued_at"] for other in stuck))
        title = _(
            "Not delivered to {name} since {time}. It will go on trying.", name=name, time=when
        )
        sign, tone = "▲", "attention"
    elif refused and row["state"] in _ON_ITS_WAY:
        why_not = sentence(told(refused[0]["problem"]))
        title = f"{title} {_('Not all of it: {reason}', reason=why_not)}"
        sign, tone = "▲", "attention"
    return {"word": name, "sign": sign, "tone": tone, "title": title}


def _newest(rows: list[Row]) -> list[Row]:
    """What is on its way, and what the newest review that sends anything has sent."""
    alive = [row for row in rows if row["state"] != "withdrawn"] or rows
    review = max((row["review_id"] or 0) for row in alive)
    return [
        row for row in alive if row["state"] in _ON_ITS_WAY or (row["review_id"] or 0) == review
    ]
