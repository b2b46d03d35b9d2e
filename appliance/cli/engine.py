"""`echocart engine`: what can draw the masks on this machine, plans, the GPU's second chance."""

import subprocess
import sys
from typing import Annotated

import typer

from appliance.cli.common import DEFAULT_CONFIG, Config, person

app = typer.Typer(
    help="What runs the network here: list it, build plans, try the GPU again.",
    no_args_is_help=True,
)

# Of the engine, which only its own processes import: a backend that crashes takes no command along.
_TOOL = "appliance.engine.tool"


@app.command("list")
def list_backends(
    config: Config = DEFAULT_CONFIG,
    every: Annotated[bool, typer.Option("--all", help="every model of the box")] = False,
) -> None:
    """Try each backend and precision of the models in use here: a line for each, with the reason."""
    _run("list", "--config", str(config), *(["--all"] if every else []))


@app.command("build")
def build_plan(
    config: Config = DEFAULT_CONFIG,
    precision: Annotated[str, typer.Option(help="f16, int8 or f32; as configured if absent")] = "",
) -> None:
    """Build the TensorRT plans of the models in use on this machine now, and say how far it is."""
    _run("build", "--config", str(config), "--precision", precision)


@app.command("retry")
def retry_gpu(config: Config = DEFAULT_CONFIG) -> None:
    """Ask the running engine to try the GPU, and models that failed, again, between two loops."""
    from appliance.config import load
    from appliance.ledger import Ledger, setting

    settings = load(config)
    setting.retry_gpu(Ledger(settings.box.state_dir), person())
    typer.echo("asked: `echocart engine list` shows what came of it")


def _run(*arguments: str) -> None:
    status = subprocess.run([sys.executable, "-m", _TOOL, *arguments], check=False).returncode
    if status:
        raise typer.Exit(status if status > 0 else 128 - status)
