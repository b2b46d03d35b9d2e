"""How the samples of a loop's frames lie, and the error for a frame that isn't so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID

from appliance.errors import CineError
from appliance.part10 import Header, number, text

# PS3.3 C.7.6.3.1.2; the last two come out of JPEG 2000 decoders as RGB.
_KNOWN = (
    "MONOCHROME1",
    "MONOCHROME2",
    "PALETTE COLOR",
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_ICT",
    "YBR_RCT",
)
_INTEGERS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
)
_LARGEST_SIDE = 8192  # pixels; the largest carts send is about 1920


class FrameError(CineError):
    """One frame of a loop can't be decoded; the others may.

    Attributes
    ----------
    index
        Of the frame, from 0.
    """

    def __init__(self, index: int, subject: str) -> None:
        super().__init__("decode a frame", f"frame {index + 1}: {subject}", "Skip this frame")
        self.index = index


@dataclass(frozen=True)
class Layout:
    """How the samples of a frame lie (Image Pixel module, PS3.3 C.7.6.3).

    `palette` is uint8[indices, 3] for PALETTE COLOR, else None. `swapped` tells that 8-bit samples
    were written as big endian words.
    """

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    syntax: UID
    little_endian: bool
    swapped: bool
    palette: npt.NDArray[np.uint8] | None

    @property
    def pixels(self) -> int:
        """Of one frame."""
        return self.rows * self.columns

    def native_size(self, length: int, frames: int) -> int:
        """Bytes of one uncompressed frame, told from a PixelData of `length` bytes.

        YBR_FULL_422 has two bytes a pixel; some write three all the same.
        """
        full = self.pixels * self.samples * self.bits_allocated // 8
        if self.photometric == "YBR_FULL_422" and length < full * frames:
            return self.pixels * 2
        return full


def read_layout(header: Header) -> Layout:
    """Read and check the Image Pixel module.

    Raises
    ------
    CineError
        When the pixels can't be what the module says, or nobody here can decode them.
    """
    dataset = header.dataset
    integer = {name: int(number(dataset, name)) for name in _INTEGERS}
    photometric = text(dataset, "PhotometricInterpretation").upper()
    allocated = integer["BitsAllocated"]
    if not 0 < integer["Rows"] <= _LARGEST_SIDE or not 0 < integer["Columns"] <= _LARGEST_SIDE:
        raise _undecodable("the image's size is missing or beyond any echo machine's")
    if photometric not in _KNOWN or allocated not in (8, 16):
        raise _undecodable("its pixels are of a kind that echo machines don't send")
    colour = photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    if integer["SamplesPerPixel"] != (3 if colour else 1) or (colour and allocated != 8):
        raise _undecodable("the description of its pixels contradicts itself")
    stored = integer["BitsStored"]
    big_words = not header.little_endian and header.pixel_vr == "OW"
    return Layout(
        rows=integer["Rows"],
        columns=integer["Columns"],
        samples=integer["SamplesPerPixel"],
        photometric=photometric,
        planar=integer["PlanarConfiguration"],
        bits_allocated=allocated,
        bits_stored=stored if 0 < stored <= allocated else allocated,
        signed=integer["PixelRepresentation"] == 1,
        syntax=UID(header.TransferSyntaxUID),
        little_endian=header.little_endian,
        swapped=big_words and allocated == 8,
        palette=_palette(header, allocated) if photometric == "PALETTE COLOR" else None,
    )


def _undecodable(subject: str) -> CineError:
    return CineError(
        "open a cine loop", f"The image can't be decoded: {subject}", "Look at it elsewhere"
    )


def _palette(header: Header, bits: int) -> npt.NDArray[np.uint8]:
    """The palette as uint8[2**bits, 3] (PS3.3 C.7.6.3.1.5 and .6, C.7.9 for segmented ones)."""
    dataset = header.dataset
    dataset.set_original_encoding(header.implicit_vr, header.little_endian)
    indices = np.arange(1 << bits, dtype=np.uint16 if bits == 16 else np.uint8)
    try:
        table = apply_color_lut(indices[None, :], dataset)[0, :, :3]
    except Exception:  # noqa: BLE001
        # pydicom's complaint may be of any type and quote values.
        raise _undecodable("its colour table is damaged") from None
    # Some machines declare 16-bit entries and write 8-bit ones.
    if table.dtype == np.uint16 and table.max() > 255:
        table = table >> 8
    return table.astype(np.uint8)
