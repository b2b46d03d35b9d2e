"""What the page plays and draws: packs of frames, packs of contours, thumbnails; kept once made."""

import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from appliance import labels, masks
from appliance.cine import Cine, FrameError, open_cine
from appliance.errors import CineError, Part10Error
from appliance.labels import LoopLabels
from appliance.ledger import Ledger
from appliance.spool import Spool, write_durably

THUMBNAIL = (256, 192)  # columns, rows: twice the size on the page, for dense screens
_QUALITY = 80
_LENGTH = struct.Struct("<I")
_PACK_HEADER = 12  # bytes
_TRACED = 8  # loops that come just now and are looked at: about 1 MB each


def pack_of_frames(spool: Spool, sha256: str) -> tuple[int, Iterator[bytes]]:
    """Return the size in bytes and the parts of a loop's pack.

    A pack is a little-endian uint32 count, that many uint32 lengths, and the JPEGs; length 0
    stands for a frame that can't be read. Fragments that a browser shows right go out untouched;
    other syntaxes are made into JPEG once and kept.

    Raises
    ------
    CineError
        When the object is no cine loop.
    """
    path = spool.object_path(sha256)
    with open_cine(path) as cine:
        if not cine.is_jpeg_baseline:
            return _kept_pack(spool.frames_path(sha256), cine)
        lengths = [len(_jpeg(cine, index)) for index in range(cine.frames)]
    return _LENGTH.size * (1 + len(lengths)) + sum(lengths), _stream(path, lengths)


def _stream(path: Path, lengths: list[int]) -> Iterator[bytes]:
    yield struct.pack(f"<{1 + len(lengths)}I", len(lengths), *lengths)
    with open_cine(path) as cine:
        for index in range(cine.frames):
            yield _jpeg(cine, index)


def _kept_pack(path: Path, cine: Cine) -> tuple[int, Iterator[bytes]]:
    if not path.exists():
        jpegs = [_jpeg(cine, index) for index in range(cine.frames)]
        head = struct.pack(f"<{1 + len(jpegs)}I", len(jpegs), *map(len, jpegs))
        write_durably(path, b"".join([head, *jpegs]))
    return path.stat().st_size, _blocks(path)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(1 << 18):
            yield block


def _jpeg(cine: Cine, index: int) -> bytes:
    try:
        return cine.browser_jpeg(index)
    except FrameError:
        return b""  # the page says so in that frame's place


class ContourPacks:
    """Packed contours of whole loops. Label maps never change: each frame is traced once.

    Parameters
    ----------
    spool
        Holds finished packs in its cache; whatever is removed from there is made again.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._traced: dict[str, dict[int, dict[int, masks.Points]]] = {}
        self._lock = threading.Lock()

    def path(self, name: str) -> Path:
        """Return where the finished pack of that name is kept."""
        return self._spool.cache / f"{name}.contours"

    def first_frame(self, name: str) -> list[list[int]] | None:
        """Return the first frame's contours of a finished pack, None where there is none.

        One list for each structure: x, y, x, y… as `masks.pack_contours` writes them.
        """
        path = self.path(name)
        if not path.exists():
            return None
        with path.open("rb") as stream:
            structures, points = stream.read(_PACK_HEADER)[6:8]
            values = np.frombuffer(stream.read(structures * points * 4), "<i2")
        return values.reshape(structures, -1).tolist()

    def of_analysis(self, ledger: Ledger, spool: Spool, analysis: Mapping[str, Any]) -> bytes:
        """Return the model's contours, as far as they have come.

        Raises
        ------
        SpoolError
            When a chunk of label maps is missing or damaged.
        """
        maps = labels.of_analysis(ledger, spool, analysis["id"])
        values = [item["label"] for item in analysis["labels"]]
        return self.pack(f"analysis-{analysis['id']}", maps, values)

    def pack(self, name: str, maps: LoopLabels, structures: Sequence[int]) -> bytes:
        """Return a loop's contours as `masks.pack_contours` packs them.

        Parameters
        ----------
        name
            Of the analysis or review whose label maps these are.
        maps
            The label maps that have come so far.
        structures
            Label values in the manifest's order.

        Raises
        ------
        SpoolError
            When a chunk of label maps is missing or damaged.
        """
        path = self.path(name)
        if path.exists():  # maybe made by another
            self._forget(name)
            return path.read_bytes()
        traced = self._known(name)
        frames = [_contours(traced, maps, index) for index in range(maps.frames)]
        packed = masks.pack_contours(frames, structures)
        if maps.available == maps.frames:
            write_durably(path, packed)
            self._forget(name)
        return packed

    def _known(self, name: str) -> dict[int, dict[int, masks.Points]]:
        """Frames traced so far, by index; those of a loop that never ended make room for others."""
        with self._lock:
            traced = self._traced[name] = self._traced.pop(name, {})
            while len(self._traced) > _TRACED:
                del self._traced[next(iter(self._traced))]
        return traced

    def _forget(self, name: str) -> None:
        with self._lock:
            self._traced.pop(name, None)


def _contours(
    traced: dict[int, dict[int, masks.Points]], maps: LoopLabels, index: int
) -> dict[int, masks.Points] | None:
    if not maps.has(index):
        return None
    if index not in traced:
        traced[index] = masks.contours(maps.frame(index))
    return traced[index]


def thumbnail(
    path: Path, index: int, maps: LoopLabels | None, colours: dict[int, str]
) -> bytes | None:
    """Return a small JPEG of one frame with its contours, or None when it can't be read.

    Parameters
    ----------
    path
        The received object.
    index
        Frame from 0.
    maps
        Label maps to trace, or None for the bare frame.
    colours
        sRGB "#RRGGBB" of each label.
    """
    try:
        with open_cine(path) as cine:
            image = np.ascontiguousarray(cine.rgb(min(index, cine.frames - 1))[:, :, ::-1])
            aspect = cine.pixel_aspect
    except (CineError, FrameError, Part10Error, IndexError):
        return None
    columns, rows = THUMBNAIL
    scale = min(columns / image.shape[1], rows / (image.shape[0] * aspect))
    size = (round(image.shape[1] * scale), round(image.shape[0] * aspect * scale))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    if maps is not None and maps.has(index):
        # The cavity last: its line runs along the wall's, and is what a measure rests on.
        for label, points in sorted(masks.contours(maps.frame(index)).items(), reverse=True):
            _trace(small, points, colours[label], (scale, scale * aspect))
    done, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return jpeg.tobytes() if done else None


def _trace(
    image: npt.NDArray[np.uint8], points: masks.Points, colour: str, scale: tuple[float, float]
) -> None:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    placed = (points + 0.5) * np.asarray(scale) - 0.5
    outline = np.round(placed * masks.SUBPIXELS).astype(np.int32)
    cv2.polylines(image, [outline], True, (blue, green, red), 2, cv2.LINE_AA, shift=3)
