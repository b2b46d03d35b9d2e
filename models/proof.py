"""Frames that prove a release: those that 8 bits are calibrated on, and those that measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from appliance.errors import ApplianceError
from models import accuracy
from models.camus import Frame, open_dataset
from models.data import letterboxed

Bytes = npt.NDArray[np.uint8]
Item = TypeVar("Item")

CALIBRATION = 64  # frames, evenly over the training patients: more changed no Dice


@dataclass(frozen=True)
class Proof:
    """What 8 bits are calibrated on, and what every precision is measured on.

    Attributes
    ----------
    calibration
        uint8 [1, 1, 384, 384] each, of frames that taught.
    judges
        Images and masks, uint8 [384, 384] each, of frames that didn't.
    data
        What the judges are called.
    """

    calibration: Sequence[Bytes]
    judges: Sequence[tuple[Bytes, Bytes]]
    data: str

    @classmethod
    def of_dataset(cls, folder: Path) -> "Proof":
        """Calibrate on a data set's training frames, measure on its validation frames.

        Raises
        ------
        ApplianceError
            When the folder is no data set, lacks either, or a frame can't be read.
        """
        frames = open_dataset(folder).frames("train")
        if not frames:
            hint = "Name a directory with the training patients."
            raise ApplianceError("calibrate 8 bits", f"{folder} has no frame to train on", hint)
        return cls.of_frames(
            evenly(frames, CALIBRATION),
            open_dataset(folder).frames(accuracy.SPLIT),
            accuracy.CAMUS,
        )

    @classmethod
    def of_frames(cls, taught: Sequence[Frame], judges: Sequence[Frame], data: str) -> "Proof":
        """Read the frames.

        Raises
        ------
        CorrectionsError
            When one can't be read.
        """
        return cls(
            [letterboxed(frame.load())[0][None, None] for frame in taught],
            [letterboxed(frame.load()) for frame in judges],
            data,
        )


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most so many, the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)
    return [items[place] for place in places]
