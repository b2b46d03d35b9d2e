"""The engine's service: claim a loop, analyse it, store what was found, again."""

import logging
import os
import secrets
import sqlite3
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import cv2

from appliance import service
from appliance.cine import Cine, open_cine
from appliance.config import Settings
from appliance.engine.backend import Backend
from appliance.engine.choice import Choice
from appliance.engine.pipeline import Frame, Stages
from appliance.engine.pipeline import run as run_pipeline
from appliance.engine.publish import Interrupted, Publisher
from appliance.engine.quality import implausible, judge
from appliance.engine.tensorrt import WithCpu
from appliance.engine.view import ViewGate
from appliance.errors import ApplianceError, CineError, LedgerError, Part10Error, SectorError
from appliance.ledger import Ledger, analysis, view
from appliance.manifest import Manifest
from appliance.measures import measure
from appliance.sector import Calibration, Sector, calibration, find_sector, mm_per_map_px
from appliance.service import Stop
from appliance.spool import Spool
from appliance.views import APICAL, OTHER

log = logging.getLogger("echocart.engine")

LEASE_S = 60.0  # s, renewed with every chunk of 8 frames: the slowest CPU needs 2 s for one
IDLE_S = 5.0  # s, longest wait for news, and between two signs of life to the watchdog
RETRY_S = 5.0  # s between tries when something outside must change first (a full disk)

_NOT_WHOLE = "The file is damaged, or not a whole DICOM object."


_VOTED = "The outlines are voted over neighbouring frames."
_SAID_OTHER = "A person has said that this is another view."


class _Refused(Exception):
    """The loop is kept and not analysed; `reason` is for a sonographer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Worker:
    """Analyses one loop at a time.

    Parameters
    ----------
    ledger, spool
        The box's.
    manifest, backend
        The model and what runs it.
    stop
        Ends the work between two chunks.
    voting
        Whether masks are voted over neighbouring frames.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        manifest: Manifest,
        backend: Backend,
        stop: Stop,
        *,
        voting: bool = False,
    ) -> None:
        self._ledger, self._spool = ledger, spool
        self._manifest, self._backend, self._stop = manifest, backend, stop
        self._gate = ViewGate(manifest)
        self._voting = voting
        self._owner = f"engine-{os.getpid()}-{secrets.token_hex(4)}"

    def use(self, manifest: Manifest, backend: Backend) -> None:
        """Analyse with another model from the next loop on."""
        self._manifest, self._backend = manifest, backend
        self._gate = ViewGate(manifest)

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
        except _Refused as refused:
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
        start = time.perf_counter()
        stages = Stages()
        with open_cine(self._spool.object_path(claim.sha256)) as cine:
            with stages.stage("look"):
                if refusal := cine.refusal_by_elements() or self._too_short(cine):
                    raise _Refused(refusal)
                sector = _sector(cine)
                scale = calibration(cine, sector)
            mm_per_px = mm_per_map_px(scale, sector)
            publisher = self._publisher(claim, cine, sector, scale)

            def admit() -> None:
                with stages.stage("view"):
                    _must_be_grey(cine)
                    self._must_be_apical(claim, cine, sector)

            frames = run_pipeline(
                *(cine, sector, self._backend, publisher, stages, mm_per_px),
                voting=self._voting,
                admit=admit,
            )
            shapes = [frame.shape for frame in frames if frame.shape is not None]
            quality = judge(shapes, len(frames), asked=bool(claim.view))
            if not quality.passed:
                raise _Refused(quality.reason)
            rows = _rows(frames)
            measures = measure(
                [frame.measures for frame in frames],
                cine.timing,
                mm_per_px,
                scale.reason,
                doubtful=_doubtful(rows),
            )
            analysis_id = publisher.finish()
            seconds = time.perf_counter() - start
            first = (publisher.first_masks_at or start) - start
            voted = _VOTED if self._voting else ""
            notes = [note for note in (*cine.notes, sector.note, quality.doubt, voted) if note]
            analysis.seal(
                self._ledger,
                claim,
                analysis_id,
                measures=measures.to_dict(),
                per_frame=rows,
                quality={
                    **quality.to_dict(),
                    "notes": notes,
                    "damaged": _damaged(frames),
                    "doubtful": _doubtful(rows),
                },
                timings=_timings(stages, seconds, first, len(frames)),
            )
        log.info("object %d: %d frames analysed in %.2f s", claim.seq, len(frames), seconds)

    def _must_be_apical(self, claim: analysis.Claim, cine: Cine, sector: Sector) -> None:
        """Refuse what shows no apical heart, unless a person has said that it does."""
        seen = self._gate.look(cine, sector)
        view.found(
            self._ledger,
            claim,
            seen.view,
            certainty=seen.certainty,
            figures=seen.figures,
            network_sha256=self._manifest.view.sha256 if self._manifest.view else "",
        )
        if claim.view == OTHER:
            raise _Refused(_SAID_OTHER)
        if seen.reason and claim.view not in APICAL:
            raise _Refused(seen.reason)

    def _publisher(
        self, claim: analysis.Claim, cine: Cine, sector: Sector, scale: Calibration
    ) -> Publisher:
        variant = self._manifest.variant(self._backend.name, self._backend.precision)
        opened = analysis.Opened(
            model_name=self._manifest.name,
            model_version=self._manifest.version,
            model_sha256=variant.sha256,
            engine=self._backend.name,
            precision=self._backend.precision,
            geometry=sector.geometry.to_dict(),
            frames=cine.frames,
            timing=cine.timing.to_dict(),
            calibration=scale.to_dict(),
            labels=self._manifest.structures_as_dicts(),
            research_use_only=self._manifest.research_use_only,
        )

        def stopping() -> bool:
            service.watchdog()
            return self._stop.is_set()

        asked = bool(claim.view)
        return Publisher(self._ledger, self._spool, claim, opened, LEASE_S, stopping, asked=asked)

    def _too_short(self, cine: Cine) -> str | None:
        if cine.frames < self._manifest.gates.min_frames:
            return f"Only {cine.frames} frames: too short to hold a heartbeat."
        return None

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
    manifest, backend = choice.first()
    freed = analysis.recover(ledger)
    if freed:
        log.info("%d loops of an engine that died are taken up again", freed)
    voting = settings.engine.smoothing == "vote"
    worker = Worker(ledger, spool, manifest, backend, stop, voting=voting)
    service.ready(_words(manifest, backend))
    while not stop.is_set():
        service.watchdog()
        try:
            _turn(ledger, choice, worker, stop)
        except (sqlite3.Error, LedgerError) as error:
            # The state directory is full, or locked for long: that passes, and nothing is lost.
            log.error("loops wait: the ledger can't be used (%s)", type(error).__name__)
            stop.wait(RETRY_S)
            worker.give_back()


