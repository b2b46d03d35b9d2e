"""The DICOM Segmentation of a cine loop (PS3.3 A.51): BINARY, Explicit VR Little Endian.

Written by us because highdicom refuses an ultrasound cine: it has many frames and no Frame of
Reference. The same review gives the same bytes every time, so that a delivery cut short and
started again can never put two different objects into the world under one UID.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from appliance.errors import DeliveryError
from appliance.part10 import Header, number
from appliance.sync import bits, frames, modules
from appliance.sync.carried import as_written, in_character_set_of, patient_and_study, value_of
from appliance.sync.encode import Elements, element, encoded, head, joined
from appliance.sync.modules import Review
from appliance.sync.segments import Provenance, Structure, segment

_PIXEL_DATA = int(Tag("PixelData"))


@dataclass(frozen=True)
class Part10:
    """A Part 10 file in memory: its parts in order, and the SHA-256 and size of the whole."""

    SOPInstanceUID: str
    StudyInstanceUID: str
    parts: tuple[bytes | memoryview, ...]
    sha256: str
    size: int

    def write_to(self, stream: BinaryIO) -> None:
        """Write the file to a binary stream."""
        for part in self.parts:
            stream.write(part)


def segmentation(
    source: Header,
    frame: Callable[[int], bits.LabelMap],
    indexes: Sequence[int],
    structures: Sequence[Structure],
    provenance: Provenance,
    review: Review,
) -> Part10:
    """Build the segmentation of a loop.

    Parameters
    ----------
    source
        Header of the loop, as read: elements that were looked at before may lose their bytes.
    frame
        Gives the label map of a frame, uint8 [Rows, Columns]; called once for each index.
    indexes
        Frames that have a label map, from 0, rising. An empty map is written as an empty frame:
        viewers take a missing one for an error.
    structures
        One segment each, in this order, present or not.
    provenance
        What drew them.
    review
        Who decided, when, and the UIDs.

    Returns
    -------
    Part10
        About one bit for each pixel, frame and structure in memory.

    Raises
    ------
    DeliveryError
        When the source has no UIDs, or a label map doesn't fit it.
    """
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if not value_of(source.dataset, keyword):
            raise _refused(f"the loop has no {keyword}")
    if not indexes or not structures:
        raise _refused("the review has no label map")
    shape = (int(number(source.dataset, "Rows")), int(number(source.dataset, "Columns")))
    pixels = bits.pack(frame, indexes, [item.label for item in structures], shape)
    elements = {
        **patient_and_study(source.dataset, source.little_endian),
        **encoded(modules.series(source.dataset, provenance.summary, review)),
        **encoded(modules.equipment(review)),
        **encoded(modules.image(source, shape, len(indexes) * len(structures))),
        **_compression(source),
        **encoded(_content(source.dataset, structures, provenance, review)),
        **_creator(source.dataset, review),
        **encoded(modules.dimensions(review)),
        frames.PER_FRAME: _per_frame(source.dataset, indexes, len(structures)),
        # The value follows as a part of its own, never copied.
        _PIXEL_DATA: head(_PIXEL_DATA, "OB", pixels.nbytes),
    }
    before = b"\0" * 128 + b"DICM" + modules.file_meta(review) + joined(elements)
    return _part10(source.dataset, review, (before, pixels.data))


def _part10(source: Dataset, review: Review, parts: tuple[bytes | memoryview, ...]) -> Part10:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return Part10(
        review.SOPInstanceUID,
        value_of(source, "StudyInstanceUID"),
        parts,
        digest.hexdigest(),
        sum(len(part) for part in parts),
    )


def _per_frame(source: Dataset, indexes: Sequence[int], segments: int) -> bytes:
    uids = (value_of(source, "SOPClassUID"), value_of(source, "SOPInstanceUID"))
    multi_frame = number(source, "NumberOfFrames") > 1
    return frames.per_frame_groups(indexes, segments, *uids, multi_frame)


def _compression(source: Header) -> Elements:
    keywords = ("LossyImageCompressionRatio", "LossyImageCompressionMethod")
    lossy = modules.is_lossy(source)
    return as_written(source.dataset, keywords if lossy else (), source.little_endian)


def _content(
    source: Dataset, structures: Sequence[Structure], provenance: Provenance, review: Review
) -> Dataset:
    """Segmentation Image and Common Instance Reference (PS3.3 C.8.20.2, C.12.2)."""
    dataset, series, instance = Dataset(), Dataset(), Dataset()
    dataset.SegmentationType = "BINARY"
    research = review.research_use
    dataset.ContentLabel = modules.RESEARCH_LABEL if research else "SEGMENTATION"
    dataset.ContentDescription = (
        f"{modules.RESEARCH_USE_ONLY} - not for diagnosis" if research else ""
    )
    uid = value_of(source, "SOPInstanceUID")
    dataset.SegmentSequence = [
        segment(place, item, provenance, modules.derived_uid(uid, item.code))
        for place, item in enumerate(structures, 1)
    ]
    instance.ReferencedSOPClassUID = value_of(source, "SOPClassUID")
    instance.ReferencedSOPInstanceUID = uid
    series.SeriesInstanceUID = value_of(source, "SeriesInstanceUID")
    series.ReferencedInstanceSequence = [instance]
    dataset.ReferencedSeriesSequence = [series]
    return dataset


def _creator(source: Dataset, review: Review) -> Elements:
    initials = review.reviewer.replace("\\", " ").replace("=", " ")
    clean = "".join(sign for sign in initials if sign.isprintable()).strip()[:64]
    tag = int(Tag("ContentCreatorName"))
    return {tag: element(tag, "PN", in_character_set_of(source, clean) if clean else b"")}


def _refused(subject: str) -> DeliveryError:
    return DeliveryError("build a segmentation", subject, "Report it with the loop's number.")
