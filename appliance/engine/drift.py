"""What the engine adds to the watch for drift: figures of each loop, sizes of corrections, a look a day.

Figures of the pictures come from the few small frames that the view network looked at, those of
the outlines from what the gates measured of each frame: nothing is decoded or drawn for them, and
they are made once a loop is stored.
"""

import logging
import sqlite3
import time
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from appliance import labels
from appliance.cine import Cine
from appliance.drift import watch
from appliance.engine.admission import Admission
from appliance.engine.models import Model
from appliance.engine.pipeline import Frame, fan_on_map
from appliance.engine.quality import STRUCTURES, implausible
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, drift
from appliance.ledger.analysis import Claim
from appliance.measures.chambers import LA, LV, MYOCARDIUM
from appliance.sector import Calibration, Sector, mm_per_map_px
from appliance.spool import Spool

log = logging.getLogger("echocart.engine")

LOOK_S = 10.0  # s between two looks for something to do, while no loop waits
_FRAMES = 16  # of a correction are compared
_ENDS = (5, 95)  # percentiles: the smallest and the largest area of a beat
_LONGEST = 64  # letters of what a machine calls itself
_DIGITS = 5

Small = npt.NDArray[np.uint8]


class Judged(Protocol):
    """A loop that went through the gates."""

    @property
    def claim(self) -> Claim:
        """Its lease."""
        ...

    @property
    def cine(self) -> Cine:
        """The file."""
        ...

    @property
    def sector(self) -> Sector:
        """Its fan."""
        ...

    @property
    def scale(self) -> Calibration:
        """Whether its pixels' size is known."""
        ...

    @property
    def admission(self) -> Admission:
        """Who was asked for it."""
        ...


def note(ledger: Ledger, loop: Judged, model: Model, frames: Sequence[Frame] | None) -> None:
    """Write down the figures of a loop; one that can't be is passed over.

    Parameters
    ----------
    ledger
        The box's.
    loop
        After its analysis was sealed, or before it is refused.
    model
        That drew it, or whose gate refused it.
    frames
        What was drawn; None for a loop that was refused.
    """
    try:
        fan, mm_per_px = fan_on_map(loop.sector), mm_per_map_px(loop.scale, loop.sector)
        figures = of_pictures(loop.admission.looked_at(), fan, mm_per_px)
        if frames and model.draws_heart:
            figures |= of_outlines(frames, float(fan.sum()))
        outcome, day = drift.REFUSED if frames is None else drift.DRAWN, date.today().isoformat()
        scanner = scanner_of(loop.cine)
        drift.note(ledger, loop.claim.seq, model.name, outcome, day, scanner, figures)
    except (sqlite3.Error, ApplianceError) as error:
        # The loop itself is stored, or refused, whatever becomes of its figures.
        log.warning("object %d: no figures for drift: %s", loop.claim.seq, type(error).__name__)


def of_pictures(
    frames: Sequence[Small], fan: npt.NDArray[np.bool_], mm_per_px: float | None
) -> dict[str, float]:
    """Return the figures of what goes into the network.

    Parameters
    ----------
    frames
        uint8 [rows, columns] each, letterboxed and shrunk alike.
    fan
        bool [map_rows, map_columns].
    mm_per_px
        Side of a map pixel; None when the calibration isn't trusted.
    """
    across, down = np.flatnonzero(fan.any(axis=0)), np.flatnonzero(fan.any(axis=1))
    if not frames or not len(across):
        return {}
    width, height = int(np.ptp(across)) + 1, int(np.ptp(down)) + 1
    rows, columns = frames[0].shape
    small = cv2.resize(fan.view(np.uint8) * 255, (columns, rows), interpolation=cv2.INTER_AREA)
    inside = np.stack(frames)[:, np.asarray(small) > 127]
    made = {
        "brightness": float(inside.mean()),
        "contrast": float(inside.std(axis=1).mean()),
        "fan_aspect": width / height,
        "fan_fill": float(fan.sum()) / (width * height),
    }
    if mm_per_px is not None:
        made["depth_mm"] = height * mm_per_px
    return _rounded(made)


