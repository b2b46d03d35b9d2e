"""A beating apical four-chamber heart on a speckled fan, drawn from formulas, so its truth is known.

Lengths are in units of the fan's radius (its depth), angles from the vertical; (0, 0) is where
the beams meet, y goes down. The left ventricle lies on screen right, as CAMUS has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
LV, MYOCARDIUM, LA = 1, 2, 3

HALF_ANGLE = math.radians(37.5)
APEX, BASE = np.array([0.035, 0.155]), np.array([0.085, 0.615])  # of the cavity at end diastole
HALF_WIDTH = 0.128  # of the cavity at end diastole, widest at WIDEST of the way to the base
WIDEST = 0.58
WALL = 0.055  # thickness at end diastole
LA_LENGTH, LA_HALF_WIDTH = 0.215, 0.102


@dataclass(frozen=True)
class Shape:
    """The left heart at one instant: cavity length and half width, wall, and the atrium's size."""

    length: float
    half_width: float
    wall: float
    atrium: float

    @property
    def volume(self) -> float:
        """Of the cavity as a body of revolution, in cubed units of the fan's radius."""
        along = (np.arange(2000) + 0.5) / 2000
        profile = _profile(along.astype(np.float32)).astype(np.float64)
        return float(math.pi * self.half_width**2 * self.length * np.mean(profile**2))


def shape_at(phase: float, ejection_fraction: float) -> Shape:
    """The left heart at a phase of the beat: 0 end diastole, 0.5 end systole.

    The cavity's volume follows a cosine from 1 to 1 - `ejection_fraction` of its largest.
    """
    contraction = (1 - math.cos(2 * math.pi * phase)) / 2
    shortening = 1 - 0.27 * ejection_fraction * contraction
    volume = 1 - ejection_fraction * contraction
    length = float(np.linalg.norm(BASE - APEX))
    half_width = HALF_WIDTH * math.sqrt(volume / shortening)
    # The wall keeps about its area: it thickens as the cavity narrows.
    return Shape(
        length=length * shortening,
        half_width=half_width,
        wall=WALL + 0.55 * (HALF_WIDTH - half_width),
        atrium=1 + 0.18 * contraction,
    )


def _profile(along: Float) -> Float:
    """Half width over the widest, from the apex (0) to the base (1); 0 outside."""
    upper = np.sqrt(np.clip(1 - ((WIDEST - along) / WIDEST) ** 2, 0, None))
    lower = 1 - 0.24 * ((along - WIDEST) / (1 - WIDEST)) ** 2
    profile: Float = np.where(along < WIDEST, upper, lower)
    return np.where((along < 0) | (along > 1), 0, profile).astype(np.float32)


