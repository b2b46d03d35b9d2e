"""Signing in, locking and handing over, as hands do it on a tablet that several people share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from appliance.ledger import audit, draft, user, worklist
from tests.box import PIN, Box
from tests.browser import hand
from tests.webui.reviewbox import enrol
from tests.webui.test_auth import secured

Open = Callable[..., Page]
Arrive = Callable[..., dict[str, Any]]
IDLE_S = 4


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box whose page locks after a few seconds."""
    root = tmp_path_factory.mktemp("quick")
    with Box(root, services=("webui",), webui=f"lock_after_s = {IDLE_S}") as box:
        yield box


def told(box: Box, number: int = 10) -> list[str]:
    return [row["what"] for row in audit.listed(box.ledger, number)]


def test_initials_and_pin_by_finger(box: Box, tablet: Any, artefacts: Path) -> None:
    tab = tablet(box)
    tab.goto("/loop/1")
    tab.locator("input[value=BM]").tap()
    for digit in PIN:
        tab.locator(f"#pad button[data-digit='{digit}']").tap()
    tab.screenshot(path=artefacts / "sign-in.png")
    tab.locator("#start").tap()
    tab.wait_for_url("**/loop/1")
    expect(tab.locator("#lock")).to_contain_text("BM")


def test_initials_and_pin_by_keyboard_alone(box: Box, tablet: Any) -> None:
    tab = tablet(box)
    tab.goto("/")
    tab.keyboard.type(f"kl{PIN}")
    expect(tab.locator("input[value=KL]")).to_be_checked()
    tab.keyboard.press("Enter")
    tab.wait_for_url(f"{box.url}/")
    expect(tab.locator("#lock")).to_contain_text("KL")


def test_a_digit_too_many_is_taken_back(box: Box, tablet: Any) -> None:
    tab = tablet(box)
    tab.goto("/")
    tab.locator("input[value=BM]").tap()
    for digit in f"{PIN}7":
        tab.locator(f"#pad button[data-digit='{digit}']").tap()
    tab.get_by_role("button", name="Delete the last digit").tap()
    expect(tab.locator("#pin")).to_have_value(PIN)


def test_everything_to_be_touched_at_the_door_is_big_enough(box: Box, tablet: Any) -> None:
    tab = tablet(box)
    tab.goto("/sign-in")
    things = tab.locator("button:visible, .name:visible, #pin")
    for number in range(things.count()):
        size = things.nth(number).bounding_box()
        assert size["width"] >= 48, things.nth(number).inner_text()
        assert size["height"] >= 48, things.nth(number).inner_text()


def test_a_wrong_pin_says_so_and_keeps_who_it_was(quick: Box, tablet: Any) -> None:
    tab = tablet(quick)
    tab.goto("/")
    hand.enter_pin(tab, "AK", "999111")
    expect(tab.locator("#problem")).to_contain_text("not the PIN")
    expect(tab.locator("input[value=AK]")).to_be_checked()
    hand.enter_pin(tab, "AK")
    tab.wait_for_url(f"{quick.url}/")


def test_lock_returns_to_the_same_loop_with_what_was_drawn(
    box: Box, tablet: Any, arrive: Arrive, artefacts: Path
) -> None:
    row = arrive()
    tab = tablet(box)
    hand.sign_in(tab, "AK", f"/loop/{row['seq']}")
    hand.open_loop(tab)
    draw(tab, row)
    drawn = hand.draft(tab)
    tab.keyboard.press("l")
    tab.wait_for_url("**/sign-in?**")
    expect(tab.get_by_role("heading", name="Locked")).to_be_visible()
    expect(tab.locator("input[value=AK]")).to_be_checked()
    tab.screenshot(path=artefacts / "locked.png")
    answer = tab.request.get(f"{box.url}/api/loops/{row['seq']}")
    assert answer.status == 401
    hand.enter_pin(tab, "AK")
    tab.wait_for_url(f"**/loop/{row['seq']}")
    hand.open_loop(tab)
    again = hand.draft(tab)
    assert drawn is not None
    assert again is not None
    assert all(again[part] == drawn[part] for part in ("base", "frames", "marks"))
    expect(tab.locator("#said")).to_contain_text("not saved yet")


