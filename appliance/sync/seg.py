"""The DICOM Segmentation of a cine loop (PS3.3 A.51): BINARY, Explicit VR Little Endian.

Written by us because highdicom refuses an ultrasound cine: it has many frames and no Frame of
Reference. The same review gives the same bytes every time, so that a delivery cut short and
started again can never put two different objects into the world under one UID.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, ClassVar

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from appliance.errors import DeliveryError
from appliance.part10 import Header, number
from appliance.sync import bits, frames, modules
from appliance.sync.brake import Slowed
from appliance.sync.carried import as_written, in_character_set_of, patient_and_study, value_of
from appliance.sync.encode import Elements, element, encoded, head, joined
from appliance.sync.modules import Review
from appliance.sync.segments import Provenance, Structure, segment, subject

_PIXEL_DATA = int(Tag("PixelData"))


@dataclass(frozen=True)
class Part10:
    """A Part 10 file in memory: its parts in order, and the SHA-256 and size of the whole."""

    suffix: ClassVar[str] = ".dcm"

    SOPInstanceUID: str
    StudyInstanceUID: str
    parts: tuple[bytes | memoryview, ...]
    sha256: str
    size: int

    @classmethod
    def of(
        cls, SOPInstanceUID: str, StudyInstanceUID: str, parts: tuple[bytes | memoryview, ...]
    ) -> Part10:
        """Return a file of these parts, hashed."""
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        size = sum(len(part) for part in parts)
        return cls(SOPInstanceUID, StudyInstanceUID, parts, digest.hexdigest(), size)

    def write_to(self, stream: BinaryIO | Slowed) -> None:
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
    more: Elements | None = None,
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
    more
        Further elements, or others in place of these.

    Returns
    -------
    Part10
        About one bit for each pixel, frame and structure in memory.

    Raises
    ------
    DeliveryError
        When the source has no UIDs, or a label map doesn't fit it.
    """
    must_have_uids(source.dataset)
    if not indexes or not structures:
        raise _refused("the review has no label map")
    shape = (int(number(source.dataset, "Rows")), int(number(source.dataset, "Columns")))
    summary = f"{subject(structures)}, {provenance.summary}"
    pixels = bits.pack(frame, indexes, [item.label for item in structures], shape)
    elements = {
        **patient_and_study(source.dataset, source.little_endian),
        **encoded(modules.series(source.dataset, summary, review)),
        **encoded(modules.equipment(review)),
        **encoded(modules.image(source, shape, len(indexes) * len(structures))),
        **_compression(source),
        **encoded(_content(source.dataset, structures, provenance, review)),
        **_creator(source.dataset, review),
        **encoded(modules.dimensions(review)),
        frames.PER_FRAME: _per_frame(source.dataset, indexes, len(structures)),
        **(more or {}),
        # The value follows as a part of its own, never copied.
        _PIXEL_DATA: head(_PIXEL_DATA, "OB", pixels.nbytes),
    }
    before = modules.preamble(review) + joined(elements)
    study = value_of(source.dataset, "StudyInstanceUID")
    return Part10.of(review.SOPInstanceUID, study, (before, pixels.data))


def must_have_uids(source: Dataset) -> None:
    """Refuse (DeliveryError) a source that nothing can refer to."""
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if not value_of(source, keyword):
            raise _refused(f"the loop has no {keyword}")


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
        segment(place, item, provenance, modules.tracking_uid(uid, item.code))
        for place, item in enumerate(structures, 1)
    ]
    instance.ReferencedSOPClassUID = value_of(source, "SOPClassUID")
    instance.ReferencedSOPInstanceUID = uid
    series.SeriesInstanceUID = value_of(source, "SeriesInstanceUID")
    series.ReferencedInstanceSequence = [instance]
    dataset.ReferencedSeriesSequence = [series]
    return dataset


def _creator(source: Dataset, review: Review) -> Elements:
    tag = int(Tag("ContentCreatorName"))
    return {tag: element(tag, "PN", reviewer_name(source, review.reviewer))}


def reviewer_name(source: Dataset, reviewer: str) -> bytes:
    """Return a reviewer's initials as a PN in the source's character set; may be empty."""
    initials = reviewer.replace("\\", " ").replace("=", " ")
    clean = "".join(sign for sign in initials if sign.isprintable()).strip()[:64]
    return in_character_set_of(source, clean) if clean else b""


def _refused(subject: str) -> DeliveryError:
    return DeliveryError("build a segmentation", subject, "Report it with the loop's number.")
