"""What a model gets and draws where it was made: the reference that a box tells drift against.

    python -m models.reference_statistics --camus DIR [--model NAME|FOLDER]

Runs the model over the drawn frames of `--splits` and writes `reference.json` beside its
manifest: of each feature (`appliance.drift.features`) one value for each patient, the mean over
its views, each view's frames at end diastole and end systole taken as a loop. What stills can't
tell (refused loops, scanners, people) isn't in it. The frames it learnt from may be among them
where it is as sure of those as of others: look at `confidence` of each split before.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from appliance.config import Engine
from appliance.drift.features import BY_NAME
from appliance.drift.reference import NAME, Reference
from appliance.engine import drift
from appliance.engine.backend import Backend, open_backend
from appliance.engine.pipeline import Frame
from appliance.engine.quality import frame_shape
from appliance.engine.view import shrunk
from appliance.errors import ApplianceError
from appliance.masks import tidy
from appliance.measures.chambers import frame_measures
from models import camus
from models.corrections import CorrectionsError, write_whole
from models.data import letterboxed, map_spacing
from models.evaluate import chosen

Bytes = npt.NDArray[np.uint8]

_FEWEST = 20  # patients: a feature that fewer tell isn't in the reference
_BLACK = 8  # grey level: outside the fan CAMUS is 0, but for the rim that resizing softens
_JUDGED_IN_MOTION = ("doubtful",)  # frames that jump can't be told in stills


def figures(backend: Backend, frames: Sequence[camus.Frame]) -> dict[str, float]:
    """Return the features of one view of a patient.

    Raises
    ------
    CorrectionsError
        When a frame can't be read.
    """
    pictures, found, areas = [], [], []
    fan, scale = np.empty(0, np.bool_), None
    for frame in frames:
        drawn = frame.load()
        image, _ = letterboxed(drawn)
        fan, scale = fan_of(image), map_spacing(drawn)
        said = backend.infer(image)
        labels = tidy(said.labels)
        shape = frame_shape(
            labels,
            said.confidence,
            float(fan.sum()),
            None,
            raw=said.labels,
            certainty=said.certainty,
        )
        pictures.append(shrunk(image))
        areas.append(float(fan.sum()))
        found.append(Frame(frame_measures(labels, fan), shape))
    made = drift.of_pictures(pictures, fan, scale)
    made |= drift.of_outlines(found, float(np.mean(areas)))
    return {name: value for name, value in made.items() if name not in _JUDGED_IN_MOTION}


def fan_of(image: Bytes) -> npt.NDArray[np.bool_]:
    """Return the convex hull of what isn't black: a still has no movement to find the fan by."""
    hull = np.zeros(image.shape, np.uint8)
    lit = cv2.findNonZero((image > _BLACK).view(np.uint8))
    if lit is not None:
        cv2.fillConvexPoly(hull, cv2.convexHull(lit), (1,))
    return hull.astype(np.bool_)


def by_patient(backend: Backend, frames: Iterable[camus.Frame]) -> dict[str, list[float]]:
    """Return the values of each feature, one for each patient that tells it."""
    views: dict[tuple[str, str], list[camus.Frame]] = defaultdict(list)
    for frame in frames:
        views[frame.patient, frame.view].append(frame)
    told: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (patient, _), pair in sorted(views.items()):
        for name, value in figures(backend, pair).items():
            told[name][patient].append(value)
    return {
        name: sorted(
            _told(name, float(np.mean(values))) for _, values in sorted(told[name].items())
        )
        for name in BY_NAME
        if len(told[name]) >= _FEWEST
    }


def _told(name: str, value: float) -> float:
    # A patient's picture can't be told from it any more, and the file stays small.
    step = BY_NAME[name].step / 10
    return round(round(value / step) * step, 6)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m models.reference_statistics",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--camus", type=Path, required=True, help="drawn frames, either layout")
    parser.add_argument("--data", default="CAMUS", help="what the file calls them")
    parser.add_argument(
        "--splits", nargs="+", default=["train", "validation"], choices=camus.SPLITS
    )
    parser.add_argument("--model", default="", help="release, or folder with a manifest.json")
    options = parser.parse_args(arguments)
    try:
        manifest = chosen(options.model)
        dataset = camus.open_dataset(options.camus)
        frames = [frame for split in options.splits for frame in dataset.frames(split)]
        if not frames:
            what = f"{options.camus} has no frame in {', '.join(options.splits)}"
            raise CorrectionsError("tell a model's reference", what, "Choose other --splits.")
        backend = open_backend(manifest, Engine(backend="auto", precision="f32"))
        values = by_patient(backend, frames)
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    patients = len({frame.patient for frame in frames})
    made = Reference(
        network_sha256=manifest.variants[0].sha256,
        data=f"{options.data}, {' and '.join(options.splits)} patients ({patients})",
        values=values,
    )
    path = manifest.folder / NAME
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in made.values.items())
    head = json.dumps(made.model_dump(exclude={"values"}), indent=1).removesuffix("\n}")
    write_whole(path, f'{head},\n "values": {{\n{lines}\n }}\n}}\n'.encode())
    print(f"{path}: {patients} patients, {len(values)} features")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
