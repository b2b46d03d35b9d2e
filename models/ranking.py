"""What the order of reviews is worth: how much error is corrected after the first few of them.

    python -m models.ranking --camus DIR [--model NAME|FOLDER] [--out DIR]

The model draws the validation patients' frames; a view of a patient, its frames at end diastole
and end systole, counts as a loop. Reviewers go through the loops in the order of
`appliance.ranking`, by lot, or as if they knew the error. One reviewer draws as the data set's
expert, the others as `models.simulate` draws: a review corrects all of a loop's difference to the
reviewer's own drawing, 1 less the mean Dice of the structures. Intervals are of the bootstrap, patients
drawn. Of the three things that the box asks, single frames of one scanner tell the first only:
how unsure the network was.

Into --out: `ranking.json` and `ranking.md`.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.config import Engine
from appliance.engine import drift
from appliance.engine.backend import Backend, open_backend
from appliance.engine.pipeline import Frame
from appliance.engine.quality import frame_shape
from appliance.errors import ApplianceError
from appliance.manifest import Manifest
from appliance.masks import tidy
from appliance.measures.chambers import frame_measures
from appliance.ranking import unsureness
from models import camus
from models.corrections import CorrectionsError, write_whole
from models.data import letterboxed
from models.evaluate import chosen
from models.metrics import dice
from models.reference_statistics import fan_of
from models.simulate import corrected
from models.stats import ROUNDS, Bootstrap, Estimate

Values = npt.NDArray[np.float64]

SHARES = (0.1, 0.2, 0.5)  # of the loops are reviewed
HANDS = 5  # simulated reviewers
WORST = 0.1  # of the loops, by their error: those that a review is most for
EXPERT = "expert"


@dataclass(frozen=True)
class Loop:
    """A view of a patient.

    Attributes
    ----------
    patient, view
        Which.
    unsureness
        As the box tells it.
    errors
        Of each reviewer: what that one would correct, 0..1.
    """

    patient: str
    view: str
    unsureness: float
    errors: dict[str, float]


def looked_at(
    backend: Backend, manifest: Manifest, frames: Sequence[camus.Frame], seed: int = 0
) -> Iterator[Loop]:
    """Draw each view of each patient, and have every reviewer look at it.

    Raises
    ------
    CorrectionsError
        When a frame can't be read.
    """
    views: dict[tuple[str, str], list[camus.Frame]] = defaultdict(list)
    for frame in frames:
        views[frame.patient, frame.view].append(frame)
    for number, ((patient, view), pair) in enumerate(sorted(views.items())):
        shapes, areas = [], []
        errors: dict[str, list[float]] = defaultdict(list)
        for place, frame in enumerate(pair):
            image, expert = letterboxed(frame.load())
            fan = fan_of(image)
            found = backend.infer(image)
            labels = tidy(found.labels)
            area = float(fan.sum())
            shape = frame_shape(labels, found.confidence, area, None, certainty=found.certainty)
            shapes.append(Frame(frame_measures(labels, fan), shape))
            areas.append(area)
            for name, drawn in _drawings(expert, [seed, number, place]):
                errors[name].append(1 - float(np.mean(dice(labels, drawn, manifest.labels))))
        doubt = unsureness(drift.of_outlines(shapes, float(np.mean(areas))))
        assert doubt is not None  # the network gives a confidence for each structure
        yield Loop(patient, view, doubt, {k: float(np.mean(v)) for k, v in errors.items()})


def by_ranking(rows: Values) -> list[int]:
    """Return the order of rows [n, 2] (unsureness, error) that the box would show.

    That of `appliance.ranking.ranked` where nothing else is known, in a hundredth of its time.
    """
    return [int(place) for place in np.argsort(-rows[:, 0], kind="stable")]


def by_error(rows: Values) -> list[int]:
    """Return the order of somebody who knew the error of each row beforehand."""
    return [int(place) for place in np.argsort(-rows[:, 1], kind="stable")]


def corrected_share(
    order: Callable[[Values], Sequence[int]], share: float
) -> Callable[[Values], float]:
    """Return what tells the share of all error that lies in the first `share` of an order."""

    def told(rows: Values) -> float:
        first = list(order(rows))[: round(share * len(rows))]
        total = float(rows[:, 1].sum())
        return float(rows[first, 1].sum()) / total if total else 0.0

    return told


def found_share(
    order: Callable[[Values], Sequence[int]], share: float
) -> Callable[[Values], float]:
    """Return what tells the share of the worst loops that lie in the first `share` of an order."""

    def told(rows: Values) -> float:
        worst = set(by_error(rows)[: round(WORST * len(rows))])
        first = list(order(rows))[: round(share * len(rows))]
        return len(worst & set(first)) / len(worst) if worst else 0.0

    return told


def report(loops: Sequence[Loop], seed: int = 0) -> dict[str, Any]:
    """Return the figures of each reviewer and share, as plain values."""
    patients = [loop.patient for loop in loops]
    bootstrap = Bootstrap(patients, seed)
    figures = []
    for reviewer in loops[0].errors:
        rows = np.array([[loop.unsureness, loop.errors[reviewer]] for loop in loops])

        def of(figure: Callable[[Values], float], rows: Values = rows) -> Estimate:
            return bootstrap.of(patients, rows, figure)

        for share in SHARES:
            figures.append(
                {
                    "reviewer": reviewer,
                    "reviewed": share,
                    "error": round(float(rows[:, 1].mean()), 4),
                    "corrected": of(corrected_share(by_ranking, share)).to_dict(),
                    "by_lot": share,  # what is expected of any order that knows nothing
                    "knowing": of(corrected_share(by_error, share)).to_dict(),
                    "worst_found": of(found_share(by_ranking, share)).to_dict(),
                }
            )
    return {"loops": len(loops), "patients": len(set(patients)), "figures": figures}


def text(found: dict[str, Any]) -> str:
    """Return a report in Markdown, a row for each reviewer and share."""
    lines = [
        f"{found['model']} ({found['precision']}), {found['data']}: {found['loops']} loops of"
        f" {found['patients']} patients. Share of all error corrected, 95 % interval of {ROUNDS}"
        " bootstrap rounds, patients drawn.",
        "",
        "| reviewer | reviewed | by lot | ranked | knowing the error | worst tenth found |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["figures"]:
        cells = [
            row["reviewer"],
            f"{row['reviewed']:.0%}",
            f"{row['by_lot']:.0%}",
            *(_interval(row[name]) for name in ("corrected", "knowing", "worst_found")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m models.ranking",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--camus", type=Path, required=True, help="drawn frames, either layout")
    parser.add_argument("--data", default="CAMUS", help="what the report calls them")
    parser.add_argument("--split", default="validation", choices=camus.SPLITS)
    parser.add_argument("--model", default="", help="release, or folder with a manifest.json")
    parser.add_argument("--out", type=Path, default=Path("artefacts/ranking"))
    parser.add_argument("--seed", type=int, default=0, help="of the hands and the bootstrap")
    options = parser.parse_args(arguments)
    try:
        manifest = chosen(options.model)
        frames = camus.open_dataset(options.camus).frames(options.split)
        if not frames:
            what = f"{options.camus} has no frame in {options.split}"
            raise CorrectionsError("rank reviews", what, "Choose another --split.")
        backend = open_backend(manifest, Engine(backend="auto", precision="f32"))
        loops = list(looked_at(backend, manifest, frames, options.seed))
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    made = {
        "model": f"{manifest.name}-{manifest.version}",
        "precision": f"{backend.name} {backend.precision}",
        "data": f"{options.data}, {options.split} patients",
        "seed": options.seed,
        **report(loops, options.seed),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_whole(options.out / "ranking.json", (json.dumps(made, indent=1) + "\n").encode())
    write_whole(options.out / "ranking.md", text(made).encode())
    print(text(made))
    return 0


def _drawings(expert: Any, seed: Sequence[int]) -> Iterator[tuple[str, Any]]:
    yield EXPERT, expert
    for hand in range(1, HANDS + 1):
        yield f"hand {hand}", corrected(expert, np.random.default_rng([*seed, hand]))


def _interval(found: dict[str, float]) -> str:
    if found["low"] is None:
        return f"{found['value']:.0%}"
    return f"{found['value']:.0%} ({found['low']:.0%} to {found['high']:.0%})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
