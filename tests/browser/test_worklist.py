"""The worklist as a reviewer uses it: live, filtered, searched, filled with dropped files."""

import itertools
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect
from pydicom.uid import JPEGBaseline8Bit

from tests.box import Box
from tests.browser.conftest import Open, typed_once
from tests.phantom import cine_loop
from tests.webui.reviewbox import Page as Reviewer
from tests.webui.reviewbox import reviewing

Arrive = Callable[..., dict[str, Any]]
_seeds = itertools.count(9500)

# As the browser hands over what is dropped on a page.
_DROP = """async (files) => {
  const carried = new DataTransfer();
  for (const [name, data] of files) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    carried.items.add(new File([bytes], name));
  }
  for (const kind of ['dragover', 'drop']) {
    document.body.dispatchEvent(
      new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: carried }));
  }
}"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory, real_loop: Path) -> Iterator[Box]:
    """One of its own: the list shows some loops at a time, and others have filled the other."""
    with reviewing(tmp_path_factory.mktemp("box"), [real_loop]) as box:
        yield box


@pytest.fixture(scope="module")
def page(box: Box) -> Reviewer:
    """A reviewer with the initials AK."""
    return Reviewer(box)


@pytest.fixture(scope="module")
def signed_in(browser: Browser, box: Box) -> Iterator[StorageState]:
    """The cookie of a reviewer who typed the PIN once."""
    yield from typed_once(browser, box)


def tile(tab: Page, row: dict[str, Any]) -> Any:
    return tab.locator(f".loop[data-seq='{row['seq']}']")


def dicom(folder: Path, **options: Any) -> Path:
    seed = next(_seeds)
    given = {"frames": 1, "transfer_syntax": JPEGBaseline8Bit, **options}
    return cine_loop(seed=seed, **given).write(folder / f"{seed}.dcm")


def test_a_decision_elsewhere_is_seen_without_touching_the_page(
    open_page: Open, arrive: Arrive, page: Any
) -> None:
    row = arrive()
    tab = open_page("/")
    expect(tile(tab, row)).to_contain_text("needs eyes")
    page.review(row["seq"])
    expect(tile(tab, row)).to_contain_text("accepted AK", timeout=15_000)


def test_a_change_is_shown_without_asking_for_it(
    open_page: Open, arrive: Arrive, page: Any
) -> None:
    row = arrive()
    tab = open_page("/")
    expect(tile(tab, row)).to_contain_text("needs eyes")
    with tab.expect_response("**/api/events"):
        tab.reload()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    page.review(row["seq"])
    expect(tile(tab, row)).to_contain_text("accepted AK")
    assert [url for url in asked if "/api/studies" in url] == []
    # It needs no eyes any more: its study stands behind one that does.
    waiting = arrive()
    expect(tab.locator(".loop").first).to_have_attribute("data-seq", str(waiting["seq"]))


def test_a_filter_shows_its_studies_and_survives_a_reload(open_page: Open, arrive: Arrive) -> None:
    kept, measured = arrive(frames=1), arrive()
    tab = open_page("/")
    tab.click("button[data-show=kept]")
    expect(tile(tab, kept)).to_be_visible()
    expect(tile(tab, measured)).to_have_count(0)
    tab.reload()
    expect(tab.locator("button[data-show=kept]")).to_have_attribute("aria-pressed", "true")
    expect(tile(tab, measured)).to_have_count(0)
    tab.click("button[data-show=needs]")
    expect(tile(tab, measured)).to_be_visible()
    expect(tile(tab, kept)).to_have_count(0)


def test_a_patient_is_searched_without_being_named_in_an_address(
    open_page: Open, arrive: Arrive
) -> None:
    row = arrive(PatientName="NEEDLE^N", frames=1)
    other = arrive(PatientName="HAY^H", frames=1)
    tab = open_page("/")
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.fill("#search", "needle")
    expect(tile(tab, other)).to_have_count(0)
    expect(tile(tab, row)).to_be_visible()
    assert asked
    assert "needle" not in " ".join([*asked, tab.url]).lower()
    tab.fill("#search", "nobody is called so")
    expect(tab.locator("#none")).to_be_visible()
    tab.fill("#search", "")
    expect(tile(tab, other)).to_be_visible()


def test_rows_stay_where_they_are_read_further_down(open_page: Open, arrive: Arrive) -> None:
    for _ in range(6):
        arrive(frames=1)
    tab = open_page("/")
    tab.mouse.move(600, 500)
    tab.mouse.wheel(0, 400)
    tab.wait_for_function("() => scrollY > 300")
    tab.wait_for_timeout(2500)  # long enough without a touch to move rows, were it at the top
    place = tab.evaluate("() => [scrollY, document.querySelectorAll('.study').length]")
    row = arrive(PatientName="LATER^L")
    expect(tab.locator("#news button")).to_contain_text("new loop", timeout=15_000)
    assert tab.evaluate("() => [scrollY, document.querySelectorAll('.study').length]") == place
    tab.click("#news button")
    expect(tile(tab, row)).to_be_in_viewport()


def test_without_a_network_the_page_says_so_and_goes_on_by_itself(
    open_page: Open, arrive: Arrive
) -> None:
    tab = open_page("/")
    expect(tab.locator("body")).not_to_have_attribute("data-link", "offline")
    tab.context.set_offline(True)
    expect(tab.locator("#link")).to_contain_text("no network", timeout=15_000)
    row = arrive(frames=1)
    expect(tile(tab, row)).to_have_count(0)
    tab.context.set_offline(False)
    expect(tile(tab, row)).to_be_visible(timeout=15_000)
    expect(tab.locator("#link")).to_be_empty()


def test_a_page_without_a_stream_asks_by_itself(open_page: Open, arrive: Arrive) -> None:
    tab = open_page("/sign-in")
    tab.context.route("**/api/events", lambda route: route.fulfill(status=429, body="{}"))
    tab.goto("/")
    expect(tab.locator("body")).to_have_attribute("data-link", "asking", timeout=15_000)
    row = arrive(frames=1)
    expect(tile(tab, row)).to_be_visible(timeout=15_000)


def test_the_list_outlives_a_restart_of_the_service(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    tab = open_page("/")
    box.kill("webui")
    expect(tab.locator("#link")).to_contain_text("does not answer", timeout=15_000)
    box.start("webui")
    row = arrive(frames=1)
    expect(tile(tab, row)).to_be_visible(timeout=20_000)
    expect(tab.locator("#link")).to_be_empty()


def test_a_loop_that_nothing_stands_out_in_comes_to_a_list_that_asks(
    open_page: Open, arrive: Arrive
) -> None:
    tab = open_page("/sign-in")
    tab.context.route("**/api/events", lambda route: route.abort("internetdisconnected"))
    tab.goto("/")
    row = arrive(frames=1)
    expect(tile(tab, row)).to_be_visible()


def test_dropped_files_are_imported_and_each_says_what_became_of_it(
    box: Box, open_page: Open, tmp_path: Path
) -> None:
    tab = open_page("/")
    good = dicom(tmp_path, PatientName="DROPPED^D")
    files = [("good.dcm", good.read_bytes()), ("letter.txt", b"Dear colleague, " * 20)]
    tab.evaluate(_DROP, [(name, b64encode(data).decode()) for name, data in files])
    expect(tab.locator("#imports-said")).to_have_text("1 of 2 imported. 1 could not be imported.")
    lines = tab.locator("#imports-files li")
    expect(lines.filter(has_text="letter.txt")).to_contain_text("isn't a DICOM file")
    expect(lines.filter(has_text="good.dcm")).to_contain_text("Stored.")
    expect(tab.locator(".study").filter(has_text="DROPPED, D")).to_be_visible(timeout=15_000)
    assert box.loops()[0]["patient_name"] == "DROPPED^D"


def test_chosen_files_and_folders_are_imported(box: Box, open_page: Open, tmp_path: Path) -> None:
    tab = open_page("/")
    one = dicom(tmp_path)
    with tab.expect_file_chooser() as chooser:
        tab.click("#import")
    chooser.value.set_files([one])
    expect(tab.locator("#imports-said")).to_have_text("1 of 1 imported.", timeout=15_000)
    folder = tmp_path / "exam"
    (folder / "series").mkdir(parents=True)
    dicom(folder / "series")
    dicom(folder / "series")
    with tab.expect_file_chooser() as chooser:
        tab.click("#imports-folder")
    chooser.value.set_files(folder)
    expect(tab.locator("#imports-said")).to_have_text("2 of 2 imported.", timeout=15_000)
    tab.locator("#imports-files a").first.click()
    tab.wait_for_url("**/loop/*")
