"""Train a network from a recipe.

    python -m models.train --camus DIR --out DIR [--recipe frame|reference|FILE.toml]

Writes into --out: `network.pt` (the averaged weights, when done), `curve.csv` (loss and Dice on
the validation patients, epoch by epoch), `lineage.json` and `recipe.toml`. Started again with the
same --out it goes on where it was, also after a kill, at the beginning of the epoch it was in.
"""

import argparse
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from appliance.errors import ApplianceError
from models import camus
from models.lineage import revision
from models.recipe import FOLDER, Recipe, RecipeError, load

if TYPE_CHECKING:
    from torch import nn

    from models.learning import Frames

_GROWN_FROM = 64  # frames that give a grown network's BatchNorm its statistics


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m models.train", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--camus", type=Path, required=True, help="the data set's folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of this training")
    parser.add_argument("--recipe", default="frame", help="its name, or a TOML file")
    parser.add_argument("--devices", default="1", help="as Lightning's: how many, or which")
    parser.add_argument("--accelerator", default="auto", help="as Lightning's: auto, cpu, gpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare frames")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 leaves its choice")
    parser.add_argument("--limit", type=int, default=0, help="train on this many frames, to try")
    options = parser.parse_args(arguments)
    try:
        recipe = load(options.recipe)
        dataset = camus.checked(options.camus, _said)
        _train(recipe, dataset, options)
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _train(recipe: Recipe, dataset: camus.Dataset, options: argparse.Namespace) -> None:
    import lightning
    import torch
    from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

    from models.curve import Curve
    from models.learning import Frames, Learner, loader

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    torch.set_num_threads(options.threads or torch.get_num_threads())
    training = recipe.training
    wanted = dataset.frames("train")[: options.limit or None]
    lineage = _lineage(recipe, dataset, wanted)
    _begin(options.out, lineage, recipe, options.recipe)
    lightning.seed_everything(training.seed, verbose=False)
    shown, judged = (
        Frames(frames, training, vary)
        for frames, vary in ((wanted, True), (dataset.frames("validation"), False))
    )
    learner = Learner(_network(recipe, shown), recipe)
    # Mixed precision pays on CPUs with bfloat16 too, and needs no loss scaling.
    trainer = lightning.Trainer(
        accelerator=options.accelerator,
        devices=_devices(options.devices),
        max_epochs=training.epochs,
        precision="bf16-mixed",
        callbacks=[
            EMAWeightAveraging(decay=training.average),
            ModelCheckpoint(options.out, "epoch", save_last=True, save_top_k=1),
            Curve(options.out / "curve.csv", training.epochs),
        ],
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=sys.stderr.isatty(),
        use_distributed_sampler=False,
        enable_model_summary=False,
    )
    last = options.out / "last.ckpt"
    trainer.fit(
        learner,
        loader(shown, training, True, options.workers),
        loader(judged, training, False, 0),
        ckpt_path=str(last) if last.exists() else None,
        weights_only=False,
    )
    _keep(options.out, learner.network, recipe, trainer.callback_metrics, lineage)


def _network(recipe: Recipe, shown: "Frames") -> "nn.Module":
    """A network of the recipe's shape: random, or grown from a released one."""
    import torch

    from models.network import Architecture, Network, from_onnx, grown

    shape = recipe.network
    if shape.family == "dynunet":
        from models.reference import Reference

        return Reference(shape)
    architecture = Architecture(shape.filters, shape.deep, shape.subpixel)
    if not shape.start:
        return Network(batch_norm=True, architecture=architecture)
    from appliance.manifest import current_model
    from models import graph

    manifest = current_model(shape.start)
    start = from_onnx(graph.load(manifest.folder / manifest.variants[0].file))
    random = np.random.default_rng(recipe.training.seed)
    chosen = random.choice(len(shown), min(_GROWN_FROM, len(shown)), replace=False)
    pictures = torch.stack([shown[(0, int(number))][0] for number in chosen])
    return grown(start, architecture, pictures)


def _lineage(
    recipe: Recipe, dataset: camus.Dataset, frames: Sequence[camus.Frame]
) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "frames": len(frames),
        "data_sha256": camus.checksum(dataset, [*frames, *dataset.frames("validation")]),
        "revision": revision(),
    }


def _begin(out: Path, lineage: dict[str, Any], recipe: Recipe, named: str) -> None:
    """Make the folder, or see that what is in it is of the same work."""
    path = out / "lineage.json"
    same = ("recipe", "frames", "data_sha256")
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if any(found.get(name) != lineage[name] for name in same):
            raise RecipeError(
                "go on with a training",
                f"{out} holds a training with another recipe or other data",
                "Name another --out, or delete that folder.",
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    source = Path(named) if named.endswith(".toml") else FOLDER / f"{recipe.name}.toml"
    shutil.copyfile(source, out / "recipe.toml")
    path.write_text(json.dumps(lineage, indent=2) + "\n", encoding="utf-8")


def _keep(
    out: Path, network: "nn.Module", recipe: Recipe, metrics: Any, lineage: dict[str, Any]
) -> None:
    import torch

    from models.network import Network

    kept: dict[str, Any] = {"state": network.state_dict()}
    if isinstance(network, Network):
        kept["architecture"] = network.architecture.to_json()
    partial = out / "network.pt.partial"
    torch.save(kept, partial)
    partial.replace(out / "network.pt")
    figures = {name: round(float(value), 4) for name, value in sorted(metrics.items())}
    (out / "lineage.json").write_text(
        json.dumps({**lineage, "validation": figures}, indent=2) + "\n", encoding="utf-8"
    )
    print(f"{out / 'network.pt'}: " + ", ".join(f"{k} {v}" for k, v in figures.items()))


def _devices(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text


def _said(done: int, of: int) -> None:
    if done == of or done % 100 == 0:
        end = "\n" if done == of else ""
        print(f"\rlooked at {done} of {of} frames", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main(sys.argv[1:]))
