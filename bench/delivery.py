"""How long a result takes from the label maps to a proven file, and how much memory; a backlog.

The anchor is highdicom, which makes an object of the same size from the same label maps. It
refuses a cine, so it is given a stack of 120 CT slices instead.
"""

import copy
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from bench import backlog, figures
from bench.figures import Figure

FRAMES, ROWS, COLUMNS = 120, 480, 640
STRUCTURES = (
    (1, "Left ventricle", "87878005"),
    (2, "Myocardium of left ventricle", "49848007"),
    (3, "Left atrium", "82471001"),
)


class Cost(NamedTuple):
    """What one object costs: seconds (median of all), MB above idle (highest of all)."""

    seconds: float
    megabytes: float


def measure(quick: bool) -> list[Figure]:
    """Measure time and memory of one result; the label maps themselves count as idle."""
    ours = _in_child(_ours, 5 if quick else 15)
    theirs = _in_child(_highdicom, 1 if quick else 5) if find_spec("highdicom") else None
    what = f"SEG of {FRAMES} frames {COLUMNS}×{ROWS}, 3 structures"
    return [
        figures.at_most(
            f"{what}: built, written, synced, read back",
            ours.seconds,
            "s",
            0.4,
            f"highdicom {theirs.seconds:.2g} s, neither synced nor read back" if theirs else "",
        ),
        figures.at_most(
            f"{what}: memory above idle",
            ours.megabytes,
            "MB",
            150,
            f"highdicom {theirs.megabytes:.3g} MB" if theirs else "",
        ),
        *(backlog.measure(quick) if backlog.is_here() else ()),
    ]


def _in_child(work: Callable[[int], Cost], count: int) -> Cost:
    # A process of its own, so that one's memory is never the other's.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (count,))


def _ours(count: int) -> Cost:
    from appliance.part10 import read_header
    from appliance.sync.folder import Folder
    from appliance.sync.modules import Review
    from appliance.sync.seg import segmentation
    from appliance.sync.segments import Provenance, Structure

    maps = _label_maps()
    structures = [Structure(label, name, code, name, "#56B4E9") for label, name, code in STRUCTURES]
    model = Provenance("bench", "1", "0" * 64, "AUTOMATIC")
    with tempfile.TemporaryDirectory(dir=".") as name:
        source = Path(name) / "source.dcm"
        pydicom.dcmwrite(source, _image(UltrasoundMultiFrameImageStorage), enforce_file_format=True)
        folder = Folder(Path(name))

        def deliver(number: int) -> None:
            now = datetime.now(timezone.utc)
            review = Review(f"2.25.1{number}", f"2.25.2{number}", "AK", True, now)
            frame, indexes = maps.__getitem__, range(FRAMES)
            result = segmentation(read_header(source), frame, indexes, structures, model, review)
            folder.put(result)
            folder.prove(result)

        return _cost(deliver, count)


def _highdicom(count: int) -> Cost:
    import highdicom
    from pydicom.sr.codedict import codes

    intelligence = codes.DCM.ArtificialIntelligence
    algorithm = highdicom.AlgorithmIdentificationSequence("bench", intelligence, "1")
    segments = []
    for label, name, value in STRUCTURES:
        code = highdicom.sr.CodedConcept(value, "SCT", name)
        category = codes.SCT.AnatomicalStructure
        segments.append(
            highdicom.seg.SegmentDescription(label, name, category, code, "AUTOMATIC", algorithm)
        )
    maps, slices = _label_maps(), _stack()
    with tempfile.TemporaryDirectory(dir=".") as folder:

        def write(number: int) -> None:
            made = highdicom.seg.Segmentation(
                *(slices, maps, "BINARY", segments, generate_uid(), 1, generate_uid(), 1),
                *("Bench", "Bench", "1", "1"),
                omit_empty_frames=False,
            )
            made.save_as(Path(folder) / f"{number}.dcm")

        return _cost(write, count)


def _cost(work: Callable[[int], None], count: int) -> Cost:
    idle, times = _memory("VmRSS"), []
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to the present
    work(0)  # fills caches: counts as memory, not as time
    for number in range(1, count + 1):
        started = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - started)
    return Cost(statistics.median(times), _memory("VmHWM") - idle)


def _memory(name: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def _label_maps() -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[:ROWS, :COLUMNS]
    maps = np.zeros((FRAMES, ROWS, COLUMNS), np.uint8)
    for index in range(FRAMES):
        radius = 80 + 12 * np.sin(index / 10)
        for label, (row, column) in enumerate([(200, 300), (200, 420), (360, 300)], 1):
            maps[index][(y - row) ** 2 + (x - column) ** 2 < radius**2] = label
    return maps


def _image(SOPClassUID: str) -> pydicom.Dataset:
    image = pydicom.Dataset()
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = SOPClassUID, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID"):
        setattr(image, keyword, "")
    for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
        setattr(image, keyword, "")
    image.Rows, image.Columns = ROWS, COLUMNS
    if SOPClassUID == UltrasoundMultiFrameImageStorage:
        image.NumberOfFrames = FRAMES
    return image


def _stack() -> list[pydicom.Dataset]:
    first = _image(CTImageStorage)
    first.Modality, first.FrameOfReferenceUID = "CT", generate_uid()
    first.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    first.PixelSpacing, first.SliceThickness = [1, 1], 1
    stack = []
    for index in range(FRAMES):
        image = copy.deepcopy(first)
        image.SOPInstanceUID = generate_uid()
        image.ImagePositionPatient = [0, 0, index]
        stack.append(image)
    return stack


if __name__ == "__main__":
    figures.main(__doc__ or "", measure)
