"""Measures of the heart.

Areas, lengths and volumes of one frame (`chambers`), heartbeats (`beats`), what is reported of a
loop (`summary`), and of two planes together (`planes`).
"""

from appliance.measures.chambers import FrameMeasures, draws_heart, frame_measures, isotropic
from appliance.measures.planes import Biplane, Plane, biplane
from appliance.measures.summary import Beat, Measures, measure, unmeasured, unviewed

__all__ = [
    "Beat",
    "Biplane",
    "FrameMeasures",
    "Measures",
    "Plane",
    "biplane",
    "draws_heart",
    "frame_measures",
    "isotropic",
    "measure",
    "unmeasured",
    "unviewed",
]