def test_somebody_else_takes_over_without_what_was_not_saved(
    box: Box, tablet: Any, arrive: Arrive
) -> None:
    row = arrive()
    tab = tablet(box)
    hand.sign_in(tab, "AK", f"/loop/{row['seq']}")
    hand.open_loop(tab)
    draw(tab, row)
    tab.locator("#lock").tap()
    tab.wait_for_url("**/sign-in?**")
    hand.enter_pin(tab, "BM")
    tab.wait_for_url(f"**/loop/{row['seq']}")
    hand.open_loop(tab)
    expect(tab.locator("#said")).not_to_contain_text("not saved yet")
    tab.locator("#accept").tap()
    box.wait_for(lambda: worklist.reviews(box.ledger, row["seq"]), "the review")
    (review,) = worklist.reviews(box.ledger, row["seq"])
    assert (review["reviewer"], review["decision"]) == ("BM", "accepted")
    tab.wait_for_url(f"{box.url}/")
    assert hand.draft(tab) is not None  # AK's, for AK


@pytest.mark.parametrize("network", ["there", "gone and back"])
def test_signing_out_wipes_what_was_not_saved_once_the_box_has_it(
    box: Box, tablet: Any, arrive: Arrive, network: str
) -> None:
    row = arrive()
    path = f"/loop/{row['seq']}"
    tab = tablet(box)
    hand.sign_in(tab, "AK", path)
    hand.open_loop(tab)
    if network == "gone and back":
        tab.context.set_offline(True)
        tab.context.route("**/lock", lambda route: route.abort("internetdisconnected"))
    draw(tab, row)
    tab.keyboard.press("l")  # at once: the page would bring it to the box a moment later
    expect(tab.locator("#lock")).to_be_hidden()
    if network == "gone and back":
        with tab.expect_response("**/draft"):
            tab.context.set_offline(False)
        tab.context.unroute("**/lock")  # not before: it could come back between the two
    sign_out(tab)
    assert hand.draft(tab) is None
    hand.sign_in(tab, "AK", path)
    hand.open_loop(tab)
    expect(tab.locator("#said")).to_contain_text("not saved yet")


def test_what_the_box_never_got_outlasts_signing_out_for_its_drawer_alone(
    box: Box, tablet: Any, arrive: Arrive
) -> None:
    row = arrive()
    path = f"/loop/{row['seq']}"
    tab = tablet(box)
    hand.sign_in(tab, "AK", path)
    hand.open_loop(tab)
    tab.context.route("**/draft", lambda route: route.abort("internetdisconnected"))
    draw(tab, row)
    tab.keyboard.press("l")
    sign_out(tab)
    tab.context.unroute("**/draft")
    hand.sign_in(tab, "BM", path)
    hand.open_loop(tab)
    expect(tab.locator("#said")).not_to_contain_text("not saved yet")
    tab.keyboard.press("l")
    sign_out(tab, "BM")
    assert draft.of(box.ledger, row["seq"], "AK") is None
    hand.sign_in(tab, "AK", path)
    expect(tab.locator("#changed")).to_contain_text("Kept on the box")
    assert draft.of(box.ledger, row["seq"], "AK") is not None


def test_a_decision_that_waits_is_told_to_who_comes_next_and_stays_its_author_s(
    box: Box, tablet: Any, arrive: Arrive
) -> None:
    row = arrive()
    path = f"/loop/{row['seq']}"
    tab = tablet(box)
    hand.sign_in(tab, "AK", path)
    hand.open_loop(tab)
    tab.context.route("**/reviews", lambda route: route.abort("internetdisconnected"))
    tab.locator("#accept").tap()
    expect(tab.locator("#said")).to_contain_text("not yet on the box")
    tab.keyboard.press("l")
    expect(tab.locator("#waiting")).to_contain_text("signs in here: AK")
    hand.enter_pin(tab, "BM")
    tab.wait_for_url(f"**{path}")
    hand.open_loop(tab)
    expect(tab.locator("#problem")).to_contain_text("A decision of AK waits on this tablet.")
    tab.locator("#accept").tap()
    expect(tab.locator("#said")).to_contain_text("not yet on the box")
    tab.context.unroute("**/reviews")
    tab.wait_for_url(f"{box.url}/")
    (review,) = worklist.reviews(box.ledger, row["seq"])
    assert review["reviewer"] == "BM"
    tab.keyboard.press("l")
    expect(tab.locator("#waiting")).to_contain_text("signs in here: AK")


