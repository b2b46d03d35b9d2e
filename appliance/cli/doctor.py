"""`echocart doctor`: what is wrong with the box, and what to do about it."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config, printable
from appliance.errors import ApplianceError

_STATUS = {"ok": 0, "attention": 2, "broken": 1}


def doctor(
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="for machines, a list")] = False,
    bundle: Annotated[
        Path | None, typer.Option(help="also write a support file, without patient data")
    ] = None,
    log: Annotated[
        list[Path] | None, typer.Option(help="a log for the support file; may be repeated")
    ] = None,
) -> None:
    """Say what is wrong with the box, running, stopped or broken, and what to do about it.

    Exit status: 0 all is well, 2 something needs attention, 1 something is broken.
    """
    from appliance.doctor import Asked, diagnose
    from appliance.doctor.bundle import write

    findings = diagnose(config)
    if bundle is not None:
        try:
            write(bundle, Asked.of(config)[0], findings, log or [])
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            hint = "Name another file with --bundle."
            raise ApplianceError("write a support file", f"{bundle}: {reason}", hint) from error
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            typer.echo(f"{finding.word:9}  {finding.name}: {printable(finding.text)}")
            if finding.todo:
                typer.echo(f"           → {printable(finding.todo)}")
    status = {_STATUS[finding.word] for finding in findings}
    sys.stdout.flush()
    # A probe that hangs in a library's own thread must not keep the command.
    os._exit(1 if 1 in status else max(status))
