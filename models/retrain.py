"""Refine a released network on corrections, and make a model that `echocart model add` takes.

    python -m models.retrain --corrections DIR [--original DIR] --out DIR/NAME-VERSION

`--out` may also be a file, MODEL.onnx: manifest.json and the card are put beside it. Killed and
called again with the same words, it goes on where it was. Needs the [train] extra.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from appliance.errors import ApplianceError
from appliance.manifest import Manifest, current_model, load_manifest
from models import card, corrections
from models.accuracy import dice
from models.corrections import CorrectionsError, write_whole
from models.data import letterboxed

if TYPE_CHECKING:
    from models.network import Network
    from models.training import Frames, Recipe

_RETRAIN = "retrain a model"
_STATE = ".retraining.pt"
_NAMED = re.compile(r"([a-z0-9-]+)-(\d+\.\d+\.\d+)")
_WATCHED = 40  # original validation frames looked at for forgetting: a minute on a laptop


@dataclass(frozen=True)
class Target:
    """Where the new model goes, and what it is called."""

    folder: Path
    file: str
    name: str
    version: str

    @classmethod
    def of(cls, out: Path, start: Manifest) -> "Target":
        """Read it off `--out`: a folder or file called NAME-VERSION, or any other file name.

        Raises
        ------
        ApplianceError
            When a folder has another kind of name, or there is a model already.
        """
        is_file = out.suffix == ".onnx"
        named = _NAMED.fullmatch(out.stem if is_file else out.name)
        if named:
            name, version = named.groups()
        elif is_file:
            major, minor, _ = start.version.split(".")
            name, version = start.name, f"{major}.{int(minor) + 1}.0"
        else:
            hint = "Call it NAME-VERSION, as in first-network-1.1.0, or name a file MODEL.onnx."
            raise ApplianceError(_RETRAIN, f"--out {out} names no version", hint)
        folder = out.parent if is_file else out
        if (folder / "manifest.json").exists():
            hint = "Choose another version, or delete it."
            raise ApplianceError(_RETRAIN, f"there is a model in {folder} already", hint)
        return cls(folder, out.name if is_file else "network.onnx", name, version)


def retrain(
    start: Manifest,
    corrected: Path,
    original: Path | None,
    target: Target,
    recipe: "Recipe",
) -> dict[str, Any]:
    """Refine `start`, write the new model's folder, and return how it agrees with the drawings.

    Raises
    ------
    CorrectionsError
        When a directory holds nothing to learn from, or a broken frame.
    ManifestError
        When the network of `start` isn't one that can be refined.
    """
    import onnx

    from models.network import from_onnx, into_onnx
    from models.training import Frames, as_dict, refine

    rows = [row for row in corrections.rows(corrected) if row.split == "train"]
    drawn = [letterboxed(item) for item in corrections.read(corrected, "train")]
    if not drawn:
        hint = "Pull some first: python -m models.pull --from URL --to DIR."
        raise CorrectionsError(_RETRAIN, f"{corrected} holds no frame to learn from", hint)
    frames = Frames(drawn, _readers(original))
    graph = onnx.load(start.folder / start.variants[0].file)
    network = from_onnx(graph)
    scores = {"before": _agreement(network, start, frames, original)}
    state = target.folder / _STATE
    target.folder.mkdir(parents=True, exist_ok=True)
    with _Progress(frames, recipe) as progress:
        refine(
            network, frames, recipe, state, _fingerprint(start, rows, original, recipe), progress
        )
    scores["after"] = _agreement(network, start, frames, original)
    data = complete(into_onnx(network, graph)).SerializeToString(deterministic=True)
    step = card.Step(
        start=start,
        corrections=rows,
        table_sha256=_hash((corrected / "frames.csv").read_bytes()),
        originals=len(frames.originals),
        recipe=as_dict(recipe),
        scores=scores,
    )
    _write(target, start, data, step)
    state.unlink(missing_ok=True)
    return scores


def complete(graph: Any) -> Any:
    """Return an ONNX model with every output of the box's interface."""
    from models.export import add_certainty

    if "certainty" in {output.name for output in graph.graph.output}:
        return graph
    return add_certainty(graph)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        from models.training import Recipe
    except ImportError:
        print("models.retrain needs PyTorch: pip install 'echocart[train]'", file=sys.stderr)
        return 1
    recipe = Recipe(
        epochs=options.epochs,
        originals_per_correction=options.originals,
        seed=options.seed,
        threads=options.threads,
    )
    if options.original is None:
        print(
            "warning: without --original the network may forget what it knew of other hearts",
            file=sys.stderr,
        )
    try:
        start = load_manifest(options.start) if options.start else current_model()
        target = Target.of(options.out, start)
        scores = retrain(start, options.corrections, options.original, target, recipe)
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{_RETRAIN}: {error.filename or options.out}: {error.strerror}", file=sys.stderr)
        return 1
    print(card.table(scores))
    print(f"{target.name} {target.version}: echocart model add {target.folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.retrain", description=__doc__)
    parser.add_argument("--corrections", type=Path, required=True, help="as models.pull wrote it")
    parser.add_argument("--original", type=Path, help="frames of before, laid out the same")
    parser.add_argument("--out", type=Path, required=True, help="NAME-VERSION/ or MODEL.onnx")
    parser.add_argument("--start", type=Path, help="model's folder; the released one if absent")
    parser.add_argument("--epochs", type=int, default=20, help="20 if absent")
    parser.add_argument(
        "--originals", type=int, default=2, help="originals for each correction; 2 if absent"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0 takes what PyTorch takes")
    return parser


class _Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self, frames: "Frames", recipe: "Recipe") -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from models.training import steps_of_epoch

        columns = (TextColumn("retraining"), BarColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, TimeRemainingColumn())
        total = recipe.epochs * steps_of_epoch(frames, recipe)
        self._task = self._bar.add_task("loss", total=total)

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, step: int, loss: float) -> None:
        self._bar.update(self._task, completed=step, description=f"loss {loss:.3f}")


