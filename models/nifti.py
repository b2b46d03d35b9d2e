"""Frames and label maps out of NIfTI files, apex up, or one line that says what is wrong."""

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.corrections import LARGEST_LABEL, CorrectionsError

Bytes = npt.NDArray[np.uint8]

_READ = "read a NIfTI file"
_AGAIN = "Download it again from the makers of the data set"
_BRIGHTEST = 255


def read_frames(path: Path) -> tuple[Bytes, tuple[float, float]]:
    """Read an image or a sequence of images.

    Returns
    -------
    tuple
        uint8 [frames, rows, columns] with the apex up, and mm per pixel down the rows and across
        the columns.

    Raises
    ------
    CorrectionsError
        When the file is missing, cut short, no NIfTI, or holds what is no 8-bit grey.
    """
    values, spacing = _read(path)
    if not np.isfinite(values).all():
        number = int(np.count_nonzero(~np.isfinite(values)))
        hint = f"{_AGAIN}, or leave the patient out."
        raise CorrectionsError(_READ, f"{path} holds {number} pixels that are no number", hint)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > _BRIGHTEST:
        hint = f"Grey is 0 to {_BRIGHTEST} here: {_AGAIN[0].lower()}{_AGAIN[1:]}."
        raise CorrectionsError(_READ, f"{path} holds values from {low:g} to {high:g}", hint)
    return np.ascontiguousarray(np.rint(values), np.uint8), spacing


def read_labels(path: Path) -> Bytes:
    """Read a label map or a sequence of them, uint8 [frames, rows, columns], apex up.

    Raises
    ------
    CorrectionsError
        As `read_frames`, and when there is a label that isn't one.
    """
    values, _ = _read(path)
    labels = np.unique(values)
    wrong = [label for label in labels if label not in range(LARGEST_LABEL + 1)]
    if wrong:
        hint = f"Labels are 0 to {LARGEST_LABEL}: {_AGAIN[0].lower()}{_AGAIN[1:]}."
        raise CorrectionsError(_READ, f"{path} holds the label {wrong[0]:g}", hint)
    return np.ascontiguousarray(values, np.uint8)


def read_pair(image: Path, mask: Path, index: int = 0) -> tuple[Bytes, Bytes, tuple[float, float]]:
    """Read frames and their label maps, and see that they agree.

    Parameters
    ----------
    image, mask
        Of one frame, or of a sequence.
    index
        There must be a frame of this number, from 0.

    Raises
    ------
    CorrectionsError
        As `read_frames` and `read_labels`, and when sizes differ or there are too few frames.
    """
    images, spacing = read_frames(image)
    masks = read_labels(mask)
    if images.shape != masks.shape:
        what = f"{mask} is {_size(masks)}, its image {_size(images)}"
        raise CorrectionsError(_READ, what, f"{_AGAIN}, image and mask.")
    if len(images) <= index:
        what = f"{image} has {len(images)} frames, fewer than NbFrame of its Info file says"
        raise CorrectionsError(_READ, what, f"{_AGAIN}, with its Info file.")
    return images, masks, spacing


def _read(path: Path) -> tuple[npt.NDArray[np.generic], tuple[float, float]]:
    """Return [frames, rows, columns] and the spacing of rows and columns."""
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError
    except ImportError as error:
        hint = "Install the training tools: pip install 'echocart[train]'."
        raise CorrectionsError(_READ, f"{path} needs nibabel", hint) from error
    try:
        image = nibabel.nifti1.load(path)
        stored = np.asanyarray(image.dataobj)
        across, down = (float(zoom) for zoom in image.header.get_zooms()[:2])
    except FileNotFoundError as error:
        raise CorrectionsError(_READ, f"{path} is missing", f"{_AGAIN}.") from error
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        what = f"{path} is cut short, or no NIfTI file"
        raise CorrectionsError(_READ, what, f"{_AGAIN}.") from error
    if stored.ndim not in (2, 3) or not stored.size:
        raise CorrectionsError(_READ, f"{path} has the shape {stored.shape}", f"{_AGAIN}.")
    if not (np.isfinite([across, down]).all() and min(across, down) > 0):
        what = f"{path} has pixels of {across:g} by {down:g} mm"
        raise CorrectionsError(_READ, what, f"{_AGAIN}.")
    # The first axis of NIfTI runs across the picture, the second away from the probe.
    return stored.reshape(*stored.shape[:2], -1).T, (down, across)


def _size(frames: Bytes) -> str:
    count, rows, columns = frames.shape
    return f"{columns}x{rows}" + (f"x{count}" if count > 1 else "")
