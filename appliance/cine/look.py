"""What pixels tell about a loop when its elements don't: colour flow, a still, several pictures."""

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]

_STRIDE = 2  # every second pixel each way is enough to see a colour box
_CHROMA = 26  # distance from the loop's own tint, in 8-bit Cb and Cr, that counts as colour
_CHANGE = 18  # in Cb or Cr over time: flow comes and goes, labels and colour bars stay
_AREA = 0.002  # of the picture
_MOVED = 9  # grey levels a pixel changes over the loop where speckle lives
_DARK = 10  # grey level up to which a pixel is black
_STILL = 0.01  # of the picture moves, at most, in a still with a clock or a sweeping trace
_WIDE = 0.2  # of the picture's columns, at least, has one of several pictures
_ALIKE = 0.75  # the narrower of two pictures over the wider
_ALIVE = 0.1  # of a picture's own pixels move; text and menus don't


def grey_of(pictures: Pictures) -> Pictures:
    """Brightness of uint8[frames, rows, columns, 3 or none], uint8[frames, rows, columns]."""
    if pictures.ndim == 3:
        return pictures
    import cv2  # late: whoever only reads headers doesn't need it

    grey = np.empty(pictures.shape[:3], np.uint8)
    for picture, made in zip(pictures, grey, strict=True):
        # A reduction over three neighbours would take ten times as long.
        red, green, blue = cv2.split(picture)
        cv2.max(cv2.max(red, green), blue, made)
    return grey


def is_still(grey: Pictures) -> bool:
    """Whether frames show one picture over and over: uint8[frames, rows, columns]."""
    import cv2  # late: whoever only reads headers doesn't need it

    moved = (np.ptp(grey, axis=0) > _MOVED).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    return float(cv2.morphologyEx(moved, cv2.MORPH_OPEN, kernel).mean()) < _STILL


def shows_several(grey: Pictures) -> bool:
    """Whether moving pictures stand side by side: stress echo quad screens, comparisons.

    Every column of one fan is lit somewhere, if only near the probe; between two pictures some
    are black from top to bottom.

    Parameters
    ----------
    grey
        uint8[frames, rows, columns], spread over the loop.
    """
    lit = grey.max(axis=0) > _DARK
    moved = np.ptp(grey, axis=0) > _MOVED
    # Text and traces that cross a gap are thin: a hundredth of the rows is none.
    filled = lit.mean(axis=0) > 0.01
    steps = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]]).astype(np.int8)))
    widths = [
        end - start
        for start, end in zip(steps[::2], steps[1::2], strict=True)
        if end - start >= _WIDE * len(filled) and moved[:, start:end].mean() >= _ALIVE
    ]
    return len(widths) > 1 and min(widths) >= _ALIKE * max(widths)


def shows_flow(pictures: npt.NDArray[np.uint8]) -> bool:
    """Whether colour Doppler is seen: coloured areas that change, on several frames.

    A tint (sepia, blue) gives every pixel of one brightness the same colour, so colour is measured
    from the tint of that brightness. Text, ECG traces and cursors are too thin, colour bars and
    logos don't change.

    Parameters
    ----------
    pictures
        uint8[frames, rows, columns, 3], RGB, spread over the loop.
    """
    import cv2  # late: whoever only reads headers doesn't need it

    ybr = [cv2.cvtColor(_sparse(picture), cv2.COLOR_RGB2YCrCb) for picture in pictures]
    chroma = _without_tint(np.asarray(ybr, np.uint8))
    coloured = chroma[0] ** 2 + chroma[1] ** 2 > _CHROMA**2
    changing = (np.ptp(chroma, axis=1) > _CHANGE).any(axis=0)
    kernel = np.ones((3, 3), np.uint8)
    areas = [
        int(cv2.morphologyEx((mask & changing).astype(np.uint8), cv2.MORPH_OPEN, kernel).sum())
        for mask in coloured
    ]
    enough = _AREA * coloured[0].size
    return len([area for area in areas if area > enough]) >= min(2, len(areas))


def _sparse(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Every `_STRIDE`-th pixel each way of uint8[rows, columns, 3]."""
    import cv2  # late: whoever only reads headers doesn't need it

    rows, columns = picture.shape[:2]
    if rows % _STRIDE or columns % _STRIDE:
        return np.ascontiguousarray(picture[::_STRIDE, ::_STRIDE])
    size = (columns // _STRIDE, rows // _STRIDE)  # the same pixels, five times as fast
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _without_tint(ybr: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Cr and Cb, float32[2, ...], measured from the median colour of their brightness."""
    luma = np.ascontiguousarray(ybr[..., 0])
    level = luma >> 4
    lit = luma > 24
    middle = np.arange(16, dtype=np.float32) * 16 + 8
    made = np.empty((2, *luma.shape), np.float32)
    brightness = luma[lit]
    for place in range(2):
        chroma = ybr[..., 1 + place].astype(np.float32)
        # One line through black: a bright level may be all flow, and hide in its own median.
        slope = np.median((chroma[lit] - 128) / brightness) if len(brightness) else np.float32(0)
        made[place] = chroma - (np.float32(128) + slope * middle)[level]
    return made