def _readers(original: Path | None) -> list[Any]:
    if original is None:
        return []
    rows = [row for row in corrections.rows(original) if row.split == "train"]
    return [partial(corrections.load, original, row) for row in rows]


def _agreement(
    network: "Network", manifest: Manifest, frames: "Frames", original: Path | None
) -> dict[str, dict[str, float]]:
    """Mean Dice of each structure on the corrections, and on originals kept out of training."""
    watched = {"corrections": list(frames.corrections)}
    if original is not None:
        rows = [row for row in corrections.rows(original) if row.split == "validation"]
        kept = [letterboxed(corrections.load(original, row)) for row in _spread(rows)]
        watched |= {"originals": kept} if kept else {}
    return {key: _dice(network, manifest, pairs) for key, pairs in watched.items()}


def _dice(network: "Network", manifest: Manifest, pairs: Sequence[Any]) -> dict[str, float]:
    from models.training import predict

    scores = [dice(predict(network, image), mask, manifest.labels) for image, mask in pairs]
    means = np.array(scores).mean(axis=0)
    names = [structure.name for structure in manifest.structures]
    return {name: round(float(mean), 4) for name, mean in zip(names, means, strict=True)}


def _spread(rows: list[corrections.Row]) -> list[corrections.Row]:
    """Return at most `_WATCHED` rows, evenly over the table."""
    step = max(1, -(-len(rows) // _WATCHED))
    return rows[::step]


def _fingerprint(
    start: Manifest, rows: Sequence[corrections.Row], original: Path | None, recipe: "Recipe"
) -> str:
    from models.training import as_dict

    table = (original / "frames.csv").read_bytes() if original else b""
    parts = [
        start.variants[0].sha256,
        [row.stem for row in rows],
        _hash(table),
        as_dict(recipe),
    ]
    return _hash(json.dumps(parts).encode())


def _write(target: Target, start: Manifest, data: bytes, step: card.Step) -> None:
    """Write network and card, then the manifest that makes them a model."""
    manifest = card.manifest(start, target.name, target.version, target.file, _hash(data), step)
    write_whole(target.folder / target.file, data)
    write_whole(target.folder / "README.md", card.text(manifest, step).encode())
    write_whole(
        target.folder / "manifest.json",
        (manifest.model_dump_json(indent=2) + "\n").encode(),
    )
    load_manifest(target.folder)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
