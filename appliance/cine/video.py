"""Frames of a loop sent as a video stream: MPEG-2, H.264 or HEVC (PS3.5 8.2.5 to 8.2.8).

Read by PyAV (FFmpeg), which is in the extra `video`: its wheel brings encoders that a site may not
want on the box.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import accumulate, count
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydicom.uid import UID

from appliance.cine.layout import MOST_PIXELS, FrameError, undecodable
from appliance.part10.elements import Fragment

if TYPE_CHECKING:
    import av

Rgb = npt.NDArray[np.uint8]

_PREFIX = "1.2.840.10008.1.2.4.10"  # .100 to .108: MPEG-2, MPEG-4, HEVC
# Nothing else is even probed: other formats open files and addresses of their own.
_FORMATS = "mpeg,mpegvideo,mpegts,mov,mp4,m4a,3gp,3g2,mj2,h264,hevc"
_CODECS = "mpeg1video,mpeg2video,h264,hevc"
_MOST_FRAMES = 100_000
_KEPT = 8  # frames: pages ask for neighbours, a little out of order


def is_video(syntax: UID) -> bool:
    """Whether the pixels are a video stream, not frames."""
    return str(syntax).startswith(_PREFIX)


def can_decode() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


class Video:
    """The frames of one stream; safe to ask from several threads, fastest in order.

    Parameters
    ----------
    fragments
        Of the stream, in the file.
    read
        Gives a fragment's bytes.
    size
        Rows and columns of every frame.

    Raises
    ------
    CineError
        When it is no such stream, or its pictures have another size.
    """

    def __init__(
        self,
        fragments: Sequence[Fragment],
        read: Callable[[Fragment], bytes],
        size: tuple[int, int],
    ) -> None:
        self._fragments, self._read, self._size = tuple(fragments), read, size
        self._lock = threading.Lock()
        self._container: Any = None
        self._decoded: Iterator[tuple[int, av.VideoFrame | None]] = iter(())
        self._next = 0
        self._kept: OrderedDict[int, Rgb | None] = OrderedDict()
        self._places = self._find_frames()
        self.frames = len(self._places)

    def close(self) -> None:
        """Let go of the decoder."""
        with self._lock:
            if self._container is not None:
                self._container.close()
            self._container = None

    def rgb(self, index: int) -> Rgb:
        """True colours of one frame, uint8[rows, columns, 3].

        Raises
        ------
        FrameError
            When the stream is damaged there, or up to there since its last whole picture. A
            stream has no checksums: in HEVC a decoder sees little of what bits were changed.
        """
        with self._lock:
            if index not in self._kept:
                self._decode_to(index)
            picture = self._kept.get(index)
        if picture is None:
            raise FrameError(index, "the video is damaged there")
        return picture

    def _decode_to(self, index: int) -> None:
        if self._container is None or index < self._next:
            self._rewind()
        for place, frame in self._decoded:
            self._next = place + 1
            if place > index - _KEPT:
                self._keep(place, frame)
            if place >= index:
                return

    def _keep(self, place: int, frame: av.VideoFrame | None) -> None:
        sound = frame is not None and (frame.height, frame.width) == self._size
        picture = (
            np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) if frame and sound else None
        )
        self._kept[place] = picture
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def _rewind(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container, stream = self._opened()
        self._decoded, self._next = self._frames_of(self._container, stream), 0

    def _frames_of(self, container: Any, stream: Any) -> Iterator[tuple[int, av.VideoFrame | None]]:
        """Frames in the order they are shown, with their numbers; None where one is damaged."""
        from av.error import FFmpegError

        counted, broken = count(), False
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except FFmpegError:
                broken = True
                continue
            for frame in frames:
                # Later pictures are drawn upon the damaged one, up to the next that stands alone.
                broken = frame.is_corrupt or (broken and not frame.key_frame)
                number = next(counted)
                yield self._places.get(frame.pts, number), None if broken else frame

    def _find_frames(self) -> dict[int | None, int]:
        """Frame numbers by the times they are shown at."""
        from av.error import FFmpegError

        try:
            container, stream = self._opened()
            with container:
                times = [
                    packet.pts
                    for packet, _ in zip(container.demux(stream), range(_MOST_FRAMES), strict=False)
                    if packet.size
                ]
        except (FFmpegError, ValueError, EOFError):
            raise undecodable("its video stream is damaged") from None
        if None in times or len(set(times)) < len(times):
            times = list(range(-len(times), 0))  # a bare stream has no times: frames are counted
        return {time: number for number, time in enumerate(sorted(times))}

    def _opened(self) -> tuple[Any, Any]:
        import av  # late: only videos need it

        container = av.open(
            _Stream(self._fragments, self._read),
            options={"max_pixels": str(MOST_PIXELS)},
            container_options={"format_whitelist": _FORMATS, "codec_whitelist": _CODECS},
        )
        if not container.streams.video:
            container.close()
            raise undecodable("its video stream holds no pictures")
        stream = container.streams.video[0]
        context = stream.codec_context
        context.options = {"max_pixels": str(MOST_PIXELS)}
        context.thread_count = 1
        if (context.height, context.width) != self._size:
            container.close()
            raise undecodable("its video has another size than the image says")
        return container, stream


class _Stream:
    """Fragments as one file to read."""

    def __init__(self, fragments: tuple[Fragment, ...], read: Callable[[Fragment], bytes]) -> None:
        self._fragments, self._read = fragments, read
        self._starts = list(accumulate((part.length for part in fragments), initial=0))
        self._place = 0

    def read(self, count: int) -> bytes:
        """At most `count` bytes, none at the end."""
        which = bisect_right(self._starts, self._place) - 1
        if self._place >= self._starts[-1]:
            return b""
        inside = self._place - self._starts[which]
        offset, length = self._fragments[which]
        data = self._read(Fragment(offset + inside, min(count, length - inside)))
        self._place += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """As files do."""
        self._place = max(0, offset + (0, self._place, self._starts[-1])[whence])
        return self._place

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._place
