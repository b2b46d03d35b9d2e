"""When each frame of a loop was taken, and how far the machine's word for it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from pydicom.dataset import Dataset

from appliance.part10 import number, text

ASSUMED_HZ = 30.0
_SHORTEST, _LONGEST = 1.0, 1000.0  # ms between frames: 1000 to 1 Hz holds every echo machine


@dataclass(frozen=True)
class Timing:
    """Frame times of a loop (Cine module, PS3.3 C.7.6.5).

    Attributes
    ----------
    frame_times_ms
        Of each frame, from 0.
    rate_hz
        Frames a second, over the whole loop.
    source
        "FrameTimeVector", "FrameTime", "CineRate", or "assumed" when the machine said nothing.
    note
        What a person should know about it, "" when nothing.
    """

    frame_times_ms: tuple[float, ...]
    rate_hz: float
    source: str
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a ledger row."""
        return asdict(self)


def read_timing(dataset: Dataset, frames: int) -> Timing:
    """Frame times, from the most exact element that makes sense; never raises."""
    steps = _vector(dataset, frames)
    step = _plausible(number(dataset, "FrameTime"))
    rate = number(dataset, "CineRate") or number(dataset, "RecommendedDisplayFrameRate")
    shown = _plausible(1000 / rate) if rate > 0 else 0.0
    if steps:
        return _timing(steps, "FrameTimeVector", "")
    if step:
        return _timing([step] * (frames - 1), "FrameTime", _disagreement(step, shown))
    if shown:
        return _timing([shown] * (frames - 1), "CineRate", "")
    note = f"The machine gave no frame rate; {ASSUMED_HZ:g} frames a second are assumed."
    return _timing([1000 / ASSUMED_HZ] * (frames - 1), "assumed", note)


def _plausible(step: float) -> float:
    return step if _SHORTEST <= step <= _LONGEST else 0.0


def _vector(dataset: Dataset, frames: int) -> list[float]:
    """Steps between the frames; empty when the vector doesn't fit the loop."""
    try:
        entries = [float(part) for part in text(dataset, "FrameTimeVector").split("\\")]
    except ValueError:
        return []
    # C.7.6.5.1.2: entry i is the time since frame i - 1; the first is 0.
    steps = entries[1:frames]
    if len(steps) != frames - 1 or not all(_plausible(step) for step in steps):
        return []
    return steps


def _disagreement(step: float, shown: float) -> str:
    if not shown or abs(step - shown) <= 0.15 * step:
        return ""
    return (
        f"The machine gives two frame rates, {1000 / step:.0f} and {1000 / shown:.0f} a second; "
        "the first is used."
    )


def _timing(steps: Sequence[float], source: str, note: str) -> Timing:
    times = tuple(accumulate(steps, initial=0.0))
    rate = 1000 * len(steps) / times[-1] if steps else ASSUMED_HZ
    return Timing(times, rate, source, note)
