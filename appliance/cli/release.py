"""`echocart model fetch|prove|promote|rollback|why`: models that come by a signed update."""

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
        ("promote", promote),
        ("rollback", rollback),
        ("why", why),
    ):
        app.command(name)(command)


def fetch(config: Config = DEFAULT_CONFIG) -> None:
    """Fetch released models from the central team's repository; verify and keep what is new."""
    from appliance.updates import Updates

    settings, ledger = _opened(config)
    if not settings.updates.url:
        hint = "Set url and root in [updates]."
        raise ManifestError("fetch released models", "no repository is named", hint)
    found = Updates(settings, ledger).fetch()
    typer.echo(f"fetched: {', '.join(found)}" if found else "there is nothing new")


def prove(name: Named, config: Config = DEFAULT_CONFIG) -> None:
    """Let a fetched model draw its golden frames on this box. It draws no loop yet."""
    settings, ledger = _opened(config)
    figures = _prove(settings, ledger, name, config)
    typer.echo(f"{name} is proven: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))


def promote(name: Named, config: Config = DEFAULT_CONFIG) -> None:
    """Let a fetched model draw from the next loop on, in place of the first one in use."""
    from appliance import model_store
    from appliance.bundle import version
    from appliance.ledger import release, setting

    settings, ledger = _opened(config)
    for other in release.promoted(ledger):
        older = other.rpartition("-")[0] == name.rpartition("-")[0]
        if older and version(name.rpartition("-")[2]) < version(other.rpartition("-")[2]):
            hint = "`echocart model rollback` goes back to the model before."
            raise ManifestError("promote a model", f"{name} is older than {other}", hint)
    _prove(settings, ledger, name, config)
    chosen = model_store.resolved(model_store.chosen(ledger, settings))
    by, sha256 = person(), release.newest(ledger)[name]["sha256"]
    if chosen[0] != name:
        rest = [item for item in chosen[1:] if item != name]
        text = f"in place of {chosen[0]}"
        release.step(ledger, name, sha256, "promoted", text, by, before=chosen[0])
        setting.choose_models(ledger, [name, *rest], by)
    typer.echo(f"{name} draws from the next loop on")


def rollback(config: Config = DEFAULT_CONFIG) -> None:
    """Go back to the model that drew before the last promoted one."""
    from appliance import model_store
    from appliance.ledger import release, setting

    settings, ledger = _opened(config)
    chosen = model_store.resolved(model_store.chosen(ledger, settings))
    before = release.replaced(ledger, chosen[0])
    if not before:
        hint = "`echocart model use` chooses any model."
        raise ManifestError("roll back", f"{chosen[0]} came by no update", hint)
    model_store.load(settings.box.state_dir, before)
    by, sha256 = person(), release.newest(ledger)[chosen[0]]["sha256"]
    rest = [name for name in chosen[1:] if name != before]
    setting.choose_models(ledger, [before, *rest], by)
    release.step(ledger, chosen[0], sha256, "taken back", f"{before} draws again", by)
    typer.echo(f"{before} draws again from the next loop on")


def why(
    name: Annotated[str, typer.Argument(help="NAME-VERSION; all if absent")] = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Tell what became of each released model, step by step, and why."""
    from appliance.ledger import release

    _, ledger = _opened(config)
    names = [name] if name else sorted(release.newest(ledger))
    rows = [row for each in names for row in release.history(ledger, each)]
    for row in rows:
        text = f"{row['at'][:19]}Z  {row['name']}  {row['state']} by {row['by']}"
        typer.echo(f"{text}: {row['why']}" if row["why"] else text)
    if not rows:
        typer.echo("no model came by an update")


def _prove(settings: "Settings", ledger: "Ledger", name: str, config: Path) -> dict[str, float]:
    from appliance import updates
    from appliance.ledger import release

    row = release.newest(ledger).get(name)
    if row is None:
        have = ", ".join(sorted(release.newest(ledger))) or "none"
        raise ManifestError(_PROVE, f"{name} was not fetched", f"Fetched: {have}.")
    if row["state"] in ("refused", "withdrawn"):
        what = f"{name} is {row['state']}: {row['why']}"
        raise ManifestError(_PROVE, what, "Wait for another release.")
    folder = updates.unpacked(settings.box.state_dir, name)
    told = _told(folder, config)
    if isinstance(told, str):
        release.step(ledger, name, row["sha256"], "refused", told, person())
        raise ManifestError(
            _PROVE, f"{name}: {told}", "It isn't used. Tell those who published it."
        )
    if row["state"] == "fetched":
        release.step(ledger, name, row["sha256"], "staged", json.dumps(told), person())
    return told


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
