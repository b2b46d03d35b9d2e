"""Drawn frames as the network sees them, and the same a little otherwise: augmentation."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from appliance.sector.geometry import Geometry, letterbox
from models.corrections import Drawn

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

TURN = 10.0  # degrees each way
SHIFT = 0.06  # of the side
SCALE = (0.85, 1.12)
GAMMA = 1.5  # 1/GAMMA to GAMMA
GAIN = (0.75, 1.25)
BLUR = (0.5, 1.5)  # pixels
SPECKLE = 0.12
_SELDOM = 0.3  # of the frames are blurred, as many speckled


def geometry_of(drawn: Drawn) -> Geometry:
    """Return how the whole frame lies in the network's square, its pixels made square."""
    rows, columns = drawn.image.shape
    return Geometry.fit(rows, columns, (0, 0, columns, rows), drawn.aspect)


def map_spacing(drawn: Drawn) -> float | None:
    """Return the mm per pixel of the network's square; None when unknown."""
    return drawn.spacing[1] / geometry_of(drawn).scale_x if drawn.spacing else None


def letterboxed(drawn: Drawn) -> tuple[Bytes, Bytes]:
    """Return image and mask, both uint8 [384, 384], the frame whole and centred."""
    geometry = geometry_of(drawn)
    width, height = geometry.inner
    mask = np.zeros((geometry.map_rows, geometry.map_columns), np.uint8)
    inside = np.s_[
        geometry.pad_y : geometry.pad_y + height, geometry.pad_x : geometry.pad_x + width
    ]
    mask[inside] = cv2.resize(drawn.mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return letterbox(drawn.image, geometry), mask


def augmented(image: Bytes, mask: Bytes, random: np.random.Generator) -> tuple[Floats, Bytes]:
    """Turn, shift and scale both; change the picture's brightness, sharpness and speckle.

    Parameters
    ----------
    image, mask
        uint8 [side, side].
    random
        Decides everything: the same state gives the same result.

    Returns
    -------
    tuple
        float32 [side, side] in 0..1, and uint8 [side, side].
    """
    side = image.shape[0]
    way = cv2.getRotationMatrix2D(
        (side / 2, side / 2), random.uniform(-TURN, TURN), random.uniform(*SCALE)
    )
    way[:, 2] += random.uniform(-SHIFT, SHIFT, 2) * side
    moved = cv2.warpAffine(image, way, (side, side), flags=cv2.INTER_LINEAR)
    labels = cv2.warpAffine(mask, way, (side, side), flags=cv2.INTER_NEAREST)
    power = math.exp(random.uniform(-math.log(GAMMA), math.log(GAMMA)))
    picture = (moved / np.float32(255)) ** power * random.uniform(*GAIN)
    if random.random() < _SELDOM:
        picture = cv2.GaussianBlur(picture, (0, 0), random.uniform(*BLUR))
    if random.random() < _SELDOM:
        picture = picture * (1 + random.normal(0, SPECKLE, picture.shape))
    return np.clip(picture, 0, 1).astype(np.float32), np.asarray(labels, np.uint8)
