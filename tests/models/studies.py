"""Many corrections out of one: other UIDs and patients of the same length, other pictures."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pydicom

_DIGITS = 6


def files_of(objects: Sequence[Any]) -> list[bytes]:
    """The files of one correction, as the box sends them."""
    return [b"".join(bytes(part) for part in item.parts) for item in objects]


def variants(files: Sequence[bytes], count: int, of_a_patient: int = 1) -> Iterator[list[bytes]]:
    """Yield the files of as many corrections, of different loops.

    Their pictures differ in some pixels in the middle, as much as a number has digits.
    """
    files = [_native(files[0]), *files[1:]]
    first = [pydicom.dcmread(BytesIO(file), stop_before_pixels=True) for file in files]
    uids = {str(item[key].value) for item in first for key in _UIDS if key in item}
    uids.add(str(first[0].SourceImageSequence[0].ReferencedSOPInstanceUID))
    patient = str(first[0].PatientID)
    for number in range(count):
        whose = f"{patient[:-_DIGITS]}{number // of_a_patient:0{_DIGITS}d}"
        others = {uid: f"{uid[:-_DIGITS]}{number:0{_DIGITS}d}" for uid in uids}
        made = []
        for file in files:
            for old, new in {**others, patient: whose}.items():
                file = file.replace(old.encode(), new.encode())
            made.append(file)
        yield [_marked(made[0], first[0], number), *made[1:]]


def _native(file: bytes) -> bytes:
    """A loop whose pixels are not compressed."""
    dataset, stream = pydicom.dcmread(BytesIO(file)), BytesIO()
    dataset.decompress(generate_instance_uid=False)
    dataset.save_as(stream)
    return stream.getvalue()


def _marked(file: bytes, loop: pydicom.Dataset, number: int) -> bytes:
    """A loop whose frames bear a number in shades of grey."""
    shape = int(loop.NumberOfFrames), int(loop.Rows), int(loop.Columns)
    size = shape[0] * shape[1] * shape[2]
    start = file.rindex(b"OB\x00\x00" + (size + size % 2).to_bytes(4, "little")) + 8
    pixels = np.frombuffer(file[start : start + size], np.uint8).reshape(shape).copy()
    top, left = shape[1] // 2, shape[2] // 2
    for digit in range(_DIGITS):
        grey = 10 + 24 * (number // 10**digit % 10)
        pixels[:, top : top + 4, left + 4 * digit : left + 4 * digit + 4] = grey
    return b"".join([file[:start], pixels.tobytes(), file[start + size :]])


_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
