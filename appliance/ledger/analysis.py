"""What the engine does: claim a loop, store label maps as they come, seal the result."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from appliance.errors import LedgerError
from appliance.ledger import event, lease
from appliance.ledger.clock import utc_now
from appliance.ledger.connection import Ledger, Row, insert

TRIES = 3  # after so many failed leases a loop is set aside for a person, never dropped
_MORE_TRIES = "It is tried again."


@dataclass(frozen=True)
class Claim:
    """A lease on one instance.

    Attributes
    ----------
    tries
        Counts this one too.
    view
        What a person said the loop shows; "" when nobody did.
    """

    job: int
    seq: int
    tries: int
    sha256: str
    owner: str
    view: str = ""


@dataclass(frozen=True)
class Opened:
    """What an analysis is made with; all of it becomes part of its identity.

    Attributes
    ----------
    geometry, timing, calibration
        `to_dict()` of the values of `sector.py` and `cine.py`.
    labels
        The manifest's structures: name, label, colour and code of each.
    research_use_only
        What the manifest said: results say so wherever they go (promise 13), also when the
        model is long gone from the box.
    """

    model_name: str
    model_version: str
    model_sha256: str
    engine: str
    precision: str
    geometry: dict[str, Any]
    frames: int
    timing: dict[str, Any]
    calibration: dict[str, Any]
    labels: list[dict[str, Any]]
    research_use_only: bool = True


def claim(ledger: Ledger, owner: str, lease_s: float) -> Claim | None:
    """Lease the waiting instance that somebody waits for most, or return None when nothing waits.

    First what is open on a page (`put_in_view`), then what has never been analysed, the newest
    first: the loop just recorded is the one somebody stands in front of. Last what has masks
    already and is to get new ones.
    """
    with ledger.transaction() as db:
        row = db.conn.execute(
            "SELECT id, job.seq AS seq, tries FROM job LEFT JOIN in_view ON in_view.seq = job.seq"
            f" WHERE state = 'queued' AND {lease.free_row('job')}"
            " ORDER BY tries, in_view.seq IS NULL, EXISTS (SELECT 1 FROM analysis"
            " WHERE analysis.seq = job.seq AND analysis.state = 'sealed'), job.seq DESC LIMIT 1",
            lease.parameters(),
        ).fetchone()
        if row is None:
            return None
        if row["tries"] >= TRIES:
            _quarantine(db, row["id"], row["seq"], "the analysis was cut short each time")
            return None
        lease.take(db, "job", row["id"], owner, lease_s)
        db.conn.execute("DELETE FROM in_view WHERE seq = ?", [row["seq"]])
        event.set_state(db, row["seq"], "analysing")
        sha256 = db.table("instance").get(row["seq"])["sha256"]
        said = db.conn.execute(
            "SELECT view FROM view WHERE seq = ? AND source = 'person' ORDER BY id DESC LIMIT 1",
            [row["seq"]],
        ).fetchone()
    view = said["view"] if said else ""
    return Claim(row["id"], row["seq"], row["tries"] + 1, sha256, owner, view)


def put_in_view(ledger: Ledger, seq: int) -> None:
    """Have a waiting instance analysed next: somebody looks at it now."""
    if ledger.read_one("SELECT 1 FROM in_view WHERE seq = ?", [seq]):
        return
    with ledger.transaction() as db:
        db.conn.execute("INSERT OR IGNORE INTO in_view (seq, at) VALUES (?, ?)", [seq, utc_now()])


def behind(ledger: Ledger) -> int:
    """Return how many instances wait for the engine, the one in its hands not counted."""
    [row] = ledger.read(
        f"SELECT count(*) AS waiting FROM job WHERE state = 'queued' AND {lease.free_row('job')}",
        lease.parameters(),
    )
    return int(row["waiting"])


def latest_timings(ledger: Ledger, limit: int = 50) -> list[Row]:
    """Return of the newest sealed analyses, newest first: engine, precision, timings, timing."""
    rows = ledger.read(
        "SELECT engine, precision, timings, timing FROM analysis WHERE state = 'sealed'"
        " ORDER BY id DESC LIMIT ?",
        [limit],
    )
    read = ("timings", "timing")
    return [{**row, **{name: json.loads(row[name]) for name in read}} for row in rows]


def recover(ledger: Ledger) -> int:
    """Free the leases of engines that died; return how many. Called while no other engine runs."""
    with ledger.transaction() as db:
        rows = db.conn.execute(
            "SELECT id, seq, tries, boot_id = :boot AS same_boot FROM job"
            " WHERE state = 'queued' AND owner IS NOT NULL",
            lease.parameters(),
        ).fetchall()
        for row in rows:
            lease.free(db, "job", row["id"])
            if not row["same_boot"]:  # a power cut says nothing against the loop
                db.table("job").update(row["id"], {"tries": max(0, row["tries"] - 1)})
            event.set_state(db, row["seq"], "received", "the engine was restarted")
    return len(rows)


def release(ledger: Ledger, claim: Claim, reason: str) -> None:
    """Give a claim back unfinished, without counting the try: the service stops, not the loop."""
    with ledger.transaction() as db:
        if lease.holds(db, "job", claim.job, claim.owner):
            lease.free(db, "job", claim.job)
            db.table("job").update(claim.job, {"tries": claim.tries - 1})
            event.set_state(db, claim.seq, "received", reason)


def release_all(ledger: Ledger, owner: str, reason: str) -> int:
    """Give back whatever an owner still holds, without counting the tries; return how many."""
    with ledger.transaction() as db:
        rows = db.conn.execute(
            "SELECT id, seq, tries FROM job WHERE state = 'queued' AND owner = ?", [owner]
        ).fetchall()
        for row in rows:
            lease.free(db, "job", row["id"])
            db.table("job").update(row["id"], {"tries": max(0, row["tries"] - 1)})
            event.set_state(db, row["seq"], "received", reason)
    return len(rows)


def renew(ledger: Ledger, claim: Claim, lease_s: float) -> bool:
    """Prolong a claim; False means it was lost and the work must stop."""
    with ledger.transaction() as db:
        return lease.renew(db, "job", claim.job, claim.owner, lease_s)


def open(ledger: Ledger, claim: Claim, opened: Opened) -> int:
    """Begin an analysis; its label maps show on the page as they come. Returns its id."""
    with ledger.transaction() as db:
        must_hold(db, claim)
        row = {
            "seq": claim.seq,
            "frames": opened.frames,
            "research_use_only": int(opened.research_use_only),
            "state": "open",
            "opened_at": utc_now(),
            **{name: getattr(opened, name) for name in _PLAIN},
            **{name: json.dumps(getattr(opened, name)) for name in _STRUCTURED},
        }
        analysis_id = insert(db, "analysis", row)
        event.record(db, claim.seq, "analysis", "open")
    return analysis_id


_PLAIN = ("model_name", "model_version", "model_sha256", "engine", "precision")
_STRUCTURED = ("geometry", "timing", "calibration", "labels")


def add_chunk(
    ledger: Ledger,
    claim: Claim,
    analysis_id: int,
    first_frame: int,
    frame_count: int,
    sha256: str,
    certainty_sha256: str | None = None,
    *,
    lease_s: float | None = None,
) -> None:
    """Record that the label maps of some frames, and how certain they are, are in the spool.

    The lease is renewed for `lease_s` seconds, where said.

    Raises
    ------
    LedgerError
        When the lease was lost.
    """
    with ledger.transaction() as db:
        must_hold(db, claim)
        if lease_s is not None:
            lease.renew(db, "job", claim.job, claim.owner, lease_s)
        insert(
            db,
            "chunk",
            {
                "analysis_id": analysis_id,
                "first_frame": first_frame,
                "frame_count": frame_count,
                "sha256": sha256,
                "certainty_sha256": certainty_sha256,
            },
        )
        event.record(db, claim.seq, "analysis", "chunk")


def seal(
    ledger: Ledger,
    claim: Claim,
    analysis_id: int,
    *,
    measures: dict[str, Any],
    per_frame: list[Any],
    quality: dict[str, Any],
    timings: dict[str, Any],
) -> str:
    """Make an analysis immutable and return its SHA-256, which reviews name.

    The hash covers the object, the model, the engine, the geometry, every label map and the
    measures: whoever accepts it accepts exactly these.
    """
    with ledger.transaction() as db:
        must_hold(db, claim)
        chunks = db.conn.execute(
            "SELECT first_frame, frame_count, sha256 FROM chunk WHERE analysis_id = ?"
            " ORDER BY first_frame",
            [analysis_id],
        )
        row = db.table("analysis").get(analysis_id)
        identity = [
            claim.sha256,
            *(row[name] for name in (*_PLAIN, *_STRUCTURED)),
            [list(chunk) for chunk in chunks],
            measures,
        ]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        db.table("analysis").update(
            analysis_id,
            {
                "state": "sealed",
                "sha256": digest,
                "sealed_at": utc_now(),
                "measures": json.dumps(measures),
                "per_frame": json.dumps(per_frame),
                "quality": json.dumps(quality),
                "timings": json.dumps(timings),
            },
        )
        _finish(db, claim.job, "done")
        event.set_state(db, claim.seq, "analysed")
    return digest


def keep(ledger: Ledger, claim: Claim, reason: str) -> None:
    """Record that an object is kept and not analysed, and why, in a sonographer's words."""
    with ledger.transaction() as db:
        must_hold(db, claim)
        _finish(db, claim.job, "done")
        event.set_state(db, claim.seq, "kept", reason)


