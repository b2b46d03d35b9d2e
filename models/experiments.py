"""The source paper's three experiments on retraining from corrections, as one command.

    python -m models.experiments --camus DIR --out DIR

One image is corrected 25 times. The network learns from these alone, with as many original
images, and with twice as many, for several epochs and batch sizes; images that nobody corrected
say what it forgets. All of it for an image on which the network was good and for one on which it
was poor, and with the recipe of `models.retrain` beside plain fine-tuning.

Into --out: `report.md`, `results.json` and pictures; `trials/` lets a killed run go on. Takes
about ten minutes of one core that has bfloat16. Needs the [train] extra.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from appliance.errors import ApplianceError
from appliance.manifest import Manifest, current_model
from models import camus
from models.corrections import write_whole
from models.data import letterboxed
from models.lineage import revision
from models.metrics import dice
from models.mixing import default_mix
from models.retrain import mean_dice, mean_of
from models.simulate import Hand, corrected

if TYPE_CHECKING:
    from models.network import Network
    from models.training import Recipe

Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]

MIXES = (0.0, 1.0, 2.0)
PLAIN, OURS = "plain", "default"
_PLAIN_RATE = 3e-4  # what fine-tuning usually takes: a tenth to a third of the training's own


@dataclass(frozen=True)
class Plan:
    """How much is tried.

    Attributes
    ----------
    corrections
        Drawings of the one image.
    epochs
        Of each trial; the curve has every one of them.
    batches
        Sizes; the first for all trials, the others for the first: corrections alone, plain fine-tuning.
    watched
        Frames that nobody corrected, looked at after every epoch.
    judged
        As many are looked at after the last epoch.
    cases
        "good" and "poor": how the network was on the corrected image.
    mixes
        Original images for each correction.
    precision, threads, seed
        As `models.training.Recipe` has them.
    """

    corrections: int = 25
    epochs: int = 4
    batches: tuple[int, ...] = (4, 12)
    watched: int = 8
    judged: int = 40
    cases: tuple[str, ...] = ("good", "poor")
    mixes: tuple[float, ...] = MIXES
    precision: str = "bf16"
    threads: int = 0
    seed: int = 0

    def trials(self) -> list["Trial"]:
        """Return all of them, in the order in which they run."""
        return [
            Trial(case, method, mix, batch)
            for method in (PLAIN, OURS)
            for case in self.cases
            for batch in self.batches
            for mix in self.mixes
            if batch == self.batches[0]
            or (method, case, mix) == (PLAIN, self.cases[0], self.mixes[0])
        ]


QUICK = Plan(3, 1, (2,), 2, 4, ("good",), (0.0, 1.0), "f32")


@dataclass(frozen=True)
class Trial:
    """One retraining: which image, which recipe, how many originals, which batch size."""

    case: str
    method: str
    mix: float
    batch: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.case}-{self.method}-{self.mix:g}to1-batch{self.batch}"

    def recipe(self, plan: Plan) -> "Recipe":
        """Return how it is trained."""
        from models.training import Recipe

        common: dict[str, Any] = {
            "epochs": plan.epochs,
            "mix": self.mix,
            "batch": self.batch,
            "precision": plan.precision,
            "threads": plan.threads,
            "seed": plan.seed,
        }
        if self.method == PLAIN:
            return Recipe(**common, learning_rate=_PLAIN_RATE, recall=0.0, share=1.0)
        return Recipe(**common)


@dataclass(frozen=True)
class Case:
    """The corrected image.

    Attributes
    ----------
    frame
        Which one, of the validation patients: the network never saw that heart.
    expert
        Image and expert's label map, uint8 [384, 384].
    corrections
        The same image with each of the simulated drawings.
    before
        Mean Dice of the starting network on the corrections, by structure.
    """

    frame: camus.Frame
    expert: Pair
    corrections: list[Pair]
    before: dict[str, float]


class Laboratory:
    """The starting network, the images, and what is found.

    Raises
    ------
    CorrectionsError
        When the data set has a mistake.
    ManifestError
        When the starting network can't be refined.
    """

    def __init__(self, folder: Path, out: Path, manifest: Manifest, plan: Plan) -> None:
        from models.graph import load
        from models.network import from_onnx

        self.manifest, self.plan, self.out = manifest, plan, out
        self.dataset = camus.checked(folder)
        self.data_sha256 = camus.checksum(self.dataset)
        graph = load(manifest.folder / manifest.variants[0].file)
        self.start: Network = from_onnx(graph)
        frames = _spread(self.dataset.frames("validation"), 2 * plan.judged)
        pairs = [letterboxed(frame.load()) for frame in frames]
        self.cases = {case: self._case(case, frames, pairs) for case in plan.cases}
        taken = {case.frame.patient for case in self.cases.values()}
        kept = [
            pair for frame, pair in zip(frames, pairs, strict=True) if frame.patient not in taken
        ]
        self.judged = _spread(kept, plan.judged)
        self.watched = _spread(self.judged, plan.watched)
        self.before = {"watched": self.dice(self.start, self.watched)}
        self.before |= self.judge(self.start)

    def dice(self, network: "Network", pairs: Sequence[Pair]) -> dict[str, float]:
        """Return the mean Dice of each structure."""
        return mean_dice(network, self.manifest, pairs, self.plan.precision)

    def judge(self, network: "Network") -> dict[str, dict[str, float]]:
        """Return the mean Dice on hearts nobody corrected: with the expert, and with the hand.

        What is lost against the expert and won against the hand is no forgetting: the network
        took over, for all hearts, how this person draws.
        """
        made = [self.labels(network, image) for image, _ in self.judged]
        masks = {
            "judged": [mask for _, mask in self.judged],
            "hand": [
                corrected(mask, np.random.default_rng([self.plan.seed + 1, number]))
                for number, (_, mask) in enumerate(self.judged)
            ],
        }
        return {
            key: mean_of(
                [dice(a, b, self.manifest.labels) for a, b in zip(made, goal, strict=True)],
                self.manifest,
            )
            for key, goal in masks.items()
        }

    def labels(self, network: "Network", image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the label map of an image, uint8 [384, 384]."""
        from models.training import predict

        return predict(network, image, self.plan.precision)

    def run(self, trial: Trial, on_step: Any) -> dict[str, Any]:
        """Return what a trial found: from its file, if it ran before with the same of everything."""
        from models.training import Frames, as_dict, refine

        recipe = trial.recipe(self.plan)
        path = self.out / "trials" / f"{trial.name}.json"
        plan = asdict(replace(self.plan, threads=0))
        parts = [self.manifest.variants[0].sha256, self.data_sha256, plan]
        fingerprint = _hash([*parts, asdict(trial), as_dict(recipe), asdict(Hand())])
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if found["fingerprint"] == fingerprint:
                return found
        case = self.cases[trial.case]
        originals = self.dataset.frames("train") if trial.mix else []
        frames = Frames(case.corrections, [frame.load for frame in originals])
        curve: list[dict[str, Any]] = []

        def note(epoch: int, network: "Network") -> None:
            curve.append({"epoch": epoch, **self._seen(network, case)})

        network = refine(self.start, frames, recipe, on_step=on_step, on_epoch=note)
        self._draw(trial.name, network, case)
        found = {
            "fingerprint": fingerprint,
            **asdict(trial),
            "recipe": as_dict(recipe),
            "curve": curve,
            **self.judge(network),
        }
        write_whole(path, json.dumps(found, indent=2).encode())
        return found

    def picture(self, name: str, what: str) -> npt.NDArray[np.uint8]:
        """Return the label map that a trial ("start" before any) drew on an image of a case."""
        path = self.out / "trials" / f"{name}-{what}.png"
        return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)

    def draw_start(self) -> None:
        """Keep what the starting network draws."""
        for name, case in self.cases.items():
            self._draw(f"start-{name}", self.start, case)

    def results(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        """Return everything that the report is made of, as plain values."""
        cases = {
            name: {
                "frame": case.frame.stem,
                "before": case.before,
                "default_mix": default_mix(_mean(case.before)),
            }
            for name, case in self.cases.items()
        }
        return {
            "model": f"{self.manifest.name} {self.manifest.version}",
            "model_sha256": self.manifest.variants[0].sha256,
            "data_sha256": self.data_sha256,
            "revision": revision(),
            "plan": asdict(self.plan),
            "hand": asdict(Hand()),
            "cases": cases,
            "before": self.before,
            "trials": [{k: v for k, v in one.items() if k != "fingerprint"} for one in found],
        }

    def _case(self, name: str, frames: Sequence[camus.Frame], pairs: Sequence[Pair]) -> Case:
        """The image on which the network is worst, or better than on three quarters of them."""
        means = [
            float(np.mean(dice(self.labels(self.start, image), mask, self.manifest.labels)))
            for image, mask in pairs
        ]
        order = np.argsort(means)
        place = int(order[0] if name == "poor" else order[3 * len(order) // 4])
        image, mask = pairs[place]
        drawings = [
            (image, corrected(mask, np.random.default_rng([self.plan.seed, number])))
            for number in range(self.plan.corrections)
        ]
        before = self.dice(self.start, drawings[:1])
        return Case(frames[place], (image, mask), drawings, before)

    def _seen(self, network: "Network", case: Case) -> dict[str, dict[str, float]]:
        return {
            "corrected": self.dice(network, case.corrections[:1]),
            "expert": self.dice(network, [case.expert]),
            "watched": self.dice(network, self.watched),
        }

    def _draw(self, name: str, network: "Network", case: Case) -> None:
        for what, image in (("corrected", case.expert[0]), ("kept", self.watched[0][0])):
            data = cv2.imencode(".png", self.labels(network, image))[1].tobytes()
            write_whole(self.out / "trials" / f"{name}-{what}.png", data)


def run(folder: Path, out: Path, manifest: Manifest, plan: Plan) -> dict[str, Any]:
    """Run all trials that have not been run, and return the results.

    Raises
    ------
    ApplianceError
        As `Laboratory`.
    """
    import torch
    from rich.progress import Progress

    if plan.threads:
        torch.set_num_threads(plan.threads)
    (out / "trials").mkdir(parents=True, exist_ok=True)
    laboratory = Laboratory(folder, out, manifest, plan)
    laboratory.draw_start()
    trials = plan.trials()
    shown = [plan.epochs * plan.corrections * (1 + trial.mix) for trial in trials]
    found = []
    with Progress() as progress:
        task = progress.add_task("experiments", total=sum(shown))
        for number, trial in enumerate(trials):

            def step(
                done: int, _: float, before: float = sum(shown[:number]), one: Trial = trial
            ) -> None:
                progress.update(task, completed=before + done * one.batch, description=one.name)

            found.append(laboratory.run(trial, step))
            progress.update(task, completed=sum(shown[: number + 1]))
    results = laboratory.results(found)
    write_whole(out / "results.json", (json.dumps(results, indent=2) + "\n").encode())
    from models.experiments_report import write

    write(out, results, laboratory)
    return results


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m models.experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--camus", type=Path, required=True, help="the data set, in either layout")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--model", default="", help="released model; the default one if absent")
    parser.add_argument("--epochs", type=int, default=Plan.epochs)
    parser.add_argument("--batches", type=int, nargs="+", default=list(Plan.batches))
    parser.add_argument("--precision", choices=("f32", "bf16"), default=Plan.precision)
    parser.add_argument("--threads", type=int, default=0, help="0 takes what PyTorch takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a minute, to see that it works")
    options = parser.parse_args(arguments)
    plan = Plan(
        epochs=options.epochs,
        batches=tuple(options.batches),
        precision=options.precision,
        threads=options.threads,
        seed=options.seed,
    )
    try:
        manifest = current_model(options.model)
        run(options.camus, options.out, manifest, QUICK if options.quick else plan)
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.out / 'report.md'}")
    return 0


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return at most `count` items, evenly."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def _mean(scores: dict[str, float]) -> float:
    return float(np.mean(list(scores.values())))


def _hash(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
