"""What the viewer is told of a loop."""

import json

import pytest

from appliance.webui.describing import needs_legend
from tests.box import REPOSITORY

_MANIFEST = REPOSITORY / "models" / "released" / "first-network-1.0.0" / "manifest.json"
_HEART = json.loads(_MANIFEST.read_text())["structures"]
_OTHER = {"label": 4, "name": "Aortic root", "colour": "#ffffff", "code": "15825003"}


@pytest.mark.parametrize(
    ("structures", "named"),
    [(_HEART, False), ([*_HEART, _OTHER], True), ([{**_OTHER, "label": 1}], True)],
)
def test_structures_that_nobody_knows_by_colour_are_named(structures, named):
    assert needs_legend(structures) is named
