"""One loop through the network: decoding runs ahead of it, tidying and storing run behind it.

Three threads, each stage on one of them only: reader (decode, letterbox), caller (infer), writer
(look, post, store). All of them spend their time in code that releases the interpreter's lock; the
network's own threads compute several frames at a time meanwhile (`infer_all`).
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from appliance.cine import Cine, FrameError
from appliance.engine.backend import Backend, Inference, infer_all
from appliance.engine.plain import drawn_shape
from appliance.engine.quality import STRUCTURES, FrameShape, frame_shape
from appliance.engine.smoothing import voted
from appliance.masks import LabelMap, encode_certainty, encode_chunk, outlines, tidy
from appliance.measures.chambers import (
    LV,
    NOTHING,
    Around,
    FrameMeasures,
    frame_measures,
    well_inside,
)
from appliance.sector import Sector
from appliance.sector.geometry import letterbox

FIRST = 4  # frames stored at once, so that outlines show early; fewer tell no heart from noise
CHUNK = 16  # frames stored at a time from then on: half a second of loop, 24 kB
AHEAD = 8  # frames decoded before they are needed: 1.2 MB
BEHIND = 2  # chunks waiting to be stored before inference waits for the disk

_T = TypeVar("_T")
_R = TypeVar("_R")


class _End:
    """Behind the last picture: None is a damaged one."""


_END = _End()


@dataclass(frozen=True)
class Frame:
    """What is known of one frame; `measures` and `shape` are None when it couldn't be decoded."""

    measures: FrameMeasures | None
    shape: FrameShape | None


@dataclass(frozen=True)
class Chunk:
    """Label maps of consecutive frames and how certain they are, encoded; what is known of each."""

    first_frame: int
    data: bytes
    certainty: bytes
    frames: tuple[Frame, ...]


