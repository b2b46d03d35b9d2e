"""The page's look after itself: what feeds the watchdog, and what doesn't."""

import socket
from pathlib import Path

import pytest

from appliance.webui import proof
from appliance.webui.proof import Proof
from tests.box import Box


def test_a_page_is_ready_once_it_answers_itself(tmp_path: Path):
    with Box(tmp_path, ["webui"]) as box:
        assert Proof(box.settings.webui).is_given()


def test_a_port_that_only_listens_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(proof, "ANSWER_S", 0.3)
    box = Box(tmp_path, [])
    with socket.create_server(("127.0.0.1", box.http_port)):
        assert not Proof(box.settings.webui).is_given()
