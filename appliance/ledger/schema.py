"""Tables and migrations of the ledger. A migration must leave the file readable by the previous release."""

import fcntl
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlite_utils import Database, Migrations

from appliance.ledger import people_tables, tables

migrations = Migrations("echocart")


def migrate(path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
    """Bring the file to this release's schema, once, whichever service starts first."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = connect()
        try:
            migrations.apply(Database(connection))
        finally:
            connection.close()


def _create(db: Database, name: str, pk: str, columns: dict[str, Any], **options: Any) -> None:
    optional = options.pop("optional", ())
    required = {column for column in columns if column != pk and column not in optional}
    db.table(name).create(columns, pk=pk, not_null=required, strict=True, **options)


def _freeze(db: Database, table: str, when: str = "") -> None:
    """Make rows immutable: the database itself refuses, whoever asks."""
    for operation, verb in (("UPDATE", "changed"), ("DELETE", "deleted")):
        db.execute(
            f"CREATE TRIGGER {table}_is_never_{verb} BEFORE {operation} ON {table} {when}"
            f" BEGIN SELECT RAISE(ABORT, '{table} rows are immutable'); END"
        )


@migrations(name="0001_first_light")
def _first_light(db: Database) -> None:
    _receiving(db)
    _analysing(db)
    _reviewing(db)
    _delivering(db)


def _receiving(db: Database) -> None:
    text = dict.fromkeys(
        [
            "sop_instance_uid",
            "sop_class_uid",
            "transfer_syntax_uid",
            "study_instance_uid",
            "series_instance_uid",
            "patient_id",
            "patient_name",
            "patient_birth_date",
            "modality",
            "manufacturer",
            "manufacturer_model_name",
            "content_date_time",
            "timezone_offset_from_utc",
            "series_description",
            "sha256",
            "calling_ae_title",
            "peer",
            "received_at",
            "state",
            "reason",
        ],
        str,
    )
    number = dict.fromkeys(
        ["size", "number_of_frames", "rows", "columns", "series_number", "instance_number"], int
    )
    # A quiet study is told by the time since boot: no clock change closes it or holds it open.
    boot = {"received_boot_id": str, "received_boot_s": float}
    _create(db, "instance", "seq", {"seq": int, **text, **number, **boot})
    instance = db.table("instance")
    instance.create_index(["sop_instance_uid", "sha256"], unique=True)
    instance.create_index(["study_instance_uid"])
    # Every change of state with its time; its id is the version the page polls.
    _create(
        db,
        "event",
        "id",
        {"id": int, "seq": int, "subject": str, "state": str, "detail": str, "at": str},
        foreign_keys=[("seq", "instance", "seq")],
    )
    db.table("event").create_index(["seq"])


def _analysing(db: Database) -> None:
    lease = {"owner": str, "boot_id": str, "lease_until": float}
    _create(
        db,
        "job",
        "id",
        {"id": int, "seq": int, "state": str, "tries": int, **lease},
        foreign_keys=[("seq", "instance", "seq")],
        optional=lease,
    )
    db.table("job").create_index(["state", "id"])
    described = dict.fromkeys(
        [
            "model_name",
            "model_version",
            "model_sha256",
            "engine",
            "precision",
            "geometry",
            "timing",
            "calibration",
            "labels",
            "state",
            "opened_at",
        ],
        str,
    )
    sealed = dict.fromkeys(
        ["sha256", "sealed_at", "measures", "per_frame", "quality", "timings"], str
    )
    _create(
        db,
        "analysis",
        "id",
        {"id": int, "seq": int, "frames": int, "research_use_only": int, **described, **sealed},
        foreign_keys=[("seq", "instance", "seq")],
        optional=sealed,
    )
    db.table("analysis").create_index(["seq", "id"])
    chunk = {"id": int, "analysis_id": int, "first_frame": int, "frame_count": int, "sha256": str}
    _create(db, "chunk", "id", chunk, foreign_keys=[("analysis_id", "analysis", "id")])
    db.table("chunk").create_index(["analysis_id", "first_frame"], unique=True)
    _freeze(db, "analysis", "WHEN OLD.state = 'sealed'")


def _reviewing(db: Database) -> None:
    said = ["analysis_sha256", "patient_id", "decision", "reviewer", "reason", "measures"]
    made = ["geometry", "key", "at", "result_sop_instance_uid", "result_series_instance_uid"]
    text = dict.fromkeys([*said, *made], str)
    numbers = {"ed_frame": int, "es_frame": int, "parent": int}
    _create(
        db,
        "review",
        "id",
        {"id": int, "seq": int, "analysis_id": int, **text, **numbers},
        foreign_keys=[
            ("seq", "instance", "seq"),
            ("analysis_id", "analysis", "id"),
            ("parent", "review", "id"),
        ],
        optional=numbers,
    )
    db.table("review").create_index(["key"], unique=True)
    db.table("review").create_index(["seq", "id"])
    chunk = {"id": int, "review_id": int, "first_frame": int, "frame_count": int, "sha256": str}
    _create(db, "review_chunk", "id", chunk, foreign_keys=[("review_id", "review", "id")])
    db.table("review_chunk").create_index(["review_id", "first_frame"], unique=True)
    for table in ("review", "review_chunk"):
        _freeze(db, table)


def _delivering(db: Database) -> None:
    lease = {"owner": str, "boot_id": str, "lease_until": float}
    optional = {"sha256": str, "size": int, "next_try_at": float, "next_try_boot_id": str}
    text = dict.fromkeys(
        ["destination", "kind", "state", "problem", "queued_at", "changed_at"], str
    )
    _create(
        db,
        "outbox",
        "id",
        {"id": int, "review_id": int, "seq": int, "tries": int, **text, **optional, **lease},
        foreign_keys=[("review_id", "review", "id"), ("seq", "instance", "seq")],
        optional=("review_id", *optional, *lease),
    )
    db.table("outbox").create_index(["review_id", "destination", "kind"], unique=True)
    # An original belongs to no review, and NULLs differ in a unique index.
    db.execute(
        "CREATE UNIQUE INDEX an_original_goes_once ON outbox (seq, destination)"
        " WHERE review_id IS NULL"
    )
    db.table("outbox").create_index(["state", "id"])
    db.table("outbox").create_index(["seq"])


@migrations(name="0002_settings")
def _settings(db: Database) -> None:
    text = dict.fromkeys(["name", "value", "by", "at"], str)
    _create(db, "setting", "id", {"id": int, **text})
    db.table("setting").create_index(["name", "id"])
    _freeze(db, "setting")


@migrations(name="0003_arrival")
def _arrival(db: Database) -> None:
    # 0, or the event that made an earlier object of this UID current again.
    db.execute("ALTER TABLE instance ADD COLUMN arrival INTEGER NOT NULL DEFAULT 0")


@migrations(name="0004_carts")
def _carts(db: Database) -> None:
    text = dict.fromkeys(["calling_ae", "address", "value", "by", "at"], str)
    _create(db, "cart", "id", {"id": int, "allowed": int, **text})
    db.table("cart").create_index(["calling_ae", "address", "id"])
    _freeze(db, "cart")
    said = dict.fromkeys(["calling_ae", "peer", "called_ae", "why"], str)
    times = dict.fromkeys(["first_at", "accepted_at", "rejected_at"], str)
    counts = dict.fromkeys(["tls", "accepted", "rejected"], int)
    _create(db, "caller", "id", {"id": int, **said, **counts, **times})
    db.table("caller").create_index(["calling_ae", "peer"], unique=True)


@migrations(name="0005_space")
def _space(db: Database) -> None:
    # When an object's file was removed to make room, and the destinations that keep it.
    for column in ("purged_at", "kept_in"):
        db.execute(f"ALTER TABLE instance ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
    db.execute("CREATE INDEX instance_present ON instance (seq, size) WHERE purged_at = ''")


@migrations(name="0006_quarantine")
def _quarantine(db: Database) -> None:
    said = ["announced_sop_instance_uid", "announced_sop_class_uid", "calling_ae_title", "peer"]
    text = dict.fromkeys([*said, "sop_instance_uid", "sop_class_uid", "why", "at"], str)
    _create(db, "quarantine", "id", {"id": int, "sha256": str, "size": int, **text})
    db.table("quarantine").create_index(["sha256"])


@migrations(name="0008_commitment")
def _commitment(db: Database) -> None:
    asked = dict.fromkeys(["transaction_uid", "calling_ae", "called_ae", "peer"], str)
    told = dict.fromkeys(["state", "problem", "requested_at", "changed_at"], str)
    lease = {"owner": str, "boot_id": str, "lease_until": float}
    due = {"next_try_at": float, "next_try_boot_id": str}
    _create(
        db,
        "commitment",
        "id",
        {"id": int, "tls": int, "tries": int, **asked, **told, **due, **lease},
        optional=(*due, *lease),
    )
    db.table("commitment").create_index(["state", "id"])
    # What the request names; once looked at, the row it was found in and PS3.3 C.14.1.1's
    # failure reason, 0 for none.
    item = {"sop_class_uid": str, "sop_instance_uid": str, "seq": int, "reason": int}
    _create(
        db,
        "commitment_item",
        "id",
        {"id": int, "commitment_id": int, **item},
        foreign_keys=[("commitment_id", "commitment", "id"), ("seq", "instance", "seq")],
        optional=("seq", "reason"),
    )
    db.table("commitment_item").create_index(["commitment_id"])
    db.table("commitment_item").create_index(["sop_instance_uid"])
    db.table("commitment_item").create_index(["seq"])


@migrations(name="0009_view")
def _view(db: Database) -> None:
    text = dict.fromkeys(["view", "source", "by", "figures", "at"], str)
    certainty = {"certainty": float}
    _create(
        db,
        "view",
        "id",
        {"id": int, "seq": int, **text, **certainty},
        foreign_keys=[("seq", "instance", "seq")],
        optional=certainty,
    )
    db.table("view").create_index(["seq", "id"])
    _freeze(db, "view")
    # What the review is about: the view that stood, and the person who had set it, if one had.
    for column in ("view", "view_by"):
        db.execute(f"ALTER TABLE review ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE chunk ADD COLUMN certainty_sha256 TEXT")


@migrations(name="0016_patient")
def _patient(db: Database) -> None:
    # A patient's earlier studies are looked for with every loop that is opened.
    db.execute("CREATE INDEX instance_patient ON instance (patient_id, seq)")


@migrations(name="0017_in_view")
def _in_view(db: Database) -> None:
    # Waiting loops that somebody has opened on a page: the engine takes these first.
    _create(
        db,
        "in_view",
        "seq",
        {"seq": int, "at": str},
        foreign_keys=[("seq", "instance", "seq")],
    )


@migrations(name="0020_engine_state")
def _engine_state(db: Database) -> None:
    # One row: what draws the masks now. History is in the analyses.
    text = dict.fromkeys(["model", "backend", "precision", "detail", "at"], str)
    _create(db, "engine_state", "id", {"id": int, **text})


@migrations(name="0021_newest")
def _newest(db: Database) -> None:
    # Which of many objects of one UID is current is asked for every row that is shown.
    db.execute("CREATE INDEX instance_newest ON instance (sop_instance_uid, arrival, seq)")


@migrations(name="0030_people")
def _people(db: Database) -> None:
    for statement in people_tables.PEOPLE:
        db.execute(statement)


@migrations(name="0031_audit")
def _audit(db: Database) -> None:
    for statement in people_tables.AUDIT:
        db.execute(statement)
    _freeze(db, "audit")
    from appliance.ledger import audit  # it imports what imports this

    audit.begin(db)


@migrations(name="0022_turned_away")
def _turned_away(db: Database) -> None:
    # Connections that were ended for another reason than the caller's title, each address and
    # reason once.
    said = dict.fromkeys(["peer", "why", "first_at", "last_at"], str)
    _create(db, "turned_away", "id", {"id": int, "times": int, **said})
    db.table("turned_away").create_index(["peer", "why"], unique=True)
    # An earlier release kept them among the callers, and may do so again.
    db.execute(
        "INSERT INTO turned_away (peer, why, times, first_at, last_at)"
        " SELECT peer, why, rejected, first_at, rejected_at FROM caller"
        " WHERE calling_ae = ''"
    )


@migrations(name="0025_engine_models")
def _engine_models(db: Database) -> None:
    # The models in force, in the order they are asked: the row's id, from 1 on.
    text = dict.fromkeys(["model", "views", "backend", "precision", "problem"], str)
    _create(db, "engine_model", "id", {"id": int, **text})


@migrations(name="0035_expert")
def _expert(db: Database) -> None:
    # Loops that somebody wasn't sure of; `after` is the loop's newest review then, 0 for none.
    text = dict.fromkeys(["by", "note", "key", "at"], str)
    _create(
        db,
        "expert",
        "id",
        {"id": int, "seq": int, "after": int, **text},
        foreign_keys=[("seq", "instance", "seq")],
    )
    db.table("expert").create_index(["key"], unique=True)
    db.table("expert").create_index(["seq", "id"])
    _freeze(db, "expert")


@migrations(name="0036_identity")
def _identity(db: Database) -> None:
    # What a person said of a study with several PatientIDs (a JSON list, sorted).
    text = dict.fromkeys(["study_instance_uid", "patient_ids", "by", "at"], str)
    _create(db, "identity", "id", {"id": int, **text, "right": str}, optional=("right",))
    db.table("identity").create_index(["study_instance_uid", "id"])
    _freeze(db, "identity")


@migrations(name="0037_draft")
def _draft(db: Database) -> None:
    text = dict.fromkeys(["reviewer", "analysis_sha256", "content", "at"], str)
    columns = {"id": int, "seq": int, **text}
    _create(db, "draft", "id", columns, foreign_keys=[("seq", "instance", "seq")])
    db.table("draft").create_index(["seq", "reviewer"], unique=True)


@migrations(name="0041_decided")
def _decided(db: Database) -> None:
    # Null in rows of releases that knew neither. A study is quiet since the newest of these.
    db.execute("ALTER TABLE review ADD COLUMN decided_boot_id TEXT")
    db.execute("ALTER TABLE review ADD COLUMN decided_boot_s REAL")
    # JSON: [PatientID, name, birth date] of each person shown, and of the one who was named.
    db.execute("ALTER TABLE identity ADD COLUMN identities TEXT")
    db.execute("ALTER TABLE identity ADD COLUMN right_identity TEXT")


for _register in tables.REGISTER:
    _register(migrations)
