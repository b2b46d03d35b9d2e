"""Frames of bytes in RLE Lossless (PS3.5 Annex G).

Its segments are PackBits, row by row, which is one of TIFF's compressions too: OpenCV's is ten
times as fast as the encoder that DICOM libraries use, and lets other threads run meanwhile.
"""

import struct

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

# TIFF 6.0: compression is PackBits, with no predictor.
_COMPRESSION, _PREDICTOR = 32773, 1
# TIFF 6.0, section 8: a strip holds whole rows.
_STRIP_OFFSETS, _STRIP_BYTE_COUNTS = 273, 279
_NUMBER = {3: "H", 4: "I", 16: "Q"}  # SHORT, LONG, LONG8
_ONE_SEGMENT = struct.pack("<16I", 1, 64, *[0] * 14)


def encode(frame: Frame) -> bytes:
    """Return a frame as one fragment, of even length.

    Parameters
    ----------
    frame
        uint8 [rows, columns].
    """
    import cv2  # late: few need it

    how = (cv2.IMWRITE_TIFF_COMPRESSION, _COMPRESSION, cv2.IMWRITE_TIFF_PREDICTOR, _PREDICTOR)
    done, encoded = cv2.imencode(".tiff", frame, how)
    assert done
    file = encoded.tobytes()
    strips = zip(_values(file, _STRIP_OFFSETS), _values(file, _STRIP_BYTE_COUNTS), strict=True)
    fragment = b"".join([_ONE_SEGMENT, *(file[start : start + size] for start, size in strips)])
    return fragment + b"\0" * (len(fragment) % 2)


def decode(fragment: bytes, shape: tuple[int, int]) -> Frame:
    """Return the frame of a fragment, uint8 of `shape` (rows, columns)."""
    from rle.utils import decode_pixel_data  # late: few need it

    rows, columns = shape
    size = {"rows": rows, "columns": columns, "bits_allocated": 8, "rle_segment_order": "<"}
    decoded = decode_pixel_data(fragment, None, 2, **size)
    return np.frombuffer(bytes(decoded), np.uint8).reshape(shape)


def _values(file: bytes, wanted: int) -> tuple[int, ...]:
    """Return the numbers of a field of a little-endian TIFF's first directory."""
    (directory,) = struct.unpack_from("<I", file, 4)
    (fields,) = struct.unpack_from("<H", file, directory)
    for place in range(directory + 2, directory + 2 + 12 * fields, 12):
        tag, kind, count = struct.unpack_from("<HHI", file, place)
        if tag == wanted:
            numbers = f"<{count}{_NUMBER[kind]}"
            inside = struct.calcsize(numbers) <= 4
            (at,) = (place + 8,) if inside else struct.unpack_from("<I", file, place + 8)
            return struct.unpack_from(numbers, file, at)
    raise ValueError(f"OpenCV wrote a TIFF without field {wanted}")
