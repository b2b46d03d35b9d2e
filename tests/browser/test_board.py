"""The board: how the box stands, on one page; carts let in, destinations tried, by a finger."""

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from appliance import scu
from appliance.carts import known
from appliance.errors import ApplianceError
from appliance.ledger import audit, caller, command, engine_state, release, setting, shadow
from appliance.releases.model_store import chosen, resolved
from tests.box import Box
from tests.browser import hand
from tests.browser.test_access import violations
from tests.phantom import cine_loop
from tests.scp.objects import write_object
from tests.sync.material import reviewed
from tests.webui import reviewbox
from tests.webui.keptback import kept_back
from tests.webui.test_model_board import FIGURES, NEXT, on_trial

SIZES = pytest.mark.parametrize("size", [(1280, 800), (768, 1024)])


@pytest.fixture(scope="module")
def tended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box with a second destination that nobody answers at, a rejected caller, other models."""
    root = tmp_path_factory.mktemp("tended")
    nowhere = (
        '[[destination]]\nname = "pacs"\nkind = "dicom"\nhost = "127.0.0.1"\nport = 9\n'
        'called_ae = "NOBODY"\ngets = ["results"]\n'
    )
    with Box(root, services=("scp", "webui", "sync"), extra=nowhere) as box:
        reviewbox.enrol(box, "BT", "biomed")
        reviewbox.enrol(box, "AD", "admin")
        state = engine_state.ModelState("first-network-1.0.0", "A4C", "openvino", "int8")
        engine_state.put(box.ledger, [state], f"{engine_state.CPU_SERVES}its plan is gone")
        yield box


@pytest.fixture
def board(browser: Browser, tended: Box) -> Iterator[Any]:
    """Opens the board as somebody, at a size."""
    contexts = []

    def open_as(initials: str, size: tuple[int, int] = (1280, 800)) -> Page:
        context = browser.new_context(
            base_url=tended.url, viewport={"width": size[0], "height": size[1]}, has_touch=True
        )
        contexts.append(context)
        tab = context.new_page()
        hand.sign_in(tab, initials, "/box")
        return tab

    yield open_as
    for context in contexts:
        context.close()


def reject(box: Box, title: str, peer: str = "10.1.2.3") -> None:
    seen = caller.Sighting(title, "ECHOCART", peer, False, "no cart is paired with this title")
    caller.note(box.ledger, [seen])


@SIZES
def test_everything_is_seen_at_a_glance_and_axe_finds_nothing(
    board: Any, tended: Box, artefacts: Path, size: tuple[int, int]
) -> None:
    tab = board("BT", size)
    for part in ("storage", "engine", "model", "destinations", "carts"):
        expect(tab.locator(f"#{part}")).to_be_visible()
    expect(tab.locator("#engine")).to_contain_text("openvino at int8")
    expect(tab.locator("#engine")).to_contain_text("look at it")
    expect(tab.locator("#destinations")).to_contain_text("not used yet")
    tab.screenshot(path=artefacts / f"board-{size[0]}.png", full_page=True)
    assert violations(tab) == []
    assert not tab.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    small = tab.locator("main button").evaluate_all(
        "every => every.filter((b) => b.checkVisibility() && b.getBoundingClientRect().height < 48)"
        ".map((b) => b.textContent)"
    )
    assert small == []


def test_a_rejected_cart_is_let_in_by_one_tap_and_may_send(
    board: Any, tended: Box, tmp_path: Path
) -> None:
    tab = board("BT")
    tab.locator("#carts summary").tap()
    tab.fill("#title", "ROOM1")
    tab.locator("#carts form.row button").tap()
    expect(tab.locator("#carts")).to_contain_text("It has never called.")
    with pytest.raises(ApplianceError):
        scu.send(
            [write_object(tmp_path / "a.dcm")], "127.0.0.1", tended.dicom_port, calling_ae="VIVID"
        )
    reject(tended, "VIVID", "127.0.0.1")
    tab.reload()
    tab.get_by_role("button", name="Allow VIVID at 127.0.0.1").tap()
    expect(tab.get_by_role("button", name="Remove VIVID")).to_be_visible()
    sent = scu.send([tmp_path / "a.dcm"], "127.0.0.1", tended.dicom_port, calling_ae="VIVID")
    assert [item.status for item in sent] == [0]
    assert {item.calling_ae for item in known(tended.settings, tended.ledger).paired} == {
        "ROOM1",
        "VIVID",
    }
    (row,) = audit.listed(tended.ledger, 1)
    assert (row["who"], row["what"]) == ("BT", "allow cart")
    for title in ("ROOM1", "VIVID"):
        tab.get_by_role("button", name=f"Remove {title}").tap()
    expect(tab.locator("#carts")).to_contain_text("None is paired: nobody may send.")


def test_a_title_that_can_t_be_one_is_refused_with_a_sentence(board: Any) -> None:
    tab = board("BT")
    tab.locator("#carts summary").tap()
    tab.fill("#title", "ROOM1")
    tab.fill("#address", "somewhere")
    tab.locator("#carts form.row button").tap()
    expect(tab.locator("#problem")).to_contain_text("Nothing was changed.")


def test_a_destination_is_tried_by_the_service_that_delivers(board: Any, tended: Box) -> None:
    tab = board("BT")
    tab.get_by_role("button", name="Test: usb").tap()
    expect(tab.locator("#destinations")).to_contain_text(
        "everything that is needed works", timeout=60_000
    )
    tab.get_by_role("button", name="Test: pacs").tap()
    expect(tab.locator("#destinations")).to_contain_text("not everything works", timeout=60_000)
    tab.locator("#destinations summary").last.tap()
    for word in ("Error", "Traceback", "Errno"):
        assert word not in tab.locator("#destinations").inner_text()
    asked = command.newest(tended.ledger, command.TEST, "usb")
    assert asked is not None
    assert (asked["state"], asked["by"]) == ("done", "BT")


def test_a_destination_is_paused_and_goes_on(board: Any) -> None:
    tab = board("AD")
    tab.get_by_role("button", name="Pause: usb").tap()
    expect(tab.locator("#destinations")).to_contain_text("Paused by AD.")
    tab.get_by_role("button", name="Go on: usb").tap()
    expect(tab.get_by_role("button", name="Pause: usb")).to_be_visible()


def test_the_model_in_use_before_is_one_tap_away(board: Any, tended: Box) -> None:
    setting.choose_models(tended.ledger, ["frame-1.0.0"], "test")
    tab = board("BT")
    tab.locator("#model summary").tap()
    expect(tab.locator("#model")).to_contain_text("Licence: CC-BY-NC-SA-4.0")
    tab.get_by_role("button", name="Go back to first-network-1.0.0").tap()
    expect(tab.locator("#model summary")).to_have_text("first-network-1.0.0")
    assert resolved(chosen(tended.ledger, tended.settings)) == ("first-network-1.0.0",)


def test_a_sonographer_sees_it_and_changes_nothing(board: Any, tended: Box) -> None:
    tab = board("AK")
    expect(tab.locator("#storage")).to_be_visible()
    assert tab.locator("main button").count() == 0
    page = reviewbox.Page(tended)
    status, _ = page.post("/box/carts", title="X", address="")
    assert status == HTTPStatus.FORBIDDEN
    assert known(tended.settings, tended.ledger).find("X", "") is None


def test_nothing_of_a_patient_and_no_log_line_is_on_it(board: Any) -> None:
    text = board("BT").content()
    for secret in ("CANARY", "T00:", "Z:", "(0x"):  # times are said as people say them
        assert secret not in text, secret


@SIZES
def test_a_correction_that_is_kept_back_is_looked_at_and_axe_finds_nothing(
    board: Any, tended: Box, artefacts: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    seq = kept_back(tended, tmp_path, "usb")
    tab = board("AD", size)
    tab.get_by_role("link", name="Corrections kept back").tap()
    expect(tab.locator("#waiting")).to_contain_text("there may be text inside")
    assert violations(tab) == []
    tab.get_by_role("link", name=f"Look at loop {seq}").tap()
    picture = tab.locator("img.overview")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    tab.screenshot(path=artefacts / f"kept-back-{size[0]}.png", full_page=True)
    assert violations(tab) == []
    assert not tab.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    tab.get_by_role("button", name="Keep it here").tap()
    expect(tab.locator("#waiting")).to_contain_text("None waits for a look.")
    tab.locator("#kept summary").tap()
    expect(tab.locator("#kept")).to_contain_text(f"Loop {seq}")
    assert violations(tab) == []


def test_a_candidate_is_told_in_figures_and_axe_finds_nothing(
    board: Any, tended: Box, artefacts: Path, tmp_path: Path
) -> None:
    setting.choose_models(tended.ledger, [""], "test")
    on_trial(tended, tmp_path / "next")
    loop = cine_loop(frames=6, elements={"PatientID": "P1"})
    seq = reviewed(tended.ledger, tended.spool, loop.write(tmp_path / "a.dcm"), loop.labels)["seq"]
    row = tended.ledger.read_one("SELECT id FROM analysis WHERE seq = ?", [seq])
    shadow.drew(tended.ledger, NEXT, "e" * 64, "first-network-1.0.0", row["id"], FIGURES)
    for size in ((1280, 800), (768, 1024)):
        tab = board("BT", size)
        summary = tab.locator("#candidate summary")
        expect(summary).to_have_text(f"{NEXT} draws in the shadow of first-network-1.0.0")
        summary.tap()
        expect(tab.locator("#candidate")).to_contain_text("Left ventricle: agrees with Dice 0.953")
        tab.screenshot(path=artefacts / f"candidate-{size[0]}.png", full_page=True)
        assert violations(tab) == []
        assert not tab.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    release.step(
        tended.ledger, NEXT, "e" * 64, "refused", "a frame took 60.0 ms, 33.3 ms are there"
    )
    tab.reload()
    expect(tab.locator("#model")).to_contain_text(f"{NEXT} was refused: a frame took 60.0 ms")
    tab.screenshot(path=artefacts / "candidate-refused.png", full_page=True)
    assert violations(tab) == []
