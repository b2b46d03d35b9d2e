"""`echocart`: the command people type. Each command imports what it needs when it runs."""

import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance import __version__
from appliance.cli import (
    audit,
    carts,
    correction,
    destination,
    doctor,
    drift,
    engine,
    model,
    release,
    rollback,
    space,
    tls,
    token,
    upkeep,
    user,
)
from appliance.cli.common import DEFAULT_CONFIG, Config, printable
from appliance.errors import ApplianceError

app = typer.Typer(
    name="echocart",
    help="Receives echo loops, draws the left heart on every frame, lets a sonographer decide,"
    " delivers the result. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

release.add_to(model.app)
app.add_typer(model.app, name="model")
app.add_typer(engine.app, name="engine")
app.add_typer(carts.app, name="carts")
app.add_typer(destination.app, name="destination")
app.add_typer(correction.app, name="correction")
app.add_typer(tls.app, name="tls")
app.add_typer(user.app, name="user")
app.add_typer(token.app, name="token")
app.add_typer(audit.app, name="audit")
app.command("purge")(space.purge)
app.command("backup")(upkeep.backup)
app.command("restore")(upkeep.restore)
app.command("recover")(upkeep.recover)
app.command("fsck")(upkeep.fsck)
app.command("doctor")(doctor.doctor)
app.command("drift")(drift.drift)
app.command("rollback")(rollback.rollback)


@app.command()
def run(
    config: Config = DEFAULT_CONFIG,
    only: Annotated[
        str, typer.Option(help="comma-separated services to run: scp,engine,webui,sync")
    ] = "",
) -> None:
    """Run the services of the box until Ctrl-C."""
    from appliance.config import load
    from appliance.supervisor import SERVICES, Supervisor
    from appliance.supervisor import run as run_supervisor

    settings = load(config)
    names = [name.strip() for name in only.split(",") if name.strip()] or list(SERVICES)
    if unknown := [name for name in names if name not in SERVICES]:
        raise ApplianceError(
            "run the services",
            f"there is no service called {', '.join(unknown)}",
            f"Services: {', '.join(SERVICES)}.",
        )
    if "webui" in names:
        typer.echo(f"review page: {settings.webui.url}", err=True)
    run_supervisor(Supervisor(config, names, on_restart=lambda text: typer.echo(text, err=True)))


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="accept by itself, check the result, and end")
    ] = False,
    directory: Annotated[
        Path, typer.Option("--dir", help="where each run gets a directory of its own")
    ] = Path("demo"),
    loop: Annotated[
        Path | None, typer.Option(help="another cine loop than the sample of pydicom-data")
    ] = None,
    with_orthanc: Annotated[
        bool, typer.Option("--with-orthanc", help="with a PACS and an archive, both Orthanc")
    ] = False,
) -> None:
    """Run the whole way once on a real loop: send, masks, review, SEG and report."""
    from appliance.demo import Demo

    Demo(directory, loop, with_orthanc=with_orthanc).run(once=once)


@app.command()
def check(config: Config = DEFAULT_CONFIG) -> None:
    """Explain every mistake in the configuration, and what on this machine is in its way."""
    from appliance.check import check as find

    findings = find(config)
    for finding in findings:
        typer.echo(f"{finding.word:9}  {finding.subject}: {finding.text}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def status(
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="for machines, one object")] = False,
    timings: Annotated[
        bool, typer.Option("--timings", help="how long each stage of the engine takes")
    ] = False,
    deliveries: Annotated[
        bool, typer.Option("--deliveries", help="each destination: what waits, and why")
    ] = False,
) -> None:
    """Show every received instance: state, reason, review, deliveries, times. No patient data."""
    from appliance import pace
    from appliance.config import load
    from appliance.ledger import Ledger
    from appliance.status import box, in_words, instances

    if deliveries:
        destination.show(config, as_json=as_json)
        return
    settings = load(config)
    state_dir = settings.box.state_dir
    if not (state_dir / "ledger.db").exists():
        hint = "Start the box once (`echocart run`), or name its file with --config."
        raise ApplianceError("show the status", f"no box has run in {state_dir} yet", hint)
    ledger = Ledger(state_dir)
    if timings:
        typer.echo(
            json.dumps(pace.account(ledger), indent=1) if as_json else "\n".join(pace.table(ledger))
        )
        return
    rows = instances(ledger, {item.name for item in settings.destination})
    whole = box(settings, ledger)
    if as_json:
        typer.echo(json.dumps({"instances": rows, **whole}, indent=1))
    else:
        _print_table(rows)
        typer.echo("\n".join(in_words(whole)))


