"""One correction, as the box sent it: a loop and two drawings, made into frames to learn from.

Only frames that the person changed are written: the picture, what was drawn, and what the model had
drawn there, under names that follow from their content.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.uid import SegmentationStorage, UltrasoundMultiFrameImageStorage

from appliance.cine import Cine, FrameError, open_cine
from appliance.manifest import Manifest
from appliance.sector import calibration, find_sector, letterbox
from models import corrections, segmentation
from models.corrections import Drawn, Row
from models.metrics import score
from models.segmentation import Segmentation

Bytes = npt.NDArray[np.uint8]

BEFORE = "before"  # folder of what the model had drawn, beside images/ and masks/
_VIEW = "other"  # the box tells no view yet


class Moved(NamedTuple):
    """How far a person moved one structure on one frame.

    Attributes
    ----------
    structure
        Its name in the manifest.
    dice
        Of the model's drawing and the person's, 0..1.
    px, mm
        Mean distance of their borders; None where one lacks the structure, or the scale.
    before, after
        Pixels that it covers in each.
    """

    structure: str
    dice: float
    px: float | None
    mm: float | None
    before: int
    after: int


@dataclass(frozen=True)
class TakenFrame:
    """A corrected frame that is written."""

    row: Row
    image_sha256: str
    mask_sha256: str
    moved: tuple[Moved, ...]


@dataclass(frozen=True)
class Taken:
    """A correction that is written.

    Attributes
    ----------
    date, site, model
        StudyDate; what the site calls itself; name and version of the network.
    about
        What all its frames have in common.
    frames
        Those the person changed.
    """

    date: str
    site: str
    model: str
    about: Row
    frames: list[TakenFrame] = field(default_factory=list)


@dataclass(frozen=True)
class Correction:
    """The objects of a correction: a loop's file and header, and what was drawn on it."""

    path: Path
    loop: Dataset
    model: Segmentation
    corrected: Segmentation


def described(found: Correction) -> Taken:
    """Return what is known of a correction before a frame of it is looked at."""
    return Taken(
        date=str(found.loop.get("StudyDate", "")),
        site=str(found.loop.get("StationName", "")),
        model=_algorithm(found.model.dataset, "AlgorithmName", "AlgorithmVersion"),
        about=_about(found),
    )


def take(found: Correction, folder: Path, manifest: Manifest) -> Taken:
    """Write the changed frames of a correction, by way of the folder that its loop lies in.

    Raises
    ------
    CorrectionsError
        When a segmentation isn't as boxes send them.
    CineError, SectorError
        When the loop can't be read, or shows no fan.
    """
    made = described(found)
    for name in ("images", "masks", BEFORE):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for drawn, before in changed_frames(found):
        # Two studies may hold the same frame, and be read at the same time.
        scratch = found.path.parent
        corrections.put(folder, drawn, scratch)
        place = folder / BEFORE / f"{drawn.row.stem}.png"
        corrections.write_whole(place, corrections.png(before), scratch)
        made.frames.append(_taken(drawn, before, manifest))
    return made


def sorted_out(files: Iterable[Path], manifest: Manifest) -> Correction | None:
    """Tell the objects of a study apart; None when they are no whole correction (yet)."""
    loops, drawn = {}, []
    for path in files:
        head = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        if head.SOPClassUID == UltrasoundMultiFrameImageStorage:
            loop = dcmread(path, stop_before_pixels=True)
            loops[str(loop.SOPInstanceUID)] = path, loop
        elif head.SOPClassUID == SegmentationStorage:
            drawn.append(segmentation.read(path, manifest))
    model = [item for item in drawn if not item.by_person]
    corrected = [item for item in drawn if item.by_person]
    if not model or not corrected or corrected[0].source not in loops:
        return None
    return Correction(*loops[corrected[0].source], model[0], corrected[0])


def changed_frames(found: Correction) -> Iterator[tuple[Drawn, Bytes]]:
    """Yield each frame that the person changed, cropped to the fan, and the model's map of it."""
    changed = found.model.differs(found.corrected)
    if not changed:
        return
    common = _about(found)
    with open_cine(found.path) as cine:
        crop = _Crop(cine)
        for index in (index for index in changed if index < cine.frames):
            try:
                image = crop.image(index)
            except FrameError:
                continue  # a damaged frame teaches nothing
            mask = crop.labels(found.corrected.labels(index))
            row = replace(
                common,
                phase=corrections.content_phase(index, image, mask),
                rows=str(image.shape[0]),
                cols=str(image.shape[1]),
                spacing_mm=crop.spacing_mm,
                frame=str(index),
            )
            yield Drawn(row, image, mask), crop.labels(found.model.labels(index))


