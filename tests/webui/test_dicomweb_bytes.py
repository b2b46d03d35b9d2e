"""Bytes as they lie in files of every kind, and the memory that it takes to send them."""

import json
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import psutil
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

from tests.box import Box
from tests.phantom import Phantom, cine_loop
from tests.webui.dicomwebbox import Web, parts, way

LARGE = 90_000_000  # bytes of pixels


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Box(tmp_path_factory.mktemp("bytes") / "box", ["scp", "webui"]) as box:
        yield Web(box)


@pytest.fixture
def arrive(web: Web, tmp_path: Path) -> Callable[..., Phantom]:
    def send(**options: object) -> Phantom:
        elements = {"StudyInstanceUID": generate_uid(), "SOPInstanceUID": generate_uid()}
        loop = cine_loop(frames=3, rows=90, columns=120, elements=elements, **options)
        loop.dataset.file_meta.MediaStorageSOPInstanceUID = loop.dataset.SOPInstanceUID
        web.arrive(loop.write(tmp_path / "loop.dcm"))
        return loop

    return send


def test_frames_of_several_fragments_are_joined(web: Web, arrive: Callable[..., Phantom]) -> None:
    for offsets in (True, False):
        options = {"fragments_per_frame": 3, "offsets": offsets}
        dataset = arrive(transfer_syntax=JPEGBaseline8Bit, **options).dataset
        fragments = list(pydicom.encaps.generate_fragments(dataset.PixelData))[-9:]
        _, headers, body = web.ask(f"{way(dataset)}/frames/2,3")
        wanted = [b"".join(fragments[3:6]), b"".join(fragments[6:])]
        assert [content for _, content in parts(headers, body)] == wanted


def test_frames_of_run_lengths_have_their_own_type(
    web: Web, arrive: Callable[..., Phantom]
) -> None:
    dataset = arrive(transfer_syntax=RLELossless).dataset
    (_, second, _) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=3)
    _, headers, body = web.ask(f"{way(dataset)}/frames/2")
    ((kind, content),) = parts(headers, body)
    assert kind == "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"
    assert content == second


def test_native_frames_are_little_endian_whichever_way_the_header_is_written(
    web: Web, arrive: Callable[..., Phantom]
) -> None:
    dataset = arrive(transfer_syntax=ImplicitVRLittleEndian).dataset
    wanted = (
        'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'
    )
    _, headers, body = web.ask(f"{way(dataset)}/frames/3", Accept=wanted)
    ((kind, content),) = parts(headers, body)
    assert kind == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    assert content == dataset.PixelData[2 * 90 * 120 : 3 * 90 * 120]


def test_a_deflated_object_is_sent_whole_and_only_so(
    web: Web, arrive: Callable[..., Phantom]
) -> None:
    dataset = arrive(transfer_syntax=DeflatedExplicitVRLittleEndian).dataset
    status, headers, body = web.ask(way(dataset))
    assert (status, len(parts(headers, body))) == (HTTPStatus.OK, 1)
    assert web.ask(f"{way(dataset)}/rendered")[0] == HTTPStatus.OK
    for path in ("/frames/1", "/bulkdata/00186011"):
        status, _, body = web.ask(way(dataset) + path)
        assert status == HTTPStatus.NOT_ACCEPTABLE
        assert json.loads(body)["detail"].endswith("retrieve the whole object.")


def test_a_damaged_frame_is_sent_as_it_is_and_not_rendered(
    web: Web, arrive: Callable[..., Phantom]
) -> None:
    dataset = arrive(transfer_syntax=RLELossless, corrupt=[1]).dataset
    (_, damaged, _) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=3)
    _, headers, body = web.ask(f"{way(dataset)}/frames/2")
    assert parts(headers, body)[0][1] == damaged
    assert web.ask(f"{way(dataset)}/frames/1/rendered")[0] == HTTPStatus.OK
    status, headers, body = web.ask(f"{way(dataset)}/frames/2/rendered")
    assert status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert headers["Content-Type"] == "application/problem+json"
    assert "frame 2" in json.loads(body)["detail"]


def test_a_large_object_costs_no_memory(web: Web, tmp_path: Path) -> None:
    loop = cine_loop(frames=1, rows=90, columns=120)
    dataset = loop.dataset
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Rows, dataset.Columns = 500, 600
    dataset.NumberOfFrames = LARGE // (500 * 600)
    dataset.PixelData = bytes(range(256)) * (LARGE // 256) + bytes(LARGE % 256)
    web.arrive(loop.write(tmp_path / "large.dcm"))
    web.ask(f"{way(dataset)}/frames/1")
    (worker,) = psutil.Process(web.box.processes["webui"].pid).children()
    Path(f"/proc/{worker.pid}/clear_refs").write_text("5")  # the peak is the present from now on
    before = peak(worker.pid)
    for path in ("", "/bulkdata/7FE00010", f"/frames/{','.join(map(str, range(1, 301)))}"):
        status, headers, body = web.ask(way(dataset) + path)
        assert status == HTTPStatus.OK
        assert len(body) == int(headers["Content-Length"]) > LARGE
    assert peak(worker.pid) - before < 20


def peak(pid: int) -> float:
    """VmHWM in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
