"""Which released model is on trial, which draws, and which draws again: by a person or by figures."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from appliance.config import Settings
from appliance.errors import ApplianceError, ManifestError
from appliance.ledger import Ledger, release, shadow
from appliance.ledger.connection import Row
from appliance.manifest import Manifest
from appliance.releases import bundle, model_store, shadowing
from appliance.releases.bundle import version
from appliance.releases.shadowing import Summary, Thresholds, Verdict, judge, summary

BOX = "box"  # who does what nobody asked for
_NEVER_AGAIN = ("refused", "withdrawn", "taken back")


@dataclass(frozen=True)
class Candidate:
    """A release that may become the model in force.

    Attributes
    ----------
    name, sha256
        Of its folder; of its bundle.
    against
        The model in force that it would replace.
    staged
        Whether it was proven on its golden frames.
    since
        How far the ledger was then.
    """

    name: str
    sha256: str
    against: str
    staged: bool
    since: release.Mark


def candidate(ledger: Ledger, settings: Settings) -> Candidate | None:
    """Return the release that is on trial, or is to be; None on most boxes.

    Of several the last that came; one that isn't newer than what its name has in force, or had,
    is none.
    """
    steps = release.newest(ledger).values()
    waiting = [row for row in steps if row["state"] in ("fetched", "staged")]
    if not waiting:
        return None
    in_force = models_in_force(ledger, settings)
    for row in sorted(waiting, key=lambda row: (version(_split(row["name"])[1]), row["id"]))[::-1]:
        if row["name"] not in in_force and not older_than(ledger, in_force, row["name"]):
            return Candidate(
                row["name"],
                row["sha256"],
                stands_for(in_force, row["name"]),
                row["state"] == "staged",
                release.mark(ledger, row["id"]) or release.Mark(),
            )
    return None


def stands_for(in_force: tuple[str, ...], name: str) -> str:
    """Return which of the models in force a release would replace: its namesake, else the first."""
    stem = _split(name)[0]
    return next((item for item in in_force if _split(item)[0] == stem), in_force[0])


def older_than(ledger: Ledger, in_force: tuple[str, ...], name: str) -> str:
    """Return the newest of its name that drew or draws, where a release isn't newer; else ""."""
    stem, mine = _split(name)
    others = [item for item in (*release.promoted(ledger), *in_force) if _split(item)[0] == stem]
    newest = max(others, key=lambda item: version(_split(item)[1]), default="")
    return newest if newest and version(_split(newest)[1]) > version(mine) else ""


def must_be_usable(ledger: Ledger, settings: Settings, name: str) -> None:
    """Refuse a release that must not draw on this box.

    Raises
    ------
    ManifestError
        When it is older than another of its name that drew here, isn't whole, or draws other
        structures than the model that it would replace.
    """
    what = "promote a model"
    in_force = models_in_force(ledger, settings)
    if other := older_than(ledger, in_force, name):
        hint = "`echocart model rollback` goes back to the model before."
        raise ManifestError(what, f"{name} is older than {other}", hint)
    if name in in_force:
        return
    mine = model_store.load(settings.box.state_dir, name)
    replaced = stands_for(in_force, name)
    try:
        theirs = model_store.load(settings.box.state_dir, replaced)
    except ManifestError:
        return  # one that can't be read is a reason to replace it
    if _drawn(mine) != _drawn(theirs):
        hint = "`echocart model use` chooses models that stand side by side."
        raise ManifestError(what, f"{name} draws other structures than {replaced}", hint)


def promote(ledger: Ledger, settings: Settings, name: str, why: str, by: str = BOX) -> str:
    """Let a proven release draw from the next loop on; the one before is kept. Returns that one.

    Raises
    ------
    ManifestError
        As `must_be_usable`.
    """
    must_be_usable(ledger, settings, name)
    in_force = models_in_force(ledger, settings)
    if name in in_force:
        return name
    before = stands_for(in_force, name)
    models = [name if item == before else item for item in in_force]
    text = f"in place of {before}" + (f": {why}" if why else "")
    sha256 = release.newest(ledger)[name]["sha256"]
    release.step(ledger, name, sha256, "promoted", text, by, before=before, models=models)
    return before


def take_back(ledger: Ledger, settings: Settings, name: str, why: str, by: str = BOX) -> str:
    """Let the model before draw again from the next loop on; returns its name.

    Raises
    ------
    ManifestError
        When the release isn't in force.
    """
    in_force = models_in_force(ledger, settings)
    row = release.newest(ledger).get(name)
    if row is None or name not in in_force:
        hint = "`echocart model use` chooses any model."
        raise ManifestError("roll back", f"{name} came by no update, or isn't in use", hint)
    again = falls_back_to(ledger, settings, name)
    models = list(dict.fromkeys(again if item == name else item for item in in_force))
    text = f"{why}; {again} draws again" if why else f"{again} draws again"
    release.step(ledger, name, row["sha256"], "taken back", text, by, models=models)
    return again


def falls_back_to(ledger: Ledger, settings: Settings, name: str) -> str:
    """Return the model that draws when a release doesn't any more.

    The one that it replaced, or the one that that replaced: none that was refused, withdrawn or
    taken back, isn't whole, or lies below the version that the makers named as the oldest. The
    one that came with the box is the last.
    """
    state_dir, seen = settings.box.state_dir, {name}
    before = release.replaced(ledger, name)
    while before and before not in seen:
        seen.add(before)
        if not is_gone(ledger, settings, before) and _is_whole(state_dir, before):
            return before
        before = release.replaced(ledger, before)
    return _default()


