"""Corrections as the source paper simulates them: a person who draws hearts a little otherwise.

The left ventricle is slightly larger, the left atrium larger and less round, the myocardium
narrower. The same generator state gives the same drawing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Region = npt.NDArray[np.bool_]

LV, MYOCARDIUM, ATRIUM = 1, 2, 3


@dataclass(frozen=True)
class Hand:
    """How one person draws, against an expert.

    Attributes
    ----------
    ventricle
        The cavity's border goes outwards by this share of the square root of its area.
    myocardium
        The outer border comes inwards by as much, the inner one gives way to the ventricle.
    atrium
        Growth of the atrium's radius.
    oblong, uneven
        Two and three bulges a turn, as shares of its radius: the atrium less round.
    unsteady
        Each drawing's share of difference from these, one standard deviation.
    """

    ventricle: float = 0.03
    myocardium: float = 0.03
    atrium: float = 0.08
    oblong: float = 0.08
    uneven: float = 0.05
    unsteady: float = 0.15


def corrected(mask: Bytes, random: np.random.Generator, hand: Hand = Hand()) -> Bytes:
    """Return what this hand would draw where the expert drew `mask`.

    Parameters
    ----------
    mask
        uint8 [rows, columns]: 0 background, 1 left ventricle, 2 myocardium, 3 left atrium.
    random
        Decides the drawing's difference from the next one.
    """
    shares = 1 + hand.unsteady * random.standard_normal(5)
    turn = hand.unsteady * random.standard_normal(2)
    side = float(np.sqrt(np.count_nonzero(mask == LV)))
    made: Bytes = mask.copy()
    made[mask == ATRIUM] = 0
    heart = _narrowed(mask != 0, hand.myocardium * side * shares[0])
    made[(mask == MYOCARDIUM) & ~heart] = 0
    cavity = _widened(mask == LV, hand.ventricle * side * shares[1])
    made[cavity & (mask == MYOCARDIUM)] = LV
    bulges = (hand.oblong * shares[3], hand.uneven * shares[4])
    atrium = _bulged(mask, 1 + hand.atrium * shares[2], bulges, turn)
    made[atrium & (made == 0) & (mask != MYOCARDIUM)] = ATRIUM
    return made


def _widened(region: Region, pixels: float) -> Region:
    import cv2

    distance = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    widened: Region = distance <= pixels
    return widened


def _narrowed(region: Region, pixels: float) -> Region:
    return ~_widened(~region, pixels)


def _bulged(
    mask: Bytes, growth: float, bulges: tuple[float, float], turn: npt.NDArray[np.float64]
) -> Region:
    """The atrium about its middle: larger, longer along the heart's axis, with three corners."""
    atrium: Region = mask == ATRIUM
    if not atrium.any():
        return atrium
    rows, columns = np.indices(mask.shape, np.float32)
    middle = np.array([place.mean() for place in np.nonzero(atrium)])
    ventricle = np.nonzero(mask == LV)
    apex = np.array([place.mean() for place in ventricle]) if len(ventricle[0]) else middle - (1, 0)
    axis = np.arctan2(*(middle - apex))
    angle = np.arctan2(rows - middle[0], columns - middle[1]) - axis
    radius = (
        growth + bulges[0] * np.cos(2 * angle + turn[0]) + bulges[1] * np.cos(3 * angle + turn[1])
    )
    back = [
        np.rint(centre + (grid - centre) / radius).astype(int).clip(0, size - 1)
        for grid, centre, size in zip((rows, columns), middle, mask.shape, strict=True)
    ]
    bulged: Region = atrium[back[0], back[1]]
    return bulged
