"""The pages of docs/ build without a warning, and work from a folder without a network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from tests.box import REPOSITORY

LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


class Loaded(HTMLParser):
    """What a page fetches by itself; a link that a person follows isn't."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get(LOADS.get(tag, ""))
        if address and not address.startswith("data:"):
            self.found.append(address)


def test_no_page_loads_anything_that_is_not_beside_it(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        if page.name == "404.html":  # of a server alone: its addresses begin at the root
            continue
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert loaded.found, page
        for address in loaded.found:
            parts = urlsplit(address)
            assert not parts.scheme, f"{page.name} loads {address}"
            assert not parts.netloc, f"{page.name} loads {address}"
            assert (page.parent / unquote(parts.path)).exists(), f"{page.name} lacks {address}"


def test_no_style_fetches_a_font(site):
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", path.read_text()), path


def test_nothing_of_the_source_but_pages_and_examples_is_published(site):
    assert not list(site.rglob("*.py"))
    assert (site / "echocart.example.toml").exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opened_from_a_folder_without_a_network_it_can_be_read_and_searched(site, browser, scheme):
    asked, failed = [], []
    with browser.new_context(offline=True, color_scheme=scheme) as context:
        tab = context.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("requestfailed", lambda request: failed.append(request.url))
        tab.on("pageerror", lambda error: failed.append(str(error)))
        tab.goto((site / "index.html").as_uri())
        tab.locator(".md-search__input").press_sequentially("quarantine")
        tab.wait_for_selector(".md-search-result__link", timeout=120_000)
        tab.goto((site / "architecture.html").as_uri())
        picture = tab.locator("img[alt^='The box']")
        assert picture.evaluate("image => image.naturalWidth") > 0
    assert not failed
    assert all(address.startswith("file:") for address in asked)
