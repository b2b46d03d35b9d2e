"""Who gets in: PIN, waits after wrong ones, roles route by route, the first start, TLS."""

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from appliance import certificates
from appliance.ledger import audit, lockout, user
from appliance.webui import access
from appliance.webui.app import create_app
from tests.box import PIN, Box
from tests.webui.reviewbox import Page, enrol

SEE_OTHER = HTTPStatus.SEE_OTHER


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A page alone, with a user of each role; its initials are the role's first two letters."""
    with Box(tmp_path_factory.mktemp("door"), services=("webui",)) as box:
        for role in user.ROLES:
            enrol(box, role[:2], role)
        yield box


@pytest.fixture
def fresh(door: Box) -> Iterator[Box]:
    """The same, where nobody has typed a wrong PIN yet."""
    yield door
    forgiven = [
        "address:127.0.0.1",
        *(f"user:{row['initials']}" for row in user.listed(door.ledger)),
    ]
    lockout.forget(door.ledger, forgiven)


def test_the_right_pin_and_no_other_opens_the_page(fresh: Box) -> None:
    page = Page(fresh, "")
    assert page.sign_in("AK", "135790")[0] == HTTPStatus.UNPROCESSABLE_ENTITY
    assert page.ask("/api/version")[0] == HTTPStatus.UNAUTHORIZED
    assert page.sign_in("AK")[0] == HTTPStatus.OK
    assert page.ask("/api/version")[0] == HTTPStatus.OK


@pytest.mark.parametrize("pin", ["", "0", PIN + "0", PIN[:-1], "x" * 5000])
def test_what_is_nearly_the_pin_is_not(fresh: Box, pin: str) -> None:
    assert Page(fresh, "").sign_in("AK", pin)[0] == HTTPStatus.UNPROCESSABLE_ENTITY


def test_unknown_and_removed_users_are_answered_like_wrong_pins(fresh: Box) -> None:
    enrol(fresh, "GO")
    if user.find(fresh.ledger, "GO"):
        user.remove(fresh.ledger, "GO", "test")
    answers = {Page(fresh, "").sign_in(name)[0] for name in ("ZZ", "GO", "<b>", "")}
    assert answers == {HTTPStatus.UNPROCESSABLE_ENTITY}
    assert "<b>" not in Page(fresh, "").sign_in("<b>")[1]


def test_after_five_wrong_pins_the_right_one_waits_too(fresh: Box) -> None:
    page = Page(fresh, "")
    for _ in range(5):
        assert page.sign_in("BM", "135790")[0] == HTTPStatus.UNPROCESSABLE_ENTITY
    status, headers, text = try_pin(page, "BM", PIN)
    assert status == HTTPStatus.TOO_MANY_REQUESTS
    assert 20 <= int(headers["Retry-After"]) <= 30
    assert b"Too many wrong PINs" in text
    assert Page(fresh, "").sign_in("AK")[0] == HTTPStatus.OK  # nobody else waits
    said = [(row["what"], row["subject"]) for row in audit.listed(fresh.ledger, 8)]
    assert ("lock-out", "user:BM") in said
    assert said.count(("bad PIN", "BM")) >= 5


def test_the_wait_outlasts_a_kill_of_the_service(fresh: Box) -> None:
    page = Page(fresh, "")
    for _ in range(5):
        page.sign_in("KL", "135790")
    fresh.kill("webui")
    fresh.start("webui")
    assert Page(fresh, "").sign_in("KL")[0] == HTTPStatus.TOO_MANY_REQUESTS
    user.set_pin(fresh.ledger, "KL", user.find(fresh.ledger, "AK").pin, "test")  # type: ignore[union-attr]
    lockout.forget(fresh.ledger, ["address:127.0.0.1"])
    assert Page(fresh, "").sign_in("KL")[0] == HTTPStatus.OK


def test_one_address_waits_after_ten_wrong_pins_of_several_people(fresh: Box) -> None:
    page = Page(fresh, "")
    for name in ("AK", "BM", "KL") * 3:
        page.sign_in(name, "135790")
    assert page.sign_in("SO", "135790")[0] == HTTPStatus.UNPROCESSABLE_ENTITY
    status, text = page.sign_in("SO")
    assert status == HTTPStatus.TOO_MANY_REQUESTS
    assert "an admin can set a new PIN" in text
    kept = user.find(fresh.ledger, "BM")
    assert kept is not None
    user.set_pin(fresh.ledger, "BM", kept.pin, "AD")
    assert page.sign_in("SO")[0] == HTTPStatus.OK


