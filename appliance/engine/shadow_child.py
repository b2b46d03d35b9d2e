"""The process in which a candidate draws in the shadow: what ends it ends nothing else.

    python -m appliance.engine.shadow_child JSON LIFE

JSON tells state_dir, name and the settings of the engine; LIFE is a pipe that closes with the
engine. On stdin come "pause", "go" and jobs, a JSON object a line; on stdout one answer to each,
and signs of life before it.
"""

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from appliance import labels, masks
from appliance.cine import Cine, open_cine
from appliance.config import Engine
from appliance.engine import account, rollout
from appliance.engine.admission import Admission
from appliance.engine.backend import Backend, Inference, infer_all, open_backend
from appliance.engine.isolated_child import die_with
from appliance.engine.models import Model, Models
from appliance.engine.pipeline import Chunk, Frame, Stages
from appliance.engine.pipeline import run as run_pipeline
from appliance.engine.plain import judge_drawn
from appliance.engine.quality import judge
from appliance.errors import ApplianceError, BackendError, ManifestError
from appliance.labels import LoopLabels
from appliance.ledger import Ledger, worklist
from appliance.manifest import Manifest, Precision
from appliance.masks import LabelMap, labels_in_source
from appliance.measures import Measures, measure
from appliance.releases import bundle, model_store
from appliance.sector import Geometry, Sector, calibration, find_sector, mm_per_map_px
from appliance.sector.geometry import letterbox
from appliance.spool import Spool

Picture = npt.NDArray[np.uint8]
Answer = dict[str, Any]


class Gate:
    """Holds the work while the engine has a loop in hand.

    Attributes
    ----------
    held_s
        Seconds for which it was held.
    """

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.held_s = 0.0

    def pause(self) -> None:
        """Hold the work before its next frame."""
        self._open.clear()

    def go(self) -> None:
        """Let it go on."""
        self._open.set()

    def through(self) -> None:
        """Wait while it is held."""
        if not self._open.is_set():
            start = time.perf_counter()
            self._open.wait()
            self.held_s += time.perf_counter() - start


class Held:
    """A backend that takes a frame only while its gate is open."""

    def __init__(self, backend: Backend, gate: Gate) -> None:
        self._backend, self._gate = backend, gate
        self.name: str = backend.name
        self.precision: Precision = backend.precision

    def infer(self, frame: Picture) -> Inference:
        """Label one letterboxed frame, uint8 [rows, columns]."""
        self._gate.through()
        return self._backend.infer(frame)

    def infer_all(self, frames: Iterable[Picture]) -> Iterator[Inference]:
        """Label frames in order, as many at a time as the backend does."""

        def held() -> Iterator[Picture]:
            for frame in frames:
                self._gate.through()
                yield frame

        return infer_all(self._backend, held())


