"""From a drag on the page to the pixels of the SEG: nothing in between changes what the hand drew."""

import json
import subprocess
from pathlib import Path
from typing import Any

import cv2
import highdicom
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Request
from pydicom.uid import JPEGBaseline8Bit

from appliance import labels, masks
from tests.box import Box
from tests.browser import hand
from tests.dcmtk import dcmtk
from tests.phantom import Phantom, cine_loop

LV = 1
BY_MOUSE, BY_FINGER = 6, 11  # frames


@pytest.fixture
def loop() -> Phantom:
    return cine_loop(frames=20, seed=7, transfer_syntax=JPEGBaseline8Bit)


def drag(box: Box, tab: Page, frame: int, how: Any) -> None:
    maps = labels.of_analysis(box.ledger, box.spool, box.loops()[0]["analysis"]["id"])
    points = masks.contours(maps.frame(frame))[LV]
    x, y = points[points[:, 0].argmin()]
    hand.go_to_frame(tab, frame)
    how(tab, hand.place(tab, (float(x), float(y))), -24, 6)


def correct_in_the_page(box: Box, browser: Browser) -> dict[str, Any]:
    """Correct one frame by mouse and one by finger, save, and return what the page posted."""
    posted: list[Request] = []
    with browser.new_context(
        base_url=box.url, viewport={"width": 1280, "height": 800}, has_touch=True
    ) as context:
        tab = context.new_page()
        tab.on("request", lambda sent: posted.append(sent) if sent.method == "POST" else None)
        hand.sign_in(tab, "AK", f"/loop/{box.loops()[0]['seq']}")
        hand.open_loop(tab)
        tab.click("#correct")
        drag(box, tab, BY_MOUSE, hand.drag_by_mouse)
        drag(box, tab, BY_FINGER, hand.drag_by_finger)
        tab.click("#accept")
        box.wait_for(lambda: box.loops()[0]["review"], "the correction to be stored")
    bodies = [json.loads(sent.post_data or "{}") for sent in posted if "reviews" in sent.url]
    (body,) = bodies
    return body


def drawn(body: dict[str, Any], frame: int, shape: tuple[int, int]) -> np.ndarray:
    """Rasterise what the page posted by nothing but OpenCV."""
    points = np.round(np.array(body["contours"][str(frame)][str(LV)]) * 8).astype(np.int32)
    filled = np.zeros(shape, np.uint8)
    cv2.fillPoly(filled, [points], 1, shift=3)
    return filled


@pytest.mark.usefixtures("dcmtk")
def test_what_was_dragged_by_mouse_and_finger_is_in_the_seg_to_the_pixel(
    tmp_path: Path, loop: Phantom, browser: Browser
) -> None:
    path = loop.write(tmp_path / "loop.dcm")
    with Box(tmp_path / "box") as box:
        command = [dcmtk("storescu"), "-xy", "-aec", "ECHOCART", "127.0.0.1", str(box.dicom_port)]
        subprocess.run([*command, str(path)], check=True)
        box.wait_settled(1)
        model = labels.of_analysis(box.ledger, box.spool, box.loops()[0]["analysis"]["id"])
        body = correct_in_the_page(box, browser)
        assert sorted(map(int, body["contours"])) == [BY_MOUSE, BY_FINGER]

        def delivered() -> Path | None:
            rows = [row for row in box.loops()[0]["deliveries"] if row["state"] == "proven"]
            name = f"{rows[0]['result_sop_instance_uid']}.dcm" if rows else "none"
            return next(box.usb.rglob(name), None)

        seg = highdicom.seg.segread(box.wait_for(delivered, "the SEG in the folder"))
        uid = str(loop.dataset.SOPInstanceUID)
        found = seg.get_pixels_by_source_frame(uid, range(1, 21), combine_segments=True)
        for frame in range(20):
            expected = model.frame(frame)
            if frame not in (BY_MOUSE, BY_FINGER):
                np.testing.assert_array_equal(found[frame], expected)
                continue
            cavity = drawn(body, frame, expected.shape)
            assert (cavity != (expected == LV)).sum() > 50  # the drag did move the wall
            np.testing.assert_array_equal(found[frame] == LV, cavity == 1)
