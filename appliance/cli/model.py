"""`echocart model`: the models of the box."""

from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config, person

app = typer.Typer(
    help="The models of the box: add one, list them, choose one.", no_args_is_help=True
)


@app.command("add")
def add_model(
    source: Annotated[Path, typer.Argument(help="a model's folder, or its network in it")],
    config: Config = DEFAULT_CONFIG,
    use: Annotated[bool, typer.Option(help="let the engine run it from its next loop on")] = True,
) -> None:
    """Verify a model, keep a copy of it, and let the engine run it from its next loop on."""
    from appliance import model_store
    from appliance.config import load

    settings = load(config)
    manifest = model_store.add(settings.box.state_dir, source)
    name = model_store.name_of(manifest)
    limits = "research use only" if manifest.research_use_only else "no limit to research use"
    typer.echo(f"{name} is whole and kept ({manifest.licence}, {limits})")
    if use:
        use_model(name, config)


@app.command("list")
def list_models(config: Config = DEFAULT_CONFIG) -> None:
    """Show every model of the box; the chosen one has a star."""
    from appliance import model_store
    from appliance.config import load
    from appliance.ledger import Ledger

    settings = load(config)
    state_dir = settings.box.state_dir
    in_force = settings.engine.model
    if (state_dir / "ledger.db").exists():
        in_force = model_store.chosen(Ledger(state_dir), settings)
    for item in model_store.listed(state_dir, in_force):
        research = item.manifest is not None and item.manifest.research_use_only
        parts = [
            "added" if item.added else "shipped",
            item.manifest.licence if item.manifest else f"can't be used: {item.problem}",
            "research use only" if research else "",
        ]
        text = ", ".join(part for part in parts if part)
        typer.echo(f"{'*' if item.chosen else ' '} {item.name}  ({text})")


@app.command("use")
def use_model(
    name: Annotated[
        str, typer.Argument(help="as `echocart model list` shows it; '' is the TOML file's")
    ],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Choose the model that the engine runs from its next loop on."""
    from appliance import model_store
    from appliance.config import load
    from appliance.ledger import Ledger, setting

    settings = load(config)
    manifest = model_store.load(settings.box.state_dir, name or settings.engine.model)
    setting.choose_model(Ledger(settings.box.state_dir), name, person())
    typer.echo(f"{model_store.name_of(manifest)} is chosen: the next loop is analysed with it")
