"""`echocart token`: programs that may read what the box holds, over DICOMweb."""

from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config, person

if TYPE_CHECKING:
    from appliance.ledger import Ledger

app = typer.Typer(
    help="Tokens of programs that read from the box over DICOMweb: add, list and remove them.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="of the program, or of its user")]


@app.command("add")
def add(name: Name, config: Config = DEFAULT_CONFIG) -> None:
    """Make a token and print it, this once; it lets its holder read, and change nothing."""
    from appliance.ledger import token

    made = token.add(_ledger(config), name, person())
    typer.echo(made)
    typer.echo("It is shown this once. Send it as `Authorization: Bearer TOKEN`.", err=True)


@app.command("list")
def list_tokens(config: Config = DEFAULT_CONFIG) -> None:
    """Show every token's name, also of those removed; never the token."""
    from appliance.ledger import token

    rows = token.listed(_ledger(config))
    for row in rows:
        removed = f"  removed {row['removed_at']}" if row["removed_at"] else ""
        typer.echo(f"{row['name']:20}  added {row['added_at']} by {row['added_by']}{removed}")
    if not rows:
        typer.echo("none yet: `echocart token add NAME` makes one")


@app.command("remove")
def remove(name: Name, config: Config = DEFAULT_CONFIG) -> None:
    """Let a token open nothing, from the next request on."""
    from appliance.ledger import token

    token.remove(_ledger(config), name, person())
    typer.echo(f"{name} opens nothing any more")


def _ledger(config: Config) -> "Ledger":
    from appliance.config import load
    from appliance.ledger import Ledger

    return Ledger(load(config).box.state_dir)
