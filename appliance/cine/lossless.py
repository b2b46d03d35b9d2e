"""JPEG lossless of 9 to 16 bits (ITU-T T.81 annex H), which OpenCV doesn't read.

Slow, some tenths of a second for a frame, and safe: the libraries that know it end the process
when a header is broken, and echo machines write 8 bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from appliance.cine import jpeg

_SOF3, _DHT, _SOS, _DRI = 0xC3, 0xC4, 0xDA, 0xDD
_RESTART = re.compile(rb"\xff+[\xd0-\xd7]")
_AHEAD = 48  # bits taken at once, when fewer are held than a code (16) and its difference (15)
_PREDICTORS: dict[int, Callable[[int, int, int], int]] = {  # left, above, above left: table H.1
    1: lambda a, _b, _c: a,
    2: lambda _a, b, _c: b,
    3: lambda _a, _b, c: c,
    4: lambda a, b, c: a + b - c,
    5: lambda a, b, c: a + ((b - c) >> 1),
    6: lambda a, b, c: b + ((a - c) >> 1),
    7: lambda a, b, _c: (a + b) >> 1,
}
Codes = list[tuple[int, int]]  # for the next 16 bits: length of the code, bits of the difference


def decode(data: bytes) -> npt.NDArray[np.uint16]:
    """Samples of a one-component image, uint16[rows, columns].

    Raises
    ------
    ValueError
        When it is no such image, or damaged.
    """
    info = jpeg.read_info(data)
    if info is None or info.process != _SOF3 or len(info.components) != 1:
        raise ValueError("no lossless JPEG of one component")
    tables: dict[int, Codes] = {}
    interval = 0
    for marker, segment, end in jpeg.segments(data):
        if marker == _DHT:
            tables.update(_tables(segment))
        elif marker == _DRI:
            interval = int.from_bytes(segment[:2], "big")
        elif marker == _SOS and len(segment) == 6 and segment[3] in _PREDICTORS:
            codes, shift = tables.get(segment[2] >> 4), segment[5] & 15
            if codes is None or interval % info.columns:
                break
            parts = _RESTART.split(data[end : data.rindex(jpeg.EOI)])
            first = 1 << (info.precision - shift - 1)
            each = interval // info.columns or info.rows
            image = _image(parts, codes, segment[3], first, each, info)
            return np.left_shift(image, shift, dtype=np.uint16)
    raise ValueError("its headers don't fit together")


def _image(
    parts: list[bytes], codes: Codes, predictor: int, first: int, each: int, info: jpeg.JpegInfo
) -> npt.NDArray[np.uint16]:
    """Rows from their differences (H.1.2.1); every restart interval begins anew."""
    image = np.empty((info.rows, info.columns), np.uint16)
    for part, top in zip(parts, range(0, info.rows, each), strict=True):
        differences = _differences(part, codes)
        above: list[int] = []
        for row in range(top, min(top + each, info.rows)):
            above = _row(differences, above, first, predictor, info.columns)
            image[row] = above
    return image


def _row(
    differences: Iterator[int], above: list[int], first: int, predictor: int, columns: int
) -> list[int]:
    predict = _PREDICTORS[predictor] if above else _PREDICTORS[1]
    over = above or [first] * columns
    sample = (over[0] + next(differences)) & 0xFFFF
    row = [sample]
    for column in range(1, columns):
        sample = predict(sample, over[column], over[column - 1]) + next(differences) & 0xFFFF
        row.append(sample)
    return row


def _differences(part: bytes, codes: Codes) -> Iterator[int]:
    """Decode differences (H.1.2.2) until the data end; then ValueError."""
    data = part.replace(b"\xff\0", b"\xff")
    last = len(data) + 4  # where the last bits that are needed may come from
    data += b"\0" * 12
    bits = place = held = 0
    while True:
        if held < 32:
            if place > last:
                raise ValueError("its data end too early")
            bits = (bits & (1 << held) - 1) << _AHEAD | int.from_bytes(
                data[place : place + 6], "big"
            )
            place += _AHEAD // 8
            held += _AHEAD
        length, category = codes[bits >> (held - 16) & 0xFFFF]
        held -= length
        if category == 16:
            yield 32768
            continue
        held -= category
        value = bits >> held & (1 << category) - 1
        yield value if not category or value >> (category - 1) else value - (1 << category) + 1


def _tables(segment: bytes) -> dict[int, Codes]:
    """Huffman tables by their ids (T.81 B.2.4.2 and C.2)."""
    tables = {}
    while segment:
        counts, values = segment[1:17], segment[17:]
        codes: Codes = []
        used = 0
        for length, count in enumerate(counts, start=1):
            if len(values) < used + count or any(
                value > 16 for value in values[used : used + count]
            ):
                raise ValueError("a table of codes is damaged")
            for value in values[used : used + count]:
                codes += [(length, value)] * (1 << (16 - length))
            used += count
        if not used or len(codes) > 1 << 16:
            raise ValueError("a table has more codes than there are bits for")
        # Bits that are no code lead to the longest one: a wrong sample in a damaged frame.
        codes += [codes[-1]] * ((1 << 16) - len(codes))
        tables[segment[0] & 15] = codes
        segment = values[used:]
    return tables
