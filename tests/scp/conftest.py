"""One receiver for the tests of this directory that don't need to stop or break it."""

from collections.abc import Iterator

import pytest

from tests.box import Box


@pytest.fixture(scope="package")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with Box(tmp_path_factory.mktemp("receiver"), ["scp"]) as box:
        yield box
