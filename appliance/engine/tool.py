"""What `echocart engine` runs: list the backends, build a plan. In a process of its own.

python -m appliance.engine.tool list|build --config FILE [--all] [--precision PRECISION]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from appliance.config import Engine, load
from appliance.engine import availability, tensorrt, tensorrt_probe
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, engine_state
from appliance.releases import model_store


def list_backends(config: Path, *, every: bool) -> None:
    """Print a line for each backend and precision of the models in use, or of every model."""
    settings = load(config)
    state_dir = settings.box.state_dir
    chosen, now = model_store.configured(settings), None
    if (state_dir / "ledger.db").exists():
        ledger = Ledger(state_dir)
        chosen, now = model_store.chosen(ledger, settings), engine_state.get(ledger)
    probe = tensorrt_probe.probe()
    for item in model_store.listed(state_dir, chosen):
        if not (every or item.place):
            continue
        if item.manifest is None:
            _say(f"{item.name}  no: {item.problem}")
            continue
        for entry in availability.entries(item.manifest, state_dir, probe):
            _say(f"{entry.model}  {entry.backend:11}  {entry.precision:4}  {entry.verdict}")
    if now:
        _say(engine_state.in_words(now))


def build_plan(config: Path, precision: str) -> None:
    """Build the plans of the models in use, anew where there are any, and print how far it is.

    Raises
    ------
    BackendError, ManifestError
        When there is no GPU, no file for it, or nothing comes out.
    """
    settings = load(config)
    state_dir = settings.box.state_dir
    found = tensorrt_probe.probe()
    if found.gpu is None:
        hint = "`echocart engine list` shows what can run here."
        raise ApplianceError("build a TensorRT plan", found.reason, hint)
    asked = Engine.model_validate({"precision": precision or settings.engine.precision}).precision
    for name in model_store.resolved(model_store.chosen(Ledger(state_dir), settings)):
        manifest = model_store.load(state_dir, name)
        chosen = tensorrt.precision_for(manifest, asked)
        plan = tensorrt.plan_for(manifest, chosen, found.gpu, state_dir / tensorrt.PLANS)
        tensorrt.build(manifest, plan, _say)
        _say(f"{plan.path}: `echocart engine retry` lets a running engine use it")


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="echocart engine")
    parser.add_argument("command", choices=["list", "build"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--precision", default="", choices=["", "f32", "f16", "int8"])
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "list":
            list_backends(asked.config, every=asked.all)
        else:
            build_plan(asked.config, asked.precision)
    except ApplianceError as error:
        print(f"echocart: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
