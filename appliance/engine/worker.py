"""The engine's service: claim a loop, analyse it, store what was found, again."""

import logging
import os
import secrets
import sqlite3
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from appliance import service
from appliance.cine import Cine, open_cine
from appliance.cine.video import is_video
from appliance.config import Settings
from appliance.engine import account, drift
from appliance.engine.admission import Admission, Refused, too_short
from appliance.engine.backend import Backend
from appliance.engine.choice import Choice
from appliance.engine.models import Model, Models
from appliance.engine.pipeline import Frame, Stages
from appliance.engine.pipeline import run as run_pipeline
from appliance.engine.plain import judge_drawn
from appliance.engine.publish import Interrupted, Publisher
from appliance.engine.quality import FrameShape, Quality, judge
from appliance.errors import ApplianceError, CineError, LedgerError, Part10Error, SectorError
from appliance.ledger import Ledger, analysis, view
from appliance.measures import Measures, measure, unmeasured, unviewed
from appliance.sector import Calibration, Sector, calibration, find_sector, mm_per_map_px
from appliance.service import Stop
from appliance.spool import Spool

log = logging.getLogger("echocart.engine")

LEASE_S = 60.0  # s, renewed with every chunk of 16 frames: the slowest CPU needs 4 s for one
POLL_S = 0.005  # s between two looks for news: part of the wait for the first masks
IDLE_S = 5.0  # s, longest wait for news, and between two signs of life to the watchdog
RETRY_S = 5.0  # s between tries when something outside must change first (a full disk)

_NOT_WHOLE = "The file is damaged, or not a whole DICOM object."


_VOTED = "The outlines are voted over neighbouring frames."