@pytest.mark.parametrize(
    "onward", ["/loop/1\r\nX-Made-Up: y", "/a\nb", "/a\tb", "/\x00", "//evil.example", "/\\evil"]
)
def test_a_page_to_go_on_to_that_is_none_of_ours_is_the_worklist(fresh: Box, onward: str) -> None:
    page = Page(fresh, "")
    status, text = page.post("/sign-in", user="AK", pin=PIN, next=onward)
    assert status == HTTPStatus.OK
    assert "<title>Loops" in text, text[:500]


def test_many_tries_at_once_are_no_more_than_five(fresh: Box) -> None:
    pages = [Page(fresh, "") for _ in range(12)]
    for page in pages:
        page.learn_token("/sign-in")
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda page=page: found.append(try_pin(page, "AK", "135790")[0]))
        for page in pages
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert found.count(HTTPStatus.UNPROCESSABLE_ENTITY) <= 5


def test_a_sign_in_forged_by_another_site_is_refused(fresh: Box) -> None:
    status, _, _ = Page(fresh, "").ask("/sign-in", f"user=AK&pin={PIN}".encode())
    assert status == HTTPStatus.BAD_REQUEST


def test_a_cookie_kept_from_before_the_lock_opens_nothing(fresh: Box) -> None:
    page = Page(fresh, "AK")
    kept = "; ".join(f"{cookie.name}={cookie.value}" for cookie in page.cookies)
    page.learn_token("/")
    assert page.post("/lock", next="/")[0] == HTTPStatus.OK
    thief = Page(fresh, "")
    assert thief.ask("/api/version", headers={"Cookie": kept})[0] == HTTPStatus.UNAUTHORIZED


def test_somebody_removed_is_out_at_once(fresh: Box) -> None:
    enrol(fresh, "RM")
    page = Page(fresh, "RM")
    user.remove(fresh.ledger, "RM", "test")
    assert page.ask("/api/version")[0] == HTTPStatus.UNAUTHORIZED


@pytest.fixture(scope="module")
def app(door: Box) -> Flask:
    return create_app(door.settings)


@pytest.mark.parametrize("role", ["", *user.ROLES])
def test_each_route_opens_for_its_roles_alone(app: Flask, door: Box, role: str) -> None:
    """Every route of the application, asked by each role, through the real sign-in."""
    client = app.test_client()
    if role:
        text = client.get("/sign-in").get_data(as_text=True)
        form = {"user": role[:2].upper(), "pin": PIN, "csrf_token": token_in(text)}
        assert client.post("/sign-in", data=form).status_code == SEE_OTHER
        lockout.forget(door.ledger, ["address:127.0.0.1"])
    token = token_in(client.get("/sign-in").get_data(as_text=True))
    for rule in app.url_map.iter_rules():
        method = next(iter(sorted(set(rule.methods or ()) - {"HEAD", "OPTIONS"})))
        endpoint = rule.endpoint
        if endpoint in ("auth.sign_in", "auth.lock", "auth.sign_out", "first.first"):
            continue  # they change who asks
        path = re.sub(r"<int:[^>]+>", "999999", rule.rule)
        path = re.sub(r"<[^>]+>", "x", path)
        answer = client.open(path, method=method, headers={"X-CSRFToken": token}, buffered=False)
        allowed = access.RULES[endpoint] | ({""} if endpoint in access.FROM_HERE else set())
        refused = answer.status_code in (401, 403) or (
            answer.status_code == SEE_OTHER
            and answer.location in ("/box", f"/sign-in?next={path}", "/sign-in?next=/")
        )
        answer.close()
        may = "" in allowed or role in allowed
        assert refused != may, (role, method, path, answer.status_code, answer.location)


def test_a_route_that_says_no_role_keeps_the_page_from_starting(door: Box) -> None:
    app = create_app(door.settings)
    app.add_url_rule("/forgotten", "somewhere.forgotten", lambda: "")
    with pytest.raises(LookupError, match=r"somewhere\.forgotten"):
        access.complete(app)


def test_the_table_names_no_route_that_is_gone(app: Flask) -> None:
    there = {rule.endpoint for rule in app.url_map.iter_rules()}
    assert set(access.RULES) - there == set()