class Beside:
    """Counts, chunk by chunk, how far a candidate's label maps agree with others.

    Parameters
    ----------
    theirs
        Label maps to hold it against.
    manifest
        Of the candidate.
    geometry
        Where its pixels lie.
    alive
        Called with each chunk.
    """

    def __init__(
        self,
        theirs: LoopLabels,
        manifest: Manifest,
        geometry: Geometry,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._theirs, self._geometry, self._alive = theirs, geometry, alive
        self._structures = manifest.structures
        self._both = dict.fromkeys((item.name for item in manifest.structures), 0)
        self._sum = dict(self._both)
        self.frames = self.empty = 0

    def __call__(self, chunk: Chunk) -> None:
        """Take the next chunk of the pipeline."""
        self._alive()
        made = masks.decode_chunk(chunk.data, len(chunk.frames))
        for place, frame in enumerate(chunk.frames):
            index = chunk.first_frame + place
            if frame.measures is not None and self._theirs.has(index):
                self.add(index, made[place])

    def add(self, index: int, mine: LabelMap) -> None:
        """Count one frame; `mine` is in map space."""
        theirs, geometry = self._theirs.stored(index)
        if geometry != self._geometry:
            theirs, mine = self._theirs.frame(index), labels_in_source(mine, self._geometry)
        self.frames += 1
        lacks = False
        for item in self._structures:
            a, b = mine == item.label, theirs == item.label
            mine_px, their_px = int(np.count_nonzero(a)), int(np.count_nonzero(b))
            lacks = lacks or (their_px > 0 and mine_px == 0)
            self._both[item.name] += int(np.count_nonzero(a & b))
            self._sum[item.name] += mine_px + their_px
        self.empty += lacks

    def dice(self) -> dict[str, float]:
        """Return the Dice of each structure that either drew, over all frames so far."""
        return {
            name: round(2 * self._both[name] / whole, 4)
            for name, whole in self._sum.items()
            if whole
        }


class Candidate:
    """The model on trial, compiled with its first loop.

    Parameters
    ----------
    state_dir
        Of the box.
    name
        Of its folder.
    engine
        How this box runs networks; a candidate has the CPU.
    gate
        Holds it while the engine works.
    alive
        Says that it goes on.
    """

    def __init__(
        self, state_dir: Path, name: str, engine: Engine, gate: Gate, alive: Callable[[], None]
    ) -> None:
        self._state_dir, self._name, self._engine = state_dir, name, engine
        self._gate, self._alive = gate, alive
        self._ledger, self._spool = Ledger(state_dir), Spool(state_dir)
        self._made: tuple[Model, Held] | None = None

    def answer(self, job: Answer) -> Answer:
        """Do a job: prove, draw or compare."""
        try:
            return {"figures": self._JOBS[job["do"]](self, job)}
        except (BackendError, ManifestError) as error:
            return {"problem": error.subject}
        except ApplianceError as error:
            # The loop's own: a file that has gone, or can't be read any more.
            return {"figures": {"skipped": error.operation}}
        except Exception as error:  # noqa: BLE001
            # Whatever a library makes of the network. Its text may hold anything.
            return {"problem": f"{type(error).__name__} in its network"}

    def _model(self) -> tuple[Model, Held]:
        if self._made is None:
            manifest = model_store.load(self._state_dir, self._name)
            held = Held(open_backend(manifest, self._engine), self._gate)
            self._made = Model(manifest, lambda: held), held
        return self._made

    def _prove(self, _job: Answer) -> Answer:
        found = bundle.opened(bundle.unpacked(self._state_dir, self._name))
        return {name: round(value, 4) for name, value in rollout.prove(found, self._engine).items()}

    def _draw(self, job: Answer) -> Answer:
        """Draw a loop as the engine would, and hold it against what the model in force drew."""
        row = worklist.analysis(self._ledger, job["analysis_id"])
        assert row is not None
        theirs = labels.of_analysis(self._ledger, self._spool, row["id"])
        model, held = self._model()
        with open_cine(self._spool.object_path(job["sha256"])) as cine:
            sector = find_sector(cine)
            admission = Admission(Models([model]), cine, sector, job["view"] or "")
            if refusal := admission.decide().reason:
                return {"why": refusal}
            beside = Beside(theirs, model.manifest, sector.geometry, self._alive)
            start, waited = time.perf_counter(), self._gate.held_s
            frames = self._frames(cine, sector, model, held, beside)
            spent = time.perf_counter() - start - (self._gate.held_s - waited)
            shapes = [frame.shape for frame in frames if frame.shape is not None]
            quality = (judge if model.draws_heart else judge_drawn)(shapes, len(frames))
            if not quality.passed:
                # What was left out is what counts: nobody would have seen any of it.
                return {"why": quality.reason}
            measures = None
            if model.draws_heart and admission.is_told(model):
                measures = _measures(cine, sector, frames)
        timings = row["timings"]
        return {
            "why": "",
            "frames": beside.frames,
            "empty": beside.empty,
            "dice": beside.dice(),
            **_apart(measures, row["measures"]),
            "frame_ms": round(1000 * spent / max(1, len(frames)), 3),
            "own_ms": round(timings["total_ms"] / timings["frames"], 3),
            "shown_ms": round(1000 / row["timing"]["rate_hz"], 3),
            "same_engine": held.name == row["engine"],
            "engine": f"{held.name} {held.precision}",
        }

    def _frames(
        self, cine: Cine, sector: Sector, model: Model, held: Held, beside: Beside
    ) -> list[Frame]:
        return run_pipeline(
            *(
                cine,
                sector,
                held,
                beside,
                Stages(),
                mm_per_map_px(calibration(cine, sector), sector),
            ),
            voting=self._engine.smoothing == "vote",
            structures=() if model.draws_heart else model.manifest.labels,
        )

    def _compare(self, job: Answer) -> Answer:
        """Hold candidate and model in force against the frames that a person corrected."""
        truth = labels.of_review(self._ledger, self._spool, job["review_id"])
        drawn = labels.of_analysis(self._ledger, self._spool, job["analysis_id"])
        model, held = self._model()
        with open_cine(self._spool.object_path(job["sha256"])) as cine:
            geometry = find_sector(cine).geometry
            mine = Beside(truth, model.manifest, geometry)
            own_geometry = drawn.stored(job["frames"][0])[1]
            own = Beside(truth, model.manifest, own_geometry)
            for index in job["frames"]:
                self._alive()
                own.add(index, drawn.stored(index)[0])
                picture = letterbox(cine.grey(index), geometry)
                mine.add(index, masks.tidy(held.infer(picture).labels))
        return {"frames": mine.frames, "dice": mine.dice(), "own_dice": own.dice()}

    _JOBS: ClassVar = {"prove": _prove, "draw": _draw, "compare": _compare}


def _measures(cine: Cine, sector: Sector, frames: Sequence[Frame]) -> Measures:
    scale = calibration(cine, sector)
    doubtful = account.doubtful(account.rows(frames, heart=True))
    of_frames = [frame.measures for frame in frames]
    px = mm_per_map_px(scale, sector)
    return measure(of_frames, cine.timing, px, scale.reason, doubtful=doubtful)


def _apart(mine: Measures | None, theirs: Answer) -> dict[str, float | None]:
    """How far EF and volumes of the two lie apart; None where either has none."""
    found = mine.to_dict() if mine else {}

    def pair(name: str) -> tuple[float, float] | None:
        a, b = found.get(name), theirs.get(name)
        return None if a is None or b is None else (a, b)

    ef = pair("ef_percent")
    volumes = [of for name in ("edv_ml", "esv_ml") if (of := pair(name)) and of[1]]
    percent = [100 * abs(a - b) / b for a, b in volumes]
    return {
        "ef_points": round(abs(ef[0] - ef[1]), 2) if ef else None,
        "volume_percent": round(sum(percent) / len(percent), 2) if percent else None,
    }


def _listen(stream: IO[str], gate: Gate, jobs: "queue.Queue[Answer]") -> None:
    for line in stream:
        word = line.strip()
        if word == "pause":
            gate.pause()
        elif word == "go":
            gate.go()
        elif word:
            jobs.put(json.loads(word))
    os._exit(0)  # the engine has gone, or wants no more


def main(arguments: Sequence[str]) -> None:
    """Answer jobs until stdin ends."""
    asked = json.loads(arguments[0])
    die_with(int(arguments[1]))
    with contextlib.suppress(OSError):  # memory that runs out takes this process, not the engine
        Path("/proc/self/oom_score_adj").write_text("1000")
    cv2.setNumThreads(1)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints belongs to the log

    def say(answer: Answer) -> None:
        out.write(json.dumps(answer) + "\n")

    gate, jobs = Gate(), queue.Queue[Answer]()
    threading.Thread(target=_listen, args=(sys.stdin, gate, jobs), daemon=True).start()
    candidate = Candidate(
        Path(asked["state_dir"]),
        asked["name"],
        Engine.model_validate(asked["engine"]),
        gate,
        lambda: say({"alive": True}),
    )
    while True:
        say(candidate.answer(jobs.get()))


if __name__ == "__main__":
    main(sys.argv[1:])
