"""The DICOM Segmentation of a cine loop (PS3.3 A.51), as bit planes or as label maps.

Written by us because highdicom refuses an ultrasound cine: it has many frames and no Frame of
Reference. The same review gives the same bytes every time, so that a delivery cut short and
started again can never put two different objects into the world under one UID.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, ClassVar

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from appliance import run_length
from appliance.errors import DeliveryError
from appliance.part10 import Header
from appliance.part10 import number as number_of
from appliance.sync import bits, frames, modules
from appliance.sync.brake import Slowed
from appliance.sync.carried import as_written, in_character_set_of, patient_and_study, value_of
from appliance.sync.encode import (
    Elements,
    Item,
    deflated,
    element,
    encapsulated,
    encoded,
    head,
    joined,
)
from appliance.sync.form import PLAIN, Form
from appliance.sync.modules import Review
from appliance.sync.segments import Provenance, Structure, background, segment, subject

_PIXEL_DATA = int(Tag("PixelData"))
_INSTANCE_NUMBER = int(Tag("InstanceNumber"))
_PIXEL_PADDING_VALUE = int(Tag("PixelPaddingValue"))
Parts = tuple[bytes | memoryview, ...]


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
    form: Form = PLAIN,
    number: int = 1,
) -> Part10:
    """Build a segmentation of a loop.

    Parameters
    ----------
    source
        Header of the loop, as read: elements that were looked at before may lose their bytes.
    frame
        Gives the label map of a frame, uint8 [Rows, Columns]; called once for each index.
    indexes
        Frames that are written, from 0, rising. An empty map is written as an empty frame:
        viewers take a missing one for an error.
    structures
        One segment each, in this order, present or not.
    provenance
        What drew them.
    review
        Who decided, when, and the UIDs.
    more
        Further elements, or others in place of these.
    form
        Its type and transfer syntax; which frames and structures is the caller's to choose.
    number
        InstanceNumber: a review may have several.

    Returns
    -------
    Part10
        In memory about one bit for each pixel, frame and structure; of label maps a byte for
        each pixel and frame; less where compressed.

    Raises
    ------
    DeliveryError
        When the source has no UIDs, or a label map doesn't fit it.
    """
    must_have_uids(source.dataset)
    if not indexes or not structures:
        raise _refused("the review has no label map")
    shape, labels = _shape(source), [item.label for item in structures]
    elements = _elements(source, shape, len(indexes), structures, provenance, review, form)
    elements |= {
        _INSTANCE_NUMBER: element(_INSTANCE_NUMBER, "IS", str(number).encode()),
        frames.PER_FRAME: _per_frame(source.dataset, indexes, len(structures), form),
        **(more or {}),
    }
    data_set: Parts = (joined(elements), *_pixels(form, frame, indexes, labels, shape))
    written = (deflated(data_set),) if form.syntax == "deflated" else data_set
    parts = (modules.preamble(review, form.kind), *written)
    return Part10.of(review.SOPInstanceUID, value_of(source.dataset, "StudyInstanceUID"), parts)


def _elements(
    source: Header,
    shape: tuple[int, int],
    moments: int,
    structures: Sequence[Structure],
    provenance: Provenance,
    review: Review,
    form: Form,
) -> Elements:
    """Everything but what belongs to a single frame."""
    planes, summary = form.type == "BINARY", f"{subject(structures)}, {provenance.summary}"
    count = moments * len(structures) if planes else moments
    return {
        **patient_and_study(source.dataset, source.little_endian),
        **encoded(modules.series(source.dataset, summary, review, form.kind)),
        **encoded(modules.equipment(review)),
        **encoded(modules.image(source, shape, count, bits=1 if planes else 8)),
        **_compression(source),
        **encoded(_content(source.dataset, structures, provenance, review)),
        **(_label_map(structures, provenance, source.dataset) if not planes else {}),
        **_creator(source.dataset, review),
        **encoded(modules.dimensions(review, by_segment=planes)),
    }


def _pixels(
    form: Form,
    frame: Callable[[int], bits.LabelMap],
    indexes: Sequence[int],
    labels: Sequence[int],
    shape: tuple[int, int],
) -> Parts:
    """The element PixelData, the last one; its value follows as parts of their own, never copied."""
    if form.type == "BINARY":
        packed = bits.pack(frame, indexes, labels, shape)
        return head(_PIXEL_DATA, "OB", packed.nbytes), packed.data
    maps = bits.numbered(frame, indexes, labels, shape)
    if form.syntax == "rle":
        return tuple(encapsulated(_PIXEL_DATA, [run_length.encode(each) for each in maps]))
    size = shape[0] * shape[1] * len(indexes)
    padding = (b"\0",) if size % 2 else ()
    values = (each.reshape(-1).data for each in maps)
    return head(_PIXEL_DATA, "OB", size + size % 2), *values, *padding


def _shape(source: Header) -> tuple[int, int]:
    return int(number_of(source.dataset, "Rows")), int(number_of(source.dataset, "Columns"))


def must_have_uids(source: Dataset) -> None:
    """Refuse (DeliveryError) a source that nothing can refer to."""
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if not value_of(source, keyword):
            raise _refused(f"the loop has no {keyword}")


def _per_frame(source: Dataset, indexes: Sequence[int], structures: int, form: Form) -> bytes:
    segments = structures if form.type == "BINARY" else None
    uids = (value_of(source, "SOPClassUID"), value_of(source, "SOPInstanceUID"))
    multi_frame = number_of(source, "NumberOfFrames") > 1
    return frames.per_frame_groups(indexes, segments, *uids, multi_frame)


def _compression(source: Header) -> Elements:
    keywords = ("LossyImageCompressionRatio", "LossyImageCompressionMethod")
    lossy = modules.is_lossy(source)
    return as_written(source.dataset, keywords if lossy else (), source.little_endian)


def _content(
    source: Dataset, structures: Sequence[Structure], provenance: Provenance, review: Review
) -> Item:
    """Segmentation Image and Common Instance Reference (PS3.3 C.8.20.2, C.12.2)."""
    dataset, series, instance = Item(), Item(), Item()
    dataset.SegmentationType = "BINARY"
    research = review.research_use
    dataset.ContentLabel = modules.RESEARCH_LABEL if research else "SEGMENTATION"
    dataset.ContentDescription = (
        f"{modules.RESEARCH_USE_ONLY} - not for diagnosis" if research else ""
    )
    uid = value_of(source, "SOPInstanceUID")
    dataset.SegmentSequence = _segments(structures, provenance, uid)
    instance.ReferencedSOPClassUID = value_of(source, "SOPClassUID")
    instance.ReferencedSOPInstanceUID = uid
    series.SeriesInstanceUID = value_of(source, "SeriesInstanceUID")
    series.ReferencedInstanceSequence = [instance]
    dataset.ReferencedSeriesSequence = [series]
    return dataset


def _label_map(
    structures: Sequence[Structure], provenance: Provenance, source: Dataset
) -> Elements:
    """What a LABELMAP says otherwise (PS3.3 C.8.20.2): its background has a segment too."""
    dataset, uid = Item(), value_of(source, "SOPInstanceUID")
    dataset.SegmentationType = "LABELMAP"
    dataset.SegmentsOverlap = "NO"
    dataset.SegmentSequence = [
        background(provenance),
        *_segments(structures, provenance, uid),
    ]
    padding = element(_PIXEL_PADDING_VALUE, "US", struct.pack("<H", 0))  # its VR depends
    return {**encoded(dataset), _PIXEL_PADDING_VALUE: padding}


def _segments(
    structures: Sequence[Structure], provenance: Provenance, SOPInstanceUID: str
) -> list[Item]:
    return [
        segment(place, item, provenance, modules.tracking_uid(SOPInstanceUID, item.code))
        for place, item in enumerate(structures, 1)
    ]


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
