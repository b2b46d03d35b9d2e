"""The loop of a correction: a new ultrasound multi-frame image, written from an allow-list.

Nothing is copied from the source's data set. What it says of the machine, of time, of scale and of
lossy compression is read as numbers or looked up in a table, and written anew; the pixels come
from `appliance.scrub`. Elements that PS3.3 wants and that would name somebody are there and empty.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import RLELossless, UltrasoundMultiFrameImageStorage

from appliance.cine import Cine
from appliance.part10 import Header, text
from appliance.scrub import Scrubbed
from appliance.sector import calibration
from appliance.sync import codes, deidentify, modules
from appliance.sync.deidentify import Options
from appliance.sync.encode import Item, encoded, head, joined, plain
from appliance.sync.modules import RESEARCH_USE_ONLY, Kind, Review, is_lossy
from appliance.sync.seg import Part10

LOOP = Kind(UltrasoundMultiFrameImageStorage, "US", 1, RLELossless)
_PIXEL_DATA = int(Tag("PixelData"))
_UNDEFINED = 0xFFFFFFFF
_SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_FRAME_TIME, _FRAME_TIME_VECTOR = Tag("FrameTime"), Tag("FrameTimeVector")
_LONGEST_VECTOR = 6000  # entries of nine characters fit a value with a 16-bit length
_EVEN = 0.01  # relative difference up to which frames are evenly spaced
# PS3.3 C.7.6.1.1.5.1
_METHODS = (
    *("ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_15"),
    *("ISO_13818_2", "ISO_14496_10", "ISO_23008_2"),
)


@dataclass(frozen=True)
class Names:
    """What the objects of one correction are called.

    Attributes
    ----------
    PatientID, StudyInstanceUID, StudyDescription
        Of all of them.
    StudyID
        The beginning of the model's hash: a search by it needs no wildcard and no spaces.
    StudyDate
        As coarse, or as shifted, as it may be told.
    source
        Stands for the original loop's SOPInstanceUID, the same in every correction of it.
    number
        How-manieth decision about that loop this is, from 1: the highest one holds.
    options
        What of PS3.15's options the site has chosen.
    """

    PatientID: str
    StudyInstanceUID: str
    StudyDescription: str
    StudyID: str
    StudyDate: str
    source: str
    number: int
    options: Options


def author(cine: Cine, scrubbed: Scrubbed, names: Names, review: Review) -> tuple[Part10, Header]:
    """Return the loop as a file, and its header for segmentations of it.

    Parameters
    ----------
    cine
        The original, for timing, scale and make.
    scrubbed
        Its frames.
    names
        Who and which it is for the outside.
    review
        The loop's own UIDs; `created` is already as coarse as it may be told.
    """
    dataset = Item()
    parts = (
        patient_and_study(names),
        modules.series(Dataset(), "", review, LOOP),
        _description(names, review),
        _equipment(cine, names, review),
        _image(cine, scrubbed, names),
        _timing(cine),
        _scale(cine, scrubbed),
        _compression(cine.header),
        deidentify.statement(names.options),
    )
    for part in parts:
        dataset.update(part)
    pixels = encapsulate(list(scrubbed.fragments), has_bot=True)
    elements = joined(encoded(dataset))
    before = modules.preamble(review, LOOP) + elements
    tail = (head(_PIXEL_DATA, "OB", _UNDEFINED), pixels, _SEQUENCE_END)
    file = Part10.of(review.SOPInstanceUID, names.StudyInstanceUID, (before, *tail))
    return file, _header(read_dataset(BytesIO(elements), False, True))


def _header(dataset: Dataset) -> Header:
    return Header(
        dataset=dataset,
        TransferSyntaxUID=LOOP.TransferSyntaxUID,
        implicit_vr=False,
        little_endian=True,
        deflated=False,
        pixel_offset=None,
        pixel_length=None,
        pixel_vr="OB",
        basic_offsets=(),
        fragments=(),
        omitted=(),
    )


def patient_and_study(names: Names) -> Item:
    """Patient and General Study (PS3.3 C.7.1.1, C.7.2.1), alike in every object of a study."""
    dataset = Item()
    dataset.PatientID = names.PatientID
    dataset.StudyInstanceUID = names.StudyInstanceUID
    dataset.StudyDescription = names.StudyDescription
    dataset.StudyID = names.StudyID
    dataset.StudyDate = names.StudyDate
    for keyword in (
        *("PatientName", "PatientBirthDate", "PatientSex"),
        *("StudyTime", "AccessionNumber", "ReferringPhysicianName"),
    ):
        setattr(dataset, keyword, None)
    return dataset


def _description(names: Names, review: Review) -> Item:
    dataset = Item()
    dataset.SeriesDescription = f"{RESEARCH_USE_ONLY} - Loop" if review.research_use else "Loop"
    dataset.InstanceNumber = names.number
    return dataset


def _equipment(cine: Cine, names: Names, review: Review) -> Item:
    """General Equipment (PS3.3 C.7.5.1): make and model, and the site where it wants to be named."""
    dataset = modules.equipment(review)
    del dataset.SoftwareVersions, dataset.DeviceSerialNumber
    made = deidentify.machine(cine.identity.Manufacturer, cine.identity.ManufacturerModelName)
    dataset.Manufacturer, dataset.ManufacturerModelName = made
    if versions := deidentify.versions(text(cine.header.dataset, "SoftwareVersions")):
        dataset.SoftwareVersions = versions
    serial = deidentify.serial_number(text(cine.header.dataset, "DeviceSerialNumber"))
    if serial and names.options.device:
        dataset.DeviceSerialNumber = serial
    dataset.StationName = plain(review.station_name)[:16]
    return dataset


def _image(cine: Cine, scrubbed: Scrubbed, names: Names) -> Item:
    """General Image, Image Pixel, Multi-frame, US Image (PS3.3 C.7.6.1, C.7.6.3, C.7.6.6, C.8.5.6)."""
    dataset, source = Item(), Item()
    dataset.ImageType = ["DERIVED", "PRIMARY", "", "0001"]  # C.8.5.6.1.1: two-dimensional
    dataset.PatientOrientation = dataset.Laterality = None
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = cine.rows, cine.columns
    dataset.NumberOfFrames = len(scrubbed.fragments)
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.BurnedInAnnotation = "NO"
    source.ReferencedSOPClassUID = UltrasoundMultiFrameImageStorage
    source.ReferencedSOPInstanceUID = names.source
    source.PurposeOfReferenceCodeSequence = [codes.item(codes.SOURCE_IMAGE)]
    dataset.SourceImageSequence = [source]
    return dataset


def _timing(cine: Cine) -> Item:
    """Cine (PS3.3 C.7.6.5): one step where frames are evenly spaced, else each."""
    dataset = Item()
    times = cine.timing.frame_times_ms
    steps = [after - before for before, after in pairwise(times)]
    if _are_even(steps):
        dataset.FrameTime = _decimal(1000 / cine.timing.rate_hz)
        dataset.FrameIncrementPointer = _FRAME_TIME
    else:
        dataset.FrameTimeVector = ["0", *(_decimal(step) for step in steps)]
        dataset.FrameIncrementPointer = _FRAME_TIME_VECTOR
    if cine.timing.source == "assumed":
        dataset.ImageComments = "The frame rate is assumed: the machine gave none"
    return dataset


def _are_even(steps: Sequence[float]) -> bool:
    if not steps or len(steps) >= _LONGEST_VECTOR:
        return True
    return max(steps) - min(steps) <= _EVEN * min(steps)


def _scale(cine: Cine, scrubbed: Scrubbed) -> Item:
    """US Region Calibration (PS3.3 C.8.5.5) where it can be trusted, else the pixels' shape."""
    dataset = Item()
    scale = calibration(cine, scrubbed.sector)
    if not (scale.trusted and scale.mm_per_px_x and scale.mm_per_px_y):
        if scale.aspect != 1.0:
            dataset.PixelAspectRatio = [round(1000 * scale.aspect), 1000]
        return dataset
    box, region = scrubbed.sector.geometry, Item()
    region.RegionSpatialFormat = region.RegionDataType = 1  # C.8.5.5.1.1, .2: 2D, tissue
    region.RegionFlags = 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = box.x, box.y
    region.RegionLocationMaxX1 = box.x + box.width - 1
    region.RegionLocationMaxY1 = box.y + box.height - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3  # cm
    region.PhysicalDeltaX = scale.mm_per_px_x / 10
    region.PhysicalDeltaY = scale.mm_per_px_y / 10
    dataset.SequenceOfUltrasoundRegions = [region]
    return dataset


def _compression(source: Header) -> Item:
    """What the original went through (PS3.3 C.7.6.1.1.5); ours is lossless."""
    dataset = Item()
    dataset.LossyImageCompression = "01" if is_lossy(source) else "00"
    if not is_lossy(source):
        return dataset
    ratios = _ratios(text(source.dataset, "LossyImageCompressionRatio"))
    said = text(source.dataset, "LossyImageCompressionMethod").split("\\")
    if ratios:
        dataset.LossyImageCompressionRatio = ratios
    if all(method in _METHODS for method in said):
        dataset.LossyImageCompressionMethod = said
    return dataset


def _ratios(written: str) -> list[str]:
    try:
        values = [float(part) for part in written.split("\\")]
    except ValueError:
        return []
    return [_decimal(value) for value in values] if all(1 <= v < 10000 for v in values) else []


def _decimal(value: float) -> str:
    """A DS of at most eight characters."""
    return f"{value:.6f}"[:8].rstrip("0").rstrip(".")
