"""Label maps in a spool, as the engine leaves them."""

import numpy as np

from appliance import masks
from appliance.labels import LoopLabels, _Chunk
from appliance.sector.geometry import Geometry
from appliance.spool import Spool

SIDE = 64


def maps_of(spool: Spool, frames: int, come: int | None = None) -> LoopLabels:
    """Return maps of a loop with one square structure, of which the first `come` frames are there."""
    count = frames if come is None else come
    drawn = np.zeros((count, SIDE, SIDE), np.uint8)
    drawn[:, 20:40, 20:40] = 1
    geometry = Geometry(SIDE, SIDE, 0, 0, SIDE, SIDE, SIDE, SIDE, 1.0, 1.0, 0, 0)
    chunk = _Chunk(0, count, spool.put_chunk(masks.encode_chunk(drawn)), geometry)
    return LoopLabels(spool, frames, [chunk])
