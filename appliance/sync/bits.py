"""Binary masks as DICOM packs them: one bit a pixel, frames without a gap between them."""

from collections.abc import Callable, Sequence

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
        labels_of_frame = frame(index)
        if labels_of_frame.shape != shape:
            raise _refused("a label map hasn't the size of the loop's frames")
        flat = labels_of_frame.reshape(-1)
        for segment, label in enumerate(labels):
            start = (segment * len(indexes) + place) * pixels
            _put(packed, padded, start, flat == label)
    return packed


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
