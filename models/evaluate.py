"""Judge a model: against the expert's drawings, and on loops against itself.

    python -m models.evaluate --camus DIR [--loop FILE ...] [--model NAME|FOLDER] [--out DIR]

DIR is CAMUS as its makers ship it, or a folder with frames.csv, images/ and masks/. Writes
`evaluation.json`, plots and pictures of the worst frames under --out; with --write-card also
`models/results/NAME-VERSION.json`, and the figures of docs/model-card.md anew. Pictures of
CAMUS patients stay under --out: they bear the data set's licence (CC BY-NC-SA 4.0).

    python -m models.evaluate --camus DIR --model CANDIDATE --gate CURRENT [--corrections DIR ...]

holds a candidate against the model in use, and writes one page under --out; the exit status is 0
when no structure, view or scanner is worse than the margins there allow.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from appliance.config import Engine
from appliance.engine.backend import Backend, open_backend
from appliance.errors import ApplianceError
from appliance.manifest import Manifest, current_model, load_manifest
from models import figures
from models.camus import SPLITS, Frame, checksum, open_dataset
from models.corrections import CorrectionsError, write_whole
from models.ejection import Ejection, ejections
from models.judging import Judged, judge
from models.loops import JudgedLoop, judge_loop
from models.stats import ROUNDS, Bootstrap

NAME = "evaluation.json"
_EVALUATE = "evaluate a model"


@dataclass(frozen=True)
class Evaluation:
    """Everything that was found.

    Attributes
    ----------
    report
        Plain values: what was judged and how, `summary`, and one line for each frame, patient
        and loop, by which a later model can be compared pair by pair.
    frames, patients, loops
        The same with their pictures, for plots.
    """

    report: dict[str, Any]
    frames: tuple[Judged, ...]
    patients: tuple[Ejection, ...]
    loops: tuple[JudgedLoop, ...]


def evaluate(
    backend: Backend,
    manifest: Manifest,
    frames: Sequence[Frame],
    loops: Sequence[Path] = (),
    *,
    seed: int = 0,
) -> Evaluation:
    """Judge a compiled model.

    Parameters
    ----------
    backend, manifest
        The model; anything with `infer` will do.
    frames
        With the expert's drawings.
    loops
        DICOM files.
    seed
        Of the bootstrap.

    Raises
    ------
    CorrectionsError
        At a frame that can't be read.
    CineError, SectorError
        At a file that is no loop.
    """
    judged = tuple(judge(backend, manifest, frames))
    patients = tuple(ejections(judged))
    moving = tuple(judge_loop(backend, manifest, path) for path in loops)
    bootstrap = Bootstrap([frame.row.patient for frame in judged], seed)
    report = {
        "model": f"{manifest.name}-{manifest.version}",
        "sha256": manifest.variant(backend.name, backend.precision).sha256,
        "backend": backend.name,
        "precision": backend.precision,
        "bootstrap": {"rounds": ROUNDS, "seed": seed, "interval": "95 %, patients drawn"},
        "summary": {
            "frames": len(judged),
            "patients": len(bootstrap.patients),
            "segmentation": figures.segmentation(judged, bootstrap),
            "ejection": figures.ejection(patients, bootstrap),
            "outliers": figures.outliers(judged, bootstrap),
            "calibration": figures.calibration(judged, bootstrap),
            "loops": [loop.to_dict() for loop in moving],
        },
        "frames": [frame.to_dict() for frame in judged],
        "patients": [patient.to_dict() for patient in patients],
    }
    return Evaluation(report, judged, patients, moving)


def as_json(report: dict[str, Any]) -> str:
    """Return a report as JSON: its figures indented, each frame and patient on one line."""
    lists = {key: value for key, value in report.items() if isinstance(value, list)}
    head = {key: value for key, value in report.items() if key not in lists}
    text = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    for key, items in lists.items():
        lines = ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in items)
        text += f',\n "{key}": [\n{lines}\n ]'
    return text + "\n}\n"


def chosen(model: str) -> Manifest:
    """Load a model by the name of a release or the path of its folder; "" takes the default.

    Raises
    ------
    ManifestError
        When there is none.
    """
    folder = Path(model)
    return load_manifest(folder) if model and folder.is_dir() else current_model(model)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        from models import gate_report, plots, report
    except ImportError:
        print("models.evaluate needs matplotlib: pip install 'echocart[train]'", file=sys.stderr)
        return 1
    try:
        manifest = chosen(options.model)
        if options.gate is not None:
            return gate_report.main(options, manifest, chosen(options.gate))
        engine = Engine(backend=options.backend, precision=options.precision)
        dataset = open_dataset(options.camus)
        frames = dataset.frames(options.split)
        if not frames:
            hint = f"Choose --split from {', '.join(sorted(dataset.patients))}."
            raise CorrectionsError(
                _EVALUATE, f"{options.camus} has no frame in {options.split}", hint
            )
        backend = open_backend(manifest, engine)
        found = evaluate(backend, manifest, frames, options.loop, seed=options.seed)
        found.report["data"] = {
            "name": options.data,
            "split": options.split,
            "sha256": checksum(dataset, frames),
        }
        options.out.mkdir(parents=True, exist_ok=True)
        write_whole(options.out / NAME, as_json(found.report).encode())
        plots.write(found, manifest, options.out)
        if options.write_card:
            report.write(found, as_json(found.report), options.out)
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{_EVALUATE}: {error.filename or options.out}: {error.strerror}", file=sys.stderr)
        return 1
    print(report.terminal(found.report))
    print(f"{options.out / NAME}, plots and pictures beside it")
    return 0


def _choices(setting: str) -> tuple[str, ...]:
    return get_args(Engine.model_fields[setting].annotation)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--camus", type=Path, required=True, help="drawn frames, either layout")
    parser.add_argument("--data", default="CAMUS", help="what the report calls them")
    parser.add_argument("--split", default="validation", choices=SPLITS)
    parser.add_argument("--loop", type=Path, action="append", default=[], help="DICOM loop")
    parser.add_argument("--model", default="", help="release, or folder with a manifest.json")
    parser.add_argument("--backend", default="auto", choices=_choices("backend"))
    parser.add_argument(
        "--precision",
        default="f32",
        choices=_choices("precision"),
        help="f32 if absent: the same figures on every machine",
    )
    parser.add_argument("--out", type=Path, default=Path("artefacts/evaluation"))
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--gate", metavar="CURRENT", help="judge --model against this one")
    parser.add_argument(
        "--corrections",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="with --gate: judge on the held-out corrections of this directory too",
    )
    parser.add_argument("--write-card", action="store_true", help="renew docs/model-card.md")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
