"""`echocart audit`: who did what, and whether anybody changed what stands there."""

import json
from typing import Annotated, Any

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config, printable

app = typer.Typer(
    help="Who did what: sign-ins, reviews, users, settings. No patient is named in it.",
    no_args_is_help=True,
)


@app.command("list")
def list_rows(
    config: Config = DEFAULT_CONFIG,
    last: Annotated[int, typer.Option(help="the newest so many", min=1)] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="for machines, a row a line")] = False,
) -> None:
    """Show the newest rows, the newest last."""
    from appliance.config import load
    from appliance.ledger import Ledger, audit

    for row in reversed(audit.listed(Ledger(load(config).box.state_dir), last)):
        typer.echo(json.dumps(row) if as_json else _line(row))


@app.command("verify")
def verify(
    config: Config = DEFAULT_CONFIG,
    head: Annotated[
        str, typer.Option(help="the hash an earlier verify printed: it must still be there")
    ] = "",
) -> None:
    """Walk the chain of hashes, then compare each review and user with what it tells.

    Names the first row, review or user that was changed or is missing.
    """
    from appliance.config import load
    from appliance.ledger import Ledger, audit

    found = audit.verify(Ledger(load(config).box.state_dir), head.strip().lower())
    if found.problem:
        typer.echo(f"broken: {found.problem}; rows of the audit that are whole: {found.rows}")
        raise typer.Exit(1)
    typer.echo(f"whole: {found.rows} rows, the last one's hash is {found.head}")
    if found.unhashed:
        typer.echo(
            f"reviews of an earlier release, without a hash of their content: {found.unhashed};"
            " whether their figures were changed can't be told"
        )


def _line(row: dict[str, Any]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in row["detail"].items())
    parts = [f"{row['id']:>6}", row["at"], f"{row['who'] or '-':8}", row["what"], row["subject"]]
    return printable("  ".join(part for part in (*parts, facts) if part))
