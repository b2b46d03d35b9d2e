"""Per-frame items of a segmentation: which segment, which moment, which frame of the source.

An ultrasound cine has no Frame of Reference, so each frame points at its source frame
(PS3.3 C.7.6.16.2.6) instead of lying in space.
"""

import struct
from collections.abc import Iterator, Sequence

from pydicom.tag import Tag

from appliance.sync import codes
from appliance.sync.encode import Item, element, encoded, joined, sequence

SEGMENT_NUMBER = int(Tag("ReferencedSegmentNumber"))
SEGMENT_IDENTIFICATION = int(Tag("SegmentIdentificationSequence"))
TEMPORAL_POSITION = int(Tag("TemporalPositionIndex"))
FRAME_CONTENT = int(Tag("FrameContentSequence"))
_DIMENSION_INDEX_VALUES = int(Tag("DimensionIndexValues"))
_DERIVATION_IMAGE = int(Tag("DerivationImageSequence"))
_SOURCE_IMAGE = int(Tag("SourceImageSequence"))
_FRAME_NUMBER = int(Tag("ReferencedFrameNumber"))
PER_FRAME = int(Tag("PerFrameFunctionalGroupsSequence"))


def per_frame_groups(
    indexes: Sequence[int],
    segments: int | None,
    SOPClassUID: str,
    SOPInstanceUID: str,
    multi_frame: bool,
) -> bytes:
    """Encode PerFrameFunctionalGroupsSequence, ordered as `bits.pack` orders the pixels.

    Parameters
    ----------
    indexes
        Source frames, from 0. TemporalPositionIndex counts those that are here, from 1 (PS3.3
        C.7.6.16.2.2); which frame of the source it is stands in ReferencedFrameNumber.
    segments
        Number of segments, counted from 1 (PS3.3 C.8.20.2); None where each frame is a label map
        of all of them.
    SOPClassUID, SOPInstanceUID
        Of the source image.
    multi_frame
        Whether the source has frames to number: a still is referred to as a whole.
    """
    derivation = list(_derivations(SOPClassUID, SOPInstanceUID, indexes if multi_frame else None))
    derivation *= 1 if multi_frame else len(indexes)
    if segments is None:
        moments = enumerate(derivation, 1)
        return sequence(PER_FRAME, [part + _content(place) for place, part in moments])
    items = []
    for segment in range(1, segments + 1):
        number = element(SEGMENT_NUMBER, "US", struct.pack("<H", segment))
        identification = sequence(SEGMENT_IDENTIFICATION, [number])
        for place, part in enumerate(derivation, 1):
            # Group 0008, 0020, 0062: the order of the tags.
            items.append(part + _content(segment, place) + identification)
    return sequence(PER_FRAME, items)


def _content(*place: int) -> bytes:
    """A frame's place by each dimension, from 1; the last one is the moment."""
    position = element(TEMPORAL_POSITION, "UL", struct.pack("<L", place[-1]))
    packed = struct.pack(f"<{len(place)}L", *place)
    return sequence(FRAME_CONTENT, [position + element(_DIMENSION_INDEX_VALUES, "UL", packed)])


def _source(SOPClassUID: str, SOPInstanceUID: str) -> Item:
    source = Item()
    source.ReferencedSOPClassUID = SOPClassUID
    source.ReferencedSOPInstanceUID = SOPInstanceUID
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = [codes.item(codes.SOURCE_IMAGE)]
    return source


def _derivations(
    SOPClassUID: str, SOPInstanceUID: str, indexes: Sequence[int] | None
) -> Iterator[bytes]:
    """Give DerivationImageSequence for each source frame; one for a source that has no frames.

    Encoded once: of hundreds of frames only the frame's number differs.
    """
    derivation = Item()
    derivation.DerivationCodeSequence = [codes.item(codes.SEGMENTATION)]
    source = encoded(_source(SOPClassUID, SOPInstanceUID))
    rest = encoded(derivation)
    for index in [None] if indexes is None else indexes:
        if index is not None:
            source[_FRAME_NUMBER] = element(_FRAME_NUMBER, "IS", str(index + 1).encode("ascii"))
        images = sequence(_SOURCE_IMAGE, [joined(source)])
        yield sequence(_DERIVATION_IMAGE, [joined({**rest, _SOURCE_IMAGE: images})])
