"""JPEG lossless: every predictor, to the bit, by an encoder that follows the standard line by line."""

from itertools import product

import cv2
import numpy as np
import pytest
from pydicom.uid import JPEGLossless, JPEGLosslessSV1

from appliance.cine import FrameError, lossless
from tests.phantom import SEPIA
from tests.phantom import small_loop as small
from tests.pixels import lossless_jpeg


def noise(bits: int) -> np.ndarray:
    choose = np.random.default_rng(bits)
    smooth = cv2.GaussianBlur(choose.integers(0, 1 << bits, (24, 30)).astype(np.float32), (0, 0), 1)
    picture = smooth.astype(np.uint16)
    picture[3:6, 4:20] = choose.integers(0, 1 << bits, (3, 16))  # the widest differences there are
    return picture


@pytest.mark.parametrize(("predictor", "rows_between"), [*product(range(1, 8), [0, 1, 5])])
def test_the_encoder_of_these_tests_writes_what_others_read(predictor, rows_between):
    picture = noise(8)
    data = lossless_jpeg(picture, 8, predictor, rows_between)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(read, picture)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize(("predictor", "rows_between"), [*product(range(1, 8), [0, 1, 5])])
def test_wide_samples_come_back_to_the_bit(bits, predictor, rows_between):
    picture = noise(bits)
    data = lossless_jpeg(picture, bits, predictor, rows_between)
    np.testing.assert_array_equal(lossless.decode(data), picture)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
def test_grey_loops_come_back_to_the_bit(opened, syntax, bits):
    loop = small(frames=2, transfer_syntax=syntax, bits=bits)
    np.testing.assert_array_equal(opened(loop).grey(1), loop.grey[1])


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colours_are_true(opened, photometric):
    options = {"frames": 2, "photometric": photometric, "tint": SEPIA}
    coded = opened(small(transfer_syntax=JPEGLosslessSV1, **options))
    plain = opened(small(**options))
    np.testing.assert_array_equal(coded.rgb(1), plain.rgb(1))
    np.testing.assert_array_equal(coded.grey(1), plain.grey(1))


@pytest.mark.parametrize("bits", [8, 16])
def test_damaged_frames_end_in_words_and_quickly(opened, bits):
    choose = np.random.default_rng(5)

    def broken(_: int, data: bytes) -> bytes:
        changed = bytearray(data)
        for place in choose.integers(2, 60, size=3):
            changed[place] = choose.integers(256)
        return bytes(changed)

    loop = small(
        frames=40, rows=24, columns=30, transfer_syntax=JPEGLossless, bits=bits, change_frame=broken
    )
    cine = opened(loop)
    damaged = 0
    for index in range(40):
        try:
            assert cine.grey(index).shape == (24, 30)
        except FrameError:
            damaged += 1
    assert damaged > 5


def test_a_cut_frame_is_damaged(opened):
    def cut(index: int, data: bytes) -> bytes:
        return data[: len(data) // 2] + b"\xff\xd9" if index else data

    cine = opened(small(frames=2, transfer_syntax=JPEGLossless, bits=16, change_frame=cut))
    assert cine.grey(0).any()
    with pytest.raises(FrameError):
        cine.grey(1)
