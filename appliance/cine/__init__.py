"""Cine loops: frames by number straight from the file, their timing, regions, and what rules them out.

| file | knows |
|---|---|
| `loop.py` | the loop: frames by number |
| `framing.py` | which fragments make a frame |
| `layout.py`, `decode.py`, `compressed.py`, `lossless.py`, `jpeg.py`, `palette.py` | pixels |
| `video.py` | frames of a video stream |
| `timing.py`, `regions.py` | the elements around them |
| `refusal.py` | what can't be analysed, and why |
"""

from appliance.cine.loop import Cine, FrameError, Region, Timing, open_cine

__all__ = ["Cine", "FrameError", "Region", "Timing", "open_cine"]
