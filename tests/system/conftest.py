"""One installed system for the tests that break it, and one each for those that change it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import machine
from tests.system.machine import Machine


@pytest.fixture(scope="session")
def deb() -> Path:
    """The package of the present source."""
    machine.must_be_possible()
    return machine.package("0.1.0")


@pytest.fixture(scope="module", name="box")
def installed(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A booted Debian with the package, its services at work."""
    tree = machine.copy_of(machine.base(), tmp_path_factory.mktemp("machine") / "tree")
    booted = Machine(tree)
    try:
        booted.boot()
        booted.install(deb)
        booted.wait_ready()
        yield booted
    finally:
        booted.power_off()
        machine.remove(tree)
