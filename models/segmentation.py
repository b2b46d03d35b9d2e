"""Label maps out of the box's DICOM SEG objects, frame by frame, without decoding the rest.

BINARY frames are contiguous bits (PS3.3 C.8.20.2): whether two drawings differ is seen on the bits,
and only the frames asked for are unpacked.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.uid import ExplicitVRLittleEndian

from appliance.manifest import Manifest
from models.corrections import CorrectionsError

Bytes = npt.NDArray[np.uint8]
_READ = "read a segmentation"
# ReferencedSegmentNumber and ReferencedFrameNumber with VR, length and value (PS3.5 7.1.2).
_SEGMENT = re.compile(rb"\x62\x00\x0b\x00US\x02\x00(..)", re.DOTALL)
_FRAME = re.compile(rb"\x08\x00\x60\x11IS.\x00(\d+)", re.DOTALL)
_BY_PERSON = ("SEMIAUTOMATIC", "MANUAL")  # SegmentAlgorithmType, PS3.3 C.8.20.2


@dataclass(frozen=True)
class Segmentation:
    """A SEG whose pixels are still packed.

    Attributes
    ----------
    dataset
        The object.
    places
        Source frame, from 0, to the label and the number in the pixels of each of its masks.
    """

    dataset: Dataset
    places: dict[int, tuple[tuple[int, int], ...]]

    @property
    def by_person(self) -> bool:
        """Whether a person drew it, or changed what the model drew."""
        return str(self.dataset.SegmentSequence[0].SegmentAlgorithmType) in _BY_PERSON

    @property
    def source(self) -> str:
        """SOPInstanceUID of the loop it is of (PS3.3 C.12.2)."""
        series = self.dataset.ReferencedSeriesSequence[0]
        return str(series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID)

    def differs(self, other: "Segmentation") -> list[int]:
        """Return the frames that both have and that don't show the same."""
        both = sorted(set(self.places) & set(other.places))
        return [index for index in both if self._masks(index) != other._masks(index)]

    def labels(self, frame: int) -> Bytes:
        """Return the label map of a source frame, uint8 [Rows, Columns]."""
        shape = int(self.dataset.Rows), int(self.dataset.Columns)
        made = np.zeros(shape, np.uint8)
        for label, bits in self._masks(frame).items():
            mask = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
            made[mask[: made.size].reshape(shape).astype(bool)] = label
        return made

    def _masks(self, frame: int) -> dict[int, bytes]:
        """Bits of each label's mask that isn't empty; the first bit is the first pixel's."""
        size = int(self.dataset.Rows) * int(self.dataset.Columns)
        pixels, found = self.dataset.PixelData, {}
        for label, place in self.places[frame]:
            start = place * size
            part = np.frombuffer(pixels, np.uint8, (start + size + 7) // 8 - start // 8, start // 8)
            if start % 8 or size % 8:
                bits = np.unpackbits(part, bitorder="little")[start % 8 :][:size]
                part = np.packbits(bits, bitorder="little")
            if part.any():
                found[label] = part.tobytes()
        return found


def read(path: Path, manifest: Manifest) -> Segmentation:
    """Read a SEG; its segments get the label values of a manifest, by their SCT codes.

    Raises
    ------
    CorrectionsError
        When it isn't BINARY, or holds fewer pixels than frames.
    """
    dataset = dcmread(path)
    kind = str(dataset.get("SegmentationType", ""))
    compressed = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    if kind != "BINARY" or compressed:
        what = f"a segmentation is {kind or 'of no type'}{', compressed' if compressed else ''}"
        raise CorrectionsError(_READ, what, "Boxes send BINARY ones, not compressed.")
    bits = int(dataset.NumberOfFrames) * int(dataset.Rows) * int(dataset.Columns)
    if len(dataset.PixelData) < (bits + 7) // 8:
        raise CorrectionsError(_READ, "a segmentation is cut short", "Send it again.")
    codes = {structure.code: structure.label for structure in manifest.structures}
    labels = {
        int(item.SegmentNumber): codes.get(
            str(item.SegmentedPropertyTypeCodeSequence[0].CodeValue), 0
        )
        for item in dataset.SegmentSequence
    }
    found: dict[int, list[tuple[int, int]]] = {}
    for place, (segment, number) in enumerate(_seen(dataset) or _told(dataset)):
        masks = found.setdefault(number - 1, [])
        if label := labels.get(segment, 0):
            masks.append((label, place))
    return Segmentation(dataset, {frame: tuple(masks) for frame, masks in found.items()})


def _seen(dataset: Dataset) -> list[tuple[int, int]]:
    """Segment and source frame of each mask, as their bytes stand; [] when that isn't certain.

    Parsing hundreds of nested sequences takes ten times as long as everything else here.
    """
    raw = dataset.get_item("PerFrameFunctionalGroupsSequence")
    explicit = dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    if not explicit or not isinstance(raw, RawDataElement) or raw.value is None:
        return []
    segments = [int.from_bytes(value, "little") for value in _SEGMENT.findall(raw.value)]
    frames = [int(value) for value in _FRAME.findall(raw.value)]
    if not len(segments) == len(frames) == int(dataset.NumberOfFrames):
        return []
    return list(zip(segments, frames, strict=True))


def _told(dataset: Dataset) -> list[tuple[int, int]]:
    """Return the same by the book (PS3.3 C.7.6.16.2.6 and C.8.20.3.1)."""
    found = []
    for group in dataset.PerFrameFunctionalGroupsSequence:
        segment = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        found.append((segment, int(source.get("ReferencedFrameNumber", 1))))
    return found
