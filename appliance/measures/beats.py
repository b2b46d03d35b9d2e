"""Heartbeats without an ECG: the ventricle's area curve, its maxima (ED) and minima (ES)."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

_SMOOTH_S = 0.1  # s, width of the smoothing window: a third of the shortest systole
_SWING_OF_RANGE = 0.35  # a turn must come back by this share of the curve's range
_SWING_OF_MEAN = 0.04  # and by this share of the mean area, which is more than a mask's flutter
_SHORTEST_S = 0.4  # of a loop that can hold a whole beat: 150 beats a minute
_SHORT_S = (
    0.65  # below it, a loop from the middle of a systole to that of a filling looks like a beat
)
_EDGE_S = 0.07  # at a loop's end: how steep the curve is there
_ON_THE_WAY = 0.4  # share of the steepest slope: the area stands almost still at a true ED or ES
_PARTIAL = 0.1  # share of the range by which a loop's first or last turn may fall short

Curve = npt.NDArray[np.float64]


def smooth(area: Curve, rate_hz: float) -> Curve:
    """Fill gaps, drop single-frame spikes and smooth an area curve.

    Parameters
    ----------
    area
        float [frames]; NaN where there is no mask.
    rate_hz
        Frames per second.
    """
    frames = np.arange(len(area))
    known = np.isfinite(area)
    filled = np.interp(frames, frames[known], area[known])
    padded = np.pad(filled, 1, mode="edge")
    steady = np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    width = 2 * max(1, round(_SMOOTH_S * rate_hz / 2)) + 1
    window = np.hanning(width + 2)[1:-1]
    # Divided by the weights that lie inside: the ends aren't pulled towards zero.
    weights = np.convolve(np.ones_like(steady), window, mode="same")
    smoothed: Curve = np.convolve(steady, window, mode="same")[: len(area)] / weights[: len(area)]
    return smoothed


def find_beats(curve: Curve, rate_hz: float) -> list[tuple[int, int]]:
    """Return the frames (ED, ES) of each beat: a maximum of the area and the minimum after it.

    Parameters
    ----------
    curve
        float [frames], smoothed.
    rate_hz
        Frames per second.

    Returns
    -------
    list
        Empty when the loop holds less than a heartbeat, or hardly a contraction. A loop of one
        beat that starts at ES has its minimum first.
    """
    if len(curve) < _SHORTEST_S * rate_hz:
        return []
    low, high = np.percentile(curve, [5, 95])
    swing = max(_SWING_OF_RANGE * (high - low), _SWING_OF_MEAN * float(curve.mean()))
    turns = _zigzag(curve, swing)
    if len(turns) < 3:
        return []
    if len(curve) < _SHORT_S * rate_hz and any(_passes(turn, curve, rate_hz) for turn in turns):
        return []
    whole = _drop_partial(turns, curve, high - low)
    following = [(a.frame, b.frame) for a, b in pairwise(whole) if a.is_ed]
    return following or [(b.frame, a.frame) for a, b in pairwise(whole)]


@dataclass(frozen=True)
class _Turn:
    """A frame where the area stops growing (`is_ed`) or shrinking."""

    frame: int
    is_ed: bool


def _zigzag(curve: Curve, swing: float) -> list[_Turn]:
    turns: list[_Turn] = []
    high = low = 0
    rising: bool | None = None
    for frame, value in enumerate(curve):
        high = frame if value > curve[high] else high
        low = frame if value < curve[low] else low
        if rising is not False and curve[high] - value >= swing:
            turns.append(_Turn(high, is_ed=True))
            rising, low = False, frame
        elif rising is not True and value - curve[low] >= swing:
            turns.append(_Turn(low, is_ed=False))
            rising, high = True, frame
    if rising is not None:
        turns.append(_Turn(high, is_ed=True) if rising else _Turn(low, is_ed=False))
    return turns


def _passes(turn: _Turn, curve: Curve, rate_hz: float) -> bool:
    """Whether a loop begins or ends with this turn in the middle of a stroke: it is still steep."""
    reach = max(1, round(_EDGE_S * rate_hz))
    steps = np.abs(np.diff(curve))
    if turn.frame < reach:
        edge = steps[: turn.frame + reach]
    elif turn.frame >= len(curve) - reach:
        edge = steps[turn.frame - reach :]
    else:
        return False
    return float(edge.mean()) > _ON_THE_WAY * float(np.percentile(steps, 95))


def _drop_partial(turns: list[_Turn], curve: Curve, extent: float) -> list[_Turn]:
    """A loop may begin or end on the way: such a turn is no ED or ES if others go further."""

    def falls_short(turn: _Turn) -> bool:
        others = [curve[o.frame] for o in turns if o.is_ed == turn.is_ed and o is not turn]
        if turn.frame not in (0, len(curve) - 1) or not others:
            return False
        missing = float(np.median(others) - curve[turn.frame])
        return (missing if turn.is_ed else -missing) > _PARTIAL * extent

    return [turn for turn in turns if not falls_short(turn)]