class _Ground:
    """A picture without its speckle: equal for every seed, and so drawn once."""

    def __init__(self, rows: int, columns: int, aspect: float) -> None:
        height = rows * aspect
        top = 0.055 * height
        self.radius = min(0.92 * height - top, 0.47 * columns / math.sin(HALF_ANGLE))
        self.centre = ((columns - 1) / 2, top)
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
        self.x: Float = (x - self.centre[0]) / self.radius
        self.y: Float = (y * np.float32(aspect) - top) / self.radius
        self.depth: Float = np.hypot(self.x, self.y)
        self.angle: Float = np.arctan2(self.x, self.y)
        self.fan = (np.abs(self.angle) <= HALF_ANGLE) & (self.depth <= 1) & (self.depth > 0.012)
        self._still = self._surroundings()
        for shared in (self.x, self.y, self.depth, self.angle, self.fan):
            shared.setflags(write=False)

    def _ellipse(self, x: float, y: float, half_x: float, half_y: float, tilt: float) -> Float:
        """1 at an ellipse's centre, 0 on its border, below 0 outside."""
        c, s = math.cos(tilt), math.sin(tilt)
        u = ((self.x - x) * c + (self.y - y) * s) / half_x
        v = (-(self.x - x) * s + (self.y - y) * c) / half_y
        ellipse: Float = 1 - np.hypot(u, v)
        return ellipse

    def _surroundings(self) -> Float:
        """Brightness around the left heart: right heart dark, its walls and pericardium bright."""
        level = np.full(self.x.shape, 0.34, np.float32)
        lateral = np.exp(-(((self.x - 0.33 - 0.16 * (self.y - 0.4)) / 0.075) ** 2))
        level += 0.38 * lateral * np.clip((self.y - 0.22) * 4, 0, 1)
        level += 0.45 * np.exp(-(((self.depth - 0.93) / 0.05) ** 2)) * (self.angle > -0.25)
        ventricle = self._ellipse(-0.145, 0.46, 0.10, 0.20, 0.22)
        atrium = self._ellipse(-0.125, 0.765, 0.115, 0.12, 0.0)
        for cavity, rim in ((ventricle, 0.22), (atrium, 0.16)):
            level = np.where(cavity > -rim, 0.55, level)
            level = np.where(cavity > 0, 0.17, level)
        return level

    def level(self, shape: Shape) -> tuple[Float, npt.NDArray[np.uint8]]:
        """Brightness and label map of the heart in this shape."""
        along, across = self._along(shape)
        labels = self._labels(shape, along, across)
        level = self._still.copy()
        level[labels == MYOCARDIUM] = 0.62
        level[labels == LV] = 0.15
        level[labels == LA] = 0.15
        self._mitral(level, labels, along, across, shape)
        blurred = np.asarray(cv2.GaussianBlur(level, (0, 0), self.radius * 0.0045), np.float32)
        return blurred, labels

    def _along(self, shape: Shape) -> tuple[Float, Float]:
        """Way from the apex to the base (0 to 1), and distance from the long axis."""
        axis = (BASE - APEX) / np.linalg.norm(BASE - APEX)
        # The apex stays, the base comes up to it.
        u = (self.x - APEX[0]) * axis[0] + (self.y - APEX[1]) * axis[1]
        v = (self.x - APEX[0]) * axis[1] - (self.y - APEX[1]) * axis[0]
        return (u / shape.length).astype(np.float32), v.astype(np.float32)

    def _labels(self, shape: Shape, along: Float, across: Float) -> npt.NDArray[np.uint8]:
        labels = np.zeros(self.x.shape, np.uint8)
        outer_length = shape.length + 0.85 * shape.wall
        outer = (along * shape.length + 0.85 * shape.wall) / outer_length
        wall = np.abs(across) < (shape.half_width + shape.wall) * _profile(outer)
        labels[wall] = MYOCARDIUM
        atrium_along = (along - 1) * shape.length / (LA_LENGTH * shape.atrium)
        rounded = np.clip(1 - np.abs(2 * atrium_along - 1) ** 2.6, 0, None) ** (1 / 2.6)
        opening = np.clip(1 - atrium_along * 3, 0, 1) * 0.66
        half = LA_HALF_WIDTH * shape.atrium * np.maximum(rounded, opening)
        labels[(atrium_along > 0) & (atrium_along < 1) & (np.abs(across) < half)] = LA
        labels[np.abs(across) < shape.half_width * _profile(along)] = LV
        return labels

    def _mitral(
        self,
        level: Float,
        labels: npt.NDArray[np.uint8],
        along: Float,
        across: Float,
        shape: Shape,
    ) -> None:
        """Bright annulus, leaflets and atrial wall: what a person and a network take bearings by."""
        base = np.abs(along - 1) * shape.length
        width = shape.half_width * 0.76
        level[(base < 0.012) & (np.abs(across) < width)] = 0.55
        annulus = np.hypot(base, np.abs(across) - width - 0.5 * shape.wall) < 0.028
        level[annulus] = 0.85
        atrium = (labels == LA).astype(np.uint8)
        size = max(3, round(self.radius * 0.03)) | 1
        grown = cv2.dilate(atrium, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
        level[(grown > 0) & (labels == 0)] = 0.66


@lru_cache(maxsize=8)
def _ground(rows: int, columns: int, aspect: float) -> _Ground:
    return _Ground(rows, columns, aspect)


@lru_cache(maxsize=64)  # a megabyte each
def _level(ground: _Ground, shape: Shape) -> tuple[Float, npt.NDArray[np.uint8]]:
    level, labels = ground.level(shape)
    level.setflags(write=False)
    labels.setflags(write=False)
    return level, labels


class Scene:
    """Everything about the picture that doesn't move.

    Parameters
    ----------
    rows, columns
        Of a frame.
    aspect
        Height of a pixel over its width.
    seed
        Of the speckle.
    """

    def __init__(self, rows: int, columns: int, aspect: float = 1.0, seed: int = 0) -> None:
        self.aspect = aspect
        self._ground = ground = _ground(rows, columns, aspect)
        self.radius, self.centre, self.fan = ground.radius, ground.centre, ground.fan
        self.x, self.y, self.depth, self.angle = ground.x, ground.y, ground.depth, ground.angle
        rng = np.random.default_rng(seed)
        self.speckle = [self._speckle(rng) for _ in range(2)]
        self._rng = rng

    def _speckle(self, rng: np.random.Generator) -> Float:
        """Rayleigh speckle of mean 1: fine in depth, widening with it across, as beams do."""
        grid = rng.normal(size=(2, 420, 130)).astype(np.float32)
        fields = [cv2.GaussianBlur(part, (0, 0), sigmaX=0.75, sigmaY=1.1) for part in grid]
        amplitude = np.hypot(fields[0], fields[1])
        across = (self.angle / HALF_ANGLE + 1) * 64.5
        sampled = cv2.remap(
            amplitude, across, self.depth * 415, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        return np.asarray(sampled / np.float32(amplitude.mean()), np.float32)

    def draw(self, shape: Shape) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Grey frame and label map, both uint8[rows, columns], of the heart in this shape."""
        level, labels = _level(self._ground, shape)
        # Blood twinkles from frame to frame, tissue all but keeps its speckle.
        fresh = np.roll(self.speckle[1], self._rng.integers(-40, 40, 2), (0, 1))
        speckle = self.speckle[0] + np.where(level < 0.3, 0.5, 0.18) * (fresh - self.speckle[0])
        gain = 1.08 - 0.28 * self.depth
        picture = 215 * gain * level * (0.30 + 0.70 * speckle)
        picture += self._rng.normal(0, 1.5, picture.shape).astype(np.float32)
        grey = np.where(self.fan, np.clip(picture, 3, 255), 0).astype(np.uint8)
        return grey, np.where(self.fan, labels, 0).astype(np.uint8)
