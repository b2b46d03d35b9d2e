"""A loop sent as video goes through the whole engine, its damage marked frame by frame."""

import pytest

pytest.importorskip("av", reason="PyAV is not installed (the extra `video`)")

from pydicom.uid import HEVCMP51, MPEG4HP41

from tests.cine.test_video import filmed

LOOP = {"frames": 36, "rows": 480, "columns": 640}


@pytest.mark.parametrize(
    ("codec", "syntax"), [("libx264", MPEG4HP41), ("libx265", HEVCMP51)], ids=["H.264", "HEVC"]
)
def test_a_video_becomes_masks_and_an_ef(bench, tmp_path, codec, syntax):
    loop = bench.analyse(filmed(codec, "mp4", syntax, **LOOP).write(tmp_path / "loop.dcm"))
    assert loop["state"] == "analysed", loop["reason"]
    assert loop["analysis"]["quality"]["damaged"] == []
    assert loop["analysis"]["measures"]["ef_percent"] == pytest.approx(58, abs=15)


def test_damaged_pictures_of_a_video_are_marked_and_the_others_analysed(bench, tmp_path):
    def spoilt(data):
        middle = len(data) * 5 // 12
        return data[:middle] + bytes(400) + data[middle + 400 :]

    video = filmed("libx264", "mpegts", MPEG4HP41, change=spoilt, **LOOP)
    loop = bench.analyse(video.write(tmp_path / "loop.dcm"))
    assert loop["state"] == "analysed", loop["reason"]
    damaged = loop["analysis"]["quality"]["damaged"]
    assert 0 < len(damaged) < 18
    assert all(loop["analysis"]["per_frame"][index] is None for index in damaged)
