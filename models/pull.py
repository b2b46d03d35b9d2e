"""Fetch corrections from a DICOMweb archive into a corrections directory.

    python -m models.pull --from URL --to DIR [--user NAME --password-file FILE]

A correction is a study as the box sends it upstream: a de-identified loop, the model's
segmentation of it and the corrected one. Only frames that the person changed are written. What
is there already isn't fetched again; killed at any moment, the directory stays readable and the
next call goes on.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.uid import SegmentationStorage, UltrasoundMultiFrameImageStorage

from appliance.cine import Cine, FrameError, open_cine
from appliance.errors import ApplianceError
from appliance.manifest import Manifest, current_model
from appliance.sector import calibration, find_sector, letterbox
from models import corrections
from models.archive import Archive, ArchiveError, Found
from models.corrections import CorrectionsError, Drawn, Row

Bytes = npt.NDArray[np.uint8]

_PULLED = "pulled.txt"  # one StudyInstanceUID a line
_STUDIES = "Echocart correction"  # how StudyDescription begins, by appliance/sync/upstream.py
_LOCK, _SCRATCH = ".lock", ".pull-"
_VIEW = "other"  # the box knows no view yet
_BY_PERSON = ("SEMIAUTOMATIC", "MANUAL")  # SegmentAlgorithmType, PS3.3 C.8.20.2


@dataclass(frozen=True)
class Correction:
    """The three objects of a correction, as files."""

    loop: Path
    model: Path
    corrected: Path


@dataclass
class Counts:
    """What a pull came to."""

    studies: int = 0
    frames: int = 0
    incomplete: int = 0
    unusable: int = 0


def pull(archive: Archive, folder: Path, progress: "Progress") -> Counts:
    """Fetch every correction that `folder` doesn't have yet.

    Raises
    ------
    ArchiveError
        When the archive can't be asked; what was fetched until then stays.
    CorrectionsError
        When the directory can't be read, or another pull writes into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = Counts()
    with _alone(folder):
        have = _pulled(folder)
        new = [uid for uid in archive.studies(_STUDIES) if uid not in have]
        for uid in progress.over(new):
            try:
                frames = _take(archive, uid, folder)
            except (ArchiveError, OSError):
                raise
            except Exception as error:  # noqa: BLE001
                # A stranger's object may break any reader; it must not keep the others out. It
                # isn't noted as done: a later release may read it.
                counts.unusable += 1
                why = error.subject if isinstance(error, ApplianceError) else type(error).__name__
                progress.say(f"study {uid} can't be used: {why}")
                continue
            if frames is None:
                counts.incomplete += 1
                continue
            _remember(folder, uid)
            counts.studies += 1
            counts.frames += frames
    return counts


