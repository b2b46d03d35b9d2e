"""A ledger as after years: many instances, analysed, reviewed and delivered."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from appliance.ledger import Ledger
from appliance.sector import Geometry

LOOPS_OF_A_STUDY = 50
_DETAILED = 2000  # the newest, as long as real ones; the columns of older ones aren't read here
_BATCH = 50_000
_AT = "2026-01-01T00:00:00Z"

Rows = Iterator[tuple[Any, ...]]


def fill(state_dir: Path, count: int, sha256: str = "") -> None:
    """Make the ledger of `state_dir` with `count` instances.

    Parameters
    ----------
    state_dir
        A box's.
    count
        Loops; `LOOPS_OF_A_STUDY` to a study.
    sha256
        Of the one file that all of them are said to have come in; "" gives each its own name, and
        no file.
    """
    ledger = Ledger(state_dir)
    connection = ledger.db.conn
    connection.execute("PRAGMA synchronous=OFF")
    for table, columns, rows in _tables(ledger.db, count, sha256):
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        while batch := list(islice(rows, _BATCH)):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(sql, batch)
            connection.execute("COMMIT")
    ledger.checkpoint()
    ledger.close()


def _tables(db: Database, count: int, sha256: str) -> Iterator[tuple[str, Sequence[str], Rows]]:
    numbers = range(1, count + 1)
    shared = {"state": "analysed", **({"sha256": sha256} if sha256 else {})}
    yield _filled(db, "instance", ({**_instance(n), **shared} for n in numbers))
    yield _filled(db, "job", ({"seq": n, "state": "done", "tries": 1} for n in numbers))
    yield _filled(db, "analysis", (_analysis(n, n > count - _DETAILED) for n in numbers))
    yield _filled(db, "view", (_view(n) for n in numbers))
    yield _filled(db, "review", (_review(n) for n in numbers))
    yield _filled(db, "outbox", (_delivery(n, kind) for n in numbers for kind in ("seg", "sr")))
    yield _filled(
        db,
        "event",
        (
            {"seq": n, "subject": subject, "state": "", "detail": "", "at": _AT}
            for n in numbers
            for subject in ("instance", "analysis", "review")
        ),
    )


def _filled(
    db: Database, table: str, rows: Iterator[dict[str, Any]]
) -> tuple[str, Sequence[str], Rows]:
    """Complete rows with nothing of the right type for the columns they leave out."""
    nothing = {"TEXT": "", "INTEGER": 0, "REAL": 0.0}
    columns = [column for column in db.table(table).columns if not column.is_pk]
    blank = {c.name: nothing[c.type] if c.notnull else None for c in columns}
    return table, list(blank), ((*({**blank, **row}).values(),) for row in rows)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _instance(number: int) -> dict[str, Any]:
    study = number // LOOPS_OF_A_STUDY
    return {
        "sop_instance_uid": f"1.2.826.0.1.3680043.8.498.1.{number}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.3.1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.4.50",
        "study_instance_uid": f"1.2.826.0.1.3680043.8.498.2.{study}",
        "series_instance_uid": f"1.2.826.0.1.3680043.8.498.3.{study}",
        "patient_id": f"P{study}",
        "patient_name": "BENCH^SYNTHETIC",
        "sha256": _sha256(str(number)),
        "size": 3_600_000,
        "number_of_frames": 60,
        "rows": 600,
        "columns": 800,
        "content_date_time": "20260101120000",
        "received_at": _AT,
    }


def _analysis(number: int, detailed: bool) -> dict[str, Any]:
    volumes = {"edv_ml": 100.0 + number % 40, "esv_ml": 45.0 + number % 20, "la_volume_ml": 50.0}
    beats = [{"ed": 12 * n, "es": 12 * n + 5, "ef": 50.0 + n, "agrees": True} for n in range(3)]
    stages = ("decode", "letterbox", "infer", "post", "store")
    frames = [{"frame": n, "lv_cm2": 30.1, "la_cm2": 15.2} for n in range(60)]
    found = {
        "measures": {
            "ef_percent": 55.0,
            "ed_frame": 0,
            "es_frame": 5,
            **volumes,
            "beats": beats,
            "withheld": {},
        },
        "quality": {"word": "good picture", "notes": [], "damaged": [], "doubtful": [number % 60]},
        "timings": {
            "frames": 60,
            "stages": {stage: {"ms": number / 7} for stage in stages},
            "first_masks_ms": 200.0,
            "total_ms": 1000.0,
        },
        "geometry": Geometry.identity(600, 800).to_dict(),
        "calibration": {"mm_per_pixel": 0.3, "aspect": 1.0, "trusted": True},
        "timing": {"rate_hz": 30.0, "source": "FrameTime"},
        "labels": [{"name": name, "label": 1, "colour": "#56B4E9"} for name in ("LV", "LA")],
        "per_frame": frames if detailed else [],
    }
    return {
        "seq": number,
        "frames": 60,
        "state": "sealed",
        "sha256": _sha256(f"analysis {number}"),
        **{column: json.dumps(value) for column, value in found.items()},
    }


def _view(number: int) -> dict[str, Any]:
    return {"seq": number, "view": "A4C", "source": "model", "figures": "{}", "at": _AT}


def _review(number: int) -> dict[str, Any]:
    return {
        "seq": number,
        "analysis_id": number,
        "decision": "accepted",
        "measures": "{}",
        "geometry": "{}",
        "key": str(number),
        "at": _AT,
    }


def _delivery(number: int, kind: str) -> dict[str, Any]:
    named = {"review_id": number, "seq": number, "destination": "pacs", "kind": kind}
    return {**named, "state": "proven", "queued_at": _AT, "changed_at": _AT}
