"""Every test of reception runs on both ways of reading: the pump, and pynetdicom's own."""

from collections.abc import Iterator

import pytest

from tests.box import Box


@pytest.fixture(scope="package", params=["pump", "stock"])
def receive_path(request: pytest.FixtureRequest) -> str:
    """A line of the section [scp]."""
    return f'receive_path = "{request.param}"'


@pytest.fixture(scope="package")
def receiver(tmp_path_factory: pytest.TempPathFactory, receive_path: str) -> Iterator[Box]:
    """One receiver for the tests that don't need to stop or break it."""
    with Box(tmp_path_factory.mktemp("receiver"), ["scp"], scp=receive_path) as box:
        yield box
