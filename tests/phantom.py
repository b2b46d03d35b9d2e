"""Cine loops whose truth is known: a drawn heart in a legal DICOM object, as the test asks for it.

>>> loop = cine_loop(frames=20, heart_rate=75, transfer_syntax=JPEGBaseline8Bit)
>>> path = loop.write(tmp_path / "loop.dcm")
>>> loop.labels.shape, loop.ejection_fraction  # what the masks and the EF must come to
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from tests import heart, pixels

Bytes = npt.NDArray[np.uint8]
SEPIA = (1.0, 0.86, 0.62)

# A name that needs it for each SpecificCharacterSet (PS3.5 annexes H, I and J have the like).
NAMES = {
    "ISO_IR 100": "Müller^Jérôme",
    "ISO_IR 192": "Wang^XiaoDong=王^小東",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "GB18030": "Wang^XiaoDong=王^小东",
}


@dataclass(frozen=True)
class Phantom:
    """A cine loop and the truth about it.

    Attributes
    ----------
    dataset
        The whole object, `file_meta` included.
    grey
        uint8[frames, rows, columns]: luminance before any encoding.
    labels
        uint8[frames, rows, columns]: 0 background, 1 LV, 2 myocardium, 3 LA.
    fan
        bool[rows, columns].
    volumes_ml
        Of the LV cavity as a body of revolution, by frame.
    mm_per_px
        Across and down; true whatever the regions say.
    rate_hz, heart_rate
        Frames a second, beats a minute.
    ejection_fraction
        0 to 1, of the beating formula (reached when a beat's both ends fall on frames).
    """

    dataset: Dataset
    grey: Bytes
    labels: Bytes
    fan: npt.NDArray[np.bool_]
    volumes_ml: tuple[float, ...]
    mm_per_px: tuple[float, float]
    rate_hz: float
    heart_rate: float
    ejection_fraction: float

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The fan's bounding box: x, y, width, height."""
        y, x = np.nonzero(self.fan)
        left, top = int(x.min()), int(y.min())
        return left, top, int(x.max()) - left + 1, int(y.max()) - top + 1

    def bytes(self) -> bytes:
        """The Part 10 file."""
        stream = io.BytesIO()
        dcmwrite(stream, self.dataset, enforce_file_format=True)
        return stream.getvalue()

    def write(self, path: Path) -> Path:
        """Write the Part 10 file, and say where."""
        path.write_bytes(self.bytes())
        return path


def cine_loop(
    *,
    frames: int = 30,
    rows: int = 360,
    columns: int = 480,
    rate_hz: float = 30.0,
    heart_rate: float = 60.0,
    ejection_fraction: float = 0.55,
    depth_cm: float = 15.0,
    pixel_aspect: float = 1.0,
    seed: int = 0,
    transfer_syntax: str = ExplicitVRLittleEndian,
    photometric: str = "MONOCHROME2",
    planar: int = 0,
    bits: int = 8,
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0),
    regions: str | Sequence[Dataset] = "trusted",
    timing: str = "FrameTime",
    offsets: bool = True,
    fragments_per_frame: int = 1,
    corrupt: Sequence[int] = (),
    declared_frames: int | None = None,
    colour_doppler: bool = False,
    banner: str = "",
    ecg: bool = False,
    change_frame: Callable[[int, bytes], bytes] | None = None,
    SpecificCharacterSet: str = "ISO_IR 192",
    PatientName: str = "PHANTOM^HEART",
    PatientID: str = "PHANTOM-1",
    elements: Mapping[str, Any] | None = None,
) -> Phantom:
    """A loop of a beating four-chamber heart.

    Parameters
    ----------
    frames, rows, columns, rate_hz
        Size and speed. `columns` is even where chroma is halved.
    heart_rate, ejection_fraction, depth_cm, pixel_aspect
        The heart's truth: beats a minute, 0 to 1, fan radius in cm, pixel height over width.
    seed
        Of speckle and UIDs: equal seeds are the same instance, study and series.
    transfer_syntax, photometric, planar, bits, tint
        Encoding. JPEG, JPEG 2000, JPEG-LS, RLE, deflated, big endian and implicit are possible
        where the standard allows the photometric interpretation. `bits` 16: grey and palette.
        JPEG with "RGB" holds true RGB samples that no marker gives away.
    regions
        "trusted", "missing", "outside" (stale, beyond the image), "zero" or "one" (deltas), "ecg"
        (trusted, and the strip's own), "doppler", "m-mode", or data sets as they are.
    timing
        "FrameTime", "FrameTimeVector", "CineRate" or "missing".
    offsets, fragments_per_frame, corrupt, declared_frames, change_frame
        Encapsulation: a Basic Offset Table or an empty one; frames torn into pieces; frames
        overwritten with rubbish; NumberOfFrames other than the truth; any other change to a
        frame's encoded bytes.
    colour_doppler, banner, ecg
        What is burned in: moving flow inside the fan, text outside it, a trace below it.
    elements
        Any further data elements by keyword; None deletes one.
    """
    scene = heart.Scene(rows, columns, pixel_aspect, seed)
    phases = [index * heart_rate / 60 / rate_hz for index in range(frames)]
    shapes = [heart.shape_at(phase, ejection_fraction) for phase in phases]
    drawn = [scene.draw(shape) for shape in shapes]
    grey = np.stack([picture for picture, _ in drawn])
    pictures = [_colour(picture, tint, photometric) for picture in grey]
    for index, picture in enumerate(pictures):
        _burn(picture, scene, index, colour_doppler=colour_doppler, banner=banner, ecg=ecg)

    cm_per_px = depth_cm / scene.radius
    dataset = _identity(seed, SpecificCharacterSet, PatientName, PatientID)
    dataset.Rows, dataset.Columns = rows, columns
    dataset.NumberOfFrames = frames if declared_frames is None else declared_frames
    _set_timing(dataset, timing, frames, rate_hz)
    if regions != "missing":
        chosen = _regions(regions, scene, cm_per_px) if isinstance(regions, str) else list(regions)
        dataset.SequenceOfUltrasoundRegions = chosen
    if pixel_aspect != 1.0:
        dataset.PixelAspectRatio = [round(1000 * pixel_aspect), 1000]

    syntax = UID(transfer_syntax)
    dataset.file_meta.TransferSyntaxUID = syntax
    pixels.describe(dataset, photometric, planar, bits)
    if photometric == "PALETTE COLOR":
        pixels.set_palette(dataset, bits, tint)
    encoded = _encode(dataset, pictures, syntax)
    for index in corrupt:
        encoded[index] = b"\xff\xd8" + b"\x5a" * (len(encoded[index]) - 4) + b"\xff\xd9"
    if change_frame:
        encoded = [change_frame(index, frame) for index, frame in enumerate(encoded)]
    pixels.put(dataset, encoded, syntax, offsets=offsets, fragments_per_frame=fragments_per_frame)
    for keyword, value in (elements or {}).items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)
    return Phantom(
        dataset=dataset,
        grey=grey,
        labels=np.stack([labels for _, labels in drawn]),
        fan=scene.fan,
        volumes_ml=tuple(shape.volume * depth_cm**3 for shape in shapes),
        mm_per_px=(cm_per_px * 10, cm_per_px * 10 * pixel_aspect),
        rate_hz=rate_hz,
        heart_rate=heart_rate,
        ejection_fraction=ejection_fraction,
    )


