"""What a released view network can and can't tell, in a short report.

    python -m models.view_report --camus DIR --model NAME-VERSION/ --out FILE.md [--strangers DIR]

Two networks are trained to compare with: one on frames as they came, one without some kinds of
other pictures.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from appliance.cine import open_cine
from appliance.engine.view import View, ViewGate, decide, shrunk
from appliance.errors import ApplianceError, ManifestError
from appliance.manifest import ViewNetwork, load_manifest
from appliance.sector import find_sector
from appliance.sector.geometry import letterbox
from appliance.views import OTHER as NONE
from models import camus
from models.corrections import Drawn
from models.data import letterboxed
from models.view import CAMUS_VIEWS, FILE, LIMIT_APICAL, VIEWS, Recipe, finish, read, run, train
from models.view_pictures import OTHER, Bytes, apical, boxed, degraded, other, restored

# Left out of a second training: what is refused of them then was never seen before.
UNSEEN = ("turned", "several screens", "other tissue", "strip")
_EACH = 200  # pictures of a kind
_BINS = 32
_PRIOR, _STEPS = 1e-3, 20

Answer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Network:
    """A view network to be asked: its limits, and what gives probabilities and distances."""

    limits: ViewNetwork
    ask: Callable[[Sequence[Bytes]], Answer]

    def view(self, frames: Sequence[Bytes]) -> View:
        """What the gate makes of a loop's frames."""
        return decide(self.limits, *self.ask(frames))

    def refused(self, frames: Sequence[Bytes]) -> float:
        """Share of frames refused, each taken for a loop of its own."""
        return float(np.mean([self.view([one]).view == NONE for one in frames]))


def write(
    path: Path, dataset: camus.Dataset, released: Network, recipe: Recipe, strangers: Path | None
) -> None:
    """Train the networks to compare with, measure all, and write the report.

    Parameters
    ----------
    path
        Markdown file.
    dataset
        Frames to train on and to be tested with.
    released, recipe
        The network in question; how the others are trained.
    strangers
        Folder of DICOM files that no training saw, or None.
    """
    naive = _trained(dataset, replace(recipe, hidden=False))
    seen = tuple(kind for kind in OTHER if kind not in UNSEEN)
    blind = _trained(dataset, replace(recipe, kinds=seen))
    parts = [
        _HEAD,
        _views(dataset, naive, released),
        _apical(dataset, released),
        _others(dataset, released, blind),
        _strangers(strangers, released) if strangers else "",
        _TAIL,
    ]
    path.write_text("\n".join(part for part in parts if part), encoding="utf-8")


def of_model(folder: Path) -> Network:
    """Take the view network of a model's folder, as the box runs it.

    Raises
    ------
    ManifestError
        When the model has none.
    """
    manifest = load_manifest(folder)
    if manifest.view is None:
        raise ManifestError("report on a view network", f"{folder} has none", "Run models.view.")
    return Network(manifest.view, ViewGate(manifest).ask)


_HEAD = """# What the view network can tell

Made by `python -m models.view_report --camus DIR --model DIR --out FILE`. Licence of the network:
CC BY-NC-SA 4.0, research use only (derived from CAMUS). Validation patients of CAMUS; none of
them was trained on.
"""
_TAIL = """
## What this means

- CAMUS is one hospital's machines: "A4C or A2C" was measured on it alone. On another machine
  trust the label less than the table says; a person changes it on the page.
- "Other" was learnt from made pictures. No real parasternal, subcostal, three-chamber or
  transoesophageal loop was among them but for the strangers above. An apical three-chamber or
  five-chamber view looks much like A2C or A4C, and may pass: nothing here measures that.
- A mirrored heart, as some sites display it, is often refused: CAMUS has none. So are children's
  hearts shown with the apex down. A person sets the view, and the loop is measured.
- Several pictures on one screen that the network wasn't taught half passed: the box refuses those
  by their pixels and regions before (`appliance/cine/look.py`).
- The limits were chosen on made pictures, and with three strange loops in sight (two of one person,
  one of a child): too few to prove them. A site's refused and accepted loops will.
- The shape gate looks at every loop that this one lets through.
"""


