"""`echocart rollback`: back to the release before."""

import typer


def rollback() -> None:
    """Go back to the release that was installed before; nothing received since is lost.

    Only where the box was installed as a package. Run again, it goes forward.
    """
    from appliance.releases import installed

    before = installed.present("current")
    now = installed.roll_back()
    typer.echo(f"{now} is in use; {before} stays for the way forward (`echocart rollback`)")