class _Another(Exception):
    """Another model than the one that began draws the loop."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.name)
        self.model = model


@dataclass(frozen=True)
class _Loop:
    """A loop in hand."""

    claim: analysis.Claim
    cine: Cine
    sector: Sector
    scale: Calibration
    refused: Future[str | None]
    admission: Admission
    stages: Stages
    start: float


class Worker:
    """Analyses one loop at a time.

    Parameters
    ----------
    ledger, spool
        The box's.
    models
        In the order in which they are asked.
    stop
        Ends the work between two chunks.
    voting
        Whether masks are voted over neighbouring frames.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        models: Models,
        stop: Stop,
        *,
        voting: bool = False,
    ) -> None:
        self._ledger, self._spool = ledger, spool
        self._models, self._stop = models, stop
        self._voting = voting
        self._owner = f"engine-{os.getpid()}-{secrets.token_hex(4)}"

    def use(self, models: Models) -> None:
        """Analyse with other models from the next loop on."""
        self._models = models

    def work_once(self) -> bool:
        """Take one waiting loop, if any, through to analysed, kept or failed; False if none waits."""
        claim = analysis.claim(self._ledger, self._owner, LEASE_S)
        if claim is None:
            return False
        try:
            while self._must_wait(claim):
                if self._stop.wait(RETRY_S):
                    break
        except Interrupted:
            analysis.release(self._ledger, claim, "the engine was stopped")
            log.info("object %d: the work was interrupted; it will be taken up again", claim.seq)
        return True

    def give_back(self) -> None:
        """Free what this worker still holds, uncounted, once the ledger can be used again."""
        try:
            analysis.release_all(self._ledger, self._owner, "the ledger could not be used")
        except sqlite3.Error:
            # Still unusable: the caller comes back here, and the lease ends by itself.
            return

    def _must_wait(self, claim: analysis.Claim) -> bool:
        """Analyse a claimed loop; True when it should be tried again in a while."""
        try:
            self._analyse(claim)
        except Refused as refused:
            self._keep(claim, refused.reason)
        except (CineError, SectorError) as error:
            self._keep(claim, error.subject.removesuffix(".") + ".")
        except Part10Error:
            self._keep(claim, _NOT_WHOLE)
        except (Interrupted, sqlite3.OperationalError):
            raise  # a full disk or a ledger that is locked for long says nothing against the loop
        except ApplianceError as error:
            if error.retry and analysis.renew(self._ledger, claim, LEASE_S):
                log.warning("object %d: %s", claim.seq, error)
                return True
            self._fail(claim, f"{error.operation}: {error.subject}")
        except Exception as error:  # noqa: BLE001
            # The edge: no loop may end the service. The text of an unknown error may hold
            # patient data; its kind and place don't.
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error(
                "object %d: %s in %s:%s",
                claim.seq,
                type(error).__name__,
                Path(place.filename).name,
                place.lineno,
            )
            self._fail(claim, "an unexpected error in the engine")
        return False

    def _analyse(self, claim: analysis.Claim) -> None:
        start, stages = time.perf_counter(), Stages()
        with (
            open_cine(self._spool.object_path(claim.sha256)) as cine,
            ThreadPoolExecutor(1, "look") as looking,
        ):
            with stages.stage("look"):
                if refusal := cine.refusal_by_elements() or self._too_short(cine):
                    raise Refused(refusal)
                refused = looking.submit(cine.refusal)  # beside the search for the fan
                if is_video(cine.transfer_syntax):
                    wait([refused])  # who goes back in a video has it decoded from its beginning
                sector = _sector(cine, refused)
                scale = calibration(cine, sector)
            admission = Admission(self._models, cine, sector, claim.view)
            loop = _Loop(claim, cine, sector, scale, refused, admission, stages, start)
            # The likely model begins before its gate has looked: most boxes have one.
            model, admitted = admission.likely(), False
            while True:
                try:
                    return self._draw(loop, model, admitted=admitted)
                except _Another as another:
                    model, admitted = another.model, True

    def _draw(self, loop: _Loop, model: Model, *, admitted: bool) -> None:
        cine, sector, stages = loop.cine, loop.sector, loop.stages
        try:
            backend = self._models.backend_of(model)
        except ApplianceError as error:
            log.error("%s is not used: %s", model.name, error)
            raise _Another(self._admitted(loop)) from error  # to the next that takes the loop
        mm_per_px = mm_per_map_px(loop.scale, sector)
        looks_right = partial(judge, asked=bool(loop.claim.view))
        publisher = self._publisher(
            loop, model, backend, looks_right if model.draws_heart else judge_drawn
        )

        def admit() -> None:
            with stages.stage("view"):
                taken = self._admitted(loop)
            if taken is not model:
                raise _Another(taken)

        frames = run_pipeline(
            *(cine, sector, backend, publisher, stages, mm_per_px),
            voting=self._voting,
            admit=None if admitted else admit,
            structures=() if model.draws_heart else model.manifest.labels,
        )
        quality = publisher.judged(frames)
        if not quality.passed:
            drift.note(self._ledger, loop, model, None)
            raise Refused(quality.reason)
        self._seal(loop, model, publisher, frames, quality)

    def _seal(
        self,
        loop: _Loop,
        model: Model,
        publisher: Publisher,
        frames: Sequence[Frame],
        quality: Quality,
    ) -> None:
        per_frame = account.rows(frames, heart=model.draws_heart)
        doubtful = account.doubtful(per_frame)
        found = unmeasured(len(frames))
        if model.draws_heart:
            found = _measured(loop, frames, doubtful)
            found = found if loop.admission.is_told(model) else unviewed(found)
        analysis_id = publisher.finish()
        seconds = time.perf_counter() - loop.start
        first = (publisher.first_masks_at or loop.start) - loop.start
        voted = _VOTED if self._voting else ""
        notes = (*loop.cine.notes, loop.sector.note, quality.doubt, voted)
        analysis.seal(
            self._ledger,
            loop.claim,
            analysis_id,
            measures=found.to_dict(),
            per_frame=per_frame,
            quality={
                **quality.to_dict(),
                "notes": [note for note in notes if note],
                "damaged": account.damaged(frames),
                "doubtful": doubtful,
            },
            timings=account.timings(loop.stages, seconds, first, len(frames)),
        )
        log.info(
            "object %d: %d frames analysed with %s in %.2f s",
            *(loop.claim.seq, len(frames), model.name, seconds),
            extra={"fields": {"frames": len(frames), "seconds": f"{seconds:.2f}"}},
        )
        drift.note(self._ledger, loop, model, frames)

    def _admitted(self, loop: _Loop) -> Model:
        """Ask which model draws the loop, and write down what its view network said."""
        _must_be_grey(loop.refused)
        found = loop.admission.decide()
        view.found(
            self._ledger,
            loop.claim,
            found.seen.view,
            certainty=found.seen.certainty,
            figures=found.seen.figures,
            network_sha256=found.network_sha256,
        )
        if found.reason:
            drift.note(self._ledger, loop, found.model, None)
            raise Refused(found.reason)
        return found.model

    def _publisher(
        self,
        loop: _Loop,
        model: Model,
        backend: Backend,
        looks_right: Callable[[Sequence[FrameShape], int], Quality],
    ) -> Publisher:
        manifest = model.manifest
        opened = analysis.Opened(
            model_name=manifest.name,
            model_version=manifest.version,
            model_sha256=manifest.variant(backend.name, backend.precision).sha256,
            engine=backend.name,
            precision=backend.precision,
            geometry=loop.sector.geometry.to_dict(),
            frames=loop.cine.frames,
            timing=loop.cine.timing.to_dict(),
            calibration=loop.scale.to_dict(),
            labels=manifest.structures_as_dicts(),
            research_use_only=manifest.research_use_only,
        )

        def stopping() -> bool:
            service.watchdog()
            return self._stop.is_set()

        return Publisher(
            *(self._ledger, self._spool, loop.claim, opened, LEASE_S, stopping), looks_right
        )

    def _too_short(self, cine: Cine) -> str:
        least = min(model.manifest.gates.min_frames for model in self._models)
        return too_short(cine) if cine.frames < least else ""

    def _keep(self, claim: analysis.Claim, reason: str) -> None:
        analysis.keep(self._ledger, claim, reason)
        log.info("object %d: kept, not analysed: %s", claim.seq, reason)

    def _fail(self, claim: analysis.Claim, problem: str) -> None:
        try:
            state = analysis.fail(self._ledger, claim, problem)
        except (LedgerError, sqlite3.Error) as error:
            # Nothing can be said about the loop now: its lease runs out and it is taken up again.
            log.error("object %d: %s not recorded", claim.seq, type(error).__name__)
            self._stop.wait(RETRY_S)
            return
        log.error("object %d: %s; now %s", claim.seq, problem, state)