@dataclass
class Stages:
    """Time spent in each stage, in ms. Stages overlap: together they exceed the loop's own time."""

    spent: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, within: str = "") -> Iterator[None]:
        """Add the time inside to a stage. A stage belongs to one thread.

        Parameters
        ----------
        name
            Of the stage.
        within
            The stage it is part of, if any, which doesn't get that time too.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = 1000 * (time.perf_counter() - start)
            self.spent[name] = self.spent.get(name, 0.0) + spent
            if within:
                self.spent[within] = self.spent.get(within, 0.0) - spent


def run(
    cine: Cine,
    sector: Sector,
    backend: Backend,
    publish: Callable[[Chunk], None],
    stages: Stages,
    mm_per_px: float | None = None,
    *,
    voting: bool = False,
    admit: Callable[[], None] | None = None,
    structures: Sequence[int] = (),
) -> list[Frame]:
    """Label every frame of a loop.

    Parameters
    ----------
    cine, sector
        The loop and its fan.
    backend
        The compiled network.
    publish
        Gets each chunk in order, on the writer's thread; what it raises ends the run.
    stages
        Is given the time of the stages decode, letterbox, wait (for these two), infer, post and
        store.
    mm_per_px
        Side of a map pixel; None when the calibration isn't trusted.
    voting
        Whether masks are voted over neighbouring frames.
    admit
        Called on the writer's thread while the first frames are computed, before anything is
        published; what it raises ends the run.
    structures
        Label values of a model that draws other structures than the apical heart: nothing is
        measured then. () for the heart.

    Returns
    -------
    list of Frame
        One for each frame. A damaged frame has an empty label map in its chunk.

    Raises
    ------
    BackendError
        When the network fails; whatever `publish` or `admit` raises.
    """
    reader = _Reader(cine, sector, stages)
    writer = _Writer(sector, publish, stages, mm_per_px, structures)
    with ThreadPoolExecutor(1, "reader") as reading, ThreadPoolExecutor(1, "writer") as writing:
        if admit:
            writer.admitted = writing.submit(admit)
        pictures = _ahead(reading, reader.read, range(cine.frames), AHEAD)
        # Closing waits for what the network has begun: the next loop needs it.
        inferred = closing(_infer(pictures, backend, stages))
        with inferred as inferences, _cancelled_on_failure(reading, writing):
            chunks = _chunks(voted(inferences) if voting else inferences)
            written = _ahead(writing, writer.write, chunks, BEHIND)
            return [frame for frames in written for frame in frames]


@contextmanager
def _cancelled_on_failure(*pools: Executor) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        raise


def fan_on_map(sector: Sector) -> npt.NDArray[np.bool_]:
    """The fan in map space, bool [map_rows, map_columns]."""
    fan: npt.NDArray[np.bool_] = (
        letterbox(sector.fan.astype(np.uint8) * np.uint8(255), sector.geometry) > 127
    )
    return fan


class _Reader:
    def __init__(self, cine: Cine, sector: Sector, stages: Stages) -> None:
        self._cine, self._geometry, self._stages = cine, sector.geometry, stages

    def read(self, index: int) -> npt.NDArray[np.uint8] | None:
        """A frame as the network wants it, None when it is damaged."""
        try:
            with self._stages.stage("decode"):
                grey = self._cine.grey(index)
        except FrameError:
            return None  # counted and shown; the others are as good as before
        with self._stages.stage("letterbox"):
            return letterbox(grey, self._geometry)


class _Writer:
    def __init__(
        self,
        sector: Sector,
        publish: Callable[[Chunk], None],
        stages: Stages,
        mm_per_px: float | None,
        structures: Sequence[int],
    ) -> None:
        self._structures = structures
        self._publish, self._stages, self._mm_per_px = publish, stages, mm_per_px
        self._fan = fan_on_map(sector)
        self._fan_area = float(self._fan.sum())
        self._shown = well_inside(self._fan.shape, self._fan)
        self._before: LabelMap | None = None
        self._before_two: LabelMap | None = None
        self._next = 0
        self.admitted: Future[None] | None = None

    def write(self, inferences: list[Inference | None]) -> tuple[Frame, ...]:
        """Tidy, measure and publish the next chunk."""
        if self.admitted:
            self.admitted.result()
        with self._stages.stage("post"):
            labels = np.zeros((len(inferences), *self._fan.shape), np.uint8)
            frames = tuple(
                self._frame(inference, labels[place]) for place, inference in enumerate(inferences)
            )
            certainty = encode_certainty(
                [found.certainty if found else None for found in inferences]
            )
            chunk = Chunk(self._next, encode_chunk(labels), certainty, frames)
        self._next += len(frames)
        with self._stages.stage("store"):
            self._publish(chunk)
        return frames

    def _frame(self, inference: Inference | None, out: LabelMap) -> Frame:
        if inference is None:
            return Frame(None, None)
        tidy(inference.labels, out)
        if self._structures:
            plain = drawn_shape(out, inference, self._fan_area, self._before, self._structures)
            self._before = out
            return Frame(NOTHING, plain)
        lines = outlines(out, STRUCTURES)
        around = Around.of(out, lines[LV])
        shape = frame_shape(
            out,
            inference.confidence,
            self._fan_area,
            self._before,
            before_two=self._before_two,
            raw=inference.labels,
            certainty=inference.certainty,
            mm_per_px=self._mm_per_px,
            outlines=lines,
            around=around,
        )
        self._before_two, self._before = self._before, out
        measures = frame_measures(out, self._fan, lines, around=around, shown=self._shown)
        return Frame(measures, shape)


def _infer(
    pictures: Iterator[npt.NDArray[np.uint8] | None], backend: Backend, stages: Stages
) -> Generator[Inference | None, None, None]:
    damaged: deque[bool] = deque()  # of each frame taken and not answered yet

    def readable() -> Iterator[npt.NDArray[np.uint8]]:
        while True:
            with stages.stage("wait", within="infer"):
                picture = next(pictures, _END)
            if isinstance(picture, _End):
                return
            damaged.append(picture is None)
            if picture is not None:
                yield picture

    answers = infer_all(backend, readable())
    with closing(answers) if isinstance(answers, Generator) else nullcontext():
        while True:
            with stages.stage("infer"):
                found = next(answers, None)
            if found is None:
                break
            while damaged.popleft():
                yield None
            yield found
    yield from (None for _ in damaged)


def _chunks(inferences: Iterator[Inference | None]) -> Iterator[list[Inference | None]]:
    for size in chain((FIRST, CHUNK - FIRST), repeat(CHUNK)):
        chunk = list(islice(inferences, size))
        if not chunk:
            return
        yield chunk


def _ahead(
    pool: Executor, work: Callable[[_T], _R], items: Iterable[_T], depth: int
) -> Iterator[_R]:
    """Map in order on another thread, at most `depth` items ahead of whoever takes the results."""
    running: deque[Future[_R]] = deque()
    for item in items:
        running.append(pool.submit(work, item))
        if len(running) >= depth:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()
