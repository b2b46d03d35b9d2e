"""`echocart carts`: who may send, who was rejected, who waits for a storage commitment report."""

import json
import os
import shlex
from typing import Annotated, Any

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config, person, printable
from appliance.errors import ApplianceError

app = typer.Typer(
    help="The echo machines that may send: list them and the callers rejected, allow, remove.",
    invoke_without_command=True,
)

_CLOCK_S = 60  # less is an exam's own delay
Machine = Annotated[str, typer.Argument(help="AE title, or AE title@IP address or network")]


@app.callback()
def carts(
    context: typer.Context,
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="for machines, one object")] = False,
) -> None:
    """Show the paired carts, what they sent, the callers rejected, and reports that wait."""
    if context.invoked_subcommand:
        source = context.get_parameter_source("config")
        if source and source.name == "COMMANDLINE":
            os.environ["ECHOCART_CONFIG"] = str(config)  # of the subcommand, too
        return
    from appliance.config import load
    from appliance.ledger import Ledger
    from appliance.pairing import account

    settings = load(config)
    shown = account(settings, Ledger(settings.box.state_dir))
    if as_json:
        typer.echo(json.dumps(shown, indent=1))
    else:
        _print(shown)


@app.command("allow")
def allow(
    machine: Machine,
    config: Config = DEFAULT_CONFIG,
    name: Annotated[str | None, typer.Option(help="what people call it")] = None,
    commit: Annotated[
        str | None, typer.Option(help="PORT or HOST:PORT that takes storage commitment reports")
    ] = None,
    commit_ae: Annotated[
        str | None, typer.Option(help="its AE title for storage commitment, if another one")
    ] = None,
    same_association: Annotated[
        bool | None, typer.Option(help="try the association that asked for the report first")
    ] = None,
    tls: Annotated[bool | None, typer.Option(help="it must use the TLS port")] = None,
) -> None:
    """Let an echo machine send; from the first one on, unknown ones are rejected.

    What isn't given stays as it was.
    """
    from appliance.config import load
    from appliance.ledger import Ledger
    from appliance.pairing import allow as allow_cart

    settings = load(config)
    changed: dict[str, Any] = {
        "name": name,
        "commit_ae": commit_ae,
        "same_association": same_association,
        "tls": tls,
        **_commit(commit),
    }
    given = {key: value for key, value in changed.items() if value is not None}
    calling_ae, _, address = machine.partition("@")
    item = allow_cart(
        settings, Ledger(settings.box.state_dir), calling_ae, address, given, person()
    )
    where = f" from {item.address}" if item.address else " from any address"
    typer.echo(f"{item.calling_ae}{where} may send; unknown callers are rejected")
    if item.commit_port is None and settings.commits:
        typer.echo("storage commitment: no address for its reports yet (--commit PORT)")


@app.command("remove")
def remove(machine: Machine, config: Config = DEFAULT_CONFIG) -> None:
    """Take a pairing back; the machine is rejected from its next association on."""
    from appliance.config import load
    from appliance.ledger import Ledger
    from appliance.pairing import remove as remove_cart

    settings = load(config)
    calling_ae, _, address = machine.partition("@")
    left = remove_cart(settings, Ledger(settings.box.state_dir), calling_ae, address, person())
    typer.echo(f"{machine} may no longer send")
    if not left:
        typer.echo("no cart is left: nobody may send until one is allowed")


def _commit(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        hint = "Write a port, or host:port, as in 10.1.2.3:104."
        raise ApplianceError("allow a cart", f"--commit {text} names no port", hint)
    return {"commit_host": host, "commit_port": int(port)}


def _print(shown: dict[str, Any]) -> None:
    from appliance.carts import NOT_PAIRED

    if not shown["closed"]:
        typer.echo("open: anybody may send, until the first cart is allowed")
    elif not shown["carts"]:
        typer.echo("closed, and no cart is allowed: nobody may send")
    for item in shown["carts"]:
        where = item["address"] or "any address"
        sent = f"{item['objects']} objects" if item["objects"] else "nothing sent yet"
        seen = f", last {item['last_seen']}" if item["last_seen"] else ""
        typer.echo(f"{item['name']}: {item['calling_ae']} from {where}: {sent}{seen}{_clock(item)}")
        typer.echo(f"  {_commitment_of(item)}{', TLS only' if item['tls'] else ''}")
    for item in shown["callers"]:
        typer.echo(f"{item['calling_ae']} from {item['peer']}: {item['objects']} objects")
    for item in shown["reports"]:
        problem = f": {item['problem']}" if item["problem"] else ""
        what = f"report to {item['calling_ae']} about {item['objects']} objects waits"
        typer.echo(f"{what} since {item['requested_at']}{problem}")
    for item in shown["rejected"]:
        title = printable(item["calling_ae"])
        times = f"{item['rejected']} times, last {item['rejected_at']}"
        typer.echo(f"rejected: {title} from {item['peer']}, {times}: {item['why']}")
        if item["why"].startswith(NOT_PAIRED):
            # Quoted: whoever calls chooses the title that a person is to copy into a shell.
            machine = shlex.quote(f"{item['calling_ae']}@{item['peer']}")
            typer.echo(f"  echocart carts allow {machine}")
    for item in shown["turned_away"]:
        times = f"{item['times']} times, last {item['last_at']}"
        typer.echo(f"turned away: {item['peer']}, {times}: {printable(item['why'])}")


def _clock(item: dict[str, Any]) -> str:
    from appliance.ledger.skew import duration

    told = ""
    for clock in item["clocks"]:
        ahead = clock["ahead_s"]
        if abs(ahead) < _CLOCK_S:
            continue
        whose = f"the clock of {clock['peer']}" if len(item["clocks"]) > 1 else "its clock"
        told += (
            f", {whose} {duration(ahead)} ahead"
            if ahead > 0
            else f", {whose} behind, or it sends {duration(ahead)} later"
        )
    return told


def _commitment_of(item: dict[str, Any]) -> str:
    if item["commit_port"] is None:
        return "storage commitment: no address for its reports"
    host = item["commit_host"] or "its own address"
    title = item["commit_ae"] or item["calling_ae"]
    first = ", first on the same association" if item["same_association"] else ""
    return f"storage commitment: to {title} at {host}:{item['commit_port']}{first}"
