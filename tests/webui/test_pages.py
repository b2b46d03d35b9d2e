"""The pages: who may see them, what they show, and what they never show."""

import gzip
import re
from collections.abc import Callable
from http import HTTPStatus
from stat import S_IMODE
from typing import Any

import pytest

from tests.box import Box
from tests.phantom import NAMES
from tests.webui.reviewbox import Page

Arrive = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("path", ["/", "/loop/1"])
def test_a_page_asks_for_initials_and_pin_first(box: Box, path: str) -> None:
    status, _, text = Page(box, initials="").ask(path)
    assert status == HTTPStatus.OK
    assert b'name="user" value="AK"' in text
    assert b'name="pin"' in text


@pytest.mark.parametrize("path", ["/api/version", "/api/loops/1", "/api/loops/1/frames"])
def test_data_is_refused_to_whoever_has_not_said_who_they_are(box: Box, path: str) -> None:
    status, headers, _ = Page(box, initials="").ask(path)
    assert status == HTTPStatus.UNAUTHORIZED
    assert headers["Content-Type"] == "application/problem+json"


def test_texts_come_packed_to_whoever_takes_that_and_are_the_same(page: Page) -> None:
    for path in ("/", "/api/openapi.json"):
        plain = page.ask(path)
        assert "Content-Encoding" not in plain[1]
        packed = page.ask(path, None, {"Accept-Encoding": "gzip, br"})
        assert packed[1]["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in packed[1]["Vary"]
        assert len(packed[2]) < len(plain[2]) / 2
        assert len(gzip.decompress(packed[2])) == len(plain[2])


def test_the_pages_own_files_are_anybodys_and_stay_what_they_are(box: Box, page: Page) -> None:
    text = page.ask("/")[2].decode()
    found = re.search(r"/static/[0-9a-f]{12}/worklist\.js", text)
    assert found is not None
    status, headers, data = Page(box, initials="").ask(found.group())
    assert status == HTTPStatus.OK
    assert headers["Content-Type"] == "text/javascript"
    assert "immutable" in headers["Cache-Control"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert b"EventSource" not in gzip.decompress(data)  # that is another one's
    # The name of another release's file leads to this one's, not for good.
    older = page.ask("/static/0123456789ab/worklist.js")
    assert older[2] == data
    assert older[1]["Cache-Control"] == "no-cache"
    assert page.ask(found.group().replace("worklist.js", "../app.py"))[0] == HTTPStatus.NOT_FOUND


def test_signing_in_leads_to_this_box_only(box: Box) -> None:
    page = Page(box, initials="")
    for address in ("https://example.org/", "//example.org", "/\\example.org"):
        text = page.ask(f"/sign-in?next={address}")[2].decode()
        assert 'name="next" value="/"' in text


def test_every_answer_carries_the_security_headers(page: Page) -> None:
    for path in ("/", "/api/version", "/nowhere"):
        headers = page.ask(path)[1]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


def test_the_cookie_is_strict_and_out_of_reach_of_scripts(box: Box) -> None:
    cookie = Page(box, initials="").ask("/sign-in")[1]["Set-Cookie"]
    assert "SameSite=Strict" in cookie
    assert "HttpOnly" in cookie


def test_the_key_that_signs_cookies_is_readable_by_the_service_alone(box: Box) -> None:
    key = box.settings.box.state_dir / "webui.key"
    assert S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) >= 32


def test_another_host_name_is_refused_and_the_right_one_told(box: Box, page: Page) -> None:
    status, _, body = page.ask("/", headers={"Host": "attacker.example"})
    assert status == HTTPStatus.BAD_REQUEST
    assert box.settings.webui.url in body.decode()
    headers = {"Host": "attacker.example", "Accept": "text/html"}
    assert page.ask("/metrics", headers=headers)[0] == HTTPStatus.BAD_REQUEST


def test_the_ledger_is_readable_by_its_group_at_most(box: Box) -> None:
    for path in box.settings.box.state_dir.glob("ledger.db*"):
        assert S_IMODE(path.stat().st_mode) & 0o007 == 0, path


def test_a_post_without_its_token_is_refused(page: Page) -> None:
    headers = {"Content-Type": "application/json"}
    status, _, text = page.ask("/api/loops/1/reviews", b"{}", headers)
    assert status == HTTPStatus.BAD_REQUEST
    assert b"Reload" in text


def test_the_worklist_shows_ef_state_and_machine(page: Page) -> None:
    text = page.ask("/")[2].decode()
    assert "SonoSite" in text
    assert "EF " in text


def test_research_use_is_said_on_every_page(page: Page) -> None:
    for path in ("/", "/loop/1", "/sign-in"):
        assert "research use only" in page.ask(path)[2].decode().lower()


def test_a_name_that_is_markup_is_shown_as_text(page: Page, arrive: Arrive) -> None:
    row = arrive(PatientName="<script>alert(1)</script>", frames=1)
    for path in ("/", f"/loop/{row['seq']}"):
        text = page.ask(path)[2].decode()
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text


@pytest.mark.parametrize("charset", NAMES)
def test_a_name_of_any_script_is_shown_right(page: Page, arrive: Arrive, charset: str) -> None:
    row = arrive(SpecificCharacterSet=charset, PatientName=NAMES[charset], frames=1)
    shown = page.get(f"/api/loops/{row['seq']}")["patient"]["name"]
    groups = NAMES[charset].split("=")[:2]
    assert shown == " · ".join(group.replace("^", ", ") for group in reversed(groups))


def test_a_kept_loop_says_why(page: Page, arrive: Arrive) -> None:
    row = arrive(frames=1)
    assert row["state"] == "kept"
    assert row["reason"].rstrip(".") in page.ask("/")[2].decode()
    shown = page.get(f"/api/loops/{row['seq']}")
    assert shown["words"].startswith("Kept, not analysed: ")
    assert shown["annotations"] == []


def test_the_version_grows_when_something_arrives(page: Page, arrive: Arrive) -> None:
    before = page.get("/api/version")["version"]
    arrive(frames=1)
    assert page.get("/api/version")["version"] > before


def test_a_loop_that_is_not_here_is_said_so(page: Page) -> None:
    status, headers, text = page.ask("/api/loops/999999")
    assert status == HTTPStatus.NOT_FOUND
    assert headers["Content-Type"] == "application/problem+json"
    assert b"no such loop" in text


def test_no_patient_is_named_in_the_log(box: Box, page: Page, arrive: Arrive) -> None:
    row = arrive(PatientName="SECRETIVE^NAME", PatientID="SECRET-ID")
    page.ask(f"/loop/{row['seq']}")
    page.review(row["seq"], patient_id="another")
    assert "SECRET" not in box.log("webui")
