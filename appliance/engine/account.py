"""What an analysis row holds of its frames and its times, as plain values."""

from collections.abc import Sequence

from appliance.engine.pipeline import Frame, Stages
from appliance.engine.quality import implausible


def damaged(frames: Sequence[Frame]) -> list[int]:
    """Return the frames (from 0) that couldn't be decoded."""
    return [index for index, frame in enumerate(frames) if frame.measures is None]


def rows(frames: Sequence[Frame], *, heart: bool) -> list[dict[str, object] | None]:
    """Return what is stored of each frame, None for a damaged one.

    Parameters
    ----------
    frames
        In order.
    heart
        Whether the model draws the apical heart: only then a frame can be doubtful.
    """
    return [
        None
        if frame.measures is None or frame.shape is None
        else {
            **frame.measures.to_dict(),
            "confidence": list(frame.shape.confidence),
            "certainty": [round(share, 3) for share in frame.shape.certainty],
            "doubt": implausible(frame.shape) if heart else "",
        }
        for frame in frames
    ]


def doubtful(rows: Sequence[dict[str, object] | None]) -> list[int]:
    """Return the frames (from 0) whose outlines can't be a heart's."""
    return [index for index, row in enumerate(rows) if row and row["doubt"]]


def timings(stages: Stages, seconds: float, first_masks_s: float, frames: int) -> dict[str, object]:
    """Return how long a loop took.

    Parameters
    ----------
    stages
        Time of each.
    seconds, first_masks_s
        From the claim until all was stored, and until the first masks were.
    frames
        Of the loop.
    """
    return {
        "frames": frames,
        "total_ms": round(1000 * seconds, 1),
        "first_masks_ms": round(1000 * first_masks_s, 1),
        "stages": {
            name: {"ms": round(spent, 1), "ms_per_frame": round(spent / frames, 3)}
            for name, spent in stages.spent.items()
        },
    }