def is_gone(ledger: Ledger, settings: Settings, name: str) -> bool:
    """Tell whether a model was refused, withdrawn or taken back, or lies below its makers' floor."""
    row = release.newest(ledger).get(name)
    gone = row is not None and row["state"] in _NEVER_AGAIN
    return gone or below_floor(ledger, settings.box.state_dir, name)


def must_be_choosable(ledger: Ledger, settings: Settings, name: str) -> None:
    """Refuse what must not draw because somebody names it; what was taken back, a person may.

    Raises
    ------
    ManifestError
        When it was refused or withdrawn, is older than its makers let a box go back to, or came by
        an update and was never promoted.
    """
    what, row = "choose a model", release.newest(ledger).get(name)
    if name in models_in_force(ledger, settings):
        return
    if row and row["state"] in ("refused", "withdrawn"):
        said = f"{name} is {row['state']}: {row['why']}"
        raise ManifestError(what, said, "Choose another one: `echocart model list`.")
    if row and row["state"] in ("fetched", "staged"):
        hint = f"`echocart model promote {name}` proves it and lets it draw."
        raise ManifestError(what, f"{name} isn't promoted yet", hint)
    if below_floor(ledger, settings.box.state_dir, name):
        said = f"{name} is older than its makers let a box go back to"
        raise ManifestError(what, said, "Choose another one: `echocart model list`.")


def removed(ledger: Ledger, name: str, by: str) -> None:
    """Note that a release which never drew was deleted: it is no candidate any more."""
    row = release.newest(ledger).get(name)
    if row and row["state"] in ("fetched", "staged"):
        release.step(ledger, name, row["sha256"], "refused", "it was removed from this box", by)


def below_floor(ledger: Ledger, state_dir: Path, name: str) -> bool:
    """Tell whether a release that drew here says that none as old as this one may draw again."""
    stem, mine = _split(name)
    floors = [
        about.floor
        for other in release.promoted(ledger)
        if _split(other)[0] == stem and (about := _about(state_dir, other)) and about.floor
    ]
    return any(version(mine) < version(floor) for floor in floors)


def thresholds(settings: Settings, found: Candidate) -> Thresholds:
    """Return what a candidate must reach: its bundle says it; careful ones where it can't be read."""
    about = _about(settings.box.state_dir, found.name)
    return about.shadow if about else Thresholds()


def standing(ledger: Ledger, settings: Settings, found: Candidate) -> tuple[Summary, Verdict]:
    """Return how a candidate does, and whether that is enough."""
    figures = summary(
        shadow.loops(ledger, found.sha256, found.against),
        shadow.reviews(ledger, found.sha256, found.against),
    )
    if not found.staged:
        return figures, Verdict("waits", "it has not been proven on its golden frames yet")
    return figures, judge(thresholds(settings, found), figures)


def in_words(ledger: Ledger, settings: Settings, found: Candidate) -> list[str]:
    """Say in a few lines how a candidate does, for `echocart model`."""
    figures, verdict = standing(ledger, settings, found)
    said = {
        "waits": f"it waits: {verdict.why}",
        "passed": "its figures are enough; a person promotes it: `echocart model promote`",
        "refused": verdict.why,
    }
    lines = [f"{found.name} is a candidate in place of {found.against}; {said[verdict.state]}"]
    return [*lines, f"in the shadow: {shadowing.in_words(figures)}"] if figures.loops else lines


def as_dict(ledger: Ledger, settings: Settings, found: Candidate) -> dict[str, object]:
    """Return how a candidate does as plain values, for machines."""
    figures, verdict = standing(ledger, settings, found)
    return {
        "against": found.against,
        "verdict": verdict.state,
        "why": verdict.why,
        "figures": figures.to_dict(),
    }


def promoted_in_force(ledger: Ledger, settings: Settings) -> list[Row]:
    """Return the steps that promoted what draws now, newest first; none on most boxes."""
    steps = release.newest(ledger)
    found = (steps[name] for name in model_store.chosen(ledger, settings) if name in steps)
    promoted = [row for row in found if row["state"] == "promoted"]
    return sorted(promoted, key=lambda row: int(row["id"]), reverse=True)


def models_in_force(ledger: Ledger, settings: Settings) -> tuple[str, ...]:
    """Return the models in force in order, the default by its name, without reading their files."""
    chosen = model_store.chosen(ledger, settings)
    return tuple(dict.fromkeys(name or _default() for name in chosen))


@cache
def _default() -> str:
    """Name the model that came with the box; to look it up verifies every file of it."""
    return model_store.resolved([""])[0]


def _about(state_dir: Path, name: str) -> bundle.About | None:
    try:
        return bundle.about(bundle.unpacked(state_dir, name))
    except ApplianceError:
        return None


def _is_whole(state_dir: Path, name: str) -> bool:
    try:
        model_store.load(state_dir, name)
    except ApplianceError:
        return False
    return True


def _drawn(manifest: Manifest) -> set[tuple[int, str]]:
    return {(item.label, item.code) for item in manifest.structures}


def _split(name: str) -> tuple[str, str]:
    stem, _, number = name.rpartition("-")
    return stem, number
