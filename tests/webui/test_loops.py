"""One loop over HTTP: its frames untouched, its contours as packed, its picture."""

import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from appliance import labels, masks
from appliance.cine import open_cine
from tests.box import Box
from tests.webui.reviewbox import Page

Arrive = Callable[..., dict[str, Any]]


def _unpack(data: bytes) -> list[bytes]:
    (count,) = struct.unpack_from("<I", data)
    lengths = struct.unpack_from(f"<{count}I", data, 4)
    starts = np.cumsum([4 + 4 * count, *lengths])
    return [data[start : start + length] for start, length in zip(starts, lengths, strict=False)]


def test_jpeg_frames_go_out_as_the_machine_wrote_them(box: Box, page: Page) -> None:
    shown = page.get("/api/loops/1")
    status, headers, data = page.ask(shown["urls"]["frames"])
    assert status == HTTPStatus.OK
    assert "immutable" in headers["Cache-Control"]
    sha256 = box.loops()[-1]["sha256"]
    with open_cine(box.spool.object_path(sha256)) as cine:
        sent = _unpack(data)
        assert len(sent) == cine.frames == shown["frames"] == len(shown["durations"])
        assert sent[7] == cine.encoded(7)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless])
def test_other_frames_go_out_as_jpeg(page: Page, arrive: Arrive, syntax: str) -> None:
    row = arrive(transfer_syntax=syntax, rows=120, columns=160, frames=9)
    frames = _unpack(page.ask(f"/api/loops/{row['seq']}/frames")[2])
    decoded = cv2.imdecode(np.frombuffer(frames[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    assert decoded is not None
    assert decoded.shape == (120, 160)


def test_a_damaged_frame_has_length_zero_and_the_others_are_there(
    page: Page, arrive: Arrive
) -> None:
    row = arrive(transfer_syntax=JPEG2000Lossless, corrupt=(3,), rows=120, columns=160, frames=9)
    lengths = [len(frame) for frame in _unpack(page.ask(f"/api/loops/{row['seq']}/frames")[2])]
    assert lengths[3] == 0
    assert all(length > 0 for i, length in enumerate(lengths) if i != 3)


def test_contours_are_those_of_the_label_maps(box: Box, page: Page) -> None:
    shown = page.get("/api/loops/1")
    data = page.ask(shown["annotations"][0]["contours"])[2]
    values = [item["label"] for item in shown["analysis"]["structures"]]
    unpacked = masks.unpack_contours(data, values)
    maps = labels.of_analysis(box.ledger, box.spool, shown["analysis"]["id"])
    assert len(unpacked) == maps.frames
    truth = masks.contours(maps.frame(11))
    assert unpacked[11].keys() == truth.keys()
    for label, points in truth.items():
        assert np.abs(unpacked[11][label] - points).max() <= 1 / 16


def test_a_thumbnail_is_a_small_jpeg_with_contours_on_it(page: Page) -> None:
    card = page.get("/api/loops/1")["loops"][0]
    data = page.ask(card["thumbnail"])[2]
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert max(picture.shape) <= 256
    blue, _, red = (picture[..., i].astype(int) for i in range(3))
    assert (red - blue > 60).sum() > 50, "the wall's orange line is there"


def test_a_loop_without_trusted_calibration_shows_ef_and_the_reason_for_no_volume(
    page: Page, arrive: Arrive
) -> None:
    row = arrive(regions="missing")
    shown = page.get(f"/api/loops/{row['seq']}")
    numbers = shown["annotations"][0]["numbers"]
    assert numbers["volumes"] == []
    assert any(text.startswith("No volume: ") for text in numbers["why"])
