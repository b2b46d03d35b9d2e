"""The B-mode fan: where it is in the frames, how large its pixels are, the way to the network and back."""

from appliance.sector.calibration import Calibration
from appliance.sector.fan import Sector, calibration, find_sector, mm_per_map_px
from appliance.sector.geometry import MAP_SIZE, Geometry, letterbox

__all__ = [
    "MAP_SIZE",
    "Calibration",
    "Geometry",
    "Sector",
    "calibration",
    "find_sector",
    "letterbox",
    "mm_per_map_px",
]
