"""Frames in RLE Lossless: read by others, row by row, of any size."""

import numpy as np
import pytest
from pydicom.pixels.decoders.rle import _rle_decode_frame

from appliance import run_length

SHAPES = [(1, 1), (1, 129), (3, 128), (5, 257), (40, 64), (3000, 1), (1, 70000), (601, 803)]


def frames(shape):
    random = np.random.default_rng(5)
    yield np.zeros(shape, np.uint8)
    yield random.integers(0, 256, shape, np.uint8)
    yield random.integers(0, 4, shape, np.uint8)
    yield np.repeat(random.integers(0, 4, (shape[0], 1), np.uint8), shape[1], 1)
    yield (random.random(shape) < 0.02).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
def test_frames_come_back_by_another_s_decoder_and_by_ours(shape):
    for frame in frames(shape):
        encoded = run_length.encode(frame)
        assert len(encoded) % 2 == 0
        assert _rle_decode_frame(encoded, *shape, 1, 8) == frame.tobytes()
        assert np.array_equal(run_length.decode(encoded, shape), frame)


def test_no_run_goes_on_in_the_next_row():
    """PS3.5 G.3.1: each row is decoded to its own length."""
    rows, columns = 40, 200
    frame = np.full((rows, columns), 7, np.uint8)
    packed, place = run_length.encode(frame)[64:], 0
    for _ in range(rows):
        decoded = 0
        while decoded < columns:
            count = packed[place]
            length, step = (257 - count, 2) if count > 128 else (count + 1, count + 2)
            decoded, place = decoded + length, place + step
        assert decoded == columns
    assert set(packed[place:]) <= {0}


def test_a_part_of_a_larger_picture_is_encoded_as_it_is_seen():
    picture = np.arange(120 * 90, dtype=np.uint8).reshape(120, 90)
    part = picture[5:65:2, 10:70]
    assert np.array_equal(run_length.decode(run_length.encode(part), part.shape), part)