def _trained(dataset: camus.Dataset, recipe: Recipe) -> Network:
    learnt, kept = (read(dataset, split, hidden=recipe.hidden) for split in ("train", "validation"))
    network, limit = finish(train(learnt, recipe), learnt, kept, recipe)
    limits = ViewNetwork(
        file=FILE,
        sha256="0" * 64,
        views=VIEWS,
        limit_apical=LIMIT_APICAL,
        limit_distance=limit,
    )
    return Network(limits, lambda frames: run(network, frames))


def _frames(dataset: camus.Dataset, split: str) -> list[tuple[int, Drawn]]:
    """View number and frame of a split."""
    found = [frame for frame in dataset.frames(split) if frame.view in CAMUS_VIEWS]
    return [(CAMUS_VIEWS[frame.view], frame.load()) for frame in found]


def _aspects(found: list[tuple[int, Drawn]]) -> list[float]:
    """Width over height of the 4CH frames, which have kept theirs."""
    shapes = [(drawn.image.shape, drawn.aspect) for view, drawn in found if view == 0]
    return [columns / (rows * aspect) for (rows, columns), aspect in shapes]


def _ways(dataset: camus.Dataset) -> dict[str, list[tuple[int, Bytes]]]:
    """Validation frames as the box would see them after each path, uint8 [96, 96]."""
    random = np.random.default_rng(5)
    found = _frames(dataset, "validation")
    lot = random.choice(_aspects(found), len(found))
    return {
        "as they are": [(view, shrunk(letterboxed(drawn)[0])) for view, drawn in found],
        "4CH squashed to a square, as 2CH came": [
            (view, shrunk(restored(degraded(drawn.image), 1.0))) for view, drawn in found
        ],
        "both through the square, aspects by lot": [
            (view, shrunk(restored(degraded(drawn.image), float(aspect))))
            for (view, drawn), aspect in zip(found, lot, strict=True)
        ],
    }


def _views(dataset: camus.Dataset, naive: Network, hidden: Network) -> str:
    lines = [
        "## Four or two chambers\n",
        "Share of single frames (100 of each view) called by their right name; in brackets how"
        " many of the 4CH and of the 2CH frames.\n",
        "| tested on | trained on frames as they are | trained through the square (released) |",
        "|---|---|---|",
    ]
    ways = _ways(dataset)
    for name, frames in ways.items():
        views = np.array([view for view, _ in frames])
        cells = []
        for network in (naive, hidden):
            said = network.ask([frame for _, frame in frames])[0][:, :2].argmax(1)
            right = said == views
            each = ", ".join(f"{100 * right[views == view].mean():.0f} %" for view in (0, 1))
            cells.append(f"{100 * right.mean():.1f} % ({each})")
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    way = "both through the square, aspects by lot"
    share = _by_look(_looks(dataset), ways[way])
    lines.append(
        f"\nA classifier that sees brightness histogram and radial spectrum alone, no anatomy, tells"
        f" the views of {100 * share:.0f} % of the frames even after the square (50 % is chance):"
        " so much of the released figure may still be the machine's look.\n"
    )
    return "\n".join(lines)


def _looks(dataset: camus.Dataset) -> list[tuple[int, Bytes]]:
    random = np.random.default_rng(6)
    found = _frames(dataset, "train")
    aspects = _aspects(found)
    return [
        (view, shrunk(restored(degraded(drawn.image), float(random.choice(aspects)))))
        for view, drawn in found
    ]


def _by_look(learnt: list[tuple[int, Bytes]], tested: list[tuple[int, Bytes]]) -> float:
    """Accuracy of a logistic regression on histogram and spectrum."""
    known, asked = (np.stack([_look(frame) for _, frame in part]) for part in (learnt, tested))
    mean, spread = known.mean(0), known.std(0) + 1e-6
    known, asked = (known - mean) / spread, (asked - mean) / spread
    known, asked = (np.hstack([np.ones((len(part), 1)), part]) for part in (known, asked))
    truth = np.array([float(view) for view, _ in learnt])
    weights = np.zeros(known.shape[1])
    for _ in range(_STEPS):  # Newton's method
        chance = 1 / (1 + np.exp(-np.clip(known @ weights, -30, 30)))
        slope = known.T @ (truth - chance) / len(truth) - _PRIOR * weights
        bend = (known.T * (chance * (1 - chance))) @ known / len(truth)
        weights += np.linalg.solve(bend + _PRIOR * np.eye(len(weights)), slope)
    views = np.array([view for view, _ in tested])
    return float(((asked @ weights > 0) == (views == 1)).mean())


