"""How the samples of a loop's frames lie, and the error for a frame that isn't so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit

from appliance.cine.palette import read_palette
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
    "SamplesPerPixel",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
)
_LARGEST_SIDE = 8192  # pixels
MOST_PIXELS = 4096 * 2304  # of a frame; the largest that carts send have 1920x1080


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
    rows, columns = sound_size(dataset)
    if photometric not in _KNOWN or allocated not in (8, 16):
        raise undecodable("its pixels are of a kind that echo machines don't send")
    colour = photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    signed = integer["PixelRepresentation"] == 1
    if integer["SamplesPerPixel"] != (3 if colour else 1) or (
        colour and (allocated != 8 or signed)
    ):
        raise undecodable("the description of its pixels contradicts itself")
    syntax, stored = UID(header.TransferSyntaxUID), integer["BitsStored"]
    if allocated != 8 and syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        raise undecodable("its JPEGs have more than 8 bits, which echo machines don't send")
    big_words = not header.little_endian and header.pixel_vr == "OW"
    return Layout(
        rows=rows,
        columns=columns,
        samples=integer["SamplesPerPixel"],
        photometric=photometric,
        planar=integer["PlanarConfiguration"],
        bits_allocated=allocated,
        bits_stored=stored if 0 < stored <= allocated else allocated,
        signed=signed,
        syntax=syntax,
        little_endian=header.little_endian,
        swapped=big_words and allocated == 8,
        palette=_palette(header, allocated, signed) if photometric == "PALETTE COLOR" else None,
    )


def sound_size(dataset: Dataset) -> tuple[int, int]:
    """Rows and columns.

    Raises
    ------
    CineError
        When they are missing, or larger than any machine's: a decoder would believe them.
    """
    rows, columns = (int(number(dataset, name)) for name in ("Rows", "Columns"))
    if not 0 < rows <= _LARGEST_SIDE or not 0 < columns <= _LARGEST_SIDE:
        raise undecodable("the image's size is missing or beyond any echo machine's")
    if rows * columns > MOST_PIXELS:
        raise undecodable("the image's size is beyond any echo machine's")
    return rows, columns


def undecodable(subject: str) -> CineError:
    """The error for pixels that nobody here can decode; `subject` says why."""
    return CineError(
        "open a cine loop", f"The image can't be decoded: {subject}", "Look at it elsewhere"
    )


def _palette(header: Header, bits: int, signed: bool) -> npt.NDArray[np.uint8]:
    little_endian = header.little_endian
    try:
        return read_palette(header.dataset, bits, signed=signed, little_endian=little_endian)
    except Exception:  # noqa: BLE001
        # pydicom's complaint about a value may be of any type and quote it.
        raise undecodable("its colour table is damaged") from None
