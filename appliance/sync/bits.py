"""Label maps as DICOM packs them: one bit a pixel and structure, or one byte a pixel."""

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from appliance.errors import DeliveryError

LabelMap = npt.NDArray[np.uint8]

_LARGEST = 0xFFFFFFFE  # bytes of one PixelData value (PS3.5 7.1.1)


def pack(
    frame: Callable[[int], LabelMap],
    indexes: Sequence[int],
    labels: Sequence[int],
    shape: tuple[int, int],
) -> npt.NDArray[np.uint8]:
    """Pack label maps into the PixelData of a BINARY segmentation (PS3.5 8.1.1, Annex D).

    Parameters
    ----------
    frame
        Gives the label map of a frame, uint8 [rows, columns]. Called once for each index, so
        that one label map is in memory at a time.
    indexes
        Frames to pack, from 0.
    labels
        Label value of each segment.
    shape
        Rows and columns.

    Returns
    -------
    ndarray of uint8
        All frames of the first segment, then all of the second: the first pixel is the lowest
        bit, and a frame may begin inside a byte. Padded to an even length.

    Raises
    ------
    DeliveryError
        When a label map has another shape, or the object would pass 4 GB.
    """
    pixels = shape[0] * shape[1]
    size = (pixels * len(indexes) * len(labels) + 15) // 16 * 2
    if size > _LARGEST:
        raise _refused("the loop is too large for one object (4 GB)")
    packed = np.zeros(size, np.uint8)
    padded = np.zeros(pixels + 8, bool)
    for place, index in enumerate(indexes):
        flat = _of_size(frame(index), shape).reshape(-1)
        for segment, label in enumerate(labels):
            start = (segment * len(indexes) + place) * pixels
            _put(packed, padded, start, flat == label)
    return packed


def numbered(
    frame: Callable[[int], LabelMap],
    indexes: Sequence[int],
    labels: Sequence[int],
    shape: tuple[int, int],
) -> Iterator[LabelMap]:
    """Give the frames of a LABELMAP segmentation: SegmentNumber of each pixel, 0 for none.

    Parameters
    ----------
    frame, indexes, labels, shape
        As for `pack`; the first label's segment is number 1.

    Raises
    ------
    DeliveryError
        When a label map has another shape, or the object would pass 4 GB.
    """
    if shape[0] * shape[1] * len(indexes) > _LARGEST:
        raise _refused("the loop is too large for one object (4 GB)")
    number = np.zeros(256, np.uint8)
    number[list(labels)] = np.arange(1, len(labels) + 1)
    for index in indexes:
        yield np.asarray(cv2.LUT(_of_size(frame(index), shape), number), np.uint8)


def _of_size(labels: LabelMap, shape: tuple[int, int]) -> LabelMap:
    if labels.shape != shape:
        raise _refused("a label map hasn't the size of the loop's frames")
    return labels


def _put(
    packed: npt.NDArray[np.uint8],
    padded: npt.NDArray[np.bool_],
    start: int,
    mask: npt.NDArray[np.bool_],
) -> None:
    first, shift = divmod(start, 8)
    if shift == 0:
        packed_mask = np.packbits(mask, bitorder="little")
    else:
        padded[:shift] = False
        padded[shift : shift + mask.size] = mask
        packed_mask = np.packbits(padded[: shift + mask.size], bitorder="little")
    # The first byte may hold the end of the frame before.
    packed[first : first + packed_mask.size] |= packed_mask


def _refused(subject: str) -> DeliveryError:
    return DeliveryError("build a segmentation", subject, "Report it with the loop's number.")
