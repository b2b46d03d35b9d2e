"""The whole loop, small: corrections pulled, learnt from, gated, signed, promoted, and named."""

import pytest

from appliance.manifest import current_model, load_manifest
from bench import cycle

pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]


def test_the_next_correction_names_the_model_that_learnt_from_the_last_ones(tmp_path):
    start = current_model()
    turned = cycle.turn(tmp_path, count=10, epochs=1)
    assert {row.model_sha256 for row in turned.rows} <= {item.sha256 for item in start.variants}
    made = load_manifest(tmp_path / turned.name)
    assert {"f32", "f16", "int8"} <= {item.precision for item in made.variants}
    assert all(item.accuracy for item in made.variants)
    assert {row.split for row in turned.rows} == {"train", "validation"}
    assert turned.history == ["fetched", "staged", "promoted"]
    assert turned.described == f"Echocart correction of {turned.name.replace('-1.', ' 1.')}"
