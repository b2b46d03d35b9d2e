"""Not sure, two patients, drafts on the box: settled on the page, and never lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pydicom.uid import generate_uid

from appliance import labels, masks
from appliance.ledger import worklist
from tests.box import Box
from tests.browser import hand
from tests.webui import reviewbox

Open = Callable[..., Page]
Arrive = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("way", ["tap", "key"])
def test_not_sure_is_one_tap_and_leaves_the_loop_to_an_expert(
    box: Box, open_page: Open, arrive: Arrive, way: str
) -> None:
    row = arrive()
    tab = open_page(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    if way == "tap":
        tab.tap("#unsure")
    else:
        tab.keyboard.press("e")
    tab.wait_for_url("**/")
    expect(tab.locator(f"[data-seq='{row['seq']}']")).to_contain_text("expert")
    stored = worklist.loop(box.ledger, row["seq"])
    assert stored is not None
    assert stored["expert"]["by"] == "AK"
    assert stored["deliveries"] == []
    tab.goto(f"/loop/{row['seq']}")
    hand.open_loop(tab)
    expect(tab.locator("#unsure")).to_be_disabled()
    expect(tab.locator("#said")).to_contain_text("for an expert")
    tab.locator("#accept").click()
    tab.wait_for_url("**/")
    assert worklist.reviews(box.ledger, row["seq"])[0]["decision"] == "accepted"


def test_a_study_of_two_patients_is_settled_on_the_page(
    box: Box, open_page: Open, arrive: Arrive, artefacts: Path
) -> None:
    study = {"StudyInstanceUID": generate_uid()}
    arrive(elements=study, PatientID="ONE", PatientName="FIRST^F", frames=1)
    row = arrive(elements=study, PatientID="TWO", PatientName="SECOND^S")
    tab = open_page(f"/loop/{row['seq']}")
    tab.wait_for_selector("body[data-ready=true]")
    expect(tab.locator("#blocked")).to_contain_text("two patients")
    expect(tab.locator("#accept")).to_be_disabled()
    tab.tap("#whose")
    for text in ("FIRST, F", "ID ONE", "SECOND, S", "ID TWO"):
        expect(tab.locator("#whose-said")).to_contain_text(text)
    tab.screenshot(path=artefacts / "whose-dialog.png")
    tab.tap("#whose-choices [data-right=ONE]")
    expect(tab.locator("#blocked")).to_contain_text("AK has said that this study is another")
    expect(tab.locator("#accept")).to_be_disabled()
    tab.tap("#whose")
    tab.tap("#whose-choices [data-right='*']")
    expect(tab.locator("#blocked")).to_be_hidden()
    expect(tab.locator("#accept")).to_be_enabled()
    said = box.ledger.read(
        'SELECT by, "right" FROM identity WHERE study_instance_uid = ? ORDER BY id',
        [row["study_instance_uid"]],
    )
    assert said == [{"by": "AK", "right": "ONE"}, {"by": "AK", "right": None}]


def test_a_loop_sent_again_with_another_name_is_confirmed_on_the_page(
    open_page: Open, arrive: Arrive, artefacts: Path
) -> None:
    same = {"StudyInstanceUID": generate_uid(), "SOPInstanceUID": generate_uid()}
    arrive(elements=same, PatientID="P", PatientName="FIRST^F", frames=1)
    row = arrive(elements=same, PatientID="P", PatientName="SECOND^S")
    tab = open_page(f"/loop/{row['seq']}")
    tab.wait_for_selector("body[data-ready=true]")
    expect(tab.locator("#blocked")).to_contain_text("sent this study again with another patient")
    expect(tab.locator("#accept")).to_be_disabled()
    tab.tap("#whose")
    for text in ("name differs", "FIRST, F ID P", ": sent before", "SECOND, S ID P", ": 1 loop"):
        expect(tab.locator("#whose-said")).to_contain_text(text)
    tab.screenshot(path=artefacts / "changed-dialog.png")
    tab.get_by_role("button", name="Yes, it is SECOND, S").tap()
    expect(tab.locator("#blocked")).to_be_hidden()
    expect(tab.locator("#accept")).to_be_enabled()


def test_a_stroke_survives_the_service_and_the_tablet(
    box: Box, page: reviewbox.Page, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = hand.correcting(open_page, row)
    x, y = hand.grabbable(box, tab, row)
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x - 15, y, steps=4)
    box.kill("webui")
    tab.mouse.move(x - 30, y, steps=4)
    tab.mouse.up()
    drawn = hand.draft(tab)
    assert drawn is not None
    expect(tab.locator("#changed")).to_contain_text("Kept on this tablet")
    box.start("webui")
    expect(tab.locator("#changed")).to_contain_text("Kept on the box", timeout=20_000)
    kept = page.get(f"/api/loops/{row['seq']}/draft")["draft"]
    assert kept["frames"] == drawn["frames"]
    # Another tablet, which has never seen it.
    tab.evaluate("() => localStorage.clear()")
    tab.reload()
    hand.open_loop(tab)
    expect(tab.locator("#accept")).to_have_text("Save and accept")
    expect(tab.locator("body")).to_have_attribute("data-frame", str(hand.FRAME))
    tab.locator("#accept").click()
    tab.wait_for_url("**/")
    assert worklist.reviews(box.ledger, row["seq"])[0]["decision"] == "corrected"
    assert page.get(f"/api/loops/{row['seq']}/draft")["draft"] is None


def test_a_stroke_under_way_is_kept_when_the_system_takes_the_finger(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = hand.correcting(open_page, row)
    x, y = hand.grabbable(box, tab, row)
    session = tab.context.new_cdp_session(tab)

    def touch(kind: str, points: list[dict[str, float]]) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", [{"x": x, "y": y}])
    for step in range(1, 9):
        touch("touchMove", [{"x": x - 3 * step, "y": y}])
    touch("touchCancel", [])
    assert hand.drawn_frames(tab) == [hand.FRAME]
    expect(tab.locator("#undo")).to_be_enabled()


def test_a_second_finger_zooms_instead_of_drawing(
    box: Box, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = hand.correcting(open_page, row)
    hand.pinch(tab, hand.grabbable(box, tab, row), 20, 120)
    expect(tab.locator("#fit")).to_be_visible()
    assert hand.draft(tab) is None
    expect(tab.locator("#undo")).to_be_disabled()


def test_what_is_taken_back_is_forgotten_on_the_box(
    box: Box, page: reviewbox.Page, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = hand.correcting(open_page, row)
    hand.drag_by_mouse(tab, hand.grabbable(box, tab, row), -30, 0)
    expect(tab.locator("#changed")).to_contain_text("Kept on the box")
    tab.click("#back-out")
    expect(tab.locator("#back-out")).to_have_text("Leave")
    path = f"/api/loops/{row['seq']}/draft"
    box.wait_for(lambda: page.get(path)["draft"] is None, "the draft to be forgotten")


def test_a_correction_drawn_while_another_was_saved_is_told_and_both_can_be_kept(
    box: Box, page: reviewbox.Page, open_page: Open, arrive: Arrive
) -> None:
    row = arrive()
    tab = hand.correcting(open_page, row)
    hand.drag_by_finger(tab, hand.grabbable(box, tab, row), -30, 0)
    measures = row["analysis"]["measures"]
    theirs = {"ed_frame": measures["ed_frame"], "es_frame": measures["es_frame"]}
    line = masks.contours(
        labels.of_analysis(box.ledger, box.spool, row["analysis"]["id"]).frame(3)
    )[hand.LV]
    contours = {"3": {"1": [[float(x) + 4, float(y)] for x, y in line]}}
    other = reviewbox.Page(box, "BM")
    assert other.review(row["seq"], decision="corrected", contours=contours, **theirs)[0] == 201
    expect(tab.locator("#problem")).to_contain_text("Decided meanwhile: corrected BM")
    assert hand.drawn_frames(tab) == [hand.FRAME]
    tab.locator("#accept").click()
    tab.wait_for_url("**/")
    told = page.get(f"/api/loops/{row['seq']}")["annotations"]
    assert [item["title"] for item in told[1:]] == ["BM corrected", "AK corrected"]
    assert [item["corrected"] for item in told[1:]] == [[3], [hand.FRAME]]