def _take(archive: Archive, uid: str, folder: Path) -> int | None:
    """Fetch a correction and add its frames; None when it is not all there (yet)."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch:
        found = _fetch(archive, uid, Path(scratch))
        if found is None:
            return None
        return corrections.add(folder, changed_frames(found, current_model()))


def changed_frames(correction: Correction, manifest: Manifest) -> Iterator[Drawn]:
    """Yield each frame whose corrected label map differs from the model's, cropped to the fan.

    Raises
    ------
    CineError, SectorError
        When the loop can't be read, or shows no fan.
    """
    loop = dcmread(correction.loop, stop_before_pixels=True)
    model, corrected = dcmread(correction.model), dcmread(correction.corrected)
    both = sorted(set(_frames_of(model)) & set(_frames_of(corrected)))
    before = _label_maps(correction.model, both, manifest)
    after = _label_maps(correction.corrected, both, manifest)
    with open_cine(correction.loop) as cine:
        sector = find_sector(cine)
        crop = _Crop(cine, sector)
        common = _about(loop, model, corrected, crop.spacing_mm)
        for place, index in enumerate(both):
            if index >= cine.frames or np.array_equal(before[place], after[place]):
                continue
            try:
                image, mask = crop.pair(index, after[place])
            except FrameError:
                continue  # a damaged frame teaches nothing
            row = replace(
                common,
                phase=corrections.content_phase(index, image, mask),
                rows=str(image.shape[0]),
                cols=str(image.shape[1]),
                frame=str(index),
            )
            yield Drawn(row, image, mask)


class _Crop:
    """The fan of a loop with square pixels, its long side as long as the network's input."""

    def __init__(self, cine: Cine, sector: Any) -> None:
        self._cine, self._sector = cine, sector
        scale = calibration(cine, sector)
        self.spacing_mm = ""
        if scale.trusted and scale.mm_per_px_x is not None:
            self.spacing_mm = f"{scale.mm_per_px_x / sector.geometry.scale_x:.4f}"

    def pair(self, index: int, labels: Bytes) -> tuple[Bytes, Bytes]:
        """Return image and mask of a frame; `labels` is uint8 [Rows, Columns]."""
        import cv2

        geometry = self._sector.geometry
        width, height = geometry.inner
        image = letterbox(self._cine.grey(index), geometry, self._sector.fan)
        inside = np.s_[
            geometry.pad_y : geometry.pad_y + height, geometry.pad_x : geometry.pad_x + width
        ]
        box = labels[
            geometry.y : geometry.y + geometry.height, geometry.x : geometry.x + geometry.width
        ]
        mask = cv2.resize(box, (width, height), interpolation=cv2.INTER_NEAREST)
        return np.ascontiguousarray(image[inside]), np.asarray(mask, np.uint8)


