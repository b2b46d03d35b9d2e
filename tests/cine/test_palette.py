import struct

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from appliance.cine import open_cine
from appliance.errors import CineError
from tests.phantom import small_loop as small


def segmented(loop, words, *, entries=256, depth=16, order="<"):
    """The loop with a segmented table (PS3.3 C.7.9.2), the same in all three colours."""
    kind = "B" if depth == 8 else "H"
    data = struct.pack(f"{order}{len(words)}{kind}", *words)
    for colour in ("Red", "Green", "Blue"):
        delattr(loop.dataset, f"{colour}PaletteColorLookupTableData")
        descriptor = [entries % 65536, 0, depth]
        setattr(loop.dataset, f"{colour}PaletteColorLookupTableDescriptor", descriptor)
        setattr(loop.dataset, f"Segmented{colour}PaletteColorLookupTableData", data)
    return loop


def grey(**options):
    return small(photometric="PALETTE COLOR", frames=2, **options)


RAMP = [0, 1, 0, 1, 255, 65280]  # 0, then a line to the end
HALVES = [0, 2, 0, 256, 1, 126, 32512, 1, 128, 65280]


@pytest.mark.parametrize("words", [RAMP, HALVES])
def test_segments_are_drawn_out(opened, words):
    cine = opened(segmented(grey(), words))
    plain = small(frames=2)
    assert np.abs(cine.rgb(1)[..., 0].astype(int) - plain.grey[1]).max() <= 1


def test_segments_of_a_big_endian_file_are_read_in_its_order(opened):
    loop = grey(transfer_syntax=ExplicitVRBigEndian)
    cine = opened(segmented(loop, RAMP, order=">"))
    assert np.abs(cine.rgb(1)[..., 0].astype(int) - loop.grey[1]).max() <= 1


@pytest.mark.parametrize("depth", [8, 16])
def test_a_segment_may_repeat_others(opened, depth):
    # 128 zeros and 10; then the same again, by its offset in bytes.
    low = 0
    first = [0, 1, 5, 1, 127, 5]
    again = [2, 2, *([0, 0, 0, 0] if depth == 8 else [low, 0])]
    cine = opened(segmented(grey(), [*first, *again], depth=depth))
    assert (cine.rgb(0) == 5).all()


@pytest.mark.parametrize(
    "words",
    [
        [0, 1, 0, *[1, 40000, 7] * 20000],
        [0, 1, 0, *[2, 65535, 0, 0] * 20000],
        [2, 65535, 0, 0] * 100,
        [0, 1, 0, 2, 3, 6, 0],
        [1, 5, 9],
        [7, 5, 9],
        [0, 65535, 1],
        [],
    ],
    ids=["lines", "repeats", "repeats itself", "an indirect one again", "line", "?", "short", "-"],
)
def test_tables_that_would_grow_or_make_no_sense_are_refused(tmp_path, words):
    loop = segmented(grey(bits=16, transfer_syntax=ExplicitVRLittleEndian), words, entries=65536)
    with pytest.raises(CineError, match="colour table"):
        open_cine(loop.write(tmp_path / "a.dcm"))


def test_8_bit_entries_under_a_16_bit_description_are_read(opened):
    loop = grey()
    for colour in ("Red", "Green", "Blue"):
        setattr(loop.dataset, f"{colour}PaletteColorLookupTableData", bytes(range(256)))
    np.testing.assert_array_equal(opened(loop).rgb(1)[..., 0], loop.grey[1])


def test_indices_before_the_first_entry_have_its_colour(opened):
    loop = grey()
    for colour in ("Red", "Green", "Blue"):
        setattr(loop.dataset, f"{colour}PaletteColorLookupTableDescriptor", [100, 50, 16])
        table = np.arange(100, 200, dtype="<u2") << 8
        setattr(loop.dataset, f"{colour}PaletteColorLookupTableData", table.tobytes())
    wanted = np.clip(loop.grey[0].astype(int) - 50, 0, 99) + 100
    np.testing.assert_array_equal(opened(loop).rgb(0)[..., 2], wanted)
