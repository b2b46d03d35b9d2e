"""One cine loop: its frames by number, straight from the file, and what can be said about them.

Nothing is decoded before it is asked for, and one frame at a time: a loop of any length costs the
memory of one frame. `layout`, `decode` and its helpers know pixels, `timing` and `regions` the
elements around them, `refusal` what can't be analysed.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom.uid import UID, JPEGBaseline8Bit

from appliance.cine import decode, refusal
from appliance.cine.framing import group
from appliance.cine.layout import FrameError, Layout, read_layout, sound_size, undecodable
from appliance.cine.regions import Region, pixel_aspect, read_regions
from appliance.cine.timing import Timing, read_timing
from appliance.cine.video import Video, can_decode, is_video
from appliance.errors import CineError
from appliance.part10 import Header, Identity, identity, inflate, read_header
from appliance.part10.elements import Fragment

__all__ = ["Cine", "FrameError", "Region", "Timing", "open_cine"]

_MOST_PIXELS = 20_000_000_000  # in all frames: an hour of 640x480 at 18 Hz


class Cine:
    """A multi-frame (or still) image in a Part 10 file; a context manager, closed by `close`.

    Attributes
    ----------
    header
        Everything in the file but the pixels.
    identity
        Whose, and what, it says it is.
    rows, columns
        Size of a frame in pixels.
    frames
        Number of frames the pixel data really hold; some may still be damaged.
    declared_frames
        NumberOfFrames, 1 when missing or not positive.
    transfer_syntax
        Of the pixels.
    timing
        When each frame was taken.
    regions
        As the machine declared them.
    pixel_aspect
        Height of a pixel over its width.
    notes
        What a person should know about how the frames were read.
    """

    def __init__(self, path: Path) -> None:
        self.header: Header = read_header(path)
        dataset = self.header.dataset
        self.identity: Identity = identity(dataset)
        self.declared_frames = max(1, self.identity.NumberOfFrames)
        self.transfer_syntax = UID(self.header.TransferSyntaxUID)
        self.regions: tuple[Region, ...] = read_regions(dataset)
        self.pixel_aspect = pixel_aspect(dataset, self.regions)
        self._layout: Layout | None = None
        self._frames: tuple[tuple[Fragment, ...], ...] = ()
        self._video: Video | None = None
        self._file: BinaryIO = _opened(path, self.header.deflated)
        self._refusal: tuple[str | None] | None = None
        try:
            # What carries no pixels is refused with its own reason, a video without PyAV too.
            if self.header.pixel_offset is not None:
                self._open_pixels()
        except BaseException:
            self._file.close()
            raise
        self.rows = self._layout.rows if self._layout else self.identity.Rows
        self.columns = self._layout.columns if self._layout else self.identity.Columns
        self.frames = self._video.frames if self._video else len(self._frames)
        self.timing: Timing = read_timing(dataset, max(1, self.frames))
        self.notes: tuple[str, ...] = self._notes()

    def __enter__(self) -> Cine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._video:
            self._video.close()
        self._file.close()

    @property
    def is_jpeg_baseline(self) -> bool:
        """Whether frames are JPEGs that every browser decodes."""
        return bool(self.transfer_syntax == JPEGBaseline8Bit)

    @property
    def is_colour(self) -> bool:
        """Whether frames may hold colours; a colour format alone doesn't say that any are there."""
        if self._layout is None:
            return self._video is not None
        return not self._layout.photometric.startswith("MONOCHROME")

    def encoded(self, index: int) -> bytes:
        """One frame's bytes as they lie in the file, its fragments joined; of no video.

        Raises
        ------
        IndexError
            When there is no such frame.
        FrameError
            When the file can't be read there.
        """
        if not 0 <= index < self.frames:
            raise IndexError(f"frame {index} of {self.frames}")
        data = b"".join(self._read(index, fragment) for fragment in self._frames[index])
        if not data:
            raise FrameError(index, "it is empty")
        return data

    def grey(self, index: int) -> npt.NDArray[np.uint8]:
        """Luminance of one frame, uint8[rows, columns]; FrameError when it is damaged."""
        if self._video:
            return decode.grey_of(self._video.rgb(index))
        return decode.grey(self.encoded(index), self._decodable(), index)

    def rgb(self, index: int) -> npt.NDArray[np.uint8]:
        """True colours of one frame, uint8[rows, columns, 3]; FrameError when it is damaged."""
        if self._video:
            return self._video.rgb(index)
        return decode.rgb(self.encoded(index), self._decodable(), index)

    def browser_jpeg(self, index: int) -> bytes:
        """One frame as a JPEG that browsers show right; the cart's own bytes where they do."""
        if self._video:
            return decode.as_jpeg(self._video.rgb(index))
        return decode.browser_jpeg(self.encoded(index), self._decodable(), index)

    def refusal(self) -> str | None:
        """Why this can't be analysed as a grey apical loop, for a sonographer; None when it can.

        Looks at the pixels of a few frames the first time.
        """
        if self._refusal is None:
            self._refusal = (refusal.reason(self),)
        return self._refusal[0]

    def refusal_by_elements(self) -> str | None:
        """The same by the header alone, in no time."""
        return refusal.by_elements(self)

    def sampled(self, count: int) -> list[int]:
        """At most `count` frame numbers, spread evenly over the loop."""
        spread = np.linspace(0, self.frames - 1, min(count, self.frames))
        return sorted({round(float(position)) for position in spread})

    def _open_pixels(self) -> None:
        if is_video(self.transfer_syntax):
            if can_decode():
                size = sound_size(self.header.dataset)
                self._video = Video(self.header.fragments, lambda part: self._read(0, part), size)
                self._must_be_a_loop(self._video.frames * size[0] * size[1])
            return
        if self.transfer_syntax not in decode.SYNTAXES:
            raise undecodable("no decoder here knows its transfer syntax")
        native = self.header.pixel_length is not None
        if native == self.transfer_syntax.is_encapsulated:
            raise undecodable("its pixels aren't written as its transfer syntax says")
        self._layout = read_layout(self.header)
        self._frames = self._find_frames(self._layout)

    def _decodable(self) -> Layout:
        assert self._layout is not None  # there are frames, so there is a layout
        return self._layout

    def _read(self, index: int, fragment: Fragment) -> bytes:
        try:
            if isinstance(self._file, io.BytesIO):
                return bytes(self._file.getbuffer()[fragment.offset :][: fragment.length])
            # pread keeps no position, so threads may read frames side by side.
            return os.pread(self._file.fileno(), fragment.length, fragment.offset)
        except OSError:
            raise FrameError(index, "the disk can't read it") from None

    def _find_frames(self, layout: Layout) -> tuple[tuple[Fragment, ...], ...]:
        header = self.header
        if header.pixel_length is None:
            frames = group(header, self.declared_frames, lambda part: self._read(0, part))
        else:
            size = layout.native_size(header.pixel_length, self.declared_frames)
            start, whole = header.pixel_offset or 0, header.pixel_length // size
            said = self.identity.NumberOfFrames > 0
            fits = header.pixel_length - whole * size <= 1  # but for the padding to an even length
            count = min(whole, self.declared_frames) if said or not fits else whole
            frames = tuple((Fragment(start + size * i, size),) for i in range(count))
        self._must_be_a_loop(len(frames) * layout.pixels)
        return frames

    def _must_be_a_loop(self, pixels: int) -> None:
        if pixels > _MOST_PIXELS:
            raise CineError(
                "open a cine loop", "It is far larger than any echo loop", "Look at it elsewhere"
            )

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self.frames > 1 and self.identity.NumberOfFrames < 1:
            notes.append(
                f"The machine didn't say how many frames there are; the {self.frames} found are used."
            )
        elif self.frames and self.frames != self.declared_frames:
            notes.append(
                f"The loop holds {self.frames} frames, not the {self.declared_frames} it announces."
            )
        if self.timing.note and self.frames > 1:
            notes.append(self.timing.note)
        return tuple(notes)


def _opened(path: Path, deflated: bool) -> BinaryIO:
    return io.BytesIO(inflate(path)) if deflated else path.open("rb")


def open_cine(path: Path) -> Cine:
    """Open an object as a cine loop, without decoding anything.

    Raises
    ------
    Part10Error
        When the file isn't whole DICOM.
    CineError
        When its pixels can't be what it says they are; `subject` is for a sonographer. Objects
        that are sound but no loops (stills, reports, videos) open, and `Cine.refusal` says why.
    """
    return Cine(path)
