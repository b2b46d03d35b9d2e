"""Pictures the view network learns from: apical hearts through one path, and what is none.

CAMUS holds apical pictures only, and here its two views came by different ways: two-chamber frames
as 224x224 squares that lost their aspect, four-chamber frames whole. A network that is shown them
as they are learns the way, not the anatomy. So both go through the squares here, and leave them
with an aspect drawn from one lot. What is no apical heart is made: hearts turned, cut up or
drowned, and drawn pictures of other kinds.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from appliance.engine.view import SIDE
from appliance.sector.geometry import Geometry, letterbox

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
AnyFloats = npt.NDArray[Any]
Random = np.random.Generator

SQUARE = 224  # side of the frames that lost their aspect
ASPECT = (0.85, 1.65)  # width over height: 4CH frames of CAMUS have 0.92 to 1.73
_HALF = 2 * SIDE  # kept at twice the size, so that turning and scaling loses nothing
_GAMMA = (0.5, 3.0)  # machines differ most in how dark they draw blood and far tissue
_GAIN = (0.6, 1.6)
_REJECT = 0.12  # of full white: what some machines cut off at the dark end


def degraded(image: Bytes, way: int = cv2.INTER_LINEAR) -> Bytes:
    """Squash a frame into the 224x224 square that two-chamber frames came in; uint8 [224, 224]."""
    return np.asarray(cv2.resize(image, (SQUARE, SQUARE), interpolation=way), np.uint8)


def restored(square: Bytes, aspect: float) -> Bytes:
    """Give a square an aspect (width over height) again, letterboxed as the box does it.

    Returns
    -------
    uint8 [384, 384]
    """
    width, height = (round(384 * min(1, side)) for side in (aspect, 1 / aspect))
    whole = cv2.resize(square, (width, height), interpolation=cv2.INTER_LINEAR)
    return boxed(np.asarray(whole, np.uint8))


def boxed(image: Bytes) -> Bytes:
    """Letterbox a whole frame as the box does, uint8 [384, 384]."""
    rows, columns = image.shape
    return letterbox(image, Geometry.fit(rows, columns, (0, 0, columns, rows)))


def halved(image: Bytes) -> Bytes:
    """Shrink a letterboxed frame to what augmentation works on, uint8 [192, 192]."""
    return np.asarray(cv2.resize(image, (_HALF, _HALF), interpolation=cv2.INTER_AREA), np.uint8)


def apical(image: Bytes, random: Random, *, any_aspect: bool) -> Bytes:
    """Change an apical picture as other machines and hands would; it stays apical.

    Parameters
    ----------
    image
        uint8 [192, 192]: the letterboxed frame, or with `any_aspect` the square filling it all.
    random
        Decides everything.
    any_aspect
        Whether an aspect is drawn by lot first: both views take it from one distribution.

    Returns
    -------
    uint8 [96, 96]
    """
    wide = math.exp(random.uniform(*np.log(ASPECT))) if any_aspect else 1.0
    cut = random.random() < 0.4
    scale = random.uniform(0.9, 1.3) if cut else random.uniform(0.6, 1.1)
    moved = _moved(
        image,
        turn=random.uniform(-15, 15),
        scale=(scale * min(1.0, wide), scale * min(1.0, 1 / wide)),
        shift=random.uniform(-0.06, 0.06, 2),
    )
    # Another machine's fan: else only what is no heart would have a blunt one.
    return photographed(_in_fan(moved, random) if cut else moved, random)


def photographed(image: Bytes, random: Random) -> Bytes:
    """Another machine's look: gain, gamma, uneven gain, blur, speckle, text; then 96x96."""
    power = math.exp(random.uniform(*np.log(_GAMMA)))
    picture: AnyFloats = (image / np.float32(255)) ** power
    if random.random() < 0.3:
        picture = np.maximum(0, picture - random.uniform(0, _REJECT))
    picture *= random.uniform(*_GAIN)
    if random.random() < 0.5:
        uneven = cv2.resize(random.normal(0, 0.35, (3, 3)).astype(np.float32), image.shape[::-1])
        picture = picture * np.exp(uneven)
    if random.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.5, 2.5))
    if random.random() < 0.5:
        picture = picture * (1 + random.normal(0, random.uniform(0.05, 0.3), picture.shape))
    picture = picture.astype(np.float32)
    if random.random() < 0.3:
        _write(picture, random, lines=2)
    return _bytes(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def other(kind: str, hearts: Sequence[Bytes], random: Random) -> Bytes:
    """Make a picture of a kind in `OTHER` that is no whole upright apical heart, uint8 [96, 96]."""
    return photographed(OTHER[kind](hearts, random), random)


def _pick(hearts: Sequence[Bytes], random: Random) -> Bytes:
    """A heart with an aspect of its own, uint8 [192, 192]."""
    wide = math.exp(random.uniform(*np.log(ASPECT)))
    heart = hearts[int(random.integers(len(hearts)))]
    return _moved(heart, 0, (min(1.0, wide), min(1.0, 1 / wide)), np.zeros(2))


def _turned(hearts: Sequence[Bytes], random: Random) -> Bytes:
    """A heart on its side in an upright fan, as parasternal and subcostal views have it."""
    angle = random.uniform(45, 315)
    size = random.uniform(0.9, 1.5)
    moved = _moved(_pick(hearts, random), angle, (size, size), random.uniform(-0.1, 0.1, 2))
    return _in_fan(moved, random) if random.random() < 0.7 else moved


def _upside_down(hearts: Sequence[Bytes], random: Random) -> Bytes:
    return np.ascontiguousarray(np.flipud(_pick(hearts, random)))


def _zoomed(hearts: Sequence[Bytes], random: Random) -> Bytes:
    """A part of a heart filling the picture: a valve, one wall, a chamber."""
    heart = _pick(hearts, random)
    side = round(_HALF * random.uniform(0.2, 0.42))
    x, y = random.integers(_HALF // 5, _HALF - side - _HALF // 5 + 1, 2)
    part = np.asarray(cv2.resize(heart[y : y + side, x : x + side], (_HALF, _HALF)), np.uint8)
    return _in_fan(part, random) if random.random() < 0.5 else part


def _screens(hearts: Sequence[Bytes], random: Random) -> Bytes:
    """Two or four pictures side by side, as a stress echo or a comparison shows them."""
    across, down = (2, 2) if random.random() < 0.6 else (2, 1)
    size = (_HALF // across, _HALF // across)
    rows = [
        np.hstack([cv2.resize(_pick(hearts, random), size) for _ in range(across)])
        for _ in range(down)
    ]
    return _centred(np.vstack(rows))


def _scrambled(hearts: Sequence[Bytes], random: Random) -> Bytes:
    heart, cells = _pick(hearts, random), int(random.choice([3, 4, 6]))
    side = _HALF // cells
    parts = [
        heart[y * side : (y + 1) * side, x * side : (x + 1) * side]
        for y in range(cells)
        for x in range(cells)
    ]
    order = random.permutation(len(parts))
    rows = [np.hstack([parts[i] for i in order[y * cells : (y + 1) * cells]]) for y in range(cells)]
    return _in_fan(np.ascontiguousarray(np.vstack(rows)), random)


def _drowned(hearts: Sequence[Bytes], random: Random) -> Bytes:
    """A heart that nobody could outline: nearly no signal under noise, or mostly in shadow."""
    heart = _pick(hearts, random).astype(np.float32)
    if random.random() < 0.5:
        noise = cv2.GaussianBlur(random.gamma(1.5, 40, heart.shape), (0, 0), random.uniform(1, 2))
        return _bytes(np.where(heart > 0, heart * 0.12 + noise, 0) / 255)
    across = np.arange(_HALF)[None] - random.uniform(0.3, 0.7) * _HALF
    lit = np.abs(across) < random.uniform(0.06, 0.14) * _HALF
    return _bytes(np.where(lit, heart, heart * 0.05) / 255)


def _air(hearts: Sequence[Bytes], random: Random) -> Bytes:
    """The probe in air: rings that fade with depth."""
    y, x = np.mgrid[:_HALF, :_HALF].astype(np.float32)
    radius = np.hypot(x - _HALF / 2, y + random.uniform(0, 30))
    rings = 1 + 0.5 * np.cos(radius / random.uniform(1.5, 6)) * (random.random() < 0.6)
    fade = np.exp(-radius / random.uniform(15, 60))
    noise = random.gamma(1.2, 0.05, radius.shape)
    return _in_fan(_bytes(rings * fade + noise * random.uniform(0, 1)), random)


def _tissue(hearts: Sequence[Bytes], random: Random) -> Bytes:
    """Speckled organs, layers, cysts, vessels and rings of muscle: no heart seen from the apex."""
    picture: AnyFloats = np.full((_HALF, _HALF), random.uniform(0.15, 0.5), np.float32)
    if random.random() < 0.5:
        layers: AnyFloats = np.cumsum(random.normal(0, 1, _HALF)).astype(np.float32)
        layers = cv2.GaussianBlur(layers[:, None], (1, 0), sigmaX=1, sigmaY=random.uniform(1, 6))
        picture = picture + 0.4 * (layers - layers.mean()) / (float(layers.std()) + 1e-3)
    for _ in range(int(random.integers(1, 7))):
        centre = tuple(int(v) for v in random.uniform(0.15, 0.85, 2) * _HALF)
        axes = tuple(int(v) for v in random.uniform(0.05, 0.28, 2) * _HALF)
        tone, turn = float(random.choice([0.02, 0.05, 0.8])), float(random.uniform(0, 180))
        cv2.ellipse(picture, centre, axes, turn, 0, 360, tone, -1)
        if random.random() < 0.5:
            thick = int(random.integers(3, 18))
            cv2.ellipse(picture, centre, axes, turn, 0, 360, random.uniform(0.4, 0.9), thick)
    grain = cv2.GaussianBlur(random.gamma(1.5, 1, picture.shape), (0, 0), random.uniform(0.8, 2.5))
    picture = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.5, 3)) * grain / grain.mean()
    return _in_fan(_bytes(picture), random) if random.random() < 0.7 else _bytes(picture)


def _strip(hearts: Sequence[Bytes], random: Random) -> Bytes:
    """M-mode or a Doppler spectrum: time runs across."""
    x = np.arange(_HALF, dtype=np.float32)
    y = np.arange(_HALF, dtype=np.float32)[:, None]
    beat = np.abs(np.sin(x / _HALF * math.pi * random.uniform(1.5, 7) + random.uniform(0, 3)))
    if random.random() < 0.5:
        base = random.uniform(0.25, 0.75) * _HALF
        reach = base + random.choice([-1, 1]) * beat * random.uniform(0.15, 0.6) * _HALF
        inside = (y - base) * (reach[None] - base) > 0
        inside &= np.abs(y - base) < np.abs(reach - base)[None]
        picture = inside * random.uniform(0.4, 1) + (np.abs(y - base) < 1.5) * 0.6
    else:
        picture = np.zeros((_HALF, _HALF), np.float32)
        for _ in range(int(random.integers(3, 10))):
            line = random.uniform(0, _HALF) + beat * random.uniform(-30, 30)
            picture += np.exp(-(((y - line[None]) / random.uniform(1, 9)) ** 2))
    grain = random.gamma(1.5, 0.66, (_HALF, _HALF))
    picture = _bytes(picture * grain)
    if random.random() < 0.5:  # under a small picture of where the beam lies
        picture[: _HALF // 3] = 0
        small = cv2.resize(_pick(hearts, random), (_HALF // 3, _HALF // 3))
        picture[: _HALF // 3, _HALF // 3 : 2 * (_HALF // 3)] = small
    return picture


def _page(hearts: Sequence[Bytes], random: Random) -> Bytes:
    """A page of text or a table, dark on light or light on dark."""
    picture = np.zeros((_HALF, _HALF), np.float32)
    _write(picture, random, lines=int(random.integers(6, 20)))
    return _bytes(1 - picture if random.random() < 0.3 else picture)


def _blank(hearts: Sequence[Bytes], random: Random) -> Bytes:
    """Nothing, one tone, a ramp, plain noise."""
    ramp = np.linspace(0, 1, _HALF, dtype=np.float32)
    whole = np.tile(ramp[:, None] if random.random() < 0.5 else ramp[None], (1, 1))
    pictures: list[Floats] = [
        np.zeros((_HALF, _HALF), np.float32),
        np.full((_HALF, _HALF), random.random(), np.float32),
        np.broadcast_to(whole, (_HALF, _HALF)) * np.float32(random.random()),
        random.random((_HALF, _HALF)).astype(np.float32),
    ]
    picture = _bytes(pictures[int(random.integers(4))])
    return _in_fan(picture, random) if random.random() < 0.5 else picture


OTHER: dict[str, Callable[[Sequence[Bytes], Random], Bytes]] = {
    "turned": _turned,
    "upside down": _upside_down,
    "zoomed": _zoomed,
    "several screens": _screens,
    "scrambled": _scrambled,
    "drowned": _drowned,
    "probe in air": _air,
    "other tissue": _tissue,
    "strip": _strip,
    "page": _page,
    "blank": _blank,
}


def _moved(
    image: Bytes, turn: float, scale: tuple[float, float], shift: npt.NDArray[np.float64]
) -> Bytes:
    side = image.shape[0]
    way = np.eye(3)
    way[:2] = cv2.getRotationMatrix2D((side / 2, side / 2), turn, 1.0)
    sized = np.diag([*scale, 1.0])
    sized[:2, 2] = (1 - np.array(scale)) * side / 2
    way = way @ sized
    way[:2, 2] += shift * side
    return np.asarray(cv2.warpAffine(image, way[:2], (side, side)), np.uint8)


def _in_fan(image: Bytes, random: Random) -> Bytes:
    """Cut a picture to an upright fan."""
    fan = np.zeros((_HALF, _HALF), np.uint8)
    top = (_HALF // 2, int(random.uniform(-0.35, 0.02) * _HALF))
    half = random.uniform(28, 52)
    cv2.ellipse(fan, top, (2 * _HALF, 2 * _HALF), 90, -half, half, 255, -1)
    reach = np.zeros_like(fan)
    cv2.circle(reach, top, _HALF - top[1], 255, -1)
    if top[1] < 0:
        cv2.circle(reach, top, -top[1] + int(random.uniform(0, 0.08) * _HALF), 0, -1)
    return np.where((fan > 0) & (reach > 0), image, np.uint8(0))


def _centred(image: Bytes) -> Bytes:
    rows, columns = image.shape
    top, left = (_HALF - rows) // 2, (_HALF - columns) // 2
    whole = np.zeros((_HALF, _HALF), np.uint8)
    whole[top : top + rows, left : left + columns] = image
    return whole


def _write(picture: Floats, random: Random, lines: int) -> None:
    """Put words on a picture, in place."""
    page = np.zeros(picture.shape, np.uint8)
    letters = "ABCDEFGHIKLMNOPRSTUVXYZ0123456789 :.%"
    for _ in range(lines):
        word = "".join(letters[int(i)] for i in random.integers(0, len(letters), 12))
        place = tuple(int(v) for v in random.uniform(-0.05, 0.95, 2) * picture.shape[0])
        cv2.putText(page, word, place, 0, random.uniform(0.2, 0.5), random.uniform(120, 255), 1)
    np.maximum(picture, page / np.float32(255), out=picture)


def _bytes(picture: AnyFloats) -> Bytes:
    return np.asarray(np.clip(picture * 255, 0, 255), np.uint8)
