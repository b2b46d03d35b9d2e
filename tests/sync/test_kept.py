"""What was built once is sent again as it was, whatever would be built now."""

import pytest

from appliance.config import Settings
from appliance.config.settings import Box
from appliance.ledger import delivery
from appliance.sync import modules
from appliance.sync.outgoing import Outgoing
from tests.sync.office import Office


def outgoing(office: Office) -> Outgoing:
    settings = Settings(box=Box(ae_title="A", state_dir=office.root / "state"))
    return Outgoing(office.ledger, office.spool, settings)


def content(objects) -> list[bytes]:
    return [b"".join(bytes(part) for part in item.parts) for item in objects]


@pytest.mark.parametrize("kind", ["seg", "sr"])
def test_another_release_sends_the_bytes_of_the_one_before(tmp_path, monkeypatch, kind):
    office = Office(tmp_path)
    office.wanted = [("usb", kind)]
    office.decide("accepted")
    leased = office.claim("usb")
    first = outgoing(office)(leased)
    monkeypatch.setattr(modules, "__version__", "99.0")
    assert content(office.results.build(leased)) != content(first)
    again = outgoing(office)(leased)
    assert content(again) == content(first)
    assert [item.sha256 for item in again] == [item.sha256 for item in first]


def test_two_destinations_get_the_same_bytes(tmp_path, monkeypatch):
    office = Office(tmp_path)
    office.wanted = [("usb", "seg"), ("pacs", "seg")]
    office.decide("accepted")
    leased = office.claim("usb")
    first = content(outgoing(office)(leased))
    delivery.unproven(office.ledger, leased, "")
    monkeypatch.setattr(modules, "__version__", "99.0")
    assert content(outgoing(office)(office.claim("pacs"))) == first


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_file_that_is_lost_is_built_anew(tmp_path, damage):
    office = Office(tmp_path)
    office.wanted = [("usb", "seg")]
    office.decide("accepted")
    leased = office.claim("usb")
    first = content(outgoing(office)(leased))
    (path,) = office.spool.results.rglob("*.dcm")
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert content(outgoing(office)(leased)) == first
    assert path.read_bytes() == first[0]


def test_a_spool_that_takes_nothing_delays_no_result(tmp_path):
    office = Office(tmp_path)
    office.wanted = [("usb", "seg")]
    office.decide("accepted")
    office.spool.results.rmdir()
    office.spool.results.write_text("in the way")
    try:
        assert content(outgoing_without_folders(office)(office.claim("usb")))
    finally:
        office.spool.results.unlink()


def outgoing_without_folders(office: Office) -> Outgoing:
    settings = Settings(box=Box(ae_title="A", state_dir=office.root / "state"))
    return Outgoing(office.ledger, office.spool, settings)