def test_what_another_tab_still_shows_is_not_decided_under_a_new_name(
    box: Box, tablet: Any, arrive: Arrive
) -> None:
    row = arrive()
    tab = tablet(box)
    hand.sign_in(tab, "AK", f"/loop/{row['seq']}")
    hand.open_loop(tab)
    tab.context.route("**/api/version", lambda route: route.abort("internetdisconnected"))
    tab.context.route("**/api/events*", lambda route: route.abort("internetdisconnected"))
    other = tab.context.new_page()
    other.goto("/")
    other.keyboard.press("l")
    other.wait_for_url("**/sign-in?**")
    hand.enter_pin(other, "BM")
    other.wait_for_url(f"{box.url}/")
    expect(tab.locator("#pin")).to_be_visible()
    assert worklist.reviews(box.ledger, row["seq"]) == []
    assert other.request.get(f"{box.url}/api/version").status == 200, "BM is still there"


def test_nobody_s_touch_locks_whatever_the_page_fetches_meanwhile(quick: Box, tablet: Any) -> None:
    tab = tablet(quick)
    fetched: list[str] = []
    tab.on("request", lambda sent: fetched.append(sent.url))
    hand.sign_in(tab, "AK", "/")
    tab.evaluate(  # what polls, for ever
        "() => { setInterval(() => fetch('/api/version'), 200); }"
    )
    tab.wait_for_url("**/sign-in?**", timeout=20_000)
    assert sum(url.endswith("/api/version") for url in fetched) > 5
    assert "lock" in told(quick, 3)


def test_a_touch_now_and_then_keeps_the_page_open(quick: Box, tablet: Any) -> None:
    tab = tablet(quick)
    hand.sign_in(tab, "AK", "/")
    for _ in range(8):
        tab.wait_for_timeout(IDLE_S * 1000 / 4)
        tab.mouse.click(2, 700)
    assert tab.url == f"{quick.url}/"
    assert tab.request.get(f"{quick.url}/api/version").status == 200


def test_the_box_locks_by_itself_when_the_page_does_not(quick: Box, tablet: Any) -> None:
    tab = tablet(quick)
    hand.sign_in(tab, "AK", "/")
    tab.goto("about:blank")
    end = IDLE_S * 1000 + 500
    for _ in range(5):
        tab.wait_for_timeout(end / 5)
        status = tab.request.get(f"{quick.url}/api/version").status
    assert status == 401


def test_without_the_box_a_locked_page_shows_nothing(quick: Box, tablet: Any) -> None:
    tab = tablet(quick)
    hand.sign_in(tab, "AK", "/")
    tab.context.set_offline(True)
    tab.keyboard.press("l")
    expect(tab.locator("#lock")).to_be_hidden()
    tab.context.set_offline(False)
    tab.wait_for_url("**/sign-in?**")


def test_a_page_locked_without_network_opens_after_a_reload_by_pin_alone(
    box: Box, tablet: Any, arrive: Arrive
) -> None:
    path = f"/loop/{arrive()['seq']}"
    for again in ("reload", "sign-in", "new tab"):
        tab = tablet(box)
        hand.sign_in(tab, "AK", path)
        hand.open_loop(tab)
        tab.context.set_offline(True)
        tab.keyboard.press("l")
        expect(tab.locator("#lock")).to_be_hidden()
        if again == "new tab":
            context = tab.context
            tab.close()
            tab = context.new_page()
        # Before the page that was locked has told the box: it can't any more.
        tab.context.route("**/lock", lambda route: route.abort("internetdisconnected"))
        tab.context.set_offline(False)
        tab.goto("/sign-in" if again == "sign-in" else path)
        expect(tab.locator("html.covered")).to_have_count(1)
        expect(tab.locator("body")).to_be_hidden()
        assert tab.request.get(f"{box.url}/api/version").status == 200, "the box knows already"
        tab.context.unroute("**/lock")
        expect(tab.get_by_role("heading", name="Locked")).to_be_visible()
        assert tab.request.get(f"{box.url}/api/version").status == 401
        assert tab.evaluate("() => localStorage.getItem('echocart.locked')") is None
        hand.enter_pin(tab, "AK")
        tab.wait_for_url(f"{box.url}/" if again == "sign-in" else f"**{path}")
        expect(tab.locator("#lock")).to_be_visible()


