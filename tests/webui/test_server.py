"""The page's process: killed at any instant, it comes back; stopped, it goes."""

from http import HTTPStatus

from tests.box import Box
from tests.webui.reviewbox import Page


def test_after_a_kill_it_starts_again_and_reviewers_stay_signed_in(box: Box, page: Page) -> None:
    box.kill("webui")
    box.start("webui")
    assert page.ask("/api/version")[0] == HTTPStatus.OK


def test_it_stops_when_asked_and_frees_its_port(box: Box, page: Page) -> None:
    assert box.stop("webui") == 0
    box.start("webui")
    assert page.ask("/api/version")[0] == HTTPStatus.OK


def test_the_contours_of_a_sealed_loop_are_traced_before_anybody_asks(box: Box) -> None:
    analysis = box.loops()[-1]["analysis"]["id"]
    kept = box.spool.cache / f"analysis-{analysis}.contours"
    assert box.wait_for(kept.exists, "the contours to be traced")


def test_files_of_the_page_are_kept_by_the_browser_under_their_version(page: Page) -> None:
    text = page.ask("/")[2].decode()
    address = text.split('<link rel="stylesheet" href="')[1].split('"')[0]
    status, headers, _ = page.ask(address)
    assert status == HTTPStatus.OK
    assert "immutable" in headers["Cache-Control"]
    assert page.ask(address.replace("base.css", "nowhere.css"))[0] == HTTPStatus.NOT_FOUND
