"""Measure a released model's Dice at each backend and precision, and write it into its manifest.

    python -m models.accuracy --camus DIR [--model NAME] [--write]

DIR is CAMUS as its makers ship it, or holds `frames.csv`, `images/` and `masks/`; its validation
frames are letterboxed whole, as in training. Without DIR nothing is measured. What more there is
to know of a model, `models.evaluate` tells.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from appliance.config import Engine
from appliance.engine.backend import Backend, open_backend
from appliance.errors import ApplianceError
from appliance.manifest import Accuracy, Manifest, current_model
from models.camus import open_dataset
from models.corrections import CorrectionsError
from models.data import letterboxed
from models.metrics import dice

__all__ = ["agreement", "dice", "frames", "measure", "measure_all", "write"]

SPLIT = "validation"
CAMUS = "CAMUS, validation patients, both views, ED and ES"
_DIGITS = 4  # of a Dice: a hundredth of a point


Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def frames(folder: Path) -> Iterator[Pair]:
    """Yield each validation frame and its expert's label map, both uint8 [384, 384]."""
    for frame in open_dataset(folder).frames(SPLIT):
        yield letterboxed(frame.load())


def measure(backend: Backend, manifest: Manifest, folder: Path) -> Accuracy:
    """Run every validation frame of a data set through one backend.

    Raises
    ------
    CorrectionsError
        When there is none, or one can't be read.
    """
    return agreement(backend, manifest, frames(folder), CAMUS)


def agreement(backend: Backend, manifest: Manifest, pairs: Iterable[Pair], data: str) -> Accuracy:
    """Run frames through one backend.

    Parameters
    ----------
    backend, manifest
        The model.
    pairs
        Frame and its expert's label map, uint8 [384, 384] each.
    data
        What the frames are called.

    Raises
    ------
    CorrectionsError
        When there is none.
    """
    scores = np.array(
        [dice(backend.infer(frame).labels, expert, manifest.labels) for frame, expert in pairs]
    )
    if not len(scores):
        hint = "Name a directory with the validation patients."
        raise CorrectionsError("measure a model", f"there is no frame of {data}", hint)
    means = [round(float(mean), _DIGITS) for mean in scores.mean(axis=0)]
    return Accuracy(
        backend="openvino" if backend.name == "openvino" else "onnxruntime",
        data=data,
        frames=len(scores),
        dice=dict(zip([s.name for s in manifest.structures], means, strict=True)),
    )


def measure_all(manifest: Manifest, folder: Path) -> dict[str, list[Accuracy]]:
    """Measure every variant of a model on every backend that runs it here, by precision."""
    found: dict[str, list[Accuracy]] = {}
    for variant in manifest.variants:
        for name in variant.backends:
            if name == "tensorrt":
                continue  # the box that builds its plan checks it
            engine = Engine(backend=name, precision=variant.precision)
            try:
                backend = open_backend(manifest, engine)
            except ApplianceError as error:
                print(f"{name} {variant.precision}: not measured: {error}")
                continue
            accuracy = measure(backend, manifest, folder)
            found.setdefault(variant.precision, []).append(accuracy)
            figures = "  ".join(f"{key} {value:.4f}" for key, value in accuracy.dice.items())
            print(f"{name} {variant.precision}: {figures}  ({accuracy.frames} frames)")
    return found


def write(manifest: Manifest, found: dict[str, list[Accuracy]]) -> None:
    """Put the figures into the model's manifest.json; nothing else in it changes."""
    path = manifest.folder / "manifest.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    for variant in values["variants"]:
        if variant["precision"] in found:
            mine = [a for a in found[variant["precision"]] if a.backend in variant["backends"]]
            variant["accuracy"] = [a.model_dump() for a in mine]
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m models.accuracy", description=__doc__)
    parser.add_argument("--camus", type=Path, required=True, help="drawn frames, either layout")
    parser.add_argument("--model", default="", help="released model; the default one if absent")
    parser.add_argument("--write", action="store_true", help="put the figures into the manifest")
    options = parser.parse_args(arguments)
    if not options.camus.is_dir():
        print(f"no {options.camus} here: nothing to measure, nothing changed")
        return 0
    try:
        manifest = current_model(options.model)
        found = measure_all(manifest, options.camus)
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    if options.write:
        write(manifest, found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