def test_an_admin_manages_people_on_the_page(quick: Box, tablet: Any, artefacts: Path) -> None:
    enrol(quick, "AD", "admin")
    tab = tablet(quick)
    tab.goto("/")
    hand.enter_pin(tab, "AD")
    tab.wait_for_url("**/box")  # an admin alone sees no patient
    tab.get_by_role("link", name="People").click()
    form = tab.locator("#add")
    form.get_by_label("Initials").fill("nw")
    form.get_by_label("expert").check()
    form.get_by_label("PIN").fill("802461")
    form.get_by_label("The same again").fill("802461")
    form.get_by_role("button", name="Add").click()
    expect(tab.get_by_text("NW", exact=True)).to_be_visible()
    found = user.find(quick.ledger, "NW")
    assert found is not None
    assert found.roles == {"sonographer", "expert"}
    tab.get_by_text("NW", exact=True).click()
    tab.screenshot(path=artefacts / "people.png", full_page=True)
    tab.get_by_role("button", name="Remove NW").click()
    expect(tab.get_by_text("NW, removed")).to_be_visible()
    assert user.find(quick.ledger, "NW") is None
    assert {"add user", "remove user"} <= set(told(quick))


def sign_out(tab: Page, initials: str = "AK") -> None:
    """Sign out on the page that a lock leads to."""
    tab.get_by_role("button", name=f"Sign {initials} out").click()
    expect(tab.get_by_role("heading", name="Who is there?")).to_be_visible()


def draw(tab: Page, row: dict[str, Any]) -> None:
    """Leave something unsaved: end diastole at another frame."""
    marks = row["analysis"]["measures"]
    frame = next(n for n in range(2, 20) if n not in (marks["ed_frame"], marks["es_frame"]))
    hand.go_to_frame(tab, frame)
    tab.keyboard.press("Shift+D")
    expect(tab.locator("#said")).to_contain_text("not saved yet")


def test_over_https_the_whole_way_works(browser: Browser, tablet: Any, tmp_path: Path) -> None:
    with Box(tmp_path / "box", services=("webui",), webui=secured(tmp_path)) as box:
        tab = tablet(box, ignore_https_errors=True)
        hand.sign_in(tab, "AK", "/")
        (cookie,) = tab.context.cookies()
        assert cookie["name"] == "__Host-echocart"
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
        assert tab.evaluate("() => window.isSecureContext")
        tab.keyboard.press("l")
        tab.wait_for_url("**/sign-in?**")
        hand.enter_pin(tab, "BM")
        tab.wait_for_url(f"{box.url}/")
        expect(tab.locator("#lock")).to_contain_text("BM")


def test_what_waits_on_the_tablet_names_no_patient(box: Box, tablet: Any, arrive: Arrive) -> None:
    row = arrive(PatientID="CANARY-4711", PatientName="CANARY^NAME")
    tab = tablet(box)
    hand.sign_in(tab, "AK", f"/loop/{row['seq']}")
    hand.open_loop(tab)
    draw(tab, row)
    tab.context.set_offline(True)
    tab.locator("#accept").tap()
    expect(tab.locator("#said")).to_contain_text("not yet on the box")
    kept = str(tab.evaluate("() => JSON.stringify(localStorage)"))
    assert "corrected" in kept
    assert "CANARY" not in kept
    tab.context.set_offline(False)
    tab.wait_for_url(f"{box.url}/")
    assert len(worklist.reviews(box.ledger, row["seq"])) == 1
