"""`echocart model`: the models of the box."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config, person

if TYPE_CHECKING:
    from appliance.ledger.connection import Row
    from appliance.releases.model_store import Listed

app = typer.Typer(
    help="The models of the box: add or fetch one, list them, choose those that draw, remove one.",
    no_args_is_help=True,
)


@app.command("add")
def add_model(
    source: Annotated[Path, typer.Argument(help="a model's folder, or its network in it")],
    config: Config = DEFAULT_CONFIG,
    use: Annotated[bool, typer.Option(help="let the engine run it from its next loop on")] = True,
    beside: Annotated[
        bool, typer.Option("--beside", help="after the models in use, not in their place")
    ] = False,
) -> None:
    """Verify a model, keep a copy of it, and let the engine run it from its next loop on."""
    from appliance.config import load
    from appliance.ledger import Ledger
    from appliance.releases import model_store

    settings = load(config)
    manifest = model_store.add(settings.box.state_dir, source)
    name = model_store.name_of(manifest)
    limits = "research use only" if manifest.research_use_only else "no limit to research use"
    typer.echo(f"{name} is whole and kept ({manifest.licence}, {limits})")
    for warning in model_store.warnings(manifest):
        typer.echo(f"Note: {warning}.", err=True)
    if use:
        ledger = Ledger(settings.box.state_dir)
        before = model_store.resolved(model_store.chosen(ledger, settings)) if beside else ()
        use_models([*before, name], config)


@app.command("list")
def list_models(
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="for machines, a list")] = False,
) -> None:
    """Show every model of the box. Those in use have a star, or their place where there are more.

    Of one that came by an update its state; of a candidate how it does in the shadow.
    """
    from appliance.config import load
    from appliance.ledger import Ledger, release
    from appliance.releases import model_store, promotion

    settings = load(config)
    state_dir = settings.box.state_dir
    in_force, steps, told, trial = model_store.configured(settings), {}, [], {}
    if (state_dir / "ledger.db").exists():
        ledger = Ledger(state_dir)
        in_force, steps = model_store.chosen(ledger, settings), release.newest(ledger)
        found = promotion.candidate(ledger, settings)
        if found and as_json:
            trial = {found.name: promotion.as_dict(ledger, settings, found)}
        elif found:
            told = promotion.in_words(ledger, settings, found)
    every = model_store.listed(state_dir, in_force)
    if as_json:
        typer.echo(json.dumps([_as_json(item, steps, trial) for item in every], indent=1))
        return
    for item in every:
        mark = "*" if len(in_force) == 1 else str(item.place)
        typer.echo(f"{mark if item.place else ' '} {item.name}  ({_in_words(item, steps)})")
    for line in told:
        typer.echo(line)


def _in_words(item: "Listed", steps: "dict[str, Row]") -> str:
    known, step = item.manifest, steps.get(item.name)
    parts = [
        "added" if item.added else "shipped",
        f"draws {', '.join(known.gates.views)}" if known else "",
        known.licence if known else f"can't be used: {item.problem}",
        "research use only" if known and known.research_use_only else "",
        f"{step['state']} {step['at'][:10]}" if step else "",
    ]
    return ", ".join(part for part in parts if part)


def _as_json(
    item: "Listed", steps: "dict[str, Row]", trial: dict[str, dict[str, object]]
) -> dict[str, object]:
    step = steps.get(item.name)
    return {
        "name": item.name,
        "place": item.place,
        "added": item.added,
        "views": list(item.manifest.gates.views) if item.manifest else [],
        "licence": item.manifest.licence if item.manifest else "",
        "research_use_only": item.manifest.research_use_only if item.manifest else None,
        "problem": item.problem,
        "state": step["state"] if step else "",
        "why": step["why"] if step else "",
        "candidate": trial.get(item.name),
    }


@app.command("use")
def use_models(
    names: Annotated[
        list[str],
        typer.Argument(help="as `echocart model list` shows them; '' stands for the TOML file's"),
    ],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Choose the models that the engine runs from its next loop on.

    Of several, the first that takes a loop's view draws it. A release that came by an update and
    never drew here is promoted instead: `echocart model promote`.
    """
    from appliance.config import load
    from appliance.ledger import Ledger, setting
    from appliance.releases import model_store, promotion

    settings = load(config)
    own = model_store.configured(settings)
    every = [each for name in names for each in ([name] if name else own)]
    for name in every:
        model_store.load(settings.box.state_dir, name)
    ledger = Ledger(settings.box.state_dir)
    for name in model_store.resolved(every):
        promotion.must_be_choosable(ledger, settings, name)
    # '' alone takes the choice back, so that a change of the TOML file counts again.
    setting.choose_models(ledger, model_store.resolved(every) if any(names) else (), person())
    chosen = model_store.resolved(model_store.chosen(ledger, settings))
    if len(chosen) == 1:
        typer.echo(f"{chosen[0]} is chosen: the next loop is analysed with it")
    else:
        typer.echo(f"{', then '.join(chosen)}: the first that takes a loop's view draws it")


@app.command("remove")
def remove_model(
    name: Annotated[str, typer.Argument(help="as `echocart model list` shows it")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Delete a model that was added to this box and isn't in use. What it has drawn stays."""
    from appliance.config import load
    from appliance.ledger import Ledger
    from appliance.releases import model_store, promotion

    settings = load(config)
    ledger = Ledger(settings.box.state_dir)
    in_force = model_store.chosen(ledger, settings)
    model_store.remove(settings.box.state_dir, name, (*in_force, *model_store.configured(settings)))
    promotion.removed(ledger, name, person())
    typer.echo(f"{name} is removed")
