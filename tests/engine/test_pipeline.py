"""Stages that overlap give the same masks as one after the other, in bounded memory."""

import threading

import numpy as np
import pytest
from pydicom.uid import JPEGBaseline8Bit

from appliance.cine import open_cine
from appliance.engine import pipeline
from appliance.engine.backend import infer_all, open_backend
from appliance.engine.isolated import Deadlines, Isolated
from appliance.engine.pipeline import AHEAD, CHUNK, FIRST, Stages
from appliance.engine.tensorrt import WithCpu
from appliance.masks import decode_chunk, tidy
from appliance.sector import find_sector, letterbox
from tests.engine.misbehaving import REFERENCE
from tests.phantom import cine_loop

WAIT_S = 120.0


class Refused(Exception):
    """What a publisher or an admission may raise."""


@pytest.fixture
def open_loop(tmp_path):
    def opened(frames=26, **options):
        options = {"transfer_syntax": JPEGBaseline8Bit, **options}
        return open_cine(cine_loop(frames=frames, **options).write(tmp_path / "loop.dcm"))

    return opened


def isolated(model):
    return Isolated(
        *("tests.engine.misbehaving:made", {"kind": "works", "form": "network"}, model),
        name="process",
        precision="f32",
        check=lambda infer: None,
        deadlines=Deadlines(frame=30.0),
    )


def labels_of(chunks):
    return np.concatenate([decode_chunk(chunk.data, len(chunk.frames)) for chunk in chunks])


def test_masks_are_those_of_one_frame_after_the_other_to_the_bit(open_loop, backend):
    chunks = []
    with open_loop() as cine:
        sector = find_sector(cine)
        found = pipeline.run(cine, sector, backend, chunks.append, Stages())
        alone = [
            tidy(backend.infer(letterbox(cine.grey(index), sector.geometry)).labels)
            for index in range(cine.frames)
        ]
    assert np.array_equal(labels_of(chunks), np.stack(alone))
    assert all(map_.any() for map_ in alone)
    assert len(found) == 26


def test_a_process_gets_the_next_frame_while_it_computes_one_and_draws_the_same(open_loop, model):
    here = open_backend(model, REFERENCE)
    gpu = WithCpu(here, lambda said: isolated(model))
    gpu.wait(WAIT_S)
    assert gpu.settle()
    made = {}
    with open_loop(corrupt=(0, 7, 25)) as cine:
        sector = find_sector(cine)
        for name, backend in (("there", gpu), ("here", here)):
            chunks = made[name] = []
            pipeline.run(cine, sector, backend, chunks.append, Stages())
    gpu.close()
    assert np.array_equal(labels_of(made["there"]), labels_of(made["here"]))
    assert labels_of(made["here"])[1:7].any()
    # The process writes into a corner of its certainty how many frames it has had at a time.
    corners = [decode_chunk(chunk.certainty, len(chunk.frames)) for chunk in made["there"]]
    assert int(np.concatenate(corners)[:, 0, 0].max()) >> 4 == 2


def test_the_first_masks_are_stored_before_a_whole_chunk_is_there(open_loop, backend):
    chunks = []
    with open_loop() as cine:
        pipeline.run(cine, find_sector(cine), backend, chunks.append, Stages())
        assert cine.frames > CHUNK
        starts = [0, FIRST, *range(CHUNK, cine.frames, CHUNK)]
        ends = [*starts[1:], cine.frames]
    found = [(chunk.first_frame, chunk.first_frame + len(chunk.frames)) for chunk in chunks]
    assert found == list(zip(starts, ends, strict=True))


@pytest.mark.parametrize("damaged", [(0,), (3, 4, 5), (25,), (0, 12, 24, 25)])
def test_damaged_frames_keep_their_places(open_loop, backend, damaged):
    chunks = []
    with open_loop(corrupt=damaged) as cine:
        found = pipeline.run(cine, find_sector(cine), backend, chunks.append, Stages())
    missing = [index for index, frame in enumerate(found) if frame.measures is None]
    assert tuple(missing) == damaged
    empty = [index for index, map_ in enumerate(labels_of(chunks)) if not map_.any()]
    assert tuple(empty) == damaged


@pytest.mark.parametrize("fails", ["publish", "admit"])
def test_a_run_that_was_ended_leaves_the_network_ready_for_the_next(open_loop, backend, fails):
    chunks = []

    def refuse(*_):
        raise Refused

    with open_loop() as cine:
        sector = find_sector(cine)
        given = {"publish": refuse, "admit": None}
        if fails == "admit":
            given = {"publish": chunks.append, "admit": refuse}
        with pytest.raises(Refused) as kept:  # holds the frames of the failed run alive
            pipeline.run(cine, sector, backend, stages=Stages(), **given)
        assert chunks == []
        found = pipeline.run(cine, sector, backend, chunks.append, Stages())
    assert kept.value is not None
    assert all(frame.measures is not None for frame in found)


def test_nothing_is_published_before_the_loop_is_admitted(open_loop, backend):
    said = []
    with open_loop() as cine:
        pipeline.run(
            *(cine, find_sector(cine), backend, lambda chunk: said.append("chunk"), Stages()),
            admit=lambda: said.append("admitted"),
        )
    assert said[0] == "admitted"
    assert said.count("admitted") == 1


def test_decoding_never_runs_further_ahead_than_its_buffer(open_loop, backend):
    read, answered, furthest = [], [], []

    class Slow:
        name, precision = backend.name, backend.precision

        def infer(self, frame):
            threading.Event().wait(0.01)  # so that the reader could run away
            furthest.append(len(read) - len(answered))
            answered.append(1)
            return backend.infer(frame)

    with open_loop() as cine:
        sector, grey = find_sector(cine), cine.grey
        cine.grey = lambda index: (read.append(index), grey(index))[1]
        pipeline.run(cine, sector, Slow(), lambda chunk: None, Stages())
    assert read == list(range(26))
    assert max(furthest) <= AHEAD + 1


def test_stages_are_told_apart(open_loop, backend):
    stages = Stages()
    with open_loop() as cine:
        pipeline.run(cine, find_sector(cine), backend, lambda chunk: None, stages)
    assert set(stages.spent) == {"decode", "letterbox", "wait", "infer", "post", "store"}
    assert all(spent >= 0 for spent in stages.spent.values())


def test_a_backend_that_takes_one_frame_at_a_time_is_given_one(backend):
    class Plain:
        def infer(self, frame):
            return int(frame[0, 0])

    frames = [np.full((384, 384), value, np.uint8) for value in range(5)]
    assert list(infer_all(Plain(), frames)) == [0, 1, 2, 3, 4]
    assert list(infer_all(backend, [])) == []
