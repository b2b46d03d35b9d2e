"""A box that should have a GPU and doesn't use it says so."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from appliance.ledger import engine_state
from tests.box import Box
from tests.webui.reviewbox import Page


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_the_page_and_the_status_say_that_the_gpu_is_not_used_and_why(tmp_path: Path) -> None:
    extra = '[engine]\nbackend = "tensorrt"\n'
    with Box(tmp_path / "box", services=("engine", "webui"), extra=extra) as box:
        box.wait_for(lambda: engine_state.problem(engine_state.get(box.ledger)), "the reason")
        _, _, text = Page(box).ask("/")
        assert b"Masks are drawn without the GPU: " in text
        assert b"not installed" in text
        echocart = Path(sys.executable).with_name("echocart")
        command = [echocart, "status", "--config", box.config]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "on openvino at" in said
        assert "the CPU serves: " in said
