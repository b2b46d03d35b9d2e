"""`echocart purge`: make room now, or say what would go."""

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
    from appliance.ledger import Ledger
    from appliance.purge import Leaving, Purge
    from appliance.spool import Spool

    settings = load(config)
    state_dir = settings.box.state_dir
    room = Purge(settings, Ledger(state_dir), Spool(state_dir))
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
        typer.echo(f"{wanted / 1e6:.0f} MB are wanted: nothing else is proven in an archive yet")
