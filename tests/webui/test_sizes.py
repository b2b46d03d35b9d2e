"""What the page may tell of volumes while a contour is drawn."""

import pytest

from appliance.manifest import current_model
from appliance.measures import unmeasured, unviewed
from appliance.measures.chambers import FrameMeasures
from appliance.views import NO_VIEW
from appliance.webui.describing import _sizes

FRAME = FrameMeasures(9.0, 4.0, 7.0, 3.0, 8000.0, 1000.0, cut_at_edge=False)


@pytest.mark.parametrize(
    ("measures", "sizes"),
    [
        (unmeasured(2, "No EF: whatever.").to_dict(), [[1000, 125, 0, 0], None]),
        (unviewed(unmeasured(2)).to_dict(), []),
        (None, [[1000, 125, 0, 0], None]),  # not sealed yet
    ],
)
def test_no_volume_follows_the_hand_in_a_view_that_nobody_has_told(measures, sizes):
    assert measures is None or (NO_VIEW in measures["withheld"].values()) == (not sizes)
    analysis = {
        "calibration": {"trusted": True, "mm_per_px_x": 0.3},
        "geometry": {"scale_x": 2.0},
        "labels": current_model().structures_as_dicts(),
        "measures": measures,
        "per_frame": [FRAME.to_dict(), None],
    }
    assert _sizes(analysis)["sizes"] == sizes
