"""Corrections kept back in doubt, on the page: looked at, let go or kept; by whom it may be."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

from appliance.kept_back import would_leave
from appliance.ledger import audit, upstream, worklist
from appliance.scrub import overview
from tests.box import Box
from tests.webui.keptback import kept_back, state
from tests.webui.reviewbox import Page, enrol

_PICTURE = re.compile(r'src="data:image/png;base64,([^"]+)"')
_SEEN = re.compile(r'name="seen" value="([0-9a-f]{64})"')


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box whose corrections go to a folder, with the services that show and deliver them."""
    root = tmp_path_factory.mktemp("releasing")
    there = root / "archive"
    there.mkdir()
    extra = (
        f'[[destination]]\nname = "archive"\nkind = "folder"\npath = "{there}"\n'
        'gets = ["corrections"]\n'
    )
    with Box(root / "box", ["webui", "sync"], extra) as box:
        for initials, role in (("EX", "expert"), ("BI", "biomed"), ("SO", "sonographer")):
            enrol(box, initials, role)
        yield box


@pytest.fixture(scope="module")
def expert(box: Box) -> Page:
    return Page(box, "EX")


@pytest.fixture
def refused(box: Box, tmp_path: Path) -> int:
    """A correction that shows a word inside its fan: its loop's number."""
    return kept_back(box, tmp_path)


def text_of(page: Page, path: str) -> str:
    status, _, body = page.ask(path)
    assert status == 200, (status, body)
    return body.decode()


def told_last(box: Box) -> tuple[str, str, str]:
    (row,) = [row for row in audit.listed(box.ledger, 30) if "correction" in row["what"]][:1]
    return row["who"], row["what"], row["subject"]


def test_what_would_leave_is_shown_and_let_go_and_just_that_leaves(
    box: Box, expert: Page, refused: int
) -> None:
    listed = text_of(expert, "/corrections")
    assert f"Loop {refused}" in listed
    assert "there may be text inside the ultrasound fan" in listed
    shown = text_of(expert, f"/corrections/{refused}")
    would = would_leave(box.ledger, box.spool, refused)
    (picture,), (seen,) = _PICTURE.findall(shown), _SEEN.findall(shown)
    assert base64.b64decode(picture) == overview(would)
    assert seen == would.sha256
    status, text = expert.post(f"/corrections/{refused}", do="release", seen=seen)
    assert (status, f"Loop {refused} " in text) == (200, False)
    box.wait_for(lambda: state(box, refused) == "proven", "the correction at the archive")
    assert told_last(box) == ("EX", "release correction", f"loop {refused}")
    found = [pydicom.dcmread(path) for path in (box.root.parent / "archive").rglob("*.dcm")]
    (loop,) = [file for file in found if file.Modality == "US"]
    frames = list(pydicom.encaps.generate_frames(loop.PixelData))
    assert tuple(frames) == would.fragments


def test_one_that_is_kept_stays_and_is_not_asked_again(
    box: Box, expert: Page, refused: int
) -> None:
    for _ in range(2):  # a second tap says nothing new
        expert.post(f"/corrections/{refused}", do="keep")
    assert told_last(box) == ("EX", "keep correction", f"loop {refused}")
    waiting, kept = text_of(expert, "/corrections").split('id="kept"')
    assert f"Loop {refused} " not in waiting
    assert f"Loop {refused} " in kept
    assert "EX has looked: it stays." in kept
    assert state(box, refused) == "refused"
    events = [row["state"] for row in worklist.history(box.ledger, refused)]
    assert events.count("stays") == 1


def test_pixels_that_were_not_shown_never_leave(box: Box, expert: Page, refused: int) -> None:
    for seen in ("", "ab" * 31, "Z" * 64):
        assert expert.post(f"/corrections/{refused}", do="release", seen=seen)[0] == 400
    expert.post(f"/corrections/{refused}", do="release", seen="ab" * 32)
    box.wait_for(lambda: state(box, refused) == "refused", "the next refusal")
    assert upstream.refused(box.ledger, refused)


def test_what_cannot_leave_is_told_and_offers_no_release(
    box: Box, expert: Page, tmp_path: Path
) -> None:
    seq = kept_back(box, tmp_path, regions="m-mode")
    shown = text_of(expert, f"/corrections/{seq}")
    assert "M-mode" in shown
    assert 'value="release"' not in shown
    assert expert.post(f"/corrections/{seq}", do="release", seen="")[0] == 400


def test_only_who_may_say_so_sees_pixels_and_biomed_sees_that_something_waits(
    box: Box, refused: int
) -> None:
    biomed, sonographer = Page(box, "BI"), Page(box, "SO")
    assert "Corrections kept back" in text_of(biomed, "/box")
    listed = text_of(biomed, "/corrections")
    assert f"Loop {refused} " in listed
    assert "An expert or admin may look" in listed
    assert "Corrections kept back" not in text_of(sonographer, "/box")
    assert sonographer.ask("/corrections")[0] == 403
    for page in (biomed, sonographer):
        assert page.ask(f"/corrections/{refused}")[0] == 403
        assert page.post(f"/corrections/{refused}", do="release", seen="ab" * 32)[0] == 403
    assert state(box, refused) == "refused"


def test_a_forged_form_changes_nothing(box: Box, expert: Page, refused: int) -> None:
    status, _, _ = expert.ask(f"/corrections/{refused}", b"do=keep")
    assert status == 400
    assert not upstream.refused(box.ledger, refused)[0]["kept_by"]


def test_one_that_is_gone_is_told(expert: Page) -> None:
    assert expert.ask("/corrections/99999")[0] == 409
    assert expert.post("/corrections/99999", do="keep")[0] == 409


def test_the_picture_is_one_that_people_can_see(box: Box, expert: Page, refused: int) -> None:
    (picture,) = _PICTURE.findall(text_of(expert, f"/corrections/{refused}"))
    found = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), 0)
    assert found.max() > 200
    expert.post(f"/corrections/{refused}", do="keep")