class _Crop:
    """The fan of a loop with square pixels, its long side as long as the network's input."""

    def __init__(self, cine: Cine) -> None:
        self._cine, self._sector = cine, find_sector(cine)
        scale = calibration(cine, self._sector)
        self.spacing_mm = ""
        if scale.trusted and scale.mm_per_px_x is not None:
            self.spacing_mm = f"{scale.mm_per_px_x / self._sector.geometry.scale_x:.4f}"

    def image(self, index: int) -> Bytes:
        """Return a frame."""
        geometry = self._sector.geometry
        width, height = geometry.inner
        whole = letterbox(self._cine.grey(index), geometry, self._sector.fan)
        return np.ascontiguousarray(
            whole[geometry.pad_y : geometry.pad_y + height, geometry.pad_x : geometry.pad_x + width]
        )

    def labels(self, whole: Bytes) -> Bytes:
        """Return the same of a label map uint8 [Rows, Columns]."""
        box = self._sector.geometry
        part = whole[box.y : box.y + box.height, box.x : box.x + box.width]
        return np.asarray(cv2.resize(part, box.inner, interpolation=cv2.INTER_NEAREST), np.uint8)


def moved(before: Bytes, after: Bytes, manifest: Manifest, spacing_mm: str) -> tuple[Moved, ...]:
    """Return how far each structure lies from where the model had it."""
    scale, made = float(spacing_mm) if spacing_mm else None, []
    for item in manifest.structures:
        found = score(before, after, item.label)
        px = found.msd if found.msd is None else round(found.msd, 3)
        mm = round(px * scale, 3) if px is not None and scale else None
        sizes = [int(np.count_nonzero(labels == item.label)) for labels in (before, after)]
        made.append(Moved(item.name, round(found.dice, 5), px, mm, *sizes))
    return tuple(made)


def _taken(drawn: Drawn, before: Bytes, manifest: Manifest) -> TakenFrame:
    return TakenFrame(
        drawn.row,
        _sha256(repr(drawn.image.shape).encode() + drawn.image.tobytes()),
        _sha256(repr(drawn.mask.shape).encode() + drawn.mask.tobytes()),
        moved(before, drawn.mask, manifest, drawn.row.spacing_mm),
    )


def _about(found: Correction) -> Row:
    """What the frames of a correction have in common; `phase` follows with each frame."""
    loop, model, corrected = found.loop, found.model.dataset, found.corrected.dataset
    machine = (str(loop.get(key, "")) for key in ("Manufacturer", "ManufacturerModelName"))
    return Row(
        patient=_file_name(str(loop.get("PatientID", ""))) or "unknown",
        view=_VIEW,
        phase="",
        source_rows=str(loop.Rows),
        source_cols=str(loop.Columns),
        sop_hash=_sha256(_original_of(loop).encode()),
        model_sha256=_model_sha256(model),
        # ContentDescription ends in "by: ROLE".
        reviewer_role=str(corrected.get("ContentDescription", "")).rpartition("by: ")[2],
        parent=str(model.SOPInstanceUID),
        source=str(corrected.SOPInstanceUID),
        decision=str(loop.get("InstanceNumber") or ""),
        scanner=" ".join(filter(None, machine)),
    )


def _algorithm(dataset: Dataset, *keywords: str) -> str:
    """Words about the network that a segmentation is of; "" without any."""
    sequence: Any = dataset.SegmentSequence[0].get("SegmentationAlgorithmIdentificationSequence")
    return " ".join(str(sequence[0].get(key, "")) for key in keywords) if sequence else ""


def _model_sha256(dataset: Dataset) -> str:
    """SHA-256 of the network, from the algorithm's parameters ("sha256=...")."""
    words = _algorithm(dataset, "AlgorithmParameters").split()
    return next((word[7:] for word in words if word.startswith("sha256=")), "")


def _original_of(loop: Dataset) -> str:
    """UID that stands for the loop on the box: the same in every correction of it."""
    source = loop.get("SourceImageSequence")
    return str(source[0].ReferencedSOPInstanceUID if source else loop.SOPInstanceUID)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file_name(text: str) -> str:
    return "".join(sign for sign in text if sign.isalnum() or sign == "-")[:64]
