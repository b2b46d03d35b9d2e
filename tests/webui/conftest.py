import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from tests.box import Box
from tests.phantom import cine_loop
from tests.webui.reviewbox import Page, reviewing, send

_seeds = itertools.count(7000)


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory, real_loop: Path) -> Iterator[Box]:
    """A running box with the real loop in it, analysed, as its first."""
    with reviewing(tmp_path_factory.mktemp("box"), [real_loop]) as box:
        yield box


@pytest.fixture(scope="session")
def page(box: Box) -> Page:
    """A reviewer with the initials AK."""
    return Page(box)


@pytest.fixture
def arrive(box: Box, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Sends a fresh phantom with the options given and returns its settled row."""

    def send_one(**options: Any) -> dict[str, Any]:
        seed = next(_seeds)
        elements = {"StudyInstanceUID": generate_uid(), **options.pop("elements", {})}
        given = {"frames": 24, "transfer_syntax": JPEGBaseline8Bit, "heart_rate": 80, **options}
        loop = cine_loop(seed=seed, elements=elements, **given)
        return send(box, [loop.write(tmp_path / f"{seed}.dcm")])[-1]

    return send_one
