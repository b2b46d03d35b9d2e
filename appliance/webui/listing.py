"""The list of studies, kept between requests: at a change only what changed is read again."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from typing import Literal

from flask import render_template

from appliance.config import Settings
from appliance.ledger import Ledger, worklist
from appliance.webui import words
from appliance.webui.cards import STANDS_OUT, kinds_of, shown_of

NEWEST = 1000  # loops on the list: a week of a busy clinic; older ones are found by their patient
FOUND = 300  # loops a search shows at most
PAGE = 48  # loops sent at a time, or one study with more

Show = Literal["all", "needs", "kept", "done", "today"]
_FIRST = (STANDS_OUT, "needs")
_FILTERS: tuple[Show, ...] = ("all", "needs", "kept", "done", "today")


@dataclass(frozen=True)
class Study:
    """A study as the list shows it.

    Attributes
    ----------
    key
        Names it on the page, without its UID.
    newest
        `seq` of its newest loop.
    kinds
        What it is listed under.
    day
        When its newest loop came, on this box's calendar.
    html, digest
        Its row, and what tells whether that has changed.
    at
        `worklist.version` since which it is as it is.
    """

    key: str
    newest: int
    seqs: tuple[int, ...]
    kinds: frozenset[str]
    day: str
    html: str = ""
    digest: str = ""
    at: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """What the list is sorted by: what something stands out in, what waits, the newest."""
        rank = next((rank for rank, kind in enumerate(_FIRST) if kind in self.kinds), len(_FIRST))
        return (rank, -self.newest)

    @property
    def cursor(self) -> str:
        """Its place as text."""
        return f"{self.place[0]}-{self.newest}"


@dataclass(frozen=True)
class Part:
    """Some of the list: studies in order, and the cursor to go on from; "" at the end."""

    studies: list[Study]
    after: str


class Listing:
    """The newest studies of a box. Safe to share between threads; used within a request.

    Parameters
    ----------
    ledger, settings
        The box's.
    newest
        Loops listed.
    """

    def __init__(self, ledger: Ledger, settings: Settings, newest: int = NEWEST) -> None:
        self._ledger = ledger
        self._settings = settings
        self._newest = newest
        self._lock = threading.Lock()
        self._version = -1
        self._studies: dict[str, Study] = {}
        self._ordered: list[Study] = []
        self._telling = threading.Lock()
        self._told = (-1, -1, "")

    def studies(self) -> tuple[int, list[Study]]:
        """Return the version they are of, and the studies in the order shown."""
        with self._lock:
            version = worklist.version(self._ledger)
            if version != self._version:
                self._refresh(version)
                self._version = version
                self._ordered = sorted(self._studies.values(), key=lambda study: study.place)
            return version, self._ordered

    def news(
        self, since: int, tell: Callable[[int, list[Study], list[Study]], str]
    ) -> tuple[int, str]:
        """Return the present version and what is told of the changes since another.

        Told once for all pages that ask alike.

        Parameters
        ----------
        since
            `worklist.version` that the pages know.
        tell
            Gets the present version, every study, and those that differ.
        """
        version, every = self.studies()
        with self._telling:
            if self._told[:2] != (since, version):
                fresh = [study for study in every if study.at > since]
                self._told = (since, version, tell(version, every, fresh))
            return self._told[1:]

    def found(self, search: str) -> list[Study]:
        """Return the studies of patients whose name or ID holds each word, in the order shown."""
        sought = search.replace("^", " ").replace(",", " ").split()
        if not sought:
            return []
        rows = worklist.found(self._ledger, sought, FOUND)
        found = self._made(rows)
        return sorted(found.values(), key=lambda study: study.place)

    def _refresh(self, version: int) -> None:
        if self._version < 0:
            # What a page knew of an earlier process can't be told from what came since.
            first = self._made(worklist.loops(self._ledger, limit=self._newest))
            self._studies = {key: replace(study, at=version) for key, study in first.items()}
            return
        changed = self._made(worklist.changed(self._ledger, self._version, self._newest))
        floor = worklist.floor(self._ledger, self._newest)
        kept = {key: study for key, study in self._studies.items() if study.newest > floor}
        for key, study in changed.items():
            known = kept.get(key)
            same = known is not None and (known.digest, known.kinds) == (study.digest, study.kinds)
            kept[key] = replace(study, at=known.at if known and same else version)
        self._studies = kept

    def _made(self, rows: Sequence[words.Row]) -> dict[str, Study]:
        made = {}
        ordered = sorted(rows, key=_study_of)
        for name, group in groupby(ordered, key=_study_of):
            study = self._study(name, sorted(group, key=lambda loop: int(loop["seq"])))
            made[study.key] = study
        return made

    def _study(self, name: str, loops: Sequence[words.Row]) -> Study:
        shown = shown_of(loops, self._settings)
        study = Study(
            key=sha256(name.encode()).hexdigest()[:16],
            newest=loops[-1]["seq"],
            seqs=tuple(loop["seq"] for loop in loops),
            kinds=frozenset(kinds_of(loops)),
            day=_day(loops[-1]["received_at"]),
            digest=sha256(repr(shown).encode()).hexdigest()[:16],
        )
        return replace(study, html=render_template("study.html", place=study, study=shown))


def _study_of(loop: words.Row) -> str:
    """A loop that names no study stands alone."""
    return str(loop["study_instance_uid"] or f"alone-{loop['seq']}")


def _day(value: str) -> str:
    return datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone().date().isoformat()


def shown(studies: Iterable[Study], show: Show) -> list[Study]:
    """Return the studies that a filter lets through."""
    if show == "all":
        return list(studies)
    if show == "today":
        today = datetime.now().astimezone().date().isoformat()
        return [study for study in studies if study.day == today]
    return [study for study in studies if show in study.kinds]


def shows(study: Study) -> list[Show]:
    """Return the filters that let a study through."""
    return [name for name in _FILTERS if shown([study], name)]


def counts(studies: Sequence[Study]) -> dict[str, int]:
    """Return how many studies each filter lets through."""
    return {name: len(shown(studies, name)) for name in _FILTERS}


def part(studies: Sequence[Study], after: str = "", until: str = "") -> Part:
    """Cut a part out of a list in the order shown.

    Parameters
    ----------
    studies
        All of them.
    after
        Cursor of the last one that the page has; "" begins at the top.
    until
        Cursor of the last one wanted; "" gives about `PAGE` loops.
    """
    rest = [study for study in studies if not after or study.place > _place(after)]
    if until:
        taken = [study for study in rest if study.place <= _place(until)]
    else:
        taken = list(_up_to_a_page(rest))
    more = len(taken) < len(rest)
    return Part(taken, taken[-1].cursor if taken and more else "")


def _up_to_a_page(studies: Iterable[Study]) -> Iterator[Study]:
    count = 0
    for study in studies:
        yield study
        count += len(study.seqs)
        if count >= PAGE:
            return


def _place(cursor: str) -> tuple[int, int]:
    seen, newest = cursor.split("-")
    return (int(seen), -int(newest))
