"""The event stream: news at once, few threads, an end when the service stops."""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus
from itertools import islice
from typing import Any

import pytest

from appliance.webui.streams import MOST_OF_ONE
from tests.box import Box
from tests.webui.reviewbox import Page

Arrive = Callable[..., dict[str, Any]]


@contextmanager
def stream(page: Page) -> Iterator[http.client.HTTPResponse]:
    """Open a stream as a browser does, with the page's cookie."""
    connection = http.client.HTTPConnection("127.0.0.1", page.box.http_port, timeout=60)
    with closing(connection):
        cookie = "; ".join(f"{item.name}={item.value}" for item in page.cookies)
        connection.request("GET", "/api/events", headers={"Cookie": cookie})
        yield connection.getresponse()


def versions(answer: http.client.HTTPResponse) -> Iterator[int]:
    for line in answer:
        if line.startswith(b"data: ") and line[6:7] != b"{":
            yield int(line[6:])


def test_a_stream_says_at_once_that_it_is_there_and_what_the_version_is(page: Page) -> None:
    with stream(page) as answer:
        assert answer.status == HTTPStatus.OK
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.readline() == b": here\n"
        assert next(versions(answer)) == page.get("/api/version")["version"]


def test_a_stream_tells_of_a_loop_that_arrives(page: Page, arrive: Arrive) -> None:
    with stream(page) as answer:
        heard = versions(answer)
        before = next(heard)
        arrive(frames=1)
        assert next(heard) > before


def test_a_change_is_told_with_what_a_page_needs_to_show_it(page: Page, arrive: Arrive) -> None:
    with stream(page) as answer:
        before = next(versions(answer))
        seq = arrive(frames=1)["seq"]
        told = (json.loads(line[6:]) for line in answer if line.startswith(b"data: {"))
        part = next(part for part in told if any(seq in row["loops"] for row in part["studies"]))
        assert part["since"] >= before
        assert int(answer.readline() + answer.readline()[6:]) == part["version"]
    study = next(row for row in part["studies"] if seq in row["loops"])
    assert {"key", "digest", "cursor"} <= set(study)
    assert "all" in study["shows"]
    assert f'data-key="{study["key"]}"' in study["html"]
    assert part["counts"]["all"] == page.get("/api/studies")["counts"]["all"]


def test_what_came_before_the_first_question_after_a_restart_is_not_left_out(
    box: Box, page: Page, arrive: Arrive
) -> None:
    page.get("/api/studies")
    box.stop("webui")
    box.start("webui")
    with stream(page) as answer:  # as a page that stayed open: it asks for nothing else
        before = next(versions(answer))
        seq = arrive(frames=1)["seq"]
        for line in answer:
            if line.startswith(b"data: {"):
                part = json.loads(line[6:])
                assert part["since"] == before
                assert any(seq in row["loops"] for row in part["studies"])
                break
            if line.startswith(b"data: ") and int(line[6:]) > before:
                break  # told the version alone: the page then asks for everything


def test_one_user_has_so_many_streams_and_gets_them_back(box: Box) -> None:
    page = Page(box, "MS")
    with ExitStack() as opened:
        for _ in range(MOST_OF_ONE):
            assert opened.enter_context(stream(page)).status == HTTPStatus.OK
        with stream(page) as refused:
            assert refused.status == HTTPStatus.TOO_MANY_REQUESTS
            assert refused.headers["Content-Type"] == "application/problem+json"
        # Streams wait in threads of their own: the page's other questions are answered.
        assert page.get("/api/version")

    def is_open_again() -> bool:
        with stream(page) as answer:
            return answer.status == HTTPStatus.OK

    box.wait_for(is_open_again, "a stream of those that were closed")


def test_streams_need_a_signed_in_reviewer(box: Box) -> None:
    with stream(Page(box, initials="")) as answer:
        assert answer.status == HTTPStatus.UNAUTHORIZED


def test_a_service_that_stops_ends_its_streams_whole(page: Page, box: Box) -> None:
    with stream(page) as answer:
        list(islice(versions(answer), 1))
        assert box.stop("webui") == 0
        answer.read()  # http.client raises IncompleteRead when a chunked answer is cut
    box.start("webui")


@pytest.mark.parametrize("ended", ["/lock", "/sign-out"])
def test_a_stream_ends_with_its_session(box: Box, arrive: Arrive, ended: str) -> None:
    page = Page(box, "AK")
    with stream(page) as answer:
        heard = versions(answer)
        next(heard)
        page.post(ended)
        arrive(frames=1)
        assert len(list(heard)) <= 1