def test_biomed_and_admin_see_the_box_and_no_patient(fresh: Box) -> None:
    for name in ("BI", "AD"):
        page = Page(fresh, name)
        _, _, text = page.ask("/")
        assert b"<h1>Box</h1>" in text
        status, _, text = page.ask("/loop/1")
        assert status == HTTPStatus.FORBIDDEN
        assert b"other roles" in text


def test_figures_are_told_to_this_machine_and_to_those_who_tend_the_box(app: Flask) -> None:
    client = app.test_client()
    far = {"REMOTE_ADDR": "10.1.2.3"}
    assert client.get("/metrics").status_code == HTTPStatus.OK
    assert client.get("/metrics", environ_overrides=far).status_code == SEE_OTHER


def test_biomed_can_not_make_users(fresh: Box) -> None:
    page = Page(fresh, "BI")
    page.learn_token("/box")
    fields = {"user": "EV", "role": "admin", "pin": "802461", "again": "802461"}
    assert page.post("/people", **fields)[0] == HTTPStatus.FORBIDDEN
    assert user.find(fresh.ledger, "EV") is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user": "A1"}, "2 to 4 letters"),
        ({"user": "AK"}, "there already"),
        ({"role": "boss"}, "no role"),
        ({"pin": "1234", "again": "1234"}, "6 to 12 digits"),
        ({"again": "802462"}, "differ"),
    ],
)
def test_an_admin_is_told_what_is_wrong(fresh: Box, changes: dict[str, str], said: str) -> None:
    page = Page(fresh, "AD")
    page.learn_token("/people")
    fields = {"user": "NW", "role": "expert", "pin": "802461", "again": "802461", **changes}
    status, text = page.post("/people", **fields)
    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert said in text
    assert user.find(fresh.ledger, "NW") is None


def test_the_only_admin_is_not_removed_by_the_page(fresh: Box) -> None:
    page = Page(fresh, "AD")
    page.learn_token("/people")
    status, text = page.post("/people/remove", user="AD")
    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert "only admin" in text


def test_a_user_changes_the_own_pin_and_signs_in_anew(fresh: Box) -> None:
    enrol(fresh, "PI")
    page, elsewhere = Page(fresh, "PI"), Page(fresh, "PI")
    page.learn_token("/me")
    new = {"pin": "802461", "again": "802461"}
    assert page.post("/me", old="135790", **new)[0] == HTTPStatus.UNPROCESSABLE_ENTITY
    assert page.post("/me", old=PIN, **new)[0] == HTTPStatus.OK
    assert elsewhere.ask("/api/version")[0] == HTTPStatus.UNAUTHORIZED
    assert Page(fresh, "").sign_in("PI")[0] == HTTPStatus.UNPROCESSABLE_ENTITY
    assert Page(fresh, "").sign_in("PI", "802461")[0] == HTTPStatus.OK
    fresh.ledger.db.conn.execute("UPDATE user SET removed_at = 'x' WHERE initials = 'PI'")


def test_on_the_first_start_a_code_of_the_log_makes_one_admin(tmp_path: Path) -> None:
    with Box(tmp_path, services=("webui",), people=()) as box:
        page = Page(box, "")
        assert b"First start" in page.ask("/")[2]
        found = re.search(r"enter the code ([0-9A-Z]{5}-[0-9A-Z]{5})", box.log("webui"))
        assert found is not None
        form = {"user": "ad", "pin": "802461", "again": "802461", "reviews": "on"}
        page.learn_token("/first")
        status, text = page.post("/first", code="AAAAA-AAAAA", **form)
        assert status == HTTPStatus.UNPROCESSABLE_ENTITY
        assert "not the code" in text
        for kept in ('value="AAAAA-AAAAA"', 'value="ad"', 'name="reviews" checked'):
            assert kept in text
        assert form["pin"] not in text
        assert not user.has_admin(box.ledger)
        # A service that was killed has another code.
        box.kill("webui")
        box.start("webui")
        assert page.post("/first", code=found[1], **form)[0] == HTTPStatus.UNPROCESSABLE_ENTITY
        code = re.findall(r"enter the code ([0-9A-Z]{5}-[0-9A-Z]{5})", box.log("webui"))[-1]
        status, text = page.post("/first", code=code.lower().replace("-", " "), **form)
        assert status == HTTPStatus.OK
        assert "<h1>People</h1>" in text
        who = user.find(box.ledger, "AD")
        assert who is not None
        assert who.roles == {"admin", "sonographer"}
        page.learn_token("/people")
        page.post("/first", code=code, **{**form, "user": "EV"})
        assert user.find(box.ledger, "EV") is None
        box.kill("webui")
        box.start("webui")
        assert box.log("webui").count("enter the code") == 2


