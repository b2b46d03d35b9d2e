"""`echocart purge`: make room now, or say what would go."""

from collections.abc import Mapping
from typing import Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config


def purge(
    config: Config = DEFAULT_CONFIG,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would go, and remove nothing")
    ] = False,
    megabytes: Annotated[
        int, typer.Option("--mb", min=0, help="so much; 0: as much as floor and ceiling ask for")
    ] = 0,
) -> None:
    """Remove files that an archive has proven to hold, oldest first; rows and masks stay.

    The box does the same on its own when space asks for it.
    """
    from appliance.config import load
    from appliance.ledger import Ledger, space
    from appliance.purge import Leaving, Purge
    from appliance.spool import Spool

    settings = load(config)
    state_dir = settings.box.state_dir
    ledger = Ledger(state_dir)
    room = Purge(settings, ledger, Spool(state_dir))
    wanted = megabytes * 1_000_000 or room.wanted()
    if dry_run:
        gone = room.plan(wanted)
    else:
        gone, left = list[Leaving](), wanted
        while left > 0 and (some := room.some(left)):
            gone += some
            left -= sum(one.size for one in some)
    for one in gone:
        typer.echo(f"{one.seq:>6}  {one.size / 1e6:8.1f} MB  kept in {one.kept_in}")
    size = sum(one.size for one in gone)
    verb = "would go" if dry_run else "removed"
    typer.echo(f"{len(gone)} objects, {size / 1e6:.1f} MB {verb}")
    if size < wanted:
        typer.echo(f"{wanted / 1e6:.0f} MB are wanted. {_what_stays(space.staying(ledger))}")


def _what_stays(staying: Mapping[str, int]) -> str:
    reasons = {
        "unproven": "that no archive has proven to hold",
        "unseen": "that the engine has not looked at",
        "awaited": "that a destination still gets something of",
    }
    stays = [f"{staying[name]} {words}" for name, words in reasons.items() if staying[name]]
    return f"Objects that stay: {', '.join(stays)}" if stays else "No other object is here"
