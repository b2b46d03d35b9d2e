"""Fetch corrections from a DICOMweb archive into a corrections directory.

    python -m models.pull --from URL --to DIR [--user NAME --password-file FILE]
        [--model NAME-VERSION] [--since DATE] [--until DATE] [--scanner TEXT] [--site NAME]

A correction is a study as the box sends it upstream: a de-identified loop, the model's
segmentation of it and the corrected one. Only frames that the person changed are written. What
is there already isn't fetched again; killed at any moment, the directory stays readable and the
next call goes on. Beside the frames lie `index.parquet`, one row for each drawing, and a report of
how far corrections moved each structure (both need the [train] extra).
"""

import argparse
import fcntl
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from threading import Thread

from appliance.errors import ApplianceError
from appliance.manifest import Manifest, current_model
from models import pull_index
from models.archive import EVERY, Archive, Wanted
from models.corrections import CorrectionsError
from models.pull_study import Taken, described, sorted_out, take
from models.pulled import Pulled

_STUDIES = "Echocart correction"  # how StudyDescription begins, by appliance/sync/upstream.py
_LOCK, _SCRATCH = ".lock", ".pull-"
_PULL = "pull corrections"
_FEW = 8  # corrections that aren't worth another process
_AHEAD = 2  # studies fetched and not yet read, beside those that are being read
_MOST = 4  # processes: the archive gives no more


@dataclass(frozen=True)
class Outcome:
    """What became of one fetched study: `taken`, or why not; neither when it isn't whole (yet)."""

    taken: Taken | None = None
    problem: str = ""
    wanted: bool = True


@dataclass
class Counts:
    """What a pull came to; `found` counts those of the archive that are wanted, new or not."""

    found: int = 0
    studies: int = 0
    frames: int = 0
    incomplete: int = 0
    unusable: int = 0


