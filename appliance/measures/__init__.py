"""Areas, lengths and volumes of one frame (`chambers`), heartbeats (`beats`), what is reported (`summary`)."""

from appliance.measures.chambers import FrameMeasures, frame_measures, isotropic
from appliance.measures.summary import Beat, Measures, measure

__all__ = ["Beat", "FrameMeasures", "Measures", "frame_measures", "isotropic", "measure"]
