"""`echocart correction`: corrections that must not leave unless a person has looked at them."""

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config
from appliance.cli.user import FromStdin
from appliance.errors import ApplianceError

if TYPE_CHECKING:
    from appliance.config import Settings
    from appliance.ledger import Ledger
    from appliance.scrub import Scrubbed

app = typer.Typer(
    help="Corrections that stay on the box because something may name a person: look, release.",
    no_args_is_help=True,
)

Loop = Annotated[int, typer.Argument(help="the loop's number, as `correction list` shows it")]
_CODE_DIGITS = 12


@app.command("list")
def list_refused(config: Config = DEFAULT_CONFIG) -> None:
    """Show the corrections that were not sent to the central archive, and why."""
    from appliance.ledger import upstream

    rows = upstream.refused(_box(config)[1])
    for row in rows:
        typer.echo(f"loop {row['seq']}  {row['destination']}  {row['changed_at']}")
        typer.echo(f"  {row['problem']}")
        if row["kept_by"]:
            typer.echo(f"  {row['kept_by']} has looked: it stays")
    if not rows:
        typer.echo("none is kept back")


@app.command("show")
def show(
    loop: Loop,
    to: Annotated[Path, typer.Option("--to", help="where the picture is written, a PNG")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write a picture of what would leave of a loop, and print the code that releases it."""
    settings, ledger = _box(config)
    scrubbed = _scrubbed(settings, ledger, loop)
    from appliance.scrub import overview

    try:
        to.write_bytes(overview(scrubbed))
    except OSError as error:
        words = f"{to} can't be written ({os.strerror(error.errno or 0)})"
        raise ApplianceError("look at a correction", words, "Name another file.") from error
    typer.echo(f"{to}: the darkest and the brightest value of each pixel, then frames of the loop.")
    for doubt in scrubbed.doubts:
        typer.echo(f"look, because {doubt}")
    typer.echo("If nothing in it names a person or a place:")
    code = scrubbed.sha256[:_CODE_DIGITS]
    typer.echo(f"  echocart correction release {loop} --seen {code} --as INITIALS")


@app.command("release")
def release(
    loop: Loop,
    seen: Annotated[str, typer.Option("--seen", help="the code that `correction show` printed")],
    by: Annotated[
        str, typer.Option("--as", help="initials of an expert or admin, who gives a PIN")
    ],
    config: Config = DEFAULT_CONFIG,
    pin_from_stdin: FromStdin = False,
) -> None:
    """Let a correction leave after looking at it; the audit tells who did, and what was seen."""
    from appliance import pins
    from appliance.ledger import upstream, user

    settings, ledger = _box(config)
    person = user.find(ledger, by)
    pin = sys.stdin.readline().strip() if pin_from_stdin else getpass.getpass("PIN: ")
    if not pins.matches(person.pin if person else "", pin):
        raise ApplianceError("release a correction", "that is not this user's PIN", "Try again.")
    digest = _scrubbed(settings, ledger, loop).sha256
    if seen.strip().lower() != digest[:_CODE_DIGITS]:
        hint = f"Look at it first: `echocart correction show {loop} --to picture.png`."
        raise ApplianceError("release a correction", "the code is another picture's", hint)
    upstream.release(ledger, loop, digest, by)
    typer.echo(f"loop {loop} is released: its correction goes to the archive")


def _box(config: Path) -> "tuple[Settings, Ledger]":
    from appliance.config import load
    from appliance.ledger import Ledger

    settings = load(config)
    return settings, Ledger(settings.box.state_dir)


def _scrubbed(settings: "Settings", ledger: "Ledger", seq: int) -> "Scrubbed":
    from appliance.kept_back import would_leave
    from appliance.spool import Spool

    return would_leave(ledger, Spool(settings.box.state_dir), seq)
