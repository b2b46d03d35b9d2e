"""`echocart backup`, `restore`, `recover`, `fsck`: copies of a box's state, and how it is put right."""

import json
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config

Folder = Annotated[Path, typer.Argument(help="folder of back-ups, on another disk if possible")]


def backup(to: Folder, config: Config = DEFAULT_CONFIG) -> None:
    """Copy the box's state while it runs; what an earlier back-up there has isn't copied again.

    No key is in it: keep a copy of upstream.key elsewhere, and TLS keys where they come from.
    """
    from appliance.config import load
    from appliance.upkeep.backup import LEFT_OUT, back_up

    done = back_up(load(config), config, to)
    typer.echo(f"{done.ledger}: {done.files} new files, {done.size / 1e6:.1f} MB")
    typer.echo(f"not in it: {', '.join(LEFT_OUT)}")
    for sha256 in done.missing:
        typer.echo(f"missing in the spool: {sha256}.dcm (see `echocart fsck`)", err=True)
    if done.missing:
        raise typer.Exit(1)


def restore(
    source: Folder,
    config: Config = DEFAULT_CONFIG,
    at: Annotated[
        str, typer.Option(help="which one, as 20261121T200000Z; without it, the newest")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="set a ledger that is there aside")
    ] = False,
) -> None:
    """Put a back-up in the box's place. The box must be stopped.

    What waits for delivery in it may have been delivered since: it is sent again, as the same
    objects. Put upstream.key and other keys back yourself.
    """
    from appliance.config import load
    from appliance.upkeep.backup import restore as put_back

    settings = load(config)
    done = put_back(settings, source, at, replace=replace)
    typer.echo(f"{done.ledger} and {done.files} files, {done.size / 1e6:.1f} MB, are in place")
    for sha256 in done.missing:
        typer.echo(f"missing in the back-up: {sha256}.dcm", err=True)
    for name in done.damaged:
        typer.echo(f"not what its name says: {name}", err=True)
    if done.missing or done.damaged:
        raise typer.Exit(1)


def recover(
    config: Config = DEFAULT_CONFIG,
    spool_alone: Annotated[
        bool, typer.Option("--spool-alone", help="don't take the box's own copy of the ledger")
    ] = False,
) -> None:
    """Set the ledger aside and rebuild it from its copy and the spool. The box must be stopped.

    From the spool come received objects, their analysis anew, and every review with what it was
    about. From the copy alone: users, carts, settings, deliveries, the audit, who sent an object.
    A box does this by itself when it starts with a damaged ledger.
    """
    from appliance.config import load
    from appliance.ledger import Ledger
    from appliance.spool import Spool
    from appliance.upkeep import damage, rebuild

    settings = load(config)
    state_dir = settings.box.state_dir
    with damage.alone(state_dir, "recover the ledger"):
        done = damage.mend(state_dir, anew=True, from_copy=not spool_alone)
        found = rebuild.record_found(Ledger(state_dir), Spool(state_dir), settings.originals)
    typer.echo(f"set aside: {done.aside or 'nothing, there was none'}")
    typer.echo(f"rebuilt from: {'its copy and the spool' if done.from_copy else 'the spool alone'}")
    typer.echo(f"put back: {done.reviews} reviews, {found.recorded} objects")
    if not done.from_copy:
        typer.echo("not known any more: users, paired carts, settings; who sent the objects")
    if done.unread or found.damaged:
        typer.echo(f"damaged: {done.unread} reviews' files, {found.damaged} objects", err=True)
        raise typer.Exit(1)


def fsck(
    config: Config = DEFAULT_CONFIG,
    quick: Annotated[
        bool, typer.Option("--quick", help="sizes only: don't read every file")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for machines, a fault a line")] = False,
) -> None:
    """Hold the ledger against the spool: what is missing, changed or foreign. Changes nothing."""
    from appliance.config import load
    from appliance.errors import ApplianceError
    from appliance.ledger import Ledger
    from appliance.spool import Spool
    from appliance.upkeep import damage
    from appliance.upkeep.fsck import examine

    state_dir = load(config).box.state_dir
    if not (state_dir / "ledger.db").exists():
        hint = "Start the box once, or name its file with --config."
        raise ApplianceError("examine the ledger", f"no box has run in {state_dir} yet", hint)
    if why := damage.problem(state_dir / "ledger.db", whole=False):
        hint = "Restart the box, or `echocart recover`: it is set aside and rebuilt."
        typer.echo(_line("ledger", "ledger.db", f"{why}. {hint}"))
        raise typer.Exit(1)
    count = 0
    for fault in examine(Ledger(state_dir), Spool(state_dir), content=not quick):
        count += 1
        line = json.dumps(vars(fault)) if as_json else _line(fault.kind, fault.subject, fault.text)
        typer.echo(line)
    if count:
        raise typer.Exit(1)
    if not as_json:
        typer.echo("ledger and spool fit together")


def _line(kind: str, subject: str, text: str) -> str:
    return f"{kind:8}  {subject}: {text}"