def secured(folder: Path, key: str = "box") -> str:
    """Make certificates and return the settings that use them."""
    certificates.make_authority(folder, "test")
    for name in ("box", "other"):
        certificates.issue(folder, name, name.upper(), ["127.0.0.1", "echocart.example"])
    return (
        f'tls_certificate = "{folder / "box.pem"}"\ntls_key = "{folder / key}.key"\n'
        'host = "0.0.0.0"\nnames = ["127.0.0.1", "echocart.example"]'
    )


def test_a_key_of_another_certificate_is_told_at_the_start(tmp_path: Path) -> None:
    box = Box(tmp_path / "box", services=("webui",), webui=secured(tmp_path, "other"))
    with pytest.raises(AssertionError, match="isn't the key of"):
        box.start("webui")
    assert "Traceback" not in box.log("webui")
    box.ledger.close()


@pytest.mark.slow
def test_clients_that_begin_to_shake_hands_and_stop_do_not_hold_the_page(tmp_path: Path) -> None:
    with Box(tmp_path / "box", services=("webui",), webui=secured(tmp_path)) as box:
        trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        page = Page(box, "AK", trusting)
        address = ("127.0.0.1", box.http_port)
        silent = [socket.create_connection(address) for _ in range(60)]  # more than threads
        for connection in silent:
            connection.sendall(b"\x16\x03\x01\x02")  # a TLS record's head, cut short
        assert page.ask("/api/version")[0] == HTTPStatus.OK
        assert "Traceback" not in box.log("webui")
        for connection in silent:
            connection.close()


def test_over_tls_the_page_is_for_those_who_trust_the_site(tmp_path: Path) -> None:
    with Box(tmp_path / "box", services=("webui",), webui=secured(tmp_path)) as box:
        assert box.url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        page = Page(box, "AK", trusting)
        assert page.ask("/api/version")[0] == HTTPStatus.OK
        (cookie,) = page.cookies
        assert (cookie.name, cookie.secure, cookie.path) == ("__Host-echocart", True, "/")
        set_cookie = Page(box, "", trusting).ask("/sign-in")[1]["Set-Cookie"]
        assert "Domain" not in set_cookie
        assert {"Secure", "HttpOnly", "SameSite=Strict"} <= set(re.split("; *", set_cookie))
        headers = {"Host": f"echocart.example:{box.http_port}"}
        assert page.ask("/sign-in", headers=headers)[0] == HTTPStatus.OK
        headers = {"Host": f"attacker.example:{box.http_port}"}
        assert page.ask("/sign-in", headers=headers)[0] == HTTPStatus.BAD_REQUEST
        with pytest.raises(OSError, match="certificate verify failed"):
            Page(box, "", ssl.create_default_context()).ask("/sign-in")
        old = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers("AES128-SHA")  # no forward secrecy
        with pytest.raises(OSError):  # noqa: PT011
            Page(box, "", old).ask("/sign-in")


def try_pin(page: Page, name: str, pin: str) -> tuple[int, dict[str, str], bytes]:
    """As `Page.sign_in`, with the answer's headers."""
    if not page.token:
        page.learn_token("/sign-in")
    form: dict[str, Any] = {"csrf_token": page.token, "user": name, "pin": pin, "next": "/"}
    return page.ask("/sign-in", urlencode(form).encode())


def token_in(text: str) -> str:
    found = re.search(r'name="csrf-token" content="([^"]+)"', text)
    assert found is not None
    return found[1]


def test_a_review_names_its_patient_by_a_key_that_only_the_box_can_make(
    page: Page, arrive: Any
) -> None:
    seq, other = arrive(PatientID="ONE")["seq"], arrive(PatientID="TWO")["seq"]
    right = page.get(f"/api/loops/{seq}")["patient"]["key"]
    wrong = page.get(f"/api/loops/{other}")["patient"]["key"]
    assert page.review(seq, patient_id=None, patient=wrong)[0] == HTTPStatus.CONFLICT
    for unclear in ({"patient": right}, {"patient_id": None}):  # both, none
        assert page.review(seq, **unclear)[0] == HTTPStatus.UNPROCESSABLE_ENTITY
    status, stored = page.review(seq, patient_id=None, patient=right)
    assert status == HTTPStatus.CREATED
    assert stored["patient_id"] == "ONE"
