import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    StorageState,
    expect,
)

from tests.box import Box
from tests.browser.hand import sign_in
from tests.webui.conftest import arrive, box, page

__all__ = ["arrive", "box", "page"]

Open = Callable[..., Page]


expect.set_options(timeout=20_000)  # ms; five seconds pass by on a loaded machine


@pytest.fixture(scope="session")
def signed_in(browser: Browser, box: Box) -> Iterator[StorageState]:
    """The cookie of a reviewer who typed the PIN once."""
    yield from typed_once(browser, box)


def typed_once(browser: Browser, box: Box) -> Iterator[StorageState]:
    """Sign AK in."""
    with browser.new_context(base_url=box.url) as context:
        sign_in(context.new_page(), "AK", "/")
        yield context.storage_state()


@pytest.fixture
def open_page(browser: Browser, box: Box, signed_in: StorageState) -> Iterator[Open]:
    """Opens a path as a signed-in reviewer on a tablet; fails the test on any console error."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        # A request cut by the test itself, and one that the box refuses with a sentence, are
        # told by the browser, not by the page.
        cut = (
            *("INTERNET_DISCONNECTED", "CONNECTION_REFUSED", "CONNECTION_RESET"),
            *("SOCKET_NOT_CONNECTED", "EMPTY_RESPONSE"),
            *("INCOMPLETE_CHUNKED_ENCODING", "CONTENT_LENGTH_MISMATCH"),
        )
        refused = ("status of 409 ", "status of 422 ", "status of 429 ")
        told = (*(f"net::ERR_{name}" for name in cut), *refused)
        if message.type == "error" and not any(text in message.text for text in told):
            complaints.append(message.text)

    def open_path(path: str, width: int = 1280, height: int = 800) -> Page:
        context = browser.new_context(
            base_url=box.url,
            viewport={"width": width, "height": height},
            has_touch=True,
            storage_state=signed_in,
        )
        tab = context.new_page()
        tab.on("console", listen)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(path)
        return tab

    yield open_path
    for context in browser.contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def tablet(browser: Browser) -> Iterator[Callable[[Box], Page]]:
    """A tablet of its own, signed in nowhere."""
    contexts = []

    def turn_on(box: Box, **options: Any) -> Page:
        context = browser.new_context(
            base_url=box.url, viewport={"width": 1280, "height": 800}, has_touch=True, **options
        )
        contexts.append(context)
        return context.new_page()

    yield turn_on
    for context in contexts:
        context.close()


@pytest.fixture
def artefacts(tmp_path: Path) -> Path:
    """Where screenshots go: $ECHOCART_ARTEFACTS, or the test's own directory."""
    folder = Path(os.environ.get("ECHOCART_ARTEFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
