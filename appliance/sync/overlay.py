"""The contours burned into the loop, for an archive that takes neither SEG nor SR.

A Multi-frame True Color Secondary Capture (PS3.3 A.8.5) in JPEG Baseline: any viewer shows it.
Masks can't be taken from it again; it is a picture of a result, not the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from appliance import masks
from appliance.cine import Cine, FrameError
from appliance.errors import DeliveryError
from appliance.sync import codes, modules
from appliance.sync.carried import as_written, patient_and_study, value_of
from appliance.sync.encode import encapsulated, encoded, joined
from appliance.sync.modules import OVERLAY, Review
from appliance.sync.seg import Part10, must_have_uids
from appliance.sync.segments import Provenance, Structure, draw_heart, subject

Picture = npt.NDArray[np.uint8]

_PIXEL_DATA = int(Tag("PixelData"))
_QUALITY = 90
_LINE = 2  # pixels: as wide as a sample of halved chroma, or the colours fade
_LARGEST = 1 << 30  # bytes of one overlay in memory
_WORDS = 0.06  # rows of the words' band, of the picture's


def overlay(
    cine: Cine,
    frame: Callable[[int], masks.LabelMap],
    drawn: Sequence[int],
    structures: Sequence[Structure],
    provenance: Provenance,
    review: Review,
) -> Part10:
    """Build the overlay of a loop.

    Parameters
    ----------
    cine
        The loop.
    frame
        Gives the label map of a frame, uint8 [Rows, Columns].
    drawn
        Frames that have a label map, from 0; the others are shown as they are, and say so.
    structures
        Which labels are drawn, and in which colours.
    provenance
        What drew them.
    review
        Who decided, when, and the UIDs.

    Returns
    -------
    Part10
        All frames of the loop, numbered as there. A frame that can't be decoded is black and
        says so: leaving it out would shift the others.

    Raises
    ------
    DeliveryError
        When the source has no UIDs, or the object would pass 1 GiB.
    """
    source = cine.header
    must_have_uids(source.dataset)
    frames, size = [], 0
    for picture in _pictures(cine, frame, frozenset(drawn), structures, _words(review)):
        frames.append(_jpeg(picture))
        size += len(frames[-1])
        if size > _LARGEST:
            raise DeliveryError(
                "burn in contours", "the loop is too large for one object (1 GiB)", "Send the SEG."
            )
    summary = f"{subject(structures)} burned in, {provenance.summary}"
    elements = {
        **patient_and_study(source.dataset, source.little_endian),
        **encoded(modules.series(source.dataset, summary, review, OVERLAY)),
        **encoded(modules.equipment(review)),
        **encoded(_image(cine, structures, provenance)),
        **encoded(_timing(cine)),
        **as_written(source.dataset, ["PixelAspectRatio"], source.little_endian),
    }
    raw = cine.rows * cine.columns * 3 * len(frames)
    elements |= encoded(_compression(raw / max(size, 1)))
    before = modules.preamble(review, OVERLAY) + joined(elements)
    study = value_of(source.dataset, "StudyInstanceUID")
    return Part10.of(review.SOPInstanceUID, study, (before, *encapsulated(_PIXEL_DATA, frames)))


def _pictures(
    cine: Cine,
    frame: Callable[[int], masks.LabelMap],
    drawn: frozenset[int],
    structures: Sequence[Structure],
    words: str,
) -> Iterator[Picture]:
    """Yield each frame with its contours, uint8 [rows, columns, 3] BGR."""
    for index in range(cine.frames):
        try:
            picture = np.ascontiguousarray(cine.rgb(index)[..., ::-1])  # OpenCV writes BGR
        except FrameError:
            picture = np.zeros((cine.rows, cine.columns, 3), np.uint8)
            _write(picture, f"frame {index + 1}: damaged - {words}")
            yield picture
            continue
        if index in drawn:
            labels = frame(index)
            for item in structures:
                line = masks.outline(labels, item.label)
                if len(line):
                    cv2.polylines(picture, [line], True, _bgr(item.colour), _LINE, cv2.LINE_AA)
            _write(picture, words)
        else:
            _write(picture, f"no contours - {words}")
        yield picture


def _words(review: Review) -> str:
    use = f"{modules.RESEARCH_USE_ONLY} - " if review.research_use else ""
    return f"{use}{modules.MANUFACTURER}"


def _write(picture: npt.NDArray[np.uint8], words: str) -> None:
    """Write into the lower left corner, as large as fits, on a band of its own."""
    rows, columns = picture.shape[:2]
    (width, height), below = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)
    scale = min(rows * _WORDS / (height + below), 0.96 * columns / width)
    top = max(rows - int((height + 2 * below) * scale) - 1, 0)
    picture[top:, : int(width * scale) + 4] = 0
    place = (2, rows - 1 - int(below * scale))
    white = (255, 255, 255)
    cv2.putText(picture, words, place, cv2.FONT_HERSHEY_SIMPLEX, scale, white, 1, cv2.LINE_AA)


def _bgr(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return blue, green, red


def _jpeg(picture: Picture) -> bytes:
    settings = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422]
    data = cv2.imencode(".jpg", picture, settings)[1].tobytes()
    return data + b"\0" * (len(data) % 2)


def _image(cine: Cine, structures: Sequence[Structure], provenance: Provenance) -> Dataset:
    """General Image, Pixel, Multi-frame, Cine, SC and SC Multi-frame (PS3.3 C.7.6, C.8.6)."""
    dataset, source = Dataset(), Dataset()
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = None
    if draw_heart(structures):
        dataset.BodyPartExamined = "HEART"
    else:
        dataset.Laterality = None  # Type 2C: of no part that is named, nobody knows
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = cine.rows, cine.columns
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.NumberOfFrames = cine.frames
    dataset.ConversionType = "WSD"
    # The source may have names in its pixels, and nobody looked.
    dataset.BurnedInAnnotation = "YES"
    names = ", ".join(structure.plain_name for structure in structures)
    how = f"contours burned in: {names}; {provenance.summary}"
    dataset.DerivationDescription = f"{how}; {provenance.model_name} {provenance.model_version}"
    source.ReferencedSOPClassUID = value_of(cine.header.dataset, "SOPClassUID")
    source.ReferencedSOPInstanceUID = value_of(cine.header.dataset, "SOPInstanceUID")
    source.PurposeOfReferenceCodeSequence = [codes.item(codes.SOURCE_IMAGE)]
    dataset.SourceImageSequence = [source]
    return dataset


def _timing(cine: Cine) -> Dataset:
    """Cine and Multi-frame (PS3.3 C.7.6.5, C.7.6.6); nothing of a still."""
    dataset = Dataset()
    if cine.frames < 2:
        return dataset
    times = cine.timing.frame_times_ms
    steps = [0.0, *(round(after - before, 3) for before, after in pairwise(times))]
    if len(set(steps[1:])) > 1:
        dataset.FrameIncrementPointer = Tag("FrameTimeVector")
        dataset.FrameTimeVector = [f"{step:.10g}" for step in steps]
    else:
        dataset.FrameIncrementPointer = Tag("FrameTime")
        dataset.FrameTime = f"{1000 / cine.timing.rate_hz:.10g}"
    return dataset


def _compression(ratio: float) -> Dataset:
    dataset = Dataset()
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = f"{ratio:.4g}"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    return dataset
