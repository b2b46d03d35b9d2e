"""`echocart drift`: whether what a model gets, draws and is told is still what it was made for."""

import json
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config
from appliance.errors import ApplianceError


def drift(
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="for machines, one object")] = False,
    export: Annotated[
        Path | None,
        typer.Option(help="write aggregates alone to this file, for whoever made the model"),
    ] = None,
) -> None:
    """Show whether pictures, outlines or decisions differ from what the model was made for.

    Looked at once a day, when a day is over. Nothing is sent anywhere: --export writes a file
    without patients, UIDs, people or single studies, and a person takes it along.
    """
    from appliance.config import load
    from appliance.drift import account
    from appliance.drift.watch import YEAR
    from appliance.ledger import Ledger
    from appliance.ledger.drift import models

    settings = load(config)
    state_dir = settings.box.state_dir
    if not (state_dir / "ledger.db").exists():
        hint = "Start the box once (`echocart run`), or name its file with --config."
        raise ApplianceError("tell drift", f"no box has run in {state_dir} yet", hint)
    ledger, today = Ledger(state_dir), date.today().isoformat()
    names = models(ledger)
    if export is not None:
        made = {"models": [account.exported(ledger, name, today) for name in names]}
        try:
            export.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            what = f"{export} can't be written ({error.strerror})"
            raise ApplianceError("export drift", what, "Name another file.") from error
        typer.echo(f"{export}: aggregates of {len(names)} model{'s' if len(names) != 1 else ''}")
        return
    found = [account.state(ledger, name, today) for name in names]
    if as_json:
        typer.echo(json.dumps({"models": found}, indent=1))
        return
    for item in found:
        typer.echo("\n".join(account.in_words(item)))
    if not found:
        typer.echo("no loop has been judged yet")
    rate = YEAR.rate
    typer.echo(f"A year in which nothing changes has a false alarm in {rate:.0%} of boxes at most.")