def small_loop(**options: Any) -> Phantom:
    """`cine_loop` of nine frames of 160x120 unless said otherwise: quick, for tests of bytes."""
    return cine_loop(**{"frames": 9, "rows": 120, "columns": 160, **options})


def on_its_head(loop: Phantom) -> Phantom:
    """Turn an uncompressed grey loop upside down: a heart that no apical view shows."""
    loop.dataset.PixelData = np.ascontiguousarray(loop.grey[:, ::-1]).tobytes()
    loop.dataset.pop("SequenceOfUltrasoundRegions", None)
    return loop


def _colour(grey: Bytes, tint: tuple[float, float, float], photometric: str) -> Bytes:
    if photometric in ("MONOCHROME2", "PALETTE COLOR") or tint == (1.0, 1.0, 1.0):
        return np.repeat(grey[..., None], 3, axis=2)
    tinted = (grey[..., None] * np.array(tint, np.float32)).round()
    return np.asarray(tinted, np.uint8)


def _encode(dataset: Dataset, pictures: list[Bytes], syntax: UID) -> list[bytes]:
    photometric = dataset.PhotometricInterpretation
    if syntax == JPEGBaseline8Bit:
        return [pixels.jpeg(picture, photometric) for picture in pictures]
    planar = 0 if syntax.is_encapsulated else dataset.get("PlanarConfiguration", 0)
    big_endian = syntax == ExplicitVRBigEndian
    frames = [
        pixels.native(picture, photometric, planar, dataset.BitsAllocated, big_endian)
        for picture in pictures
    ]
    if syntax.is_encapsulated:
        return pixels.compressed(dataset, frames, syntax)
    return frames


