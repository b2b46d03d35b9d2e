"""Whether a fetched release draws here what its makers saw, before it may draw a loop.

    python -m appliance.engine.rollout FOLDER --config FILE

In a process of its own: what ends it ends nothing else.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from appliance.config import Engine, load
from appliance.engine.backend import open_backend
from appliance.engine.parity import LEAST
from appliance.errors import ApplianceError, BackendError
from appliance.releases.bundle import Bundle, opened

_OPERATION = "prove a model"
_TELL = "It isn't used. Tell those who published it."
Map = npt.NDArray[np.uint8]


def prove(bundle: Bundle, engine: Engine) -> dict[str, float]:
    """Let a model draw the golden frames here, and hold it against what its makers saw.

    Parameters
    ----------
    bundle
        Unpacked.
    engine
        How this box would run it.

    Returns
    -------
    dict
        Structure to Dice against the expected label maps, over all golden frames.

    Raises
    ------
    BackendError
        When it doesn't run here, a golden frame can't be read, or a structure overlaps too little
        (`parity.LEAST`), is missing, or everything.
    """
    backend = open_backend(bundle.manifest, engine)
    mine: list[Map] = []
    theirs: list[Map] = []
    for frame, labels in bundle.golden():
        picture, expected = _read(frame), _read(labels)
        if picture.shape != expected.shape:
            raise BackendError(_OPERATION, f"{labels.name} is not of its frame's size", _TELL)
        mine.append(backend.infer(picture).labels)
        theirs.append(expected)
    made, wanted = np.stack(mine), np.stack(theirs)
    figures = {}
    for structure in bundle.manifest.structures:
        a, b = made == structure.label, wanted == structure.label
        whole = int(a.sum() + b.sum())
        if not b.any():
            raise BackendError(_OPERATION, f"no golden frame shows {structure.name}", _TELL)
        figures[structure.name] = float(2 * (a & b).sum() / whole)
    worst = min(figures, key=lambda name: figures[name])
    if figures[worst] < LEAST[backend.precision]:
        what = (
            f"{worst}: Dice {figures[worst]:.3f} on the golden frames,"
            f" {LEAST[backend.precision]} is needed"
        )
        raise BackendError(_OPERATION, what, _TELL)
    return figures


def _read(path: Path) -> Map:
    found = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if found is None:
        raise BackendError(_OPERATION, f"{path.name} can't be read", _TELL)
    return np.asarray(found, np.uint8)


def main(arguments: Sequence[str]) -> int:
    """Prove a bundle; prints the figures as JSON, or why not as a line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m appliance.engine.rollout")
    parser.add_argument("folder", type=Path, help="an unpacked bundle")
    parser.add_argument("--config", type=Path, required=True)
    asked = parser.parse_args(arguments)
    try:
        figures = prove(opened(asked.folder), load(asked.config).engine)
    except ApplianceError as error:
        print(error.subject, file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
