"""The described interface: complete, and held to by a box under random requests."""

from contextlib import suppress
from http import HTTPStatus
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from appliance.webui.app import create_app
from appliance.webui.openapi import Described, document
from tests.box import Box
from tests.webui.reviewbox import Page

# What fits a schema need not fit the loop it is about, and a POST says so (422).
_EXAMPLES = 8  # of each operation, and as many that break its schema
_NOT_HELD = ("positive_data_acceptance",)


@pytest.fixture(scope="session")
def described(box: Box, page: Page) -> Any:
    """The description as the box serves it."""
    served = page.get("/api/openapi.json")
    del served["security"]  # every request below is a signed-in reviewer's
    schema = schemathesis.openapi.from_dict(served)
    schema.config.update(base_url=box.url)
    return schema.exclude(path="/api/events")  # it doesn't end: see test_events


def test_whatever_is_asked_the_box_answers_as_described(
    described: Any, page: Page, box: Box
) -> None:
    cookie = "; ".join(f"{item.name}={item.value}" for item in page.cookies)
    headers = {"Cookie": cookie, "X-CSRFToken": page.token, "Referer": f"{box.url}/"}
    excluded = CHECKS.get_by_names(list(_NOT_HELD))
    told: set[int] = set()

    def ask(case: Any) -> None:
        answer = case.call(headers=headers)
        told.add(answer.status_code)
        case.validate_response(answer, excluded_checks=excluded)
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            assert answer.json()["detail"].endswith("."), answer.text

    for operation in (found.ok() for found in described.get_all_operations()):
        for mode in GenerationMode:
            run = settings(
                max_examples=_EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )(given(case=operation.as_strategy(generation_mode=mode))(ask))
            # Where nothing is asked for, nothing can be asked wrongly.
            with suppress(*([Unsatisfiable] if mode is GenerationMode.NEGATIVE else [])):
                run()
    assert told >= {HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY}


def test_every_route_below_api_is_described_and_nothing_else(box: Box, page: Page) -> None:
    app = create_app(box.settings)
    served = page.get("/api/openapi.json")
    assert served == document(app)
    there = {
        rule.rule.replace("<int:seq>", "{seq}").replace("<drawn>", "{drawn}")
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
    }
    assert set(served["paths"]) == there


def test_a_route_that_says_nothing_of_itself_is_noticed(box: Box) -> None:
    app = create_app(box.settings)
    app.view_functions["live.version"] = lambda: ""
    with pytest.raises(LookupError, match=r"live\.version"):
        document(app)
    assert Described({200: "fine"}).kind == "application/json"


def test_nothing_is_told_to_whoever_is_not_signed_in(box: Box, page: Page) -> None:
    stranger = Page(box, initials="")
    for path, operations in page.get("/api/openapi.json")["paths"].items():
        if "get" in operations:
            address = path.replace("{seq}", "1").replace("{drawn}", "bare")
            assert stranger.ask(address)[0] == HTTPStatus.UNAUTHORIZED, path
