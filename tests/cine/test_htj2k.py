"""HTJ2K: two pictures written by OpenJPH (nothing else here encodes it), read to the bit."""

from base64 import b64decode

import numpy as np
import pytest
from pydicom.uid import HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL

from appliance.cine import FrameError
from tests.phantom import small_loop as small
from tests.pixels import put

GREY = b64decode(
    "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABBwEB/1AACAACAAAAAv9SAAwAAgABAAUE"
    "BEAB/1wAEyBIUFBQUFBQUFBQUFBQSEhI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAGcAAf+TwCX1"
    "AId0AADAEsASgKIBB3QA7ACHdADAE0ATABD0AIJ0ALb9AANUAMAVEATgxhjzqnACdQBaVcHJ7LUAwCsgFYAAAAAA"
    "58Cnp6fCeAAqSZL+/ZJ79knsuAD/2Q=="
)
COLOUR = b64decode(
    "/0//UQAvQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAADBwEBBwEBBwEB/1AACAACAAAAA/9SAAwA"
    "AgABAQUEBEAB/1wAEyBQWFhYWFhYWFhYWFhYUFBQ/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAATgA"
    "Af+TwBIAAEd0AMASgC8Bh3QAwBKA6QEHdAAAAADACWAEoPMAx3QA/QBHdADACWAEoPYBB3QAogEHdADACWAEoEgB"
    "h3QA2gEHdADACWAEkAJAyQBCdAD9C1MA/gAzAMAJoATAuv4AgnQAUOgAI1QAwAmgBMAi0QECdABs9gAjVADACeAE"
    "8AJQ1/0Ar1LFAKDpHzq3FQDAOSlEAMAKiAFSWmv9qnACdQCmMebAAAHstgDACogBUhAEQapwgnUANKX0wAAB7LYA"
    "wBNAFfAFcOfApS1WAACA7gd47LWs7a1naKQcABBC+AVls1ls1lsltwsAwBWQBWiIiIiI58Cnp6fCeAAQAAAA/v3y"
    "e/fJ7LgAwBWwBWhCCCGEEOfKenpwAngA1szMzP798nv3yey4AP/Z"
)
DOWN, ACROSS = np.mgrid[:16, :16]
WANTED = (9 * ACROSS + 6 * DOWN).astype(np.uint8)


def loop_of(frames, photometric, syntax):
    loop = small(frames=len(frames), photometric=photometric)
    loop.dataset.Rows = loop.dataset.Columns = 16
    loop.dataset.file_meta.TransferSyntaxUID = syntax
    put(loop.dataset, frames, syntax, offsets=True, fragments_per_frame=1)
    return loop


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
def test_grey_comes_back_to_the_bit(opened, syntax):
    cine = opened(loop_of([GREY] * 2, "MONOCHROME2", syntax))
    np.testing.assert_array_equal(cine.grey(1), WANTED)


def test_colours_come_back_to_the_bit(opened):
    cine = opened(loop_of([COLOUR] * 2, "RGB", HTJ2KLossless))
    np.testing.assert_array_equal(cine.rgb(1)[..., 0], WANTED)
    np.testing.assert_array_equal(cine.rgb(1)[..., 1], 255 - WANTED)


def test_a_damaged_frame_spoils_only_itself(opened):
    cine = opened(loop_of([GREY[:150] + bytes(80), GREY], "MONOCHROME2", HTJ2KLossless))
    with pytest.raises(FrameError):
        cine.grey(0)
    np.testing.assert_array_equal(cine.grey(1), WANTED)
