"""The modules that every result of ours has alike: series, equipment, image, dimensions."""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SegmentationStorage,
)

from appliance import __version__
from appliance.part10 import Header
from appliance.sync import codes, frames
from appliance.sync.carried import value_of
from appliance.sync.encode import Item, element, encoded, joined, plain

MANUFACTURER = "Echocart"
RESEARCH_USE_ONLY = "RESEARCH USE ONLY"
# ContentLabel is a CS of 16 characters (PS3.5 6.2): one too few for the whole phrase, which
# stands in SeriesDescription and ContentDescription.
RESEARCH_LABEL = "RESEARCH USE"

# Ours under 2.25 (PS3.5 B.2): names the writer of the file.
_IMPLEMENTATION_CLASS_UID = f"2.25.{uuid.UUID('6b0c1a2e-5d0f-4c39-9f6e-3f6d3b1c7a11').int}"
_UIDS = uuid.UUID("d6c2a8f4-0f4b-4a77-8a3f-92b58a5f1c20")  # namespace of the UIDs derived here
_LOSSY_SYNTAXES = (
    *("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"),
    *("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"),
    *(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109)),
)


@dataclass(frozen=True)
class Kind:
    """A kind of object: its SOP class, modality and the number of its series.

    Numbers lie above what echo machines count to, so that results sort behind images.
    """

    SOPClassUID: str
    Modality: str
    SeriesNumber: int
    TransferSyntaxUID: str = ExplicitVRLittleEndian


SEGMENTATION = Kind(SegmentationStorage, "SEG", 9001)
# Label Map Segmentation Storage (PS3.4 B.5), younger than pydicom's dictionary.
LABEL_MAP = Kind("1.2.840.10008.5.1.4.1.1.66.7", "SEG", 9001)
REPORT = Kind(ComprehensiveSRStorage, "SR", 9002)
OVERLAY = Kind(MultiFrameTrueColorSecondaryCaptureImageStorage, "OT", 9004, JPEGBaseline8Bit)
KEY_OBJECTS = Kind(KeyObjectSelectionDocumentStorage, "KO", 9003)


@dataclass(frozen=True)
class Review:
    """What the object says about the decision it stands for.

    Attributes
    ----------
    SOPInstanceUID, SeriesInstanceUID
        Allocated once, when the review was recorded.
    reviewer
        Initials, for ContentCreatorName.
    research_use
        From the model's manifest: RESEARCH USE ONLY is then said (promise 13).
    created
        Time of the review, with a time zone.
    station_name
        The box, for StationName and DeviceSerialNumber.
    """

    SOPInstanceUID: str
    SeriesInstanceUID: str
    reviewer: str
    research_use: bool
    created: datetime
    station_name: str = MANUFACTURER


def class_name(SOPClassUID: str) -> str:
    """Return the name of a SOP class, or its UID where nobody knows one."""
    known = SOPClassUID == LABEL_MAP.SOPClassUID
    return "Label Map Segmentation Storage" if known else UID(SOPClassUID).name


def derived_uid(uid: str, name: str) -> str:
    """Return the UID that belongs to another UID under a name: the same one every time."""
    return f"2.25.{uuid.uuid5(_UIDS, f'{uid}/{name}').int}"


def tracking_uid(SOPInstanceUID: str, structure_code: str) -> str:
    """Return the UID of a structure of a loop: the same in every result about it."""
    return derived_uid(SOPInstanceUID, structure_code)


def preamble(review: Review, kind: Kind = SEGMENTATION) -> bytes:
    """Return what stands before the data set of a file."""
    return b"\0" * 128 + b"DICM" + file_meta(review, kind)


def file_meta(review: Review, kind: Kind = SEGMENTATION) -> bytes:
    """PS3.10 7.1."""
    meta = Item()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = kind.SOPClassUID
    meta.MediaStorageSOPInstanceUID = review.SOPInstanceUID
    meta.TransferSyntaxUID = kind.TransferSyntaxUID
    meta.ImplementationClassUID = _IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = f"ECHOCART {__version__}"[:16]
    group = joined(encoded(meta))
    return element(0x00020000, "UL", len(group).to_bytes(4, "little")) + group


