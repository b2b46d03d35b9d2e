"""Which loops a person should look at, and the few words that say why."""

from collections.abc import Iterator

from appliance.views import APICAL, UNCERTAIN
from appliance.webui import words
from appliance.webui.language import _

_DOUBTFUL_FRAMES = 0.1  # of a loop's frames have contours that can't be a heart's


def needs_eyes(loop: words.Row) -> bool:
    """Tell whether a person should look: not decided on, set aside, or refused by a gate."""
    return words.needs_eyes(loop) or _refused(loop)


def reasons(loop: words.Row) -> list[str]:
    """Return why to look closely, the weightiest first; empty where nothing stands out."""
    return list(_reasons(loop)) if needs_eyes(loop) else []


def undecided(loop: words.Row) -> str:
    """Return why a loop is open where nothing stands out: nobody's decision is about it."""
    waits = needs_eyes(loop) and loop["state"] == "analysed" and not loop["expert"]
    if not waits or reasons(loop):
        return ""
    review = loop["review"]
    if review is None:
        return _("not decided yet")
    if review["analysis_id"] != loop["analysis"]["id"]:
        return _("analysed anew since {initials} decided", initials=review["reviewer"])
    return _("the view was changed since {initials} decided", initials=review["reviewer"])


def _reasons(loop: words.Row) -> Iterator[str]:
    """What the status doesn't say already."""
    if loop["patients"] > 1 and words.is_another_patient(loop):
        yield _("another patient’s, says {initials}", initials=loop["identity"]["by"])
    if _refused(loop):
        yield _("looks like {view}, but no heart was recognised", view=loop["view"]["view"])
    analysis = loop["analysis"]
    if loop["state"] != "analysed" or analysis is None:
        return
    view, measures = loop["view"], analysis["measures"] or {}
    if view and view["source"] == "model" and (view["certainty"] or 0) < UNCERTAIN:
        yield _("view uncertain")
    if not all(beat.get("agrees", True) for beat in measures.get("beats") or ()):
        yield _("beats disagree")
    if measures.get("ef_percent") is None:
        yield _("no EF")
    quality = analysis["quality"] or {}
    if quality.get("damaged"):
        yield _("frames unreadable")
    doubtful = len(quality.get("doubtful") or ())
    if quality.get("doubt") or doubtful > _DOUBTFUL_FRAMES * analysis["frames"]:
        yield _("contours uncertain")


def _refused(loop: words.Row) -> bool:
    """A gate refused what the model calls an apical view, and nobody has said what it is."""
    view = loop["view"]
    asked = loop["state"] == "kept" and loop["current"] and not loop["purged_at"]
    return bool(asked and view and view["source"] == "model" and view["view"] in APICAL)
