"""The receiver's look after itself: what feeds the watchdog, and what doesn't."""

import socket
from pathlib import Path

import pytest

from appliance.ledger import caller
from appliance.scp import proof
from appliance.scp.proof import NoAnswerError, Proof
from appliance.spool import Spool
from tests.box import Box


def test_a_receiver_answers_itself_before_it_is_ready_and_is_no_caller(tmp_path: Path):
    with Box(tmp_path, ["scp"]) as box:
        assert (box.spool.root.parent / "scp.alive").exists()
        assert Proof(box.settings, box.spool).is_given()
        figures = box.settings.box.state_dir / "metrics" / "scp.prom"
        box.wait_for(figures.exists, "figures to be written")
        box.stop("scp")  # callers are written down at the end, too
        assert caller.callers(box.ledger) == []
        assert 'echocart_associations_total{outcome="accepted"}' not in figures.read_text()


def test_a_port_that_only_listens_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(proof, "ANSWER_S", 0.3)
    box = Box(tmp_path, [])
    with socket.create_server(("127.0.0.1", box.dicom_port)):
        silent = Proof(box.settings, Spool(box.settings.box.state_dir))
        assert not silent.is_given()
        with pytest.raises(NoAnswerError):
            silent.must_stand()
    assert not (box.spool.root.parent / "scp.alive").exists()


def test_a_box_whose_places_are_taken_is_alive(tmp_path: Path):
    from pynetdicom import AE

    from appliance.scp.negotiation import VERIFICATION

    with Box(tmp_path, ["scp"], scp="maximum_associations = 1") as box:
        ae = AE("CART")
        ae.add_requested_context(VERIFICATION)
        cart = ae.associate("127.0.0.1", box.dicom_port, ae_title="ECHOCART")
        assert cart.is_established
        assert Proof(box.settings, box.spool).is_given()
        cart.release()


def test_a_disk_that_refuses_is_no_reason_to_start_again(tmp_path: Path):
    with Box(tmp_path, ["scp"]) as box:
        alive = box.spool.root.parent / "scp.alive"
        alive.unlink()
        alive.mkdir()  # the write fails, at once
        assert Proof(box.settings, box.spool).is_given()