def run(settings: Settings, stop: Stop) -> None:
    """Run the engine until it is told to stop.

    Raises
    ------
    ManifestError, BackendError
        When the model can't be run on this machine as configured.
    LedgerError, SpoolError
        When the box's state can't be opened.
    """
    cv2.setNumThreads(1)  # the network has the cores; a small resize in many threads only waits
    ledger, spool = Ledger(settings.box.state_dir), Spool(settings.box.state_dir)
    choice = Choice(ledger, settings)
    models = choice.first()
    freed = analysis.recover(ledger)
    if freed:
        log.info("%d loops of an engine that died are taken up again", freed)
    voting = settings.engine.smoothing == "vote"
    worker = Worker(ledger, spool, models, stop, voting=voting)
    watch = drift.Watch(ledger, spool, settings.box.state_dir)
    service.ready(_words(models))
    while not stop.is_set():
        service.watchdog()
        try:
            _turn(ledger, choice, worker, watch, stop)
        except (sqlite3.Error, LedgerError) as error:
            # The state directory is full, or locked for long: that passes, and nothing is lost.
            log.error("loops wait: the ledger can't be used (%s)", type(error).__name__)
            stop.wait(RETRY_S)
            worker.give_back()


def _turn(ledger: Ledger, choice: Choice, worker: Worker, watch: drift.Watch, stop: Stop) -> None:
    if loaded := choice.newer():
        worker.use(loaded)
        service.status(_words(loaded))
        log.info("from now on: %s", _words(loaded))
    with choice.trials.held():
        worked = worker.work_once()
    if not worked:
        watch.turn()
        ledger.wait_for_change(stop.wait, IDLE_S, POLL_S)


def _words(models: Models) -> str:
    said = ", then ".join(
        f"{item.model} on {item.backend} at {item.precision}" if item.backend else item.model
        for item in models.in_force()
        if not item.problem
    )
    gpu = models.gpu_state()
    return f"{said} ({gpu})" if gpu else said


def _sector(cine: Cine, refused: Future[str | None]) -> Sector:
    """Find the fan; where there is none, what is wrong with the pictures is the better reason."""
    try:
        return find_sector(cine)
    except (CineError, SectorError):
        _must_be_grey(refused)
        raise


def _must_be_grey(refused: Future[str | None]) -> None:
    """Refuse by a few of the pictures: flow, a still, several side by side, none readable."""
    if refusal := refused.result():
        raise Refused(refusal)


def _measured(loop: _Loop, frames: Sequence[Frame], doubtful: Sequence[int]) -> Measures:
    return measure(
        [frame.measures for frame in frames],
        loop.cine.timing,
        mm_per_map_px(loop.scale, loop.sector),
        loop.scale.reason,
        doubtful=doubtful,
    )
