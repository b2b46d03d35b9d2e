"""Every page of the box and every state of it, one after the other, for whoever looks at them all."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from tests.box import Box
from tests.browser import hand
from tests.phantom import cine_loop
from tests.webui import reviewbox

State = tuple[str, Page]
Size = tuple[int, int]


class Stage:
    """A box with something of everything, and one that nobody has signed in to yet.

    Parameters
    ----------
    root
        Where they keep their things.
    locale_dir
        Translations beside those that come with the box.
    """

    def __init__(self, root: Path, locale_dir: Path) -> None:
        self.root = root
        self.webui = f'lock_after_s = 7200\nlocale_dir = "{locale_dir}"'
        self._seed = 91000

    @contextmanager
    def open(self) -> Iterator["Stage"]:
        """Start both and send the first its loops."""
        new = Box(self.root / "new", services=("webui",), people=(), webui=self.webui)
        with Box(self.root / "box", webui=self.webui) as self.box, new as self.new:
            reviewbox.enrol(self.box, "AD", "admin")
            reviewbox.enrol(self.box, "EX", "expert")
            self._fill()
            yield self

    @property
    def code(self) -> str:
        """The one-time code of the box that is new."""
        return re.findall(r"enter the code (\S+)", self.new.log("webui"))[-1]

    def _fill(self) -> None:
        page = reviewbox.Page(self.box)
        study, two = ({"StudyInstanceUID": generate_uid()} for _ in range(2))
        self.plain = self._arrive(**study)
        self.rejected = self._arrive(**study)
        self.undone = self._arrive(**study)
        self.accepted = self._arrive(**study)
        self.expert = self._arrive()
        self.kept = self._arrive(frames=1)
        self.damaged = self._arrive(corrupt=(5, 20))
        self._arrive(**two, PatientID="ONE", PatientName="FIRST^F", frames=1)
        self.doubtful = self._arrive(**two, PatientID="TWO", PatientName="SECOND^S")
        self.replaced = self._arrive(SOPInstanceUID="2.25.4711", **two)
        self._arrive(SOPInstanceUID="2.25.4711", **two)
        reason = "Wrong contours, no time to correct"
        page.review(self.rejected["seq"], decision="rejected", reason=reason)
        page.review(self.accepted["seq"])
        self._undo(page, self.undone["seq"])
        shown = page.get(f"/api/loops/{self.expert['seq']}")
        asked = {"analysis_sha256": shown["analysis"]["sha256"], "newest_review": 0}
        self._post(page, f"/api/loops/{self.expert['seq']}/expert", {**asked, "key": "b" * 32})

    def _arrive(
        self, frames: int = 24, corrupt: Sequence[int] = (), **elements: Any
    ) -> dict[str, Any]:
        self._seed += 1
        given = {"StudyInstanceUID": generate_uid(), "PatientName": "DOE^JANE", **elements}
        loop = cine_loop(
            seed=self._seed,
            elements=given,
            frames=frames,
            corrupt=corrupt,
            transfer_syntax=JPEGBaseline8Bit,
            heart_rate=80,
        )
        path = loop.write(self.root / f"{self._seed}.dcm")
        return reviewbox.send(self.box, [path])[-1]

    def _undo(self, page: reviewbox.Page, seq: int) -> None:
        page.review(seq)
        newest = page.get(f"/api/loops/{seq}")["newest_review"]
        page.review(seq, decision="undone", newest_review=newest)

    def _post(self, page: reviewbox.Page, path: str, body: dict[str, Any]) -> None:
        from json import dumps

        headers = {"Content-Type": "application/json", "X-CSRFToken": page.token}
        status, _, text = page.ask(path, dumps(body).encode(), headers)
        assert status < 300, text


def every(stage: Stage, browser: Browser, size: Size, headers: dict[str, str]) -> Iterator[State]:
    """Go through every page and state; give each one's name and the tab that shows it."""
    contexts = []

    def tablet(box: Box) -> Page:
        context = browser.new_context(
            base_url=box.url,
            viewport={"width": size[0], "height": size[1]},
            has_touch=True,
            extra_http_headers=headers,
        )
        contexts.append(context)
        return context.new_page()

    try:
        yield from _first_start(stage, tablet)
        yield from _signing_in(stage, tablet)
        tab = tablet(stage.box)
        hand.sign_in(tab, "AK", "/")
        yield from _list(tab)
        yield from _viewer(stage, tab)
        yield from _correct(stage, tab)
        yield from _loops_that_need_something(stage, tab)
        yield from _own_pages(tab)
        yield from _expert(tablet(stage.box))
        yield from _people(tablet(stage.box))
        yield from _offline(stage, tab)
    finally:
        for context in contexts:
            context.close()


def _first_start(stage: Stage, tablet: Callable[[Box], Page]) -> Iterator[State]:
    tab = tablet(stage.new)
    tab.goto("/first")
    yield "first", tab
    tab.fill("#code", stage.code)
    tab.fill("#user", "QQ")
    tab.fill("#pin", "111111")
    tab.fill("#pin-again", "111111")
    tab.click("button.primary")
    expect(tab.locator("[role=alert]")).not_to_be_empty()
    yield "first-refused", tab


def _signing_in(stage: Stage, tablet: Callable[[Box], Page]) -> Iterator[State]:
    tab = tablet(stage.box)
    tab.goto("/sign-in")
    yield "sign-in", tab
    hand.enter_pin(tab, "BM", "135790")
    expect(tab.locator("#problem")).not_to_be_empty()
    yield "sign-in-refused", tab
    hand.sign_in(tab, "BM", "/")
    tab.keyboard.press("l")
    tab.wait_for_selector("#sign-out")
    yield "locked", tab


