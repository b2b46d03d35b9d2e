"""Numbers of a retraining as people write them; how many originals are shown for each correction."""

import argparse

POOR = 0.85  # mean Dice on the corrections below which the network has more to learn than to keep
MIX_WHEN_POOR, MIX_WHEN_GOOD = 1.0, 2.0


def default_mix(initial: float) -> float:
    """Return the originals for each correction, by the network's mean Dice on the corrections.

    A network that is far off has more to learn from a correction than to lose: one original for
    each. One that is nearly right has more to lose: two (docs/retraining.md has the figures).
    """
    return MIX_WHEN_POOR if initial < POOR else MIX_WHEN_GOOD


def ratio(text: str) -> float:
    """Read a mix: "2", "0.5", or originals to corrections, "2:1".

    Raises
    ------
    argparse.ArgumentTypeError
        When it is neither.
    """
    try:
        originals, _, corrected = text.partition(":")
        value = float(originals) / float(corrected or 1)
    except (ValueError, ZeroDivisionError):
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no ratio such as 2 or 2:1")
    return value


def positive(text: str) -> int:
    """Read a number of epochs or frames: 1 or more; raises as `ratio` does."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def rate(text: str) -> float:
    """Read a learning rate: above 0, at most 1; raises as `ratio` does."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate such as 1e-4")
    return value