def _turn(ledger: Ledger, choice: Choice, worker: Worker, stop: Stop) -> None:
    if loaded := choice.newer():
        worker.use(*loaded)
        service.status(_words(*loaded))
        log.info("from now on: %s", _words(*loaded))
    if not worker.work_once():
        ledger.wait_for_change(stop.wait, IDLE_S)


def _words(manifest: Manifest, backend: Backend) -> str:
    gpu = f" ({backend.state})" if isinstance(backend, WithCpu) else ""
    return f"{manifest.name} {manifest.version} on {backend.name} at {backend.precision}{gpu}"


def _sector(cine: Cine) -> Sector:
    """Find the fan; where there is none, what is wrong with the pictures is the better reason."""
    try:
        return find_sector(cine)
    except (CineError, SectorError):
        _must_be_grey(cine)
        raise


def _must_be_grey(cine: Cine) -> None:
    """Refuse by a few of the pictures: flow, a still, several side by side, none readable."""
    if refusal := cine.refusal():
        raise _Refused(refusal)


def _damaged(frames: Sequence[Frame]) -> list[int]:
    return [index for index, frame in enumerate(frames) if frame.measures is None]


def _rows(frames: Sequence[Frame]) -> list[dict[str, object] | None]:
    return [
        None
        if frame.measures is None or frame.shape is None
        else {
            **frame.measures.to_dict(),
            "confidence": list(frame.shape.confidence),
            "certainty": [round(share, 3) for share in frame.shape.certainty],
            "doubt": implausible(frame.shape),
        }
        for frame in frames
    ]


def _doubtful(rows: Sequence[dict[str, object] | None]) -> list[int]:
    return [index for index, row in enumerate(rows) if row and row["doubt"]]


def _timings(
    stages: Stages, seconds: float, first_masks_s: float, frames: int
) -> dict[str, object]:
    return {
        "frames": frames,
        "total_ms": round(1000 * seconds, 1),
        "first_masks_ms": round(1000 * first_masks_s, 1),
        "stages": {
            name: {"ms": round(spent, 1), "ms_per_frame": round(spent / frames, 3)}
            for name, spent in stages.spent.items()
        },
    }
