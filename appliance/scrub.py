"""Pixels that say nothing but the heart: the fan alone, in grey, encoded anew; refused when in doubt.

Every frame is decoded, what lies outside the fan turns black, and the rest is encoded again
without loss. Nothing of the original encoding survives: no fragment, no application segment, no
thumbnail, no private bulk.

Text inside the fan can't be blanked without spoiling the picture, so a loop that shows any is
refused until a person has looked at what would leave. Text gives itself away where the tissue
behind it moves: thin strokes that stay brighter than all around them in every frame of a stretch,
and change far less than their surroundings; or strokes, bright or dark, that do not change at all.
What is shown for a few frames only is not looked for.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from appliance import run_length
from appliance.cine import Cine, FrameError
from appliance.errors import DeliveryError, SectorError
from appliance.sector import Sector, find_sector

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

STRETCH = 24  # frames: text is looked for that stands through one, about a second
_STROKE = 9  # pixels: strokes of letters are thinner
_STROKE_SHARE = 1 / 53  # of the rows, where those are more
_BRIGHTER = 60  # grey levels of a stroke above the brightest its surroundings keep
_ABOVE_TEXTURE = 3.0  # times what 95 % of the fan's own fine texture reaches
_STEADIER = 0.5  # of the mean change around a stroke
_NOISE = 4.0  # grey levels by which what stands still may seem to move
_AROUND = 31  # pixels: size of those surroundings
_FROZEN = 1.0  # grey levels: what is drawn over the picture varies less, whatever moves beneath
_MOVING = 4.5  # grey levels its surroundings change at least, to tell it from still tissue
_FROZEN_STROKE, _FROZEN_GAP = 30, 45  # grey levels above, or below, what is around it
_SATURATED = 250  # speckle that is always white stands still, too
_MARGIN = 5  # pixels at the fan's edge, where blanking itself makes a step
_MOST = 9  # such pixels in a small fan; a name of eight letters 5 pixels high shows twice as many
_MOST_SHARE = 1 / 8000  # of a large fan, where letters are larger too
_SHOWN = 6  # frames in an overview
_LARGEST = 1 << 30  # bytes of encoded frames, held in memory
_FAN_IN_DOUBT = "it isn't certain where the ultrasound fan ends and text may begin"
_TEXT_IN_DOUBT = "there may be text inside the ultrasound fan"


class Refused(DeliveryError):
    """A correction must not leave the box; `subject` says why, for the page and the log."""

    def __init__(self, reason: str) -> None:
        super().__init__("send a correction upstream", reason, "It stays on this box.")


@dataclass(frozen=True)
class Scrubbed:
    """A loop's frames as RLE Lossless fragments (PS3.5 annex G), one a frame, and their fan.

    Attributes
    ----------
    damaged
        Frames, from 0, that can't be decoded: they are black.
    doubts
        Why nothing of it may leave unless a person has looked at it; empty when nothing is unsure.
    """

    fragments: tuple[bytes, ...]
    sector: Sector
    damaged: tuple[int, ...]
    doubts: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Of all fragments: names exactly the pixels that a person has looked at."""
        digest = hashlib.sha256()
        for fragment in self.fragments:
            digest.update(hashlib.sha256(fragment).digest())
        return digest.hexdigest()

    def must_be_sure(self) -> None:
        """Raise Refused with the first doubt, when there is any."""
        if self.doubts:
            raise Refused(self.doubts[0])


def scrub(cine: Cine) -> Scrubbed:
    """Return a loop's frames with nothing but the fan in them, and what is in doubt about them.

    Parameters
    ----------
    cine
        Any loop; every frame is decoded, one at a time.

    Raises
    ------
    Refused
        When it isn't a grey loop, has no fan, or can't be decoded: nothing could leave of it,
        whoever looked.
    """
    sector = the_sector(cine)
    fragments: list[bytes] = []
    damaged: list[int] = []
    black, text = np.zeros(sector.fan.shape, np.uint8), False
    for indexes in _stretches(cine.frames):
        watch = _Watch(sector.fan)
        for index in indexes:
            grey = _decoded(cine, index)
            if grey is None:
                damaged.append(index)
            else:
                watch.see(grey)
            fragments.append(run_length.encode(sector.fan * grey if grey is not None else black))
        text = text or watch.strokes() > most_text_like(sector.fan)
        if sum(map(len, fragments)) > _LARGEST:
            raise Refused("the loop is too large to be sent")
    if len(damaged) == cine.frames:
        raise Refused("none of its frames can be decoded")
    found = ((_FAN_IN_DOUBT, not sector.certain), (_TEXT_IN_DOUBT, text))
    doubts = tuple(why for why, is_so in found if is_so)
    return Scrubbed(tuple(fragments), sector, tuple(damaged), doubts)


def the_sector(cine: Cine) -> Sector:
    """Return the fan of a loop, or raise Refused when it can have none."""
    reason = cine.refusal()
    if reason is not None:
        raise Refused(f"it isn't a grey cine loop ({reason.rstrip('.')})")
    try:
        return find_sector(cine)
    except SectorError as error:
        raise Refused(error.subject) from None


