"""`echocart destination`: where objects go; try one out, pause it, let it go on."""

import json
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config, person, printable
from appliance.errors import ApplianceError

app = typer.Typer(
    help="Where objects go: what waits for whom, try a destination out, pause it, go on.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="a destination's name, as the TOML file has it")]


@app.command("list")
def list_destinations(
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="for machines, a list")] = False,
) -> None:
    """Show each destination: what waits, what is proven, when it is tried next, and why not."""
    show(config, as_json=as_json)


@app.command("pause")
def pause(
    name: Name,
    config: Config = DEFAULT_CONFIG,
    why: Annotated[str, typer.Option("--why", help="shown until it goes on")] = "",
) -> None:
    """Stop deliveries to a destination until `resume`; what is under way is finished."""
    from appliance.ledger import Ledger, destination

    ledger = Ledger(_state_dir(config, name))
    destination.pause(ledger, name, person(), why)
    typer.echo(f"{name} is paused: what it gets waits until `echocart destination resume {name}`")


@app.command("resume")
def resume(name: Name, config: Config = DEFAULT_CONFIG) -> None:
    """Let deliveries to a destination go on."""
    from appliance.ledger import Ledger, destination

    ledger = Ledger(_state_dir(config, name))
    if not destination.is_paused(ledger, name):
        typer.echo(f"{name} was not paused")
        return
    destination.resume(ledger, name, person())
    typer.echo(f"{name} goes on")


@app.command("test")
def try_out(
    name: Name,
    config: Config = DEFAULT_CONFIG,
    store: Annotated[
        bool,
        typer.Option("--store", help="also store a test object of ECHOCART^TEST; it stays there"),
    ] = False,
) -> None:
    """Try a destination out: association, classes and syntaxes, proof, TLS; propose settings."""
    from appliance.config import load
    from appliance.preflight import examine

    result = examine(load(config), name, store)
    for line in result.lines:
        typer.echo(f"{line.word:4}  {printable(line.text)}")
    if result.proposed:
        typer.echo(f"in the table of {name}:")
        for text in result.proposed:
            typer.echo(f"  {text}")
    if not result.ok:
        raise typer.Exit(1)


def show(config: Path, *, as_json: bool) -> None:
    """Print what `status --deliveries` shows.

    Raises
    ------
    ApplianceError
        When no box has run with this configuration yet.
    """
    from appliance.config import load
    from appliance.deliveries import account, in_words
    from appliance.ledger import Ledger

    settings = load(config)
    state_dir = settings.box.state_dir
    if not (state_dir / "ledger.db").exists():
        hint = "Start the box once (`echocart run`), or name its file with --config."
        raise ApplianceError("show deliveries", f"no box has run in {state_dir} yet", hint)
    rows = account(settings, Ledger(state_dir))
    typer.echo(json.dumps(rows, indent=1) if as_json else "\n".join(in_words(rows)))


def _state_dir(config: Path, name: str) -> Path:
    from appliance.config import load

    settings = load(config)
    names = [item.name for item in settings.destination]
    if name not in names:
        known = f"Destinations: {', '.join(names)}." if names else "The file names none."
        raise ApplianceError("find a destination", f"none is called {name!r}", known)
    return settings.box.state_dir