def of_outlines(frames: Sequence[Frame], fan_area: float) -> dict[str, float]:
    """Return the figures of what the network draws of an apical heart.

    An area is the middle between those of the largest and of the smallest frames, so that a loop
    and two frames drawn at end diastole and end systole tell the same; over the fan's, in map
    pixels.
    """
    shapes = [frame.shape for frame in frames if frame.shape]
    sizes = [frame.measures for frame in frames if frame.measures]
    if not shapes or not sizes:
        return {}
    areas = [(size.lv_area, size.myo_area, size.la_area) for size in sizes]
    middle = np.percentile(areas, _ENDS, axis=0).mean(axis=0) / max(1.0, fan_area)
    confidence = np.median([shape.confidence for shape in shapes], axis=0)
    names = ("lv_area", "wall_area", "la_area")
    return _rounded(
        {
            **{name: float(value) for name, value in zip(names, middle, strict=True)},
            "confidence_lv": float(confidence[LV]),
            "confidence_wall": float(confidence[MYOCARDIUM]),
            "confidence_la": float(confidence[LA]),
            "certainty": float(np.median([np.mean(shape.certainty) for shape in shapes])),
            "doubtful": sum(bool(implausible(shape)) for shape in shapes) / len(shapes),
        }
    )


def scanner_of(cine: Cine) -> str:
    """Return the machine's maker, model and software, as they stand in the file."""
    said = [cine.identity.Manufacturer, cine.identity.ManufacturerModelName]
    software = cine.header.dataset.get("SoftwareVersions", "") or ""
    said.append(software if isinstance(software, str) else " ".join(map(str, software)))
    return " · ".join(" ".join(text.split())[:_LONGEST] for text in said)


def correction_size(ledger: Ledger, spool: Spool, review_id: int, analysis_id: int) -> float | None:
    """Return how much a correction changed: 1 less the mean Dice of the frames it drew anew.

    None when there are none, or their label maps are gone.
    """
    try:
        changed = drift.corrected_frames(ledger, review_id)
        theirs = labels.of_review(ledger, spool, review_id)
        mine = labels.of_analysis(ledger, spool, analysis_id)
        few = changed[:: -(-len(changed) // _FRAMES)] if changed else []
        sizes = [_differing(mine, theirs, frame) for frame in few]
    except (ApplianceError, IndexError):
        return None
    return round(float(np.mean(sizes)), _DIGITS) if sizes else None


class Watch:
    """Does what there is to do between loops: a review's figures, or the look at a past day.

    Parameters
    ----------
    ledger, spool
        The box's.
    state_dir
        Where added models are.
    """

    def __init__(self, ledger: Ledger, spool: Spool, state_dir: Path) -> None:
        self._ledger, self._spool, self._state_dir = ledger, spool, state_dir
        self._next = 0.0  # time.monotonic()
        self._day = ""

    def turn(self) -> None:
        """Do one thing, if one is due: a loop that comes meanwhile waits for that one alone."""
        if time.monotonic() < self._next or self._review():
            return
        today = date.today().isoformat()
        if today != self._day and watch.look(self._ledger, self._state_dir, today):
            return  # there may be more
        self._day = today
        self._next = time.monotonic() + LOOK_S

    def _review(self) -> bool:
        row = drift.unseen_review(self._ledger)
        if row is None:
            return False
        size = None
        if row["decision"] == "corrected":
            size = correction_size(self._ledger, self._spool, row["id"], row["analysis_id"])
        made = datetime.fromisoformat(row["at"].replace("Z", "+00:00")).astimezone()
        drift.note_review(self._ledger, row, made.date().isoformat(), size)
        return True


def _differing(mine: labels.LoopLabels, theirs: labels.LoopLabels, frame: int) -> float:
    (one, where), (other, there) = mine.stored(frame), theirs.stored(frame)
    if where != there:
        one, other = mine.frame(frame), theirs.frame(frame)
    overlaps = []
    for label in STRUCTURES:
        here, now = one == label, other == label
        total = np.count_nonzero(here) + np.count_nonzero(now)
        overlaps.append(2 * np.count_nonzero(here & now) / total if total else 1.0)
    return 1 - float(np.mean(overlaps))


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in figures.items()}