def most_text_like(fan: Mask) -> int:
    """Return how many text-like pixels a fan may show before its loop is refused."""
    return max(_MOST, int(fan.sum() * _MOST_SHARE))


def text_like_pixels(frames: Sequence[Grey], fan: Mask) -> int:
    """Return how many pixels of a fan look like strokes of text over moving tissue.

    Parameters
    ----------
    frames
        uint8[rows, columns] each, of one stretch of a loop.
    fan
        bool[rows, columns].

    Notes
    -----
    A stroke is what a morphological opening of the darkest value over time takes away, or a closing
    of the brightest. In the real loops at hand up to 3 pixels pass, and over 100 once a name of
    eight letters is written across; a logo at the edge of one fan gives over 40.
    """
    watch = _Watch(fan)
    for grey in frames:
        watch.see(grey)
    return watch.strokes()


class _Watch:
    """Per pixel over a stretch of frames: darkest and brightest value, and sums for its spread."""

    def __init__(self, fan: Mask) -> None:
        self._fan = fan
        self._count = 0
        self._darkest = np.full(fan.shape, 255, np.uint8)
        self._brightest = np.zeros(fan.shape, np.uint8)
        self._sum = np.zeros(fan.shape, np.float64)
        self._squares = np.zeros(fan.shape, np.float64)

    def see(self, grey: Grey) -> None:
        """Take one frame into account."""
        self._count += 1
        np.minimum(self._darkest, grey, out=self._darkest)
        np.maximum(self._brightest, grey, out=self._brightest)
        value = grey.astype(np.float64)
        self._sum += value
        self._squares += value * value

    def strokes(self) -> int:
        """Pixels that look like text; every one may when there is nothing to compare with."""
        if not self._count:
            return 0
        import cv2  # late: only corrections need it

        size = max(_STROKE, int(self._fan.shape[0] * _STROKE_SHARE)) | 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        above = cv2.morphologyEx(self._darkest, cv2.MORPH_TOPHAT, kernel)
        below = cv2.morphologyEx(self._brightest, cv2.MORPH_BLACKHAT, kernel)
        margin = np.ones((_MARGIN, _MARGIN), np.uint8)
        inside = cv2.erode(self._fan.astype(np.uint8), margin) > 0
        if not inside.any():
            return 0
        texture = float(np.percentile(above[inside], 95))
        bright = above >= max(_BRIGHTER, _ABOVE_TEXTURE * texture)
        spread = self._spread()
        around = self._around(spread)
        steady = bright & (spread <= _STEADIER * around)
        stroke = (above >= _FROZEN_STROKE) & (self._darkest < _SATURATED)
        drawn = (stroke | (below >= _FROZEN_GAP)) & (spread <= _FROZEN) & (around >= _MOVING)
        return int((inside & (steady | drawn)).sum())

    def _spread(self) -> npt.NDArray[np.float32]:
        mean = self._sum / self._count
        variance = np.maximum(self._squares / self._count - mean * mean, 0)
        return np.asarray(np.sqrt(variance), np.float32)

    def _around(self, spread: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Mean spread of the fan around each pixel; at its black rim that of JPEG noise."""
        import cv2  # late: only corrections need it

        inside = self._fan.astype(np.float32)
        size = (_AROUND, _AROUND)
        summed = cv2.boxFilter(spread * inside, -1, size)
        share = np.maximum(cv2.boxFilter(inside, -1, size), 1e-3)
        return np.asarray(np.maximum(summed / share, _NOISE), np.float32)


def overview(scrubbed: Scrubbed) -> bytes:
    """Return a PNG of what would leave, for a person who looks for names.

    The darkest and the brightest value of each pixel over all frames, then six frames of the loop:
    what stands still shows in the first, what is there for one frame only in the second.
    """
    import cv2  # late: only corrections need it

    shape = scrubbed.sector.fan.shape
    darkest, brightest = np.full(shape, 255, np.uint8), np.zeros(shape, np.uint8)
    count = len(scrubbed.fragments)
    shown = {round(place * (count - 1) / (_SHOWN - 1)) for place in range(_SHOWN)}
    frames = []
    for index, fragment in enumerate(scrubbed.fragments):
        grey = run_length.decode(fragment, shape)
        if index not in scrubbed.damaged:
            np.minimum(darkest, grey, out=darkest)
            np.maximum(brightest, grey, out=brightest)
        if index in shown:
            frames.append(grey)
    pictures = [darkest, brightest, *frames]
    pictures += [np.zeros(shape, np.uint8)] * (len(pictures) % 2)
    rows = [np.hstack(pictures[place : place + 2]) for place in range(0, len(pictures), 2)]
    done, encoded = cv2.imencode(".png", np.vstack(rows))
    assert done
    return encoded.tobytes()


def _stretches(frames: int) -> Iterator[range]:
    """A loop in stretches of about `STRETCH` frames."""
    count = max(1, round(frames / STRETCH))
    ends = [round(frames * place / count) for place in range(count + 1)]
    return (range(*pair) for pair in pairwise(ends))


def _decoded(cine: Cine, index: int) -> Grey | None:
    try:
        return cine.grey(index)
    except FrameError:
        return None  # one damaged frame doesn't spoil a loop: it stays black