def _look(frame: Bytes) -> npt.NDArray[np.float64]:
    lit = frame[frame > 0]
    tones = np.histogram(lit, _BINS, (0, 256))[0] / max(1, lit.size)
    power = np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(frame.astype(float)))))
    middle = frame.shape[0] // 2
    y, x = np.indices(frame.shape) - middle
    radius = np.hypot(y, x).astype(int).ravel()
    spectrum = np.bincount(radius, power.ravel()) / np.maximum(1, np.bincount(radius))
    return np.concatenate([tones, spectrum[:middle]])


def _apical(dataset: camus.Dataset, network: Network) -> str:
    random = np.random.default_rng(7)
    kept = read(dataset, "validation", hidden=True)
    strange = [apical(heart, random, any_aspect=True) for heart in kept.hearts]
    plain = [frame for _, frame in _ways(dataset)["as they are"]]
    mirrored = [np.ascontiguousarray(frame[:, ::-1]) for frame in plain]
    rows = {
        "as they are": plain,
        "another machine's gain, blur, text, a turned probe": strange,
        "mirrored": mirrored,
    }
    lines = ["## Hearts refused\n", "| single validation frames | refused |", "|---|---|"]
    for name, frames in rows.items():
        lines.append(f"| {name} | {100 * network.refused(frames):.1f} % |")
    lines.append("\nThe box asks eight frames of a loop and takes their mean.\n")
    return "\n".join(lines)


def _others(dataset: camus.Dataset, released: Network, blind: Network) -> str:
    random = np.random.default_rng(8)
    hearts = read(dataset, "validation", hidden=True).hearts
    lines = [
        "## Other pictures refused\n",
        f"{_EACH} made single pictures of each kind, from validation patients. The right column is"
        f" of a network that never saw {', '.join(UNSEEN)}: how far the lesson carries.\n",
        "| kind | released | without those |",
        "|---|---|---|",
    ]
    for kind in OTHER:
        frames = [other(kind, hearts, random) for _ in range(_EACH)]
        cells = [f"{100 * each.refused(frames):.1f} %" for each in (released, blind)]
        name = f"**{kind}**" if kind in UNSEEN else kind
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def _strangers(folder: Path, network: Network) -> str:
    lines = [
        "## Strangers\n",
        "Real files of other machines; no training saw them. Those the box refuses before (stills,"
        " Doppler) are asked all the same.\n",
        "| file | view | apical | distance over its limit |",
        "|---|---|---|---|",
    ]
    for path in sorted(folder.rglob("*.dcm")):
        frames = _of_file(path)
        if frames:
            view = network.view(frames)
            name = view.view if view.view == NONE else f"{view.view} ({view.certainty:.2f})"
            figures = view.figures
            lines.append(
                f"| {path.name} | {name} | {figures['apical']:.2f} | {figures['distance']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def _of_file(path: Path) -> list[Bytes]:
    """Frames of a file as the gate sees them; of one without a moving fan, the whole picture."""
    try:
        with open_cine(path) as cine:
            pictures = [cine.grey(index) for index in cine.sampled(8)]
            try:
                geometry = find_sector(cine).geometry
            except ApplianceError:
                return [shrunk(boxed(picture)) for picture in pictures]
            return [shrunk(letterbox(picture, geometry)) for picture in pictures]
    except ApplianceError:
        return []


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m models.view_report", description=__doc__)
    parser.add_argument("--camus", type=Path, required=True, help="frames.csv, images/, masks/")
    parser.add_argument("--model", type=Path, required=True, help="a model's folder")
    parser.add_argument("--out", type=Path, required=True, help="the report, Markdown")
    parser.add_argument("--strangers", type=Path, help="folder of DICOM files")
    parser.add_argument("--epochs", type=int, default=20, help="of the networks to compare with")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    recipe = Recipe(epochs=options.epochs, seed=options.seed)
    try:
        released = of_model(options.model)
        write(options.out, camus.checked(options.camus), released, recipe, options.strangers)
    except (ApplianceError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
