"""How long the loop takes from corrections to a better model at the bedside; how a pull keeps up.

The anchors of the pull ask the same archive in the same run, keep nothing and look at nothing: one
request for each instance, as the archive lists them, and one for each study.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests

from bench import cycle, figures
from bench.figures import Figure
from tests.box import REPOSITORY
from tests.models.studies import files_of, variants
from tests.orthanc import PASSWORD, USER, Orthanc
from tests.phantom import cine_loop

CORRECTIONS, EPOCHS = 40, 1
PULLED, OF_A_PATIENT = 1000, 4
FRAMES, ROWS, COLUMNS, CORRECTED = 20, 240, 320, (2, 9, 15)
_ACCEPT = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
_SERIES, _INSTANCE, _STUDY = "0020000E", "00080018", "0020000D"
_WARM_UP = 0.2  # of the corrections: until then readers start and caches fill


def measure(quick: bool) -> list[Figure]:
    """Measure the pull, and the whole cycle where a Python with PyTorch is."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        made = list(_pull(Path(name), 60 if quick else PULLED))
    if not cycle.trains():
        print("the cycle needs PyTorch: make test-models sets it up", file=sys.stderr)
        return made
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        turned = cycle.turn(Path(name), 10 if quick else CORRECTIONS, EPOCHS)
    return [*_cycle(turned), *made]


def _cycle(turned: cycle.Turned) -> list[Figure]:
    words = turned.name.rpartition("-")
    named = turned.described.endswith(f" {words[0]} {words[2]}")
    what = "whole cycle on phantoms, unattended, until the next correction names the new model"
    return [
        figures.at_most(what, turned.steps.total, "s", 300),
        figures.at_least("of it: the next correction names the new model", float(named), "", 1),
        *(
            figures.plain(f"of it: {name}", took, "s")
            for name, took in turned.steps.seconds.items()
        ),
    ]


def _pull(folder: Path, count: int) -> list[Figure]:
    with Orthanc(folder / "archive") as archive:
        size = _fill(archive, folder, count)
        studies = _studies(archive)
        by_instance = _rate(lambda: _instances(archive, studies), len(studies))
        by_study = _rate(lambda: _whole(archive, studies), len(studies))
        killed = _killed(archive, folder / "to", count)
        started = time.monotonic()
        memory = _pulled(archive, folder / "again", count)
        ours = count / (time.monotonic() - started)
        same = (folder / "to" / "frames.csv").read_bytes() == (
            folder / "again" / "frames.csv"
        ).read_bytes()
        frames = len(list((folder / "again").glob("masks/*.png")))
    if frames != count * len(CORRECTED):
        raise RuntimeError(f"{frames} frames pulled of {count} corrections")
    what = f"pull of {count} corrections of {size:.1f} MB"
    bare = "bare loop of WADO-RS by instance"
    return [
        figures.at_least(f"{what}: rate × that of a {bare}", ours / by_instance, "", 0.8),
        figures.plain(
            f"{what}: rate",
            ours,
            "/s",
            f"bare, by instance {by_instance:.3g}, by study {by_study:.3g}",
        ),
        figures.at_most(f"{what}: memory that it grows by after its first fifth", memory, "MB", 20),
        figures.at_least(f"{what}: the same table after {killed} kills", float(same), "", 1),
    ]


def _fill(archive: Orthanc, folder: Path, count: int) -> float:
    """Store as many corrections, of as many loops; returns the MB of one."""
    loop = cine_loop(frames=FRAMES, rate_hz=FRAMES, rows=ROWS, columns=COLUMNS)
    # A test's box without services; tests aren't typed.
    site = import_module("tests.sync.test_upstream").Site(folder / "site")
    drawn = {index: np.where(loop.labels[index] == 3, 0, loop.labels[index]) for index in CORRECTED}
    delivery = site.correct(loop.write(folder / "loop.dcm"), loop.labels, drawn)
    files = files_of(site.objects(delivery))
    client = archive.client()
    for made in variants(files, count, OF_A_PATIENT):
        for file in made:
            client.store_file(file)
    return sum(map(len, files)) / 1e6


def _studies(archive: Orthanc) -> list[str]:
    found = _get(archive, "studies?ModalitiesInStudy=SEG&limit=100000").json()
    return [item[_STUDY]["Value"][0] for item in found]


def _instances(archive: Orthanc, studies: list[str]) -> None:
    for study in studies:
        for item in _get(archive, f"studies/{study}/instances").json():
            series, instance = (item[tag]["Value"][0] for tag in (_SERIES, _INSTANCE))
            _get(archive, f"studies/{study}/series/{series}/instances/{instance}", _ACCEPT)


def _whole(archive: Orthanc, studies: list[str]) -> None:
    for study in studies:
        _get(archive, f"studies/{study}", _ACCEPT)


def _get(archive: Orthanc, path: str, accept: dict[str, str] | None = None) -> requests.Response:
    session = _SESSIONS.setdefault(archive.url, requests.Session())
    answer = session.get(f"{archive.url}/{path}", headers=accept, auth=(USER, PASSWORD))
    answer.raise_for_status()
    return answer


_SESSIONS: dict[str, requests.Session] = {}


def _rate(work: Callable[[], None], count: int) -> float:
    started = time.monotonic()
    work()
    return count / (time.monotonic() - started)


def _killed(archive: Orthanc, to: Path, count: int) -> int:
    """Pull, killed after every tenth of the corrections; returns the number of kills."""
    kills = 0
    while True:
        running = _started(archive, to)
        goal = len(list(to.glob("masks/*.png"))) + 3 * count // 10
        while running.poll() is None and len(list(to.glob("masks/*.png"))) < goal:
            time.sleep(0.05)
        if running.poll() is not None:
            _must_have_ended_well(running)
            return kills
        running.kill()
        running.wait()
        kills += 1


def _pulled(archive: Orthanc, to: Path, count: int) -> float:
    """Pull once; returns by how many MB all its processes together grew after the first part."""
    running = _started(archive, to)
    process, early, late = psutil.Process(running.pid), [0.0], [0.0]
    while running.poll() is None:
        done = len(list(to.glob("masks/*.png"))) / len(CORRECTED)
        try:
            every = [process, *process.children(recursive=True)]
            used = sum(item.memory_full_info().pss for item in every) / 1e6
        except psutil.Error:
            continue  # one of them has just ended
        (early if done < _WARM_UP * count else late).append(used)
        time.sleep(0.2)
    _must_have_ended_well(running)
    return max(0.0, max(late) - max(early))


def _started(archive: Orthanc, to: Path) -> "subprocess.Popen[str]":
    login: list[Any] = ["--user", USER, "--password-file", archive.password_file.resolve()]
    command = [
        sys.executable,
        "-m",
        "models.pull",
        "--from",
        archive.url,
        *login,
        "--to",
        to.resolve(),
    ]
    return subprocess.Popen(
        [*map(str, command)],
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "80"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _must_have_ended_well(running: "subprocess.Popen[str]") -> None:
    _, said = running.communicate()
    if running.returncode:
        raise RuntimeError(f"models.pull ended with {running.returncode}: {said[-500:]}")


if __name__ == "__main__":
    figures.main(__doc__ or "", measure)
