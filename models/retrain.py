"""Refine a released network on corrections, and make a model that `echocart model add` takes.

    python -m models.retrain --corrections DIR [--originals DIR ...] --out DIR/NAME-VERSION

`--mix` says how many original frames are shown for each corrected one; without it the network's
Dice on the corrections decides (docs/retraining.md). `--out` may also be a file, MODEL.onnx:
manifest.json, lineage.json and the card are put beside it. Precisions below f32 are written as
models.export does, each only where frames kept out of training prove that it loses little. Killed
and called again with the same words, it goes on where it was. Needs the [train] extra.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from appliance.errors import ApplianceError
from appliance.manifest import Manifest, Variant, current_model, load_manifest
from models import card
from models.corrections import write_whole
from models.data import letterboxed
from models.lineage import revision
from models.metrics import dice
from models.mixing import POOR, default_mix, positive, rate, ratio
from models.proof import Proof
from models.release import Release, copy_view
from models.sources import FEWEST, RETRAIN, Sources

if TYPE_CHECKING:
    import onnx

    from models.network import Network
    from models.training import Frames, Recipe
    from models.workers import Alone

_STATE = ".retraining.pt"
_NAMED = re.compile(r"([a-z0-9-]+)-(\d+\.\d+\.\d+)")


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
            raise ApplianceError(RETRAIN, f"--out {out} names no version", hint)
        folder = out.parent if is_file else out
        if (folder / "manifest.json").exists():
            hint = "Choose another version, or delete it."
            raise ApplianceError(RETRAIN, f"there is a model in {folder} already", hint)
        return cls(folder, out.name if is_file else "network.onnx", name, version)


def retrain(
    start: Manifest,
    sources: Sources,
    target: Target,
    recipe: "Recipe",
    mix: float | None,
    workers: "Alone | None" = None,
    *,
    lower: bool = True,
) -> dict[str, Any]:
    """Refine `start`, write the new model's folder, and return how it agrees with the drawings.

    Parameters
    ----------
    start
        The model to begin with.
    sources, target
        From where, and to where.
    recipe
        How; its `mix` is replaced.
    mix
        Originals for each correction; None lets the Dice on the corrections decide.
    workers
        This process and those that do the same beside it; the first one writes.
    lower
        With the precisions below f32 that the frames kept out prove.

    Raises
    ------
    ManifestError
        When the network of `start` isn't one that can be refined.
    """
    from models.graph import complete, constants_as_initialisers, load, tidied
    from models.network import from_onnx, into_onnx
    from models.training import Frames
    from models.workers import Alone

    workers = workers or Alone()
    target.folder.mkdir(parents=True, exist_ok=True)
    drawn = [letterboxed(frame.load()) for frame in sources.taught]
    frames = Frames(drawn, [frame.load for frame in sources.drawn_from])
    watched = [letterboxed(frame.load()) for frame in sources.watched]
    graph = load(start.folder / start.variants[0].file)
    network = from_onnx(graph)
    scores = {"before": _agreement(network, start, drawn, watched)}
    say = print if workers.is_first else _silent
    recipe = replace(recipe, mix=_mix(mix, scores["before"], bool(frames.originals), say))
    state = target.folder / _STATE
    fingerprint = _fingerprint(start, sources, recipe, workers)
    network = _refined(network, frames, recipe, state, fingerprint, workers)
    workers.wait()
    if not workers.is_first:
        return scores
    scores["after"] = _agreement(network, start, drawn, watched)
    made = tidied(constants_as_initialisers(complete(into_onnx(network.cpu(), graph))))
    proof = _proof(sources) if lower else None
    variants = _variants(target, start, made, proof)
    _write(target, start, variants, _step(start, sources, recipe, scores))
    state.unlink(missing_ok=True)
    return scores


def _fingerprint(start: Manifest, sources: Sources, recipe: "Recipe", workers: "Alone") -> str:
    """Of everything that the result depends on: a run of another one begins anew."""
    from models.training import as_dict

    parts = [start.variants[0].sha256, *sources.checksums(), as_dict(recipe)]
    parts += [{"processes": workers.count}] * (workers.count > 1)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _step(start: Manifest, sources: Sources, recipe: "Recipe", scores: dict[str, Any]) -> card.Step:
    from models.training import as_dict

    corrections_sha256, originals_sha256 = sources.checksums()
    return card.Step(
        start=start,
        corrections=[frame.row for frame in sources.taught],
        corrections_sha256=corrections_sha256,
        originals=len(sources.drawn_from),
        originals_sha256=originals_sha256,
        recipe=as_dict(recipe),
        revision=revision(),
        scores=scores,
    )


def _refined(
    network: "Network",
    frames: "Frames",
    recipe: "Recipe",
    state: Path,
    fingerprint: str,
    workers: "Alone",
) -> "Network":
    from models.bar import Progress
    from models.training import refine

    with Progress("retraining", recipe, frames, shown=workers.is_first) as progress:
        return refine(
            network,
            frames,
            recipe,
            state=state,
            fingerprint=fingerprint,
            on_step=progress,
            workers=workers,
        )


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        from models.training import Recipe
        from models.workers import started
    except ImportError:
        print("models.retrain needs PyTorch: pip install 'echocart[train]'", file=sys.stderr)
        return 1
    given = ("epochs", "batch", "learning_rate", "precision", "seed", "threads")
    values = {name: getattr(options, name) for name in given}
    recipe = Recipe(**{name: value for name, value in values.items() if value is not None})
    if not options.originals:
        print(
            "warning: without --originals the network may forget what it knew of other hearts",
            file=sys.stderr,
        )
    try:
        workers = started(options.accelerator, options.devices, options.strategy)
        start = load_manifest(options.start) if options.start else current_model()
        target = Target.of(options.out, start)
        sources = Sources.checked(options.corrections, options.originals)
        scores = retrain(
            start, sources, target, recipe, options.mix, workers, lower=not options.f32_only
        )
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"{RETRAIN}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{RETRAIN}: {error.filename or options.out}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{RETRAIN}: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    if not workers.is_first:
        return 0
    print(card.table(scores))
    print(f"{target.name} {target.version}: echocart model add {target.folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.retrain", description=__doc__)
    parser.add_argument("--corrections", type=Path, required=True, help="as models.pull wrote it")
    parser.add_argument(
        "--originals",
        "--original",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR",
        help="frames of before: laid out the same, or CAMUS as its makers ship it",
    )
    parser.add_argument(
        "--mix", type=ratio, help="originals for each correction, 2 or 2:1; by Dice if absent"
    )
    parser.add_argument("--out", type=Path, required=True, help="NAME-VERSION/ or MODEL.onnx")
    parser.add_argument("--start", type=Path, help="model's folder; the released one if absent")
    parser.add_argument("--epochs", type=positive, help="20 if absent")
    parser.add_argument("--batch", type=positive, help="4 if absent")
    parser.add_argument("--learning-rate", type=rate, help="1e-4 if absent")
    parser.add_argument("--precision", choices=("f32", "bf16"), help="f32 if absent")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0 takes what PyTorch takes")
    parser.add_argument("--f32-only", action="store_true", help="write no lower precision")
    for name, absent in (("accelerator", "auto"), ("devices", "1"), ("strategy", "auto")):
        parser.add_argument(
            f"--{name}", default=absent, help=f"of Lightning: {_DEVICES[name]}; {absent} if absent"
        )
    return parser


_DEVICES = {
    "accelerator": "cpu, gpu",
    "devices": "how many; each runs this command",
    "strategy": "ddp where there are several",
}


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(*_: object, **__: object) -> None:
    """What every process but the first one says."""


def _mix(
    mix: float | None,
    before: dict[str, dict[str, float]],
    has_originals: bool,
    say: Callable[..., None],
) -> float:
    """What was asked for, or what the Dice on the corrections asks for, said aloud."""
    if not has_originals:
        return 0.0
    if mix is not None:
        return mix
    initial = float(np.mean(list(before["corrections"].values())))
    chosen = default_mix(initial)
    word = "poor" if initial < POOR else "good"
    say(
        f"mean Dice on the corrections is {initial:.3f}, {word}: "
        f"{chosen:g} originals for each correction (--mix chooses another)",
        file=sys.stderr,
    )
    return chosen


def _agreement(
    network: "Network", manifest: Manifest, drawn: Sequence[Any], watched: Sequence[Any]
) -> dict[str, dict[str, float]]:
    """Mean Dice of each structure on the corrections, and on originals kept out of training."""
    pairs = {"corrections": drawn} | ({"originals": watched} if watched else {})
    return {key: mean_dice(network, manifest, value) for key, value in pairs.items()}


def mean_dice(
    network: "Network", manifest: Manifest, pairs: Sequence[Any], precision: str = "f32"
) -> dict[str, float]:
    """Return the mean Dice of each structure over letterboxed images and masks."""
    from models.training import predict

    scores = [
        dice(predict(network, image, precision), mask, manifest.labels) for image, mask in pairs
    ]
    return mean_of(scores, manifest)


def mean_of(scores: Sequence[Sequence[float]], manifest: Manifest) -> dict[str, float]:
    """Return the mean over frames of each structure's Dice, by the structure's name."""
    means = np.array(scores).mean(axis=0)
    names = [structure.name for structure in manifest.structures]
    return {name: round(float(mean), 4) for name, mean in zip(names, means, strict=True)}


def _proof(sources: Sources) -> Proof | None:
    proof = sources.proof
    if proof is None:
        _tell(
            f"no precision below f32 is made: fewer than {FEWEST} frames were kept out of training"
            " to prove it on; --originals brings some"
        )
    return proof


def _variants(
    target: Target,
    start: Manifest,
    model: "onnx.ModelProto",
    proof: Proof | None,
) -> Sequence[Variant]:
    """Write the network at f32, and at each lower precision that is proven to lose little."""
    release = Release(start, target.folder, proof, _tell, Path(target.file).stem)
    release.add_full(model)
    if proof:
        release.add_half(model)
        release.add_int8(model)
    return release.variants


def _write(target: Target, start: Manifest, variants: Sequence[Variant], step: card.Step) -> None:
    """Write lineage and card, then the manifest that makes them and the network a model."""
    manifest = card.manifest(start, target.name, target.version, variants, step)
    copy_view(start, target.folder)
    record = json.dumps(step.record, indent=2) + "\n"
    write_whole(target.folder / "lineage.json", record.encode())
    write_whole(target.folder / "README.md", card.text(manifest, step).encode())
    write_whole(
        target.folder / "manifest.json",
        (manifest.model_dump_json(indent=2) + "\n").encode(),
    )
    load_manifest(target.folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