def _list(tab: Page) -> Iterator[State]:
    tab.wait_for_function("() => document.querySelector('.loop img')?.complete")
    yield "list", tab
    tab.click("button[data-show=kept]")
    expect(tab.locator("button[data-show=kept]")).to_have_attribute("aria-pressed", "true")
    yield "list-kept", tab
    tab.fill("#search", "nobody")
    expect(tab.locator("#none")).to_be_visible()
    yield "list-nothing-found", tab
    tab.fill("#search", "")
    tab.click("#import")
    expect(tab.locator("#imports")).to_be_visible()
    yield "list-import", tab
    text = {"name": "notes.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4"}
    tab.set_input_files("#files", text)
    expect(tab.locator("#imports-files li")).to_have_count(1)
    yield "list-import-refused", tab


def _viewer(stage: Stage, tab: Page) -> Iterator[State]:
    tab.goto(f"/loop/{stage.plain['seq']}")
    hand.open_loop(tab)
    tab.wait_for_function("() => document.querySelector('#rail img')")
    yield "viewer-playing", tab
    tab.keyboard.press("d")
    tab.wait_for_selector("body[data-playing=false]")
    yield "viewer", tab
    for name, key in (("keys", "?"), ("reject", "x"), ("view", "v")):
        tab.keyboard.press(key)
        expect(tab.locator(f"#{name}-dialog")).to_be_visible()
        yield f"viewer-{name}-dialog", tab
        tab.keyboard.press("Escape")
    tab.keyboard.press("o")
    expect(tab.locator("#bare")).to_be_visible()
    yield "viewer-panes", tab
    tab.keyboard.press("o")
    tab.keyboard.press("r")
    hand.drag_by_mouse(tab, hand.place(tab, (300.0, 200.0)), 0, 60)
    yield "viewer-ruler", tab
    tab.keyboard.press("r")
    tab.keyboard.press("h")
    yield "viewer-hidden", tab


def _correct(stage: Stage, tab: Page) -> Iterator[State]:
    row = stage.plain
    tab.goto(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    tab.click("#correct")
    hand.go_to_frame(tab, hand.FRAME)
    yield "correct", tab
    hand.drag_by_mouse(tab, hand.grabbable(stage.box, tab, row), -30, 0)
    tab.keyboard.press("n")
    expect(tab.locator("#said")).to_contain_text("●")
    yield "correct-drawn", tab
    tab.keyboard.press("3")
    yield "correct-brush", tab
    tab.keyboard.press("c")
    expect(tab.locator("#back-dialog")).to_be_visible()
    yield "correct-take-back-dialog", tab
    tab.click("#take-back")
    tab.click("#back-out")


def _loops_that_need_something(stage: Stage, tab: Page) -> Iterator[State]:
    for name in (
        "kept",
        "damaged",
        "rejected",
        "undone",
        "accepted",
        "expert",
        "doubtful",
        "replaced",
    ):
        tab.goto(f"/loop/{getattr(stage, name)['seq']}")
        tab.wait_for_selector("body[data-ready=true]")
        yield f"viewer-{name}", tab
        if name == "doubtful":
            tab.click("#whose")
            yield "viewer-whose-dialog", tab
            tab.keyboard.press("Escape")


def _own_pages(tab: Page) -> Iterator[State]:
    tab.goto("/me")
    yield "me", tab
    tab.fill("#old", "135790")
    tab.fill("#pin", "802461")
    tab.fill("#pin-again", "802461")
    tab.click("main button")
    expect(tab.locator("[role=alert]")).not_to_be_empty()
    yield "me-refused", tab
    tab.goto("/box")
    yield "box", tab
    tab.goto("/loop/999999")
    yield "not-here", tab
    tab.goto("/people")
    yield "not-for-this-role", tab


def _expert(tab: Page) -> Iterator[State]:
    tab.goto("/")
    hand.enter_pin(tab, "EX")
    tab.wait_for_selector(".loop")
    tab.get_by_role("link", name="Most to learn").click()
    tab.wait_for_url("**/learn")
    yield "learn", tab


def _people(tab: Page) -> Iterator[State]:
    tab.goto("/")
    hand.enter_pin(tab, "AD")
    tab.wait_for_url("**/box")
    tab.goto("/people")
    yield "people", tab
    tab.locator("summary").nth(1).click()
    yield "people-one", tab
    form = tab.locator("#add")
    form.locator("#user").fill("a1")
    form.locator("#pin").fill("802461")
    form.locator("#pin-again").fill("802461")
    form.locator("button").click()
    expect(tab.locator("#problem")).not_to_be_empty()
    yield "people-refused", tab


def _offline(stage: Stage, tab: Page) -> Iterator[State]:
    tab.goto("/")
    tab.wait_for_selector(".loop")
    tab.context.set_offline(True)
    expect(tab.locator("#link")).not_to_be_empty()
    yield "list-offline", tab
    tab.context.set_offline(False)
    tab.goto(f"/loop/{stage.plain['seq']}")
    hand.open_loop(tab)
    before = tab.locator("#said").inner_text()
    tab.context.set_offline(True)
    expect(tab.locator("#said")).not_to_have_text(before, timeout=15_000)
    yield "viewer-offline", tab
    tab.context.set_offline(False)
