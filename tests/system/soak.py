"""A clinic in little time: carts send, people decide, an archive fails now and then, nights have no network.

    make soak MINUTES=60

Four carts send studies of twelve loops, two reviewers decide over HTTP, and a PACS refuses one
object in ten and is gone in each of six nights. Meanwhile memory, descriptors, threads and the
write-ahead log of each service are looked at; afterwards every object is accounted for.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from pydicom.uid import generate_uid
from pynetdicom import AE, StoragePresentationContexts, evt

from appliance import scu
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, audit
from appliance.spool import Spool
from appliance.upkeep.fsck import examine
from tests.box import REPOSITORY, Box, free_port
from tests.phantom import cine_loop
from tests.webui.reviewbox import Page

REPORT = REPOSITORY / "docs" / "reliability.md"
CARTS, LOOPS, NIGHTS = 4, 12, 6
REFUSED = 0.1  # of the objects that the PACS is sent
NIGHT = 0.3  # of a day
BEHIND = 24  # loops that may wait for the engine before a cart sends its next study
SAMPLE_S = 2.0
DRAIN_S = 600.0
_OUT_OF_RESOURCES = 0xA700


@dataclass
class Seen:
    """What was measured: by name, (seconds since the start, value) in order."""

    begun: float = field(default_factory=time.monotonic)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def note(self, name: str, value: float) -> None:
        """Add a value."""
        self.series[name].append((time.monotonic() - self.begun, value))


class Pacs:
    """An archive on a port of its own, which refuses one object in ten, and can be gone."""

    def __init__(self) -> None:
        self.port = free_port()
        self.kept: set[str] = set()
        self.times = Counter[str]()
        self._chance = random.Random(1)
        self._server: Any = None

    def open(self) -> None:
        """Answer from now on."""
        ae = AE("PACS")
        for context in StoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax)
        ae.add_supported_context("1.2.840.10008.1.1")
        handlers = [(evt.EVT_C_STORE, self._store)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def close(self) -> None:
        """Be gone, connections too."""
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        if self._chance.random() < REFUSED:
            return _OUT_OF_RESOURCES
        uid = str(event.request.AffectedSOPInstanceUID)
        self.times[uid] += 1
        self.kept.add(uid)
        return 0


class Cart(threading.Thread):
    """Sends one study after the other; each object until it is taken."""

    def __init__(self, number: int, box: Box, seen: Seen, stop: threading.Event) -> None:
        super().__init__(daemon=True, name=f"cart {number}")
        self.number, self.box, self.seen, self.stopping = number, box, seen, stop
        self.acknowledged: list[str] = []
        self.refused = 0

    def run(self) -> None:
        ledger = Ledger(self.box.settings.box.state_dir)
        study = 0
        while not self.stopping.wait(0.2):
            (row,) = ledger.read("SELECT count(*) AS n FROM job WHERE state = 'queued'")
            if row["n"] < BEHIND:
                study += 1
                self._study(study)

    def _study(self, study: int) -> None:
        uid, home = generate_uid(), self.box.root / f"cart-{self.number}"
        home.mkdir(exist_ok=True)
        for n in range(LOOPS):
            if self.stopping.is_set():
                return
            seed = 1_000_000 * self.number + 100 * study + n
            loop = cine_loop(frames=16, rows=240, columns=320, seed=seed)
            loop.dataset.StudyInstanceUID = uid
            loop.dataset.PatientID = f"SOAK-{self.number}-{study}"
            loop.dataset.PatientName = "SOAK"
            path = loop.write(home / "loop.dcm")
            self._send(path, str(loop.dataset.SOPInstanceUID))

    def _send(self, path: Path, uid: str) -> None:
        while True:
            begun = time.perf_counter()
            try:
                (sent,) = scu.send(
                    [path], "127.0.0.1", self.box.dicom_port, calling_ae=f"CART{self.number}"
                )
            except ApplianceError:
                sent = None
            if sent and sent.status == 0:
                self.acknowledged.append(uid)
                self.seen.note("object sent, s", time.perf_counter() - begun)
                return
            self.refused += 1
            time.sleep(0.5)


class Reviewer(threading.Thread):
    """Decides on every analysed loop, over HTTP."""

    def __init__(self, place: int, box: Box, seen: Seen, stop: threading.Event) -> None:
        super().__init__(daemon=True, name=f"reviewer {place}")
        self.place, self.box, self.seen, self.stopping = place, box, seen, stop
        self.confirmed: list[str] = []
        self.refused = 0

    def run(self) -> None:
        ledger = Ledger(self.box.settings.box.state_dir)
        page = Page(self.box, ("AK", "BM")[self.place])
        chance = random.Random(self.place)
        while not self.stopping.wait(0.1):
            rows = ledger.read(
                "SELECT seq FROM instance i WHERE state = 'analysed' AND seq % 2 = ?"
                " AND NOT EXISTS (SELECT 1 FROM review r WHERE r.seq = i.seq) LIMIT 5",
                [self.place],
            )
            for row in rows:
                self._decide(page, row["seq"], chance)

    def _decide(self, page: Page, seq: int, chance: random.Random) -> None:
        begun = time.perf_counter()
        page.ask("/")
        self.seen.note("list opened, s", time.perf_counter() - begun)
        decision = "rejected" if chance.random() < 0.1 else "accepted"
        begun = time.perf_counter()
        status, answer = page.review(
            seq, decision=decision, reason="" if decision[0] == "a" else "soak"
        )
        if status == 201:
            self.seen.note("decision confirmed, s", time.perf_counter() - begun)
            self.confirmed.append(answer["key"])
        else:
            self.refused += 1


def sample(box: Box, seen: Seen, stop: threading.Event) -> None:
    """Look at what each service takes, until told to stop."""
    log = Path(f"{box.ledger.path}-wal")
    while not stop.wait(SAMPLE_S):
        for name, process in list(box.processes.items()):
            family = [psutil.Process(process.pid)]
            family += family[0].children(recursive=True)
            seen.note(f"{name}: memory, MB", sum(_unique(one) for one in family) / 1e6)
            seen.note(f"{name}: descriptors", sum(one.num_fds() for one in family))
            seen.note(f"{name}: threads", sum(one.num_threads() for one in family))
        seen.note("write-ahead log, MB", log.stat().st_size / 1e6 if log.exists() else 0.0)


def _unique(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().uss)
    except psutil.Error:
        return 0.0


@dataclass(frozen=True)
class Line:
    """A row of the report: what, in the second quarter, in the last, and whether that is flat."""

    name: str
    before: float
    after: float
    flat: bool


def flat(name: str, before: float, after: float) -> bool:
    """Tell whether a value has not grown beyond what chance and caches make of it."""
    room = {"MB": (1.15, 25.0), "descriptors": (1.0, 10.0), "threads": (1.0, 6.0)}
    factor, more = next((room[key] for key in room if key in name), (2.0, 0.25))
    return after <= before * factor + more


def lines(seen: Seen) -> Iterator[Line]:
    """Compare the second quarter of each series (the first is start-up) with the last."""
    for name, values in sorted(seen.series.items()):
        end = values[-1][0]
        second = [value for at, value in values if end / 4 <= at < end / 2]
        last = [value for at, value in values if at >= end * 3 / 4]
        if not second or not last:
            continue
        pick: Callable[[list[float]], float] = p95 if name.endswith(", s") else statistics.median
        yield Line(name, pick(second), pick(last), flat(name, pick(second), pick(last)))


def p95(values: list[float]) -> float:
    """Return the 95th percentile."""
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def account(box: Box, carts: list[Cart], people: list[Reviewer], pacs: Pacs) -> dict[str, int]:
    """Hold what carts and people were told against what the box and the PACS have."""
    ledger = Ledger(box.settings.box.state_dir)
    sent = [uid for cart in carts for uid in cart.acknowledged]
    rows = {row["sop_instance_uid"]: row["state"] for row in ledger.read("SELECT * FROM instance")}
    known = {row["key"]: row for row in ledger.read("SELECT * FROM review")}
    said = [key for one in people for key in one.confirmed]
    due = {
        row["result_sop_instance_uid"] for row in known.values() if row["decision"] == "accepted"
    }
    states = Counter(row["state"] for row in ledger.read("SELECT state FROM outbox"))
    return {
        "objects acknowledged": len(sent),
        "of them without a row": sum(uid not in rows for uid in sent),
        "loops not analysed": sum(rows[uid] != "analysed" for uid in sent if uid in rows),
        "decisions confirmed": len(said),
        "of them missing": sum(key not in known for key in said),
        "results for the PACS": states.total(),
        "of them not delivered": states["queued"] + states["sent"],
        "reports of accepted loops not at the PACS": len(due - pacs.kept) if due else 0,
        "faults that fsck found": sum(
            1 for _ in examine(ledger, Spool(box.settings.box.state_dir))
        ),
        "faults in the audit": int(bool(audit.verify(ledger).problem)),
    }


BAD = (
    *("of them without a row", "loops not analysed", "of them missing", "of them not delivered"),
    *("faults that fsck found", "faults in the audit"),
)


@contextmanager
def clinic(root: Path) -> Iterator[tuple[Box, Pacs]]:
    """A box with one archive, both at work."""
    pacs = Pacs()
    archive = (
        f'[[destination]]\nname = "pacs"\nkind = "dicom"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
        'called_ae = "PACS"\ngets = ["results"]\n'
    )
    pacs.open()
    with Box(root, extra=archive, closes_after_s=3.0) as box:
        yield box, pacs
    pacs.close()


def run(minutes: float, root: Path) -> tuple[dict[str, int], list[Line]]:
    """Let the clinic work for some minutes; return the account, and what grew."""
    seconds, seen = 60 * minutes, Seen()
    with clinic(root) as (box, pacs):
        closing, leaving, ending = threading.Event(), threading.Event(), threading.Event()
        watch = threading.Thread(target=sample, args=(box, seen, ending), daemon=True)
        carts = [Cart(n, box, seen, closing) for n in range(1, CARTS + 1)]
        people = [Reviewer(n, box, seen, leaving) for n in range(2)]
        for one in (watch, *carts, *people):
            one.start()
        day = seconds / NIGHTS
        for _ in range(NIGHTS):
            time.sleep(day * (1 - NIGHT))
            pacs.close()
            time.sleep(day * NIGHT)
            pacs.open()
        closing.set()
        ending.set()
        for cart in carts:
            cart.join(60)
        end = time.monotonic() + DRAIN_S
        while time.monotonic() < end and _is_busy(box):
            time.sleep(1)
        leaving.set()
        for one in people:
            one.join(60)
        return account(box, carts, people, pacs), list(lines(seen))


def _is_busy(box: Box) -> bool:
    (row,) = box.ledger.read(
        "SELECT (SELECT count(*) FROM instance i WHERE state IN ('received', 'analysing')"
        "  OR (state = 'analysed' AND NOT EXISTS (SELECT 1 FROM review r WHERE r.seq = i.seq)))"
        " + (SELECT count(*) FROM outbox WHERE state IN ('queued', 'sent')) AS n"
    )
    return bool(row["n"])


def table(minutes: float, told: dict[str, int], measured: list[Line]) -> str:
    """Return the report's section."""
    grown = [line.name for line in measured if not line.flat]
    rows = [f"| {name} | {count} |" for name, count in told.items()]
    figures = [
        f"| {line.name} | {line.before:.3g} | {line.after:.3g} | {'flat' if line.flat else 'GROWN'} |"
        for line in measured
    ]
    return "\n".join(
        [
            f"Last run: {minutes:g} minutes, {time.strftime('%Y-%m-%d')};"
            f" {'nothing grew' if not grown else 'grown: ' + ', '.join(grown)}.",
            "",
            "| | |\n|---|---|",
            *rows,
            "",
            "Medians (times: 95th percentiles) of the second quarter and of the last:",
            "",
            "| | second quarter | last quarter | |\n|---|---|---|---|",
            *figures,
        ]
    )


def write(text: str) -> None:
    """Put the section in its place in the docs."""
    page = REPORT.read_text()
    begin, end = "<!-- soak -->", "<!-- /soak -->"
    before, rest = page.split(begin)
    REPORT.write_text(f"{before}{begin}\n{text}\n{rest[rest.index(end) :]}")


def main() -> None:
    """Run it, print what came of it, and keep it unless it was a short look."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--keep", action="store_true", help="write it into docs/reliability.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as root:
        told, measured = run(given.minutes, Path(root))
    text = table(given.minutes, told, measured)
    print(text)
    if given.keep:
        write(text)
    if any(told[name] for name in BAD) or not all(line.flat for line in measured):
        sys.exit(1)


if __name__ == "__main__":
    main()