def fail(ledger: Ledger, claim: Claim, problem: str) -> str:
    """Record a failed analysis; returns `received` when it is tried again, else `quarantined`."""
    with ledger.transaction() as db:
        must_hold(db, claim)
        if claim.tries >= TRIES:
            _quarantine(db, claim.job, claim.seq, problem)
            return "quarantined"
        lease.free(db, "job", claim.job)
        event.set_state(db, claim.seq, "received", f"{problem}. {_MORE_TRIES}")
        return "received"


def _quarantine(db: Database, job: int, seq: int, problem: str) -> None:
    _finish(db, job, "failed")
    reason = f"The analysis failed {TRIES} times and was stopped: {problem}. The loop is kept."
    event.set_state(db, seq, "quarantined", reason)


def _finish(db: Database, job: int, state: str) -> None:
    lease.free(db, "job", job)
    db.table("job").update(job, {"state": state})


def must_hold(db: Database, claim: Claim) -> None:
    """Refuse work on a loop that another engine has by now. Call inside a transaction.

    Raises
    ------
    LedgerError
        When the lease was lost.
    """
    if not lease.holds(db, "job", claim.job, claim.owner):
        raise LedgerError(
            "store an analysis",
            f"the lease on instance {claim.seq} was lost",
            "Another engine has it now; nothing of this one was stored.",
        )
