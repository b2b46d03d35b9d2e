"""`echocart user`: who may sign in at the page. PINs are asked for or read, never typed as arguments."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config, person
from appliance.errors import ApplianceError

if TYPE_CHECKING:
    from appliance.ledger import Ledger

app = typer.Typer(
    help="Who may sign in at the page: add, list, change and remove users.", no_args_is_help=True
)

Initials = Annotated[str, typer.Argument(help="2 to 4 letters")]
Roles = Annotated[
    list[str], typer.Option("--role", help="sonographer, expert, biomed or admin; may be repeated")
]
FromStdin = Annotated[
    bool, typer.Option("--pin-from-stdin", help="read the PIN from standard input")
]


@app.command("add")
def add(
    initials: Initials,
    role: Roles,
    config: Config = DEFAULT_CONFIG,
    pin_from_stdin: FromStdin = False,
) -> None:
    """Let a person in; asks for a PIN."""
    from appliance.ledger import user

    ledger = _ledger(config)
    who = user.add(ledger, initials, role, _new_pin(pin_from_stdin), person())
    typer.echo(f"{who.initials} may sign in ({', '.join(role)})")


@app.command("return")
def take_back(
    initials: Initials,
    role: Roles,
    config: Config = DEFAULT_CONFIG,
    pin_from_stdin: FromStdin = False,
) -> None:
    """Let the same person in again who was removed; asks for a new PIN."""
    from appliance.ledger import user

    ledger = _ledger(config)
    user.restore(ledger, initials, role, _new_pin(pin_from_stdin), person())
    typer.echo(f"{user.normal(initials)} may sign in again ({', '.join(role)})")


@app.command("list")
def list_users(config: Config = DEFAULT_CONFIG) -> None:
    """Show everybody with their roles, also who was removed."""
    from appliance.ledger import user

    rows = user.listed(_ledger(config))
    for row in rows:
        removed = f"  removed {row['removed_at']}" if row["removed_at"] else ""
        typer.echo(f"{row['initials']:4}  {', '.join(row['roles'])}{removed}")
    if not rows:
        typer.echo("nobody yet: the running page prints a one-time code, or `echocart user add`")


@app.command("role")
def role(
    initials: Initials,
    roles: Annotated[list[str], typer.Argument(help="all roles from now on")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Give a user other roles, from their next request on."""
    from appliance.ledger import user

    user.set_roles(_ledger(config), initials, roles, person())
    typer.echo(f"{user.normal(initials)}: {', '.join(roles)}")


@app.command("pin")
def pin(
    initials: Initials, config: Config = DEFAULT_CONFIG, pin_from_stdin: FromStdin = False
) -> None:
    """Give a user another PIN, which also ends a wait after wrong ones; their sessions end."""
    from appliance.ledger import user

    ledger = _ledger(config)
    user.set_pin(ledger, initials, _new_pin(pin_from_stdin), person())
    typer.echo(f"{user.normal(initials)} has a new PIN and signs in again")


@app.command("remove")
def remove(initials: Initials, config: Config = DEFAULT_CONFIG) -> None:
    """Let a user in no more; their reviews and their lines in the audit stay."""
    from appliance.ledger import user

    user.remove(_ledger(config), initials, person())
    typer.echo(f"{user.normal(initials)} may no longer sign in")


def _ledger(config: Config) -> "Ledger":
    from appliance.config import load
    from appliance.ledger import Ledger

    return Ledger(load(config).box.state_dir)


def _new_pin(from_stdin: bool) -> str:
    """Ask twice at a terminal; elsewhere the first line of standard input is the PIN."""
    import getpass

    from appliance import pins

    if from_stdin:
        given = sys.stdin.readline().strip()
    elif not sys.stdin.isatty():
        subject, hint = "there is no terminal to ask for it", "Pipe it in with --pin-from-stdin."
        raise ApplianceError("set a PIN", subject, hint)
    else:
        given = getpass.getpass(f"PIN, {pins.FEWEST} to {pins.MOST} digits: ")
        if given != getpass.getpass("The same again: "):
            raise ApplianceError("set a PIN", "the two differ", "Run the command again.")
    if said := pins.problem(given):
        raise ApplianceError("set a PIN", said[0].lower() + said[1:], "Run the command again.")
    return pins.hashed(given)
