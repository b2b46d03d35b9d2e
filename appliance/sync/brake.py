"""A cap on what leaves for a destination: a token bucket (RFC 2697's, with one rate)."""

import threading
import time
from typing import BinaryIO

_BURST_S = 0.25  # so much of the rate may leave at once: packets come in bursts anyway
_PIECE = 16384  # bytes that are let through in one go


class Brake:
    """Lets bytes leave at a rate; shared by all who send to one destination.

    Parameters
    ----------
    mbit_per_s
        The rate, 10⁶ bits a second; 0 never waits.
    at_once
        How many share it, for `longest_s`.
    """

    def __init__(self, mbit_per_s: float, at_once: int = 1) -> None:
        self._rate = mbit_per_s * 1e6 / 8
        self._at_once = at_once
        self._lock = threading.Lock()
        self._free_at = 0.0  # when the bucket is empty no more, on the monotonic clock

    def __bool__(self) -> bool:
        return self._rate > 0

    def __call__(self, size: int) -> None:
        """Wait until `size` bytes may leave."""
        if not self:
            return
        with self._lock:
            # A bucket that is never fuller than its burst begins that long ago.
            begin = max(self._free_at, time.monotonic() - _BURST_S)
            self._free_at = begin + size / self._rate
            wait = self._free_at - time.monotonic()
        if wait > 0:
            time.sleep(wait)

    def longest_s(self, size: int) -> float:
        """Return how long an object may take beyond what it takes without a cap."""
        return 2.0 * self._at_once * size / self._rate if self else 0.0


class Slowed:
    """A stream that is written to at a brake's rate.

    Parameters
    ----------
    stream
        Where the bytes go.
    brake
        Lets them.
    """

    def __init__(self, stream: BinaryIO, brake: Brake) -> None:
        self._stream, self._brake = stream, brake

    def write(self, data: bytes | memoryview) -> None:
        """Write it piece by piece."""
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            self._brake(len(piece))
            self._stream.write(piece)