def _burn(
    picture: Bytes, scene: heart.Scene, index: int, *, colour_doppler: bool, banner: str, ecg: bool
) -> None:
    """Draw on one frame what a cart burns in."""
    rows, columns, _ = picture.shape
    if colour_doppler:
        u, v = scene.x - 0.07, scene.y - 0.5
        flow = np.sin(14 * v + 0.7 * index) * np.cos(11 * u) * scene.fan
        box = (np.abs(u) < 0.16) & (np.abs(v) < 0.2)
        picture[box & (flow > 0.35)] = (220, 60, 20)
        picture[box & (flow < -0.35)] = (20, 70, 210)
    if banner:
        scale = columns / 1000
        cv2.putText(picture, banner, (6, round(18 * rows / 360)), 0, scale, (230, 230, 230))
    if ecg:
        x = np.arange(columns)
        beat = np.exp(-(((x % 90) - 40) ** 2) / 12)
        y = (rows - 8 - 0.035 * rows * beat).astype(int)
        shown = x < columns * (index % 20 + 1) / 20  # the trace is drawn as time goes
        picture[y[shown], x[shown]] = (40, 220, 40)


def _identity(seed: int, charset: str, name: str, patient_id: str) -> Dataset:
    """Patient, study, series and equipment of an ultrasound multi-frame image (PS3.3 A.7)."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = charset.split("\\") if "\\" in charset else charset
    dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(dataset, keyword, generate_uid(entropy_srcs=["phantom", keyword, str(seed)]))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "", "0001"]
    dataset.Modality, dataset.Manufacturer = "US", "Phantom"
    dataset.ManufacturerModelName = "Heart"
    dataset.PatientName, dataset.PatientID = name, patient_id
    dataset.PatientBirthDate, dataset.PatientSex = "19610402", "O"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20261102"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "140500"
    dataset.AccessionNumber = dataset.StudyID = dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber, dataset.InstanceNumber = 1, seed + 1
    dataset.SeriesDescription = "Apical four-chamber"
    dataset.PatientOrientation = dataset.Laterality = ""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _set_timing(dataset: Dataset, timing: str, frames: int, rate_hz: float) -> None:
    """Cine module (PS3.3 C.7.6.5)."""
    if timing == "FrameTime":
        dataset.FrameTime = f"{1000 / rate_hz:.6g}"
        dataset.FrameIncrementPointer = 0x00181063
    elif timing == "FrameTimeVector":
        dataset.FrameTimeVector = ["0", *[f"{1000 / rate_hz:.6g}"] * (frames - 1)]
        dataset.FrameIncrementPointer = 0x00181065
    elif timing == "CineRate":
        dataset.CineRate = round(rate_hz)


def region(
    box: tuple[int, int, int, int],
    delta_cm: tuple[float, float],
    *,
    spatial_format: int = 1,
    data_type: int = 1,
    units: tuple[int, int] = (3, 3),
) -> Dataset:
    """An item of SequenceOfUltrasoundRegions (PS3.3 C.8.5.5).

    Parameters
    ----------
    box
        x, y, width, height in pixels.
    delta_cm
        PhysicalDeltaX and Y.
    spatial_format, data_type, units
        C.8.5.5.1.1 (1: 2D, 2: M-mode, 3: spectral, 4: wave form), C.8.5.5.1.2 (1: tissue,
        2: colour flow, 10: ECG), C.8.5.5.1.15 (3: cm, 4: seconds).
    """
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial_format, data_type, 2
    x, y, width, height = box
    item.RegionLocationMinX0, item.RegionLocationMinY0 = x, y
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x + width - 1, y + height - 1
    item.PhysicalUnitsXDirection, item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta_cm
    return item


def _regions(kind: str, scene: heart.Scene, cm_per_px: float) -> list[Dataset]:
    rows, columns = scene.fan.shape
    y, x = np.nonzero(scene.fan)
    box = (int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1)
    delta = (cm_per_px, cm_per_px * scene.aspect)
    strip = region(
        (0, rows - 20, columns, 20), (0.005, 0.0), spatial_format=4, data_type=10, units=(4, 0)
    )
    stale = (box[0] * 2 + 8, box[1] * 2 + 8, box[2] * 2, box[3] * 2)
    return {
        "trusted": [region(box, delta)],
        "outside": [region(stale, (delta[0] / 2, delta[1] / 2))],
        "zero": [region(box, (0.0, 0.0))],
        "one": [region(box, (1.0, 1.0))],
        "ecg": [region(box, delta), strip],
        "doppler": [region(box, (0.005, 0.5), spatial_format=3, data_type=3, units=(4, 7))],
        "m-mode": [region(box, (0.005, delta[1]), spatial_format=2, units=(4, 3))],
    }[kind]
