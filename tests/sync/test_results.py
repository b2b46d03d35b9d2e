"""Results are built for the loop that was reviewed, or not at all."""

import pytest

from appliance.errors import DeliveryError
from tests.sync.material import write_source
from tests.sync.office import Office


def test_another_object_in_the_loops_place_gives_no_result(tmp_path):
    office = Office(tmp_path)
    office.decide("accepted")
    stored = office.spool.object_path(
        office.ledger.read_one("SELECT sha256 FROM instance")["sha256"]
    )
    stored.chmod(0o600)
    stored.write_bytes(write_source(tmp_path / "other.dcm").read_bytes())
    with pytest.raises(DeliveryError, match="another object"):
        office.leave("usb")
