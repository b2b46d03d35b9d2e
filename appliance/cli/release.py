"""`echocart model fetch|prove|stage|promote|rollback|why`: models that come by a signed update."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config, person
from appliance.errors import ManifestError

if TYPE_CHECKING:
    from appliance.config import Settings
    from appliance.ledger import Ledger
    from appliance.ledger.connection import Row

Named = Annotated[str, typer.Argument(help="NAME-VERSION, as `echocart model list` shows it")]


_PROVE = "prove a model"
# Of the engine, which only its own processes import: a network that crashes takes no command along.
_ROLLOUT = "appliance.engine.rollout"
_PROVEN_S = 300.0


def add_to(app: typer.Typer) -> None:
    """Add these commands to those of `echocart model`."""
    for name, command in (
        ("fetch", fetch),
        ("prove", prove),
        ("stage", stage),
        ("promote", promote),
        ("rollback", rollback),
        ("why", why),
    ):
        app.command(name)(command)


def fetch(
    config: Config = DEFAULT_CONFIG,
    file: Annotated[
        Path | None, typer.Option("--file", help="from a USB stick: NAME-VERSION.echocart")
    ] = None,
) -> None:
    """Fetch released models from the central team's repository; verify and keep what is new."""
    from appliance.releases.updates import Updates

    settings, ledger = _opened(config)
    if file is not None:
        from appliance.releases import stick

        typer.echo(f"fetched: {stick.take(settings, ledger, file)}")
        return
    if not settings.updates.url:
        hint = "Set url and root in [updates], or name a file: --file."
        raise ManifestError("fetch released models", "no repository is named", hint)
    found = Updates(settings, ledger).fetch()
    typer.echo(f"fetched: {', '.join(found)}" if found else "there is nothing new")


def prove(name: Named, config: Config = DEFAULT_CONFIG) -> None:
    """Let a fetched model draw its golden frames on this box; nothing else follows from it."""
    settings, ledger = _opened(config)
    figures = _prove(settings, ledger, name, config)
    typer.echo(f"{name} is proven: {_dice(figures)}")


def stage(name: Named, config: Config = DEFAULT_CONFIG) -> None:
    """Prove a fetched model, and let it draw in the shadow of the one in use from now on.

    The engine does this by itself with the newest that is fetched.
    """
    from appliance.ledger import release
    from appliance.releases import promotion

    settings, ledger = _opened(config)
    _fetched(ledger, name)
    promotion.must_be_usable(ledger, settings, name)
    figures = _prove(settings, ledger, name, config)
    row = release.newest(ledger)[name]
    if row["state"] in ("promoted", "staged"):
        typer.echo(f"{name} is {row['state']} already")
        return
    release.step(ledger, name, row["sha256"], "staged", json.dumps(figures), person())
    found = promotion.candidate(ledger, settings)
    if found and found.name != name:
        typer.echo(f"{name} is proven; {found.name} is newer, and draws in the shadow first")
    else:
        typer.echo(f"{name} is proven ({_dice(figures)}) and draws in the shadow")


def promote(name: Named, config: Config = DEFAULT_CONFIG) -> None:
    """Let a fetched model draw from the next loop on, whatever its figures in the shadow say.

    It takes the place of its namesake in use, else of the first one, which is kept.
    """
    from appliance.releases import promotion

    settings, ledger = _opened(config)
    _fetched(ledger, name)
    promotion.must_be_usable(ledger, settings, name)
    _prove(settings, ledger, name, config)
    found = promotion.candidate(ledger, settings)
    why = ""
    if found and found.name == name and found.staged:
        why = f"in the shadow {promotion.standing(ledger, settings, found)[1].why}"
    before = promotion.promote(ledger, settings, name, why, person())
    kept = "" if before == name else f"; {before} is kept"
    typer.echo(f"{name} draws from the next loop on{kept}")


def rollback(
    config: Config = DEFAULT_CONFIG,
    why: Annotated[str, typer.Option("--why", help="shown with it")] = "",
) -> None:
    """Go back to the model that drew before the last promoted one."""
    from appliance.releases import model_store, promotion

    settings, ledger = _opened(config)
    promoted = promotion.promoted_in_force(ledger, settings)
    if not promoted:
        chosen = model_store.resolved(model_store.chosen(ledger, settings))
        hint = "`echocart model use` chooses any model."
        raise ManifestError("roll back", f"{', '.join(chosen)} came by no update", hint)
    before = promotion.take_back(ledger, settings, promoted[0]["name"], why, person())
    typer.echo(f"{before} draws again from the next loop on")


def why(
    name: Annotated[str, typer.Argument(help="NAME-VERSION; all if absent")] = "",
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="for machines, a list")] = False,
) -> None:
    """Tell what became of each released model, step by step, and why; how a candidate does."""
    from appliance.ledger import release
    from appliance.releases import promotion

    settings, ledger = _opened(config)
    if name:
        _known(ledger, name)
    names = [name] if name else sorted(release.newest(ledger))
    rows = [row for each in names for row in release.history(ledger, each)]
    found = promotion.candidate(ledger, settings)
    if as_json:
        kept = ("name", "sha256", "state", "why", "before", "by", "at")
        typer.echo(json.dumps([{key: row[key] for key in kept} for row in rows], indent=1))
        return
    for row in rows:
        text = f"{row['at'][:19]}Z  {row['name']}  {row['state']} by {row['by']}"
        typer.echo(f"{text}: {_plain(row['why'])}" if row["why"] else text)
    if found and found.name in names:
        for line in promotion.in_words(ledger, settings, found):
            typer.echo(line)
    if not rows:
        typer.echo("no model came by an update")


def _plain(text: str) -> str:
    """Say a proof's figures as a person reads them; any other reason as it is."""
    return _dice(json.loads(text)) if text.startswith("{") else text


def _dice(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())


def _prove(settings: "Settings", ledger: "Ledger", name: str, config: Path) -> dict[str, float]:
    from appliance.ledger import release
    from appliance.releases import bundle

    row = _fetched(ledger, name)
    told = _told(bundle.unpacked(settings.box.state_dir, name), config)
    if isinstance(told, str):
        release.step(ledger, name, row["sha256"], "refused", told, person())
        raise ManifestError(
            _PROVE, f"{name}: {told}", "It isn't used. Tell those who published it."
        )
    return told


def _fetched(ledger: "Ledger", name: str) -> "Row":
    row = _known(ledger, name)
    if row["state"] in ("refused", "withdrawn"):
        what = f"{name} is {row['state']}: {row['why']}"
        raise ManifestError(_PROVE, what, "Wait for another release.")
    return row


def _known(ledger: "Ledger", name: str) -> "Row":
    from appliance.ledger import release

    every = release.newest(ledger)
    if name not in every:
        have = ", ".join(sorted(every)) or "none"
        what = f"{name} did not come by an update"
        raise ManifestError("look at a release", what, f"Those that did: {have}.")
    return every[name]


def _told(folder: Path, config: Path) -> dict[str, float] | str:
    """Figures of the golden frames, or why it isn't proven: a model may end its process, or hang."""
    command = [sys.executable, "-m", _ROLLOUT, str(folder), "--config", str(config)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROVEN_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the golden frames took more than {_PROVEN_S:.0f} s"
    if done.returncode < 0:
        return f"it ended the engine's process (signal {-done.returncode})"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it can't be run"])[-1]
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _opened(config: Path) -> "tuple[Settings, Ledger]":
    from appliance.config import load
    from appliance.ledger import Ledger

    settings = load(config)
    return settings, Ledger(settings.box.state_dir)
