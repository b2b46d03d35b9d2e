"""A correction that the box keeps back, because a word seems to stand inside its fan."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from appliance.ledger import worklist
from tests.box import Box
from tests.phantom import cine_loop
from tests.sync.canary import in_grey, written_on
from tests.sync.material import reviewed

_seeds = itertools.count(9000)


def kept_back(box: Box, folder: Path, destination: str = "archive", **more: Any) -> int:
    """Have one refused by a box that runs `sync`; return its loop's number."""
    study = {"StudyInstanceUID": generate_uid(), "PatientID": "P1"}
    loop = cine_loop(seed=next(_seeds), frames=12, elements=study, **more)
    frames = written_on(written_on(loop.grey, (4, 20)), (170, 200))
    source = folder / "source.dcm"
    pydicom.dcmwrite(source, in_grey(loop.dataset, frames), enforce_file_format=True)
    changed = {2: np.roll(loop.labels[2], 5)}
    wanted = [(destination, "correction")]
    review = reviewed(box.ledger, box.spool, source, loop.labels, wanted, changed)
    seq = int(review["seq"])
    box.wait_for(lambda: state(box, seq) == "refused", "the refusal")
    return seq


def state(box: Box, seq: int) -> str:
    """Return how a loop's one delivery stands."""
    (row,) = worklist.deliveries(box.ledger, seq)
    return str(row["state"])