@app.command()
def send(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files or directories of them")],
    to: Annotated[str, typer.Option("--to", help="host:port of the receiver")],
    called: Annotated[str, typer.Option(help="AE title of the receiver")] = "ECHOCART",
    calling: Annotated[str, typer.Option(help="AE title to send as")] = "ECHOCART-SCU",
) -> None:
    """Send DICOM files as an echo machine would (C-STORE), unchanged."""
    from appliance import scu

    host, port = _address(to)
    for title in (called, calling):
        _check_title(title)
    outcomes = scu.send(paths, host, port, calling, called, on_progress=_print_outcome)
    if not outcomes:
        where = ", ".join(map(str, paths))
        hint = "Name DICOM files, or a directory that has some below it."
        raise ApplianceError("send files", f"there are no files in {where}", hint)
    failed = sum(not outcome.ok for outcome in outcomes)
    typer.echo(f"{len(outcomes) - failed} accepted, {failed} not")
    if failed:
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    hint = "Write host:port, as in 127.0.0.1:11112."
    if not host or not (port.isascii() and port.isdigit()):
        raise ApplianceError("send files", f"--to {text} names no port", hint)
    if not 1 <= int(port) <= 65535:
        subject = f"--to {text}: ports go from 1 to 65535"
        raise ApplianceError("send files", subject, hint)
    return host, int(port)


def _check_title(text: str) -> None:
    from appliance.config import ae_title

    try:
        ae_title(text)
    except ValueError as error:
        hint = "Correct --called or --calling."
        raise ApplianceError("send files", f"{text!r}: {error}", hint) from error


def _print_outcome(outcome: Any) -> None:
    typer.echo(f"{'ok  ' if outcome.ok else 'no  '} {outcome.path}: {outcome.text}")


def _print_table(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        review = row["review"]["decision"] if row["review"] else "not reviewed"
        sent = ", ".join(_delivery(item) for item in row["deliveries"])
        here = f"kept in {row['kept_in']}, removed here" if row["purged_at"] else ""
        parts = [
            row["state"],
            row["reason"],
            _same_uid(row),
            here,
            review if row["analysis"] else "",
            sent,
        ]
        typer.echo(f"{row['seq']:>6}  {row['received_at']}  {printable(row['SOPInstanceUID'])}")
        typer.echo(f"        {' · '.join(part for part in parts if part)}")
    typer.echo(f"{len(rows)} instance{'s' if len(rows) != 1 else ''}")


def _same_uid(row: dict[str, Any]) -> str:
    if row["same_uid"] < 2:
        return ""
    stands = "this one counts" if row["current"] else "a later one counts"
    return f"one of {row['same_uid']} with this UID and other bytes, {stands}"


def _delivery(item: dict[str, Any]) -> str:
    problem = f" ({item['problem']})" if item["problem"] else ""
    return f"{item['destination']} {item['kind']} {item['state']}{problem}"


def main() -> None:
    """Run the command line; what fails becomes one line on stderr and a non-zero status."""
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    try:
        app()
    except ApplianceError as error:
        typer.echo(f"echocart: {error}", err=True)
        sys.exit(1)
    except sqlite3.Error as error:
        typer.echo(
            f"echocart: use the ledger: {error}. Free some space below box.state_dir if the disk"
            " is full, then try again; `echocart check` looks at the rest.",
            err=True,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python would complain again at exit.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
        sys.exit(141)


if __name__ == "__main__":
    main()
