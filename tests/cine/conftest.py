"""What the tests of cine loops share."""

import pytest

from appliance.cine import open_cine


@pytest.fixture
def opened(tmp_path):
    """Opens a phantom, and closes it after the test."""
    cines = []

    def open_loop(loop):
        cines.append(open_cine(loop.write(tmp_path / f"{len(cines)}.dcm")))
        return cines[-1]

    yield open_loop
    for cine in cines:
        cine.close()
