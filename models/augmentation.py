"""The same heart from another machine and another hand: augmentation of drawn frames.

Each part stands for something carts do: gain and its curve over depth, gamma, a narrower or
shallower sector, text and rulers over the picture, JPEG, speckle, reverberation, shadow.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

TURN = 20.0  # degrees each way
SHIFT = 0.08  # of the side
SCALE = (0.75, 1.2)
STRETCH = 0.16  # natural logarithm of rows over columns, each way: 2CH frames came squashed
BEND = 7.0  # pixels of 384: largest elastic displacement
_BEND_GRID = 5  # points a side between which the bending is smooth
GAMMA = 0.6  # natural logarithm, each way
GAIN = (0.65, 1.2)
BLUR = (0.5, 1.8)  # pixels
SPECKLE = (0.05, 0.2)  # deviation of the factor
JPEG_QUALITY = (35, 90)

Random = np.random.Generator


def varied(
    image: Bytes, mask: Bytes, random: Random, strength: float = 1.0
) -> tuple[Floats, Bytes]:
    """Return the pair as another machine and hand might have made it.

    Parameters
    ----------
    image, mask
        uint8 [side, side].
    random
        Decides everything: the same state gives the same result.
    strength
        0 to 1: how far and how often.

    Returns
    -------
    tuple
        float32 [side, side] in 0..1, and uint8 [side, side].
    """
    moved, labels = _moved(image, mask, random, strength)
    picture = _toned(moved, random, strength)
    for chance, change in (
        (0.25, _blurred),
        (0.35, _speckled),
        (0.25, _shadowed),
        (0.15, _hazed),
        (0.2, _lettered),
        (0.2, _compressed),
    ):
        if random.random() < chance * strength:
            picture = change(picture, random)
    if random.random() < 0.12 * strength:
        picture, labels = _narrowed(picture, labels, random)
    return np.clip(picture, 0, 1).astype(np.float32), labels


def _moved(image: Bytes, mask: Bytes, random: Random, strength: float) -> tuple[Bytes, Bytes]:
    """Turn, scale, stretch, shift and bend both, by one interpolation."""
    side = image.shape[0]
    turn = math.radians(strength * random.uniform(-TURN, TURN))
    scale = math.exp(strength * random.uniform(*np.log(SCALE)))
    stretch = math.exp(strength * random.uniform(-STRETCH, STRETCH) / 2)
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    centre = (side - 1) / 2
    shift = strength * random.uniform(-SHIFT, SHIFT, 2) * side
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) - np.float32(centre)
    x = (cos * columns + sin * rows) * stretch + centre + shift[0]
    y = (-sin * columns + cos * rows) / stretch + centre + shift[1]
    if random.random() < 0.5 * strength:
        reach = random.uniform(0, BEND) * side / 384
        grid = random.uniform(-reach, reach, (2, _BEND_GRID, _BEND_GRID)).astype(np.float32)
        x += cv2.resize(grid[0], (side, side), interpolation=cv2.INTER_CUBIC)
        y += cv2.resize(grid[1], (side, side), interpolation=cv2.INTER_CUBIC)
    x, y = x.astype(np.float32), y.astype(np.float32)
    picture = cv2.remap(image, x, y, cv2.INTER_LINEAR)
    return np.asarray(picture, np.uint8), np.asarray(
        cv2.remap(mask, x, y, cv2.INTER_NEAREST), np.uint8
    )


def _toned(image: Bytes, random: Random, strength: float) -> Floats:
    """Gamma, gain, and half the time a curve of gain over depth (TGC)."""
    table = (np.arange(256) / 255) ** math.exp(strength * random.uniform(-GAMMA, GAMMA))
    table = (table * random.uniform(*GAIN) ** strength).astype(np.float32)
    picture: Floats = table[image]
    if random.random() < 0.5 * strength:
        knobs = np.float32(random.uniform(0.75, 1.15, (6, 1)))
        picture = (
            picture * cv2.resize(knobs, (1, len(picture)), interpolation=cv2.INTER_CUBIC)[:, :1]
        )
    return picture


def _blurred(picture: Floats, random: Random) -> Floats:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), random.uniform(*BLUR)), np.float32)


def _speckled(picture: Floats, random: Random) -> Floats:
    """Multiplicative noise, as coarse as the beam is wide."""
    noise = random.standard_normal(picture.shape, np.float32)
    grain = random.uniform(0, 1.5)
    if grain > 0.5:
        noise = cv2.GaussianBlur(noise, (0, 0), grain) * np.float32(2 * grain * math.sqrt(math.pi))
    strength = np.float32(random.uniform(*SPECKLE))
    return np.asarray(picture * (1 + strength * noise), np.float32)


def _shadowed(picture: Floats, random: Random) -> Floats:
    """A rib or air: a dark wedge that starts at the probe, or a dim blot."""
    side = len(picture)
    light = np.ones_like(picture)
    strength = float(random.uniform(0.15, 0.7))
    if random.random() < 0.5:
        tip = (side / 2 + random.uniform(-0.1, 0.1) * side, -0.05 * side)
        middle, width = random.uniform(-0.7, 0.7), random.uniform(0.04, 0.18)
        far = [
            (
                tip[0] + 2 * side * math.sin(middle + turn),
                tip[1] + 2 * side * math.cos(middle + turn),
            )
            for turn in (-width, width)
        ]
        cv2.fillPoly(light, [np.array([tip, *far], np.int32)], strength)
        soft = side / 40
    else:
        radius = int(random.integers(side // 10, side // 3))
        column, row = (int(place) for place in random.integers(0, side, 2))
        cv2.circle(light, (column, row), radius, strength, -1)
        soft = radius / 3
    return np.asarray(picture * cv2.GaussianBlur(light, (0, 0), soft), np.float32)


def _hazed(picture: Floats, random: Random) -> Floats:
    """Reverberation: near-field clutter, and bright arcs at equal depths below the probe."""
    side = len(picture)
    depth = np.linspace(0, 1, side, dtype=np.float32)[:, None]
    inside = picture > 0.02
    haze = np.float32(random.uniform(0.05, 0.3)) * np.exp(-depth / random.uniform(0.1, 0.5))
    added = np.broadcast_to(haze, picture.shape).astype(np.float32).copy()
    if random.random() < 0.5:
        first = random.uniform(0.08, 0.25) * side
        for echo in range(1, 4):
            bright = float(random.uniform(0.15, 0.5)) / echo
            cv2.circle(added, (side // 2, 0), int(first * echo), bright, max(1, side // 128))
    return np.asarray(picture + added * inside, np.float32)


def _lettered(picture: Floats, random: Random) -> Floats:
    """Text, a ruler, a trace: what carts draw over the picture."""
    side = len(picture)
    out = np.zeros(picture.shape, np.uint8)
    bright = int(random.integers(128, 256))
    for _ in range(int(random.integers(1, 5))):
        text = "".join(chr(int(code)) for code in random.integers(46, 90, random.integers(2, 12)))
        place = (int(random.integers(0, side)), int(random.choice((0.05, 0.1, 0.9, 0.97)) * side))
        cv2.putText(out, text, place, cv2.FONT_HERSHEY_SIMPLEX, random.uniform(0.25, 0.6), bright)
    if random.random() < 0.5:
        column = int(random.choice((0.03, 0.97)) * side)
        for row in range(0, side, side // int(random.integers(8, 20))):
            cv2.line(out, (column - 3, row), (column + 3, row), bright)
    if random.random() < 0.3:
        beat = np.abs(np.sin(np.linspace(0, random.uniform(2, 6) * math.pi, side))) ** 20
        rows = side * (0.97 - 0.08 * beat)
        line = np.stack([np.arange(side), rows], 1).astype(np.int32)
        cv2.polylines(out, [line], False, bright)
    return np.asarray(np.maximum(picture, out / np.float32(255)), np.float32)


def _compressed(picture: Floats, random: Random) -> Floats:
    quality = int(random.integers(*JPEG_QUALITY))
    whole = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
    encoded = cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE) / np.float32(255), np.float32)


def _narrowed(picture: Floats, mask: Bytes, random: Random) -> tuple[Floats, Bytes]:
    """A narrower sector or less depth: what isn't seen isn't drawn either."""
    side = len(picture)
    seen = np.zeros(picture.shape, np.uint8)
    half = math.degrees(random.uniform(0.42, 0.8))
    depth = int(side * random.uniform(0.85, 1.1))
    tip = (side // 2, int(-0.05 * side))
    cv2.ellipse(seen, tip, (depth, depth), 90, -half, half, 1, -1)
    return picture * seen, mask * seen