def series(source: Dataset, summary: str, review: Review, kind: Kind = SEGMENTATION) -> Item:
    """The series of an object and SOP Common (PS3.3 C.7.3.1, C.8.20.1, C.17.1, C.12.1).

    TimezoneOffsetFromUTC speaks for every date and time of an object, those taken over from
    the source too. It is carried when the source has it, and our own times are written in
    that zone. A source without it gives an object without it, because nobody knows in which
    zone its study times are; ours are then in the zone of `created`. The instant itself
    always stands in ContributionDateTime, with its offset.
    """
    dataset = Item()
    dataset.SOPClassUID = kind.SOPClassUID
    dataset.SOPInstanceUID = review.SOPInstanceUID
    dataset.SeriesInstanceUID = review.SeriesInstanceUID
    dataset.Modality = kind.Modality
    dataset.SeriesNumber = kind.SeriesNumber
    dataset.InstanceNumber = 1
    prefix = f"{RESEARCH_USE_ONLY} - " if review.research_use else ""
    dataset.SeriesDescription = f"{prefix}{summary}"[:64]
    created, zone = review.created, _zone(source)
    if zone is not None:
        dataset.TimezoneOffsetFromUTC = value_of(source, "TimezoneOffsetFromUTC")
        created = created.astimezone(zone)
    dataset.SeriesDate = dataset.ContentDate = created.strftime("%Y%m%d")
    dataset.SeriesTime = dataset.ContentTime = created.strftime("%H%M%S.%f")
    return dataset


def _zone(source: Dataset) -> timezone | None:
    """The source's TimezoneOffsetFromUTC (PS3.3 C.12.1.1.8), None when absent or not one."""
    text = value_of(source, "TimezoneOffsetFromUTC")
    if not re.fullmatch(r"[+-][0-9]{4}", text) or text == "-0000":
        return None
    hours, minutes = int(text[1:3]), int(text[3:])
    if hours > 14 or minutes > 59:
        return None
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def equipment(review: Review) -> Item:
    """General and Enhanced General Equipment, and who processed when (PS3.3 C.7.5, C.12.1)."""
    station = plain(review.station_name) or MANUFACTURER
    dataset, contributor = Item(), Dataset()
    contributor.PurposeOfReferenceCodeSequence = [codes.item(codes.PROCESSING_EQUIPMENT)]
    for item in (dataset, contributor):
        item.Manufacturer = MANUFACTURER
        item.ManufacturerModelName = MANUFACTURER
        item.StationName = station[:16]
        item.DeviceSerialNumber = station[:64]
        item.SoftwareVersions = __version__
    contributor.ContributionDateTime = review.created.strftime("%Y%m%d%H%M%S.%f%z")
    dataset.ContributingEquipmentSequence = [contributor]
    return dataset


def image(source: Header, shape: tuple[int, int], count: int, bits: int = 1) -> Item:
    """General Image, Image Pixel and Multi-frame (PS3.3 C.7.6.1, C.8.20.2, C.7.6.16).

    `bits` is 1 for bit planes, 8 for label maps.
    """
    dataset = Item()
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    # Type 2C without an orientation in space: present and empty.
    dataset.PatientOrientation = None
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = shape
    dataset.NumberOfFrames = count
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    dataset.LossyImageCompression = "01" if is_lossy(source) else "00"
    return dataset


def is_lossy(source: Header) -> bool:
    """Tell whether the source ever went through lossy compression (PS3.3 C.7.6.1.1.5)."""
    said = value_of(source.dataset, "LossyImageCompression") == "01"
    return said or source.TransferSyntaxUID in _LOSSY_SYNTAXES


def dimensions(review: Review, by_segment: bool = True) -> Item:
    """Multi-frame Dimension (PS3.3 C.7.6.17): segment, then moment; of label maps moment alone."""
    dataset, organization = Item(), Dataset()
    uid = derived_uid(review.SOPInstanceUID, "dimensions")
    organization.DimensionOrganizationUID = uid
    dataset.DimensionOrganizationSequence = [organization]
    indexes: list[Item] = []
    moment = (frames.TEMPORAL_POSITION, frames.FRAME_CONTENT, "Moment")
    segment = (frames.SEGMENT_NUMBER, frames.SEGMENT_IDENTIFICATION, "Segment")
    for pointer, group, label in (segment, moment) if by_segment else (moment,):
        index = Item()
        index.DimensionOrganizationUID = uid
        index.DimensionIndexPointer, index.FunctionalGroupPointer = pointer, group
        index.DimensionDescriptionLabel = label
        indexes.append(index)
    dataset.DimensionIndexSequence = indexes
    dataset.SharedFunctionalGroupsSequence = [Item()]
    return dataset
