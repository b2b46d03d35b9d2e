import io

import av
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HEVCMP51,
    MPEG2MPHLF,
    MPEG2MPML,
    MPEG4HP41,
    MPEG4HP41F,
)

from appliance.cine import FrameError, open_cine, video
from appliance.errors import CineError
from tests.phantom import SEPIA, cine_loop

STREAMS = [
    ("mpeg2video", "mpeg2video", MPEG2MPML, 1),
    ("mpeg2video", "vob", MPEG2MPML, 1),
    ("mpeg2video", "mpegts", MPEG2MPHLF, 3),
    ("libx264", "mp4", MPEG4HP41, 1),
    ("libx264", "mpegts", MPEG4HP41F, 5),
    ("libx264", "h264", MPEG4HP41, 1),
    ("libx265", "mp4", HEVCMP51, 1),
    ("libx265", "hevc", HEVCMP51, 1),
]
SHAPE = {"frames": 24, "rows": 240, "columns": 320}


def stream_of(pictures, codec, container):
    """uint8[frames, rows, columns, 3] as carts film their screens."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=container) as made:
        track = made.add_stream(codec, rate=30)
        track.width, track.height = pictures.shape[2], pictures.shape[1]
        track.pix_fmt, track.bit_rate, track.gop_size = "yuv420p", 6_000_000, 12
        if codec == "libx265":
            track.options = {"x265-params": "log-level=none"}
        for picture in pictures:
            made.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        made.mux(track.encode())
    return stream.getvalue()


def filmed(codec, container, syntax, pieces=1, *, change=None, tint=(1.0, 1.0, 1.0), **options):
    loop = cine_loop(**{**SHAPE, **options})
    tinted = (loop.grey[..., None] * np.array(tint)).round().astype(np.uint8)
    data = stream_of(tinted, codec, container)
    dataset = loop.dataset
    dataset.PixelData = encapsulate(
        [change(data) if change else data], fragments_per_frame=pieces, has_bot=False
    )
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "YBR_PARTIAL_420"
    dataset.file_meta.TransferSyntaxUID = syntax
    return loop


def away(picture, other):
    return np.abs(picture.astype(int) - other).mean()


@pytest.mark.parametrize(("codec", "container", "syntax", "pieces"), STREAMS)
def test_frames_have_their_numbers_whatever_order_they_are_asked_in(
    opened, codec, container, syntax, pieces
):
    loop = filmed(codec, container, syntax, pieces)
    cine = opened(loop)
    assert (cine.frames, cine.rows, cine.columns, cine.notes) == (24, 240, 320, ())
    assert cine.refusal() is None
    for index in (23, 0, 7, 6, 18, 5):
        assert away(cine.grey(index), loop.grey[index]) < 2.5
        others = [i for i in range(24) if abs(i - index) > 1]
        nearest = min(others, key=lambda i: away(cine.grey(index), loop.grey[i]))
        assert away(cine.grey(index), loop.grey[index]) < away(cine.grey(index), loop.grey[nearest])


def test_colours_are_true_and_shown_in_the_page(opened):
    loop = filmed("libx264", "mp4", MPEG4HP41, tint=SEPIA)
    cine = opened(loop)
    assert away(cine.rgb(3), loop.grey[3][..., None] * np.array(SEPIA)) < 4
    assert cine.browser_jpeg(3)[:2] == b"\xff\xd8"
    assert cine.is_colour


@pytest.mark.parametrize(("codec", "container", "syntax", "pieces"), STREAMS)
def test_a_damaged_stretch_is_marked_up_to_the_next_whole_picture(
    opened, codec, container, syntax, pieces
):
    def damage(data: bytes) -> bytes:
        changed = bytearray(data)
        middle = len(data) * 5 // 8
        changed[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
        return bytes(changed)

    loop = filmed(codec, container, syntax, pieces, change=damage, frames=48)
    cine = opened(loop)
    damaged = []
    for index in range(cine.frames):
        try:
            picture = cine.grey(index)
        except FrameError:
            damaged.append(index)
        else:
            # Nothing is drawn on a wrong picture, where the codec can tell that it is wrong.
            assert codec == "libx265" or away(picture, loop.grey[index]) < 4
    assert damaged or codec == "libx265"  # HEVC has no checksum that its decoder would look at
    assert cine.grey(0).any()
    assert len(damaged) < 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:200], "video"),
        (lambda data: b"\0\0", "video"),
        (
            lambda data: b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
            "video",
        ),
        (lambda data: bytes(5000), "video"),
    ],
    ids=["cut", "empty", "a list of files", "zeros"],
)
def test_what_is_no_such_stream_is_refused_on_opening(tmp_path, change, words):
    loop = filmed("libx264", "mp4", MPEG4HP41, change=change)
    with pytest.raises(CineError, match=words):
        open_cine(loop.write(tmp_path / "a.dcm"))


def test_a_stream_that_ends_after_its_first_pictures_is_called_damaged_not_a_still(opened):
    def spoilt(data: bytes) -> bytes:
        return data[:5000] + bytes(len(data) - 5000)

    cine = opened(filmed("libx264", "h264", MPEG4HP41, change=spoilt))
    assert cine.frames < 8
    assert cine.refusal_by_elements().startswith("The video is damaged: of the 24 frames")


def test_pictures_of_another_size_are_refused_on_opening(tmp_path):
    loop = filmed("libx264", "mp4", MPEG4HP41)
    loop.dataset.Rows = 480
    with pytest.raises(CineError, match="another size"):
        open_cine(loop.write(tmp_path / "a.dcm"))


def test_without_pyav_the_reason_says_what_to_install(opened, monkeypatch):
    monkeypatch.setattr(video, "find_spec", lambda _: None)
    cine = opened(filmed("mpeg2video", "mpeg2video", MPEG2MPML))
    assert "echocart[video]" in cine.refusal()
