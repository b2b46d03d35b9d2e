"""Fixtures every test may use, and the rule that a skip must be listed with its reason."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.dcmtk import dcmtk

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
_ALLOWED_SKIPS = Path(__file__).parent / "allowed_skips.txt"
_unlisted: list[str] = []
# More than a minute each, the longest first: a worker that began one last would keep the others
# waiting. `make test` gives out files in the order in which they are collected.
_LONGEST = (
    *("system/test_appliance", "browser/test_states", "browser/test_people"),
    *("browser/test_viewer", "system/test_first_light", "engine/test_several_models"),
    *("scp/test_places", "engine/test_worker", "browser/test_drawing", "scp/test_carts"),
    *("test_cli", "sync/test_canary", "browser/test_answering", "faults/test_reception_kills"),
    *("browser/test_safety", "faults/test_wire", "test_preflight", "scp/test_server"),
    *("browser/test_worklist", "sync/test_kills", "faults/test_whole_loop_kills"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    order = {REPOSITORY / "tests" / f"{name}.py": number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))  # the others stay in their order


@pytest.fixture(scope="session")
def real_loop() -> Path:
    """The 120-frame apical four-chamber loop of PyPI's pydicom-data."""
    spec = find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("pydicom-data is not installed: pip install pydicom-data")
    return Path(spec.submodule_search_locations[0]) / "data" / "color3d_jpeg_baseline.dcm"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real ultrasound files that are not part of the repository."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the folder of real ultrasound files (../shared/data) is not here")
    return folder


@pytest.fixture(scope="session", name="dcmtk")
def dcmtk_installed() -> None:
    """DCMTK's command-line tools, the sender of these tests, are installed."""
    dcmtk("storescu")


@pytest.fixture(scope="session")
def strace_installed() -> None:
    """The tool that injects a disk's errors is installed."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt install strace")


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium, without its errands in the background; one for all tests of a run."""
    # Its shell without windows, where the system has one: a page opens in half the time.
    path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed: apt install chromium")
    from playwright.sync_api import sync_playwright

    from tests.browser.hand import ARGUMENTS

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _check_skip(report.nodeid, _reason(report))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _check_skip(report.nodeid, _reason(report))


def _check_skip(name: str, reason: str) -> None:
    lines = _ALLOWED_SKIPS.read_text().splitlines()
    allowed = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not any(reason.startswith(line) for line in allowed):
        _unlisted.append(f"{name}: {reason}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Under ECHOCART_STRICT a test that did not run, and isn't known not to, is a failure."""
    if os.environ.get("ECHOCART_STRICT") == "1" and _unlisted:
        print("\nskipped without being listed in tests/allowed_skips.txt:")
        for line in _unlisted:
            print(f"  {line}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