def _about(loop: Dataset, model: Dataset, corrected: Dataset, spacing_mm: str) -> Row:
    """What the frames of a correction have in common; `phase` follows with each frame."""
    return Row(
        patient=_file_name(str(loop.get("PatientID", ""))) or "unknown",
        view=_VIEW,
        phase="",
        spacing_mm=spacing_mm,
        source_rows=str(loop.Rows),
        source_cols=str(loop.Columns),
        sop_hash=_hash(_original_of(loop)),
        model_sha256=_model_of(model),
        reviewer_role=_role_of(corrected),
        parent=str(model.SOPInstanceUID),
        source=str(corrected.SOPInstanceUID),
        decision=str(loop.get("InstanceNumber") or ""),
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second pull out, and clear away what a killed one left."""
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "Wait until it ends, or choose another directory."
            raise CorrectionsError(
                "pull corrections", f"another pull writes into {folder}", hint
            ) from None
        for left in folder.glob(f"{_SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _fetch(archive: Archive, StudyInstanceUID: str, scratch: Path) -> Correction | None:
    """Fetch the objects of a correction; None when they are not all there (yet)."""
    found = archive.instances(StudyInstanceUID)
    loops = [item for item in found if item.SOPClassUID == UltrasoundMultiFrameImageStorage]
    drawn = [item for item in found if item.SOPClassUID == SegmentationStorage]
    if not loops or len(drawn) < 2:
        return None
    segmentations = [_file(archive, item, scratch) for item in drawn]
    types = {path: _algorithm_type(path) for path in segmentations}
    model = [path for path in segmentations if types[path] == "AUTOMATIC"]
    corrected = [path for path in segmentations if types[path] in _BY_PERSON]
    if not model or not corrected:
        return None
    source = _source_of(dcmread(corrected[0], stop_before_pixels=True))
    loop = [item for item in loops if item.SOPInstanceUID == source]
    if not loop:
        return None
    return Correction(_file(archive, loop[0], scratch), model[0], corrected[0])


def _file(archive: Archive, item: Found, scratch: Path) -> Path:
    return archive.fetch(item, scratch / f"{_hash(item.SOPInstanceUID)[:16]}.dcm")


def _algorithm_type(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).SegmentSequence[0].SegmentAlgorithmType)


def _source_of(segmentation: Dataset) -> str:
    """SOPInstanceUID of the loop a segmentation is of (PS3.3 C.12.2)."""
    series = segmentation.ReferencedSeriesSequence[0]
    return str(series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID)


def _frames_of(segmentation: Dataset) -> list[int]:
    """Source frames, from 0, that a segmentation has a label map of (PS3.3 C.7.6.16.2.6)."""
    found = set()
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        for derivation in group.DerivationImageSequence:
            numbers = derivation.SourceImageSequence[0].get("ReferencedFrameNumber", 1)
            found |= {int(numbers) - 1}
    return sorted(found)


def _label_maps(path: Path, frames: Sequence[int], manifest: Manifest) -> Bytes:
    """Label maps uint8 [frames, Rows, Columns] of a segmentation, with the manifest's values."""
    from highdicom.seg import segread

    if not frames:
        return np.zeros((0, 1, 1), np.uint8)
    segmentation = segread(path)
    maps = segmentation.get_pixels_by_source_frame(
        _source_of(segmentation), [index + 1 for index in frames], combine_segments=True
    )
    labels = {structure.code: structure.label for structure in manifest.structures}
    table = np.zeros(256, np.uint8)
    for segment in segmentation.SegmentSequence:
        code = str(segment.SegmentedPropertyTypeCodeSequence[0].CodeValue)
        table[int(segment.SegmentNumber)] = labels.get(code, 0)
    return table[np.asarray(maps, np.uint8)]


def _model_of(segmentation: Dataset) -> str:
    """SHA-256 of the network, from the algorithm's parameters ("sha256=...")."""
    for algorithm in segmentation.SegmentSequence[0].get(
        "SegmentationAlgorithmIdentificationSequence", []
    ):
        words = str(algorithm.get("AlgorithmParameters", "")).split()
        for word in words:
            if word.startswith("sha256="):
                return word.removeprefix("sha256=")
    return ""


def _role_of(segmentation: Dataset) -> str:
    """What the person was: ContentDescription ends in "by: ROLE"."""
    return str(segmentation.get("ContentDescription", "")).rpartition("by: ")[2]


def _original_of(loop: Dataset) -> str:
    """UID that stands for the loop on the box: the same in every correction of it."""
    source = loop.get("SourceImageSequence")
    return str(source[0].ReferencedSOPInstanceUID if source else loop.SOPInstanceUID)


def _pulled(folder: Path) -> set[str]:
    path = folder / _PULLED
    return set(path.read_text(encoding="ascii").split()) if path.exists() else set()


def _remember(folder: Path, StudyInstanceUID: str) -> None:
    """Note that a study is done, after its frames are in the table."""
    with (folder / _PULLED).open("a", encoding="ascii") as stream:
        stream.write(StudyInstanceUID + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _file_name(text: str) -> str:
    return "".join(sign for sign in text if sign.isalnum() or sign == "-")[:64]


class Progress:
    """A bar over the studies on a terminal, nothing elsewhere; remarks go to stderr."""

    def over(self, studies: Sequence[str]) -> Iterator[str]:
        """Yield the studies, moving the bar."""
        from rich.console import Console
        from rich.progress import track

        yield from track(studies, "pulling", console=Console(stderr=True))

    def say(self, text: str) -> None:
        """Print a remark."""
        print(text, file=sys.stderr)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m models.pull", description=__doc__)
    parser.add_argument("--from", dest="url", required=True, help="base of the DICOMweb server")
    parser.add_argument("--to", type=Path, required=True, help="corrections directory")
    parser.add_argument("--user", default="", help="for HTTP basic authentication")
    parser.add_argument("--password-file", type=Path, help="holds the password alone")
    options = parser.parse_args(arguments)
    try:
        archive = Archive(options.url, options.user, options.password_file)
        counts = pull(archive, options.to, Progress())
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"pull corrections: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    text = f"{counts.frames} frames of {counts.studies} new corrections in {options.to}"
    if counts.incomplete:
        text += f"; {counts.incomplete} studies are no whole correction (yet)"
    print(text + (f"; {counts.unusable} can't be used" if counts.unusable else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
