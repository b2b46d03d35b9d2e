"""What the page's process keeps in memory of loops that are looked at while they come."""

from pathlib import Path

import pytest

from appliance import masks
from appliance.spool import Spool
from appliance.webui.pictures import ContourPacks
from tests.labelled import maps_of

FRAMES = 6


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each frame that is traced from now on."""
    calls: list[int] = []
    trace = masks.contours

    def counted(frame: masks.LabelMap) -> dict[int, masks.Points]:
        calls.append(1)
        return trace(frame)

    monkeypatch.setattr(masks, "contours", counted)
    return calls


def test_a_loop_that_comes_is_traced_once(tmp_path: Path, traced: list[int]) -> None:
    spool = Spool(tmp_path)
    packs = ContourPacks(spool)
    for come in (2, 2, 4, FRAMES, FRAMES):
        packs.pack("analysis-1", maps_of(spool, FRAMES, come), [1])
    assert len(traced) == FRAMES


def test_a_loop_whose_pack_another_has_made_is_forgotten(tmp_path: Path, traced: list[int]) -> None:
    spool = Spool(tmp_path)
    page, warming = ContourPacks(spool), ContourPacks(spool)
    page.pack("analysis-1", maps_of(spool, FRAMES, come=4), [1])
    whole = maps_of(spool, FRAMES)
    made = warming.pack("analysis-1", whole, [1])
    assert page.pack("analysis-1", whole, [1]) == made
    page.path("analysis-1").unlink()
    traced.clear()
    assert page.pack("analysis-1", whole, [1]) == made
    assert len(traced) == FRAMES


def test_loops_that_never_end_make_room_for_others(tmp_path: Path, traced: list[int]) -> None:
    spool = Spool(tmp_path)
    packs, begun = ContourPacks(spool), maps_of(spool, FRAMES, come=4)
    for number in range(50):
        packs.pack(f"analysis-{number}", begun, [1])
    traced.clear()
    packs.pack("analysis-0", begun, [1])
    packs.pack("analysis-49", begun, [1])
    assert len(traced) == 4