def pull(
    archive: Archive,
    folder: Path,
    progress: "Progress",
    wanted: Wanted = EVERY,
    jobs: int = 0,
) -> Counts:
    """Fetch every correction that is wanted and that `folder` doesn't have yet.

    Parameters
    ----------
    archive, folder
        From where, and to where.
    progress
        Told of every study.
    wanted
        Which ones.
    jobs
        Processes that read what was fetched; 0 takes as many as there are processors.

    Raises
    ------
    ArchiveError
        When the archive can't be asked; what was fetched until then stays.
    CorrectionsError
        When the directory can't be used, or another pull writes into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise CorrectionsError(_PULL, f"{folder} is no directory", "Name another one.") from None
    with _alone(folder):
        pulled = Pulled(folder)
        try:
            work = _Work(archive, pulled, progress, wanted)
            work.run(jobs or min(os.cpu_count() or 1, _MOST))
        finally:
            # What came until something went wrong is there to be read.
            indexed = pull_index.write(pulled, _manifest())
            pulled.close()
    if not indexed:
        progress.say(f"{pull_index.NAME} isn't written: it needs pip install 'echocart[train]'")
    return work.counts


@dataclass
class _Work:
    """A pull on its way: studies are fetched one after the other, and read beside that."""

    archive: Archive
    pulled: Pulled
    progress: "Progress"
    wanted: Wanted
    counts: Counts = field(default_factory=Counts)
    under_way: dict["Future[Outcome]", tuple[str, Path]] = field(default_factory=dict)

    def run(self, jobs: int) -> None:
        """Fetch, read and note everything that is new."""
        found = list(self.archive.studies(_STUDIES, self.wanted))
        self.counts.found = len(found)
        new = [uid for uid in found if not self.pulled.has(uid)]
        with ExitStack() as stack:
            scratch = stack.enter_context(
                tempfile.TemporaryDirectory(dir=self.pulled.folder, prefix=_SCRATCH)
            )
            pool = None
            if jobs > 1 and len(new) >= _FEW:
                # Spawned: a forked process would keep the lock of a parent that was killed.
                context = get_context("spawn")
                pool = stack.enter_context(
                    ProcessPoolExecutor(jobs, context, initializer=_end_with_the_parent)
                )
            for number, uid in enumerate(self.progress.over(new)):
                place = Path(scratch) / str(number)
                if not self._fetched(uid, place):
                    continue
                if pool is None:
                    self._note(uid, place, read(place, self.pulled.folder, self.wanted))
                    continue
                future = pool.submit(read, place, self.pulled.folder, self.wanted)
                self.under_way[future] = uid, place
                while len(self.under_way) >= jobs + _AHEAD:
                    self._take_in(FIRST_COMPLETED)
            while self.under_way:
                self._take_in(FIRST_COMPLETED)

    def _fetched(self, uid: str, place: Path) -> bool:
        """Fetch a study, unless the archive tells that it is of another scanner or site."""
        asks = self.wanted.scanner or self.wanted.site
        if asks and self.archive.has(uid, self.wanted) is False:
            self.counts.found -= 1
            return False
        place.mkdir()
        self.archive.fetch(uid, place)
        return True

    def _take_in(self, until: str) -> None:
        for future in wait(self.under_way, return_when=until).done:
            uid, place = self.under_way.pop(future)
            try:
                outcome = future.result()
            except BrokenProcessPool:
                hint = "Look at the memory that is left; then call this again, or with --jobs 1."
                what = f"the process that read study {uid} was ended"
                raise CorrectionsError(_PULL, what, hint, retry=True) from None
            self._note(uid, place, outcome)

    def _note(self, uid: str, place: Path, outcome: Outcome) -> None:
        shutil.rmtree(place)
        if outcome.problem:
            # It isn't noted as done: a later release may read it.
            self.counts.unusable += 1
            self.progress.say(f"study {uid} can't be used: {outcome.problem}")
        elif outcome.taken is not None:
            self.pulled.note(uid, outcome.taken)
            self.counts.studies += 1
            self.counts.frames += len(outcome.taken.frames)
        elif outcome.wanted:
            self.counts.incomplete += 1
        else:
            self.counts.found -= 1


def read(place: Path, folder: Path, wanted: Wanted) -> Outcome:
    """Read a fetched study and write its frames; runs in a process of its own where there are many.

    Raises
    ------
    OSError
        When the directory can't be written.
    """
    try:
        found = sorted_out(sorted(place.iterdir()), manifest := _manifest())
        if found is None:
            return Outcome()
        # Not every archive tells scanner and site, and some take any filter for none.
        known = described(found)
        if not (wanted.made_by(known.about.scanner) and wanted.made_at(known.site)):
            return Outcome(wanted=False)
        return Outcome(take(found, folder, manifest))
    except OSError as error:
        if error.filename and str(place) not in str(error.filename):
            raise
        return Outcome(problem=type(error).__name__)
    except ApplianceError as error:
        return Outcome(problem=error.subject)
    except Exception as error:  # noqa: BLE001
        # A stranger's object may break any reader; it must not keep the others out.
        return Outcome(problem=type(error).__name__)


@cache
def _manifest() -> Manifest:
    return current_model()  # which looks at every hash


def _end_with_the_parent() -> None:
    """End this process when the one that started it was killed."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second pull out, and clear away what a killed one left."""
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "Wait until it ends, or choose another directory."
            raise CorrectionsError(_PULL, f"another pull writes into {folder}", hint) from None
        for left in folder.glob(f"{_SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


class Progress:
    """A bar over the studies on a terminal, nothing elsewhere; remarks go to stderr."""

    def over(self, studies: Sequence[str]) -> Iterator[str]:
        """Yield the studies, moving the bar."""
        from rich.console import Console
        from rich.progress import track

        yield from track(studies, "pulling", console=Console(stderr=True))

    def say(self, text: str) -> None:
        """Print a remark."""
        print(text, file=sys.stderr)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.since and options.until and options.since > options.until:
        parser.error(f"--since {options.since} is later than --until {options.until}")
    asked = ("model", "since", "until", "scanner", "site")
    wanted = Wanted(**{name: getattr(options, name) or "" for name in asked})
    try:
        archive = Archive(options.url, options.user, options.password_file)
        counts = pull(archive, options.to, Progress(), wanted, options.jobs)
        page = _report(options.to)
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{_PULL}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except sqlite3.Error as error:
        print(f"{_PULL}: {options.to}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{_PULL}: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    text = f"{counts.frames} frames of {counts.studies} new corrections in {options.to}"
    if counts.incomplete:
        text += f"; {counts.incomplete} studies are no whole correction (yet)"
    print(text + (f"; {counts.unusable} can't be used" if counts.unusable else ""))
    if not counts.found:
        words = ", ".join(f"--{name} {value}" for name in asked if (value := getattr(wanted, name)))
        print(f"the archive has no correction{f' of {words}' if words else ''}")
    if page:
        print(f"how far they moved each structure: {page}")
    return 0


def _report(folder: Path) -> Path | None:
    """Write the report where there is something to draw it with."""
    try:
        from models import pull_report
    except ImportError:
        return None
    pulled = Pulled(folder)
    try:
        return pull_report.write(pulled, _manifest())
    finally:
        pulled.close()


def _date(text: str) -> str:
    """Read a day as people write it, 2026-11-22 or 20261122."""
    digits = text.replace("-", "")
    try:
        return f"{datetime.strptime(digits, '%Y%m%d'):%Y%m%d}"
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2026-11-22") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.pull",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--from", dest="url", required=True, help="base of the DICOMweb server")
    parser.add_argument("--to", type=Path, required=True, help="corrections directory")
    parser.add_argument("--user", default="", help="for HTTP basic authentication")
    parser.add_argument("--password-file", type=Path, help="holds the password alone")
    parser.add_argument(
        "--model", default="", help="NAME, NAME-VERSION, or 16 digits of the network's SHA-256"
    )
    parser.add_argument("--since", type=_date, help="first day, by StudyDate")
    parser.add_argument("--until", type=_date, help="last day")
    parser.add_argument("--scanner", default="", help="in its make and model, as in 'vivid'")
    parser.add_argument("--site", default="", help="what the site calls itself")
    parser.add_argument(
        "--jobs",
        type=int,
        choices=range(1, 65),
        default=0,
        metavar="N",
        help="processes; one a processor, four at most, if absent",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
