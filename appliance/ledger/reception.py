"""What arrived: one row for each object with content of its own, and a job to analyse it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from sqlite_utils import Database

from appliance.ledger import event, lease, outbox
from appliance.ledger.clock import boot_id, boot_seconds, utc_now
from appliance.ledger.connection import Ledger, Row, insert
from appliance.ledger.current import newest


@dataclass(frozen=True)
class Received:
    """A stored object as the receiver describes it; text elements as decoded, "" when absent."""

    SOPInstanceUID: str
    SOPClassUID: str
    TransferSyntaxUID: str
    sha256: str
    size: int
    calling_ae_title: str
    peer: str
    StudyInstanceUID: str = ""
    SeriesInstanceUID: str = ""
    PatientID: str = ""
    PatientName: str = ""
    PatientBirthDate: str = ""
    Modality: str = ""
    Manufacturer: str = ""
    ManufacturerModelName: str = ""
    SeriesNumber: int = 0
    InstanceNumber: int = 0
    NumberOfFrames: int = 0
    Rows: int = 0
    Columns: int = 0
    ContentDateTime: str = ""
    TimezoneOffsetFromUTC: str = ""
    SeriesDescription: str = ""


@dataclass(frozen=True)
class Recorded:
    """Where a received object stands: its row, and whether it was known.

    Attributes
    ----------
    seq
        Sequence number of its row; order of arrival.
    duplicate
        The same UID with the same bytes was here before; no row was written.
    differs
        The same UID with other bytes was here before; both are kept, this one is current.
    """

    seq: int
    duplicate: bool
    differs: bool


_COLUMN = {
    "SOPInstanceUID": "sop_instance_uid",
    "SOPClassUID": "sop_class_uid",
    "TransferSyntaxUID": "transfer_syntax_uid",
    "StudyInstanceUID": "study_instance_uid",
    "SeriesInstanceUID": "series_instance_uid",
    "PatientID": "patient_id",
    "PatientName": "patient_name",
    "PatientBirthDate": "patient_birth_date",
    "Modality": "modality",
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "manufacturer_model_name",
    "SeriesNumber": "series_number",
    "InstanceNumber": "instance_number",
    "NumberOfFrames": "number_of_frames",
    "Rows": "rows",
    "Columns": "columns",
    "ContentDateTime": "content_date_time",
    "TimezoneOffsetFromUTC": "timezone_offset_from_utc",
    "SeriesDescription": "series_description",
}


_COLUMNS = [(field.name, _COLUMN.get(field.name, field.name)) for field in fields(Received)]


def find(ledger: Ledger, SOPInstanceUID: str, sha256: str) -> int | None:
    """Return the sequence number of an object by UID and content, or None."""
    row = ledger.read_one(
        "SELECT seq FROM instance WHERE sop_instance_uid = ? AND sha256 = ?",
        [SOPInstanceUID, sha256],
    )
    return row["seq"] if row else None


def current(ledger: Ledger, SOPInstanceUID: str) -> int | None:
    """Return the sequence number of the object that stands under a UID, or None."""
    row = ledger.read_one(
        "SELECT seq FROM instance WHERE sop_instance_uid = ? ORDER BY arrival DESC, seq DESC LIMIT 1",
        [SOPInstanceUID],
    )
    return row["seq"] if row else None


def record(ledger: Ledger, received: Received, originals: Sequence[str] = ()) -> Recorded:
    """Write that an object is kept, queue its analysis, and itself for `originals`.

    Parameters
    ----------
    ledger
        The box's ledger.
    received
        The stored object.
    originals
        Destinations that get every object byte for byte.

    Notes
    -----
    Once this returns, the row is on disk (`synchronous=FULL`) and the sender may be told so
    (PS3.4 B.2.3). The same UID with other bytes gets a row of its own, which is current from
    then on. With the same bytes it changes nothing, unless other bytes came in between (the
    machine's last word is current again) or its file was purged (it is here again).
    Results of a decision on what was current before, which haven't left yet, are withdrawn.
    """
    return record_all(ledger, [received], originals)[0]


def record_all(
    ledger: Ledger, received: Sequence[Received], originals: Sequence[str] = ()
) -> list[Recorded]:
    """Record several objects by one commit, in their order (see `record`)."""
    with ledger.transaction() as db:
        return [record_within(db, one, originals) for one in received]


def whole_again(ledger: Ledger, seq: int) -> None:
    """Have an object analysed whose file was gone or damaged, unless it was before that."""
    with ledger.transaction() as db:
        sealed = db.conn.execute(
            "SELECT 1 FROM analysis WHERE seq = ? AND state = 'sealed'", [seq]
        ).fetchone()
        job = db.conn.execute("SELECT id FROM job WHERE seq = ?", [seq]).fetchone()
        if sealed or job is None:
            return
        # Also from an engine that is just reading what was damaged: its answer counts no more.
        lease.free(db, "job", job["id"])
        db.table("job").update(job["id"], {"state": "queued", "tries": 0})
        event.set_state(db, seq, "received", "sent again: its file is whole again")


def record_within(db: Database, received: Received, originals: Sequence[str]) -> Recorded:
    """Record an object (see `record`). Call inside a transaction."""
    # Two looks into indexes: a sender that repeats one UID a thousand times, with other bytes
    # each time, must not make reception slower for everybody.
    row = db.conn.execute(
        f"SELECT i.seq, i.purged_at, {newest('i')} AS newest FROM instance i"
        " WHERE i.sop_instance_uid = ? AND i.sha256 = ?",
        [received.SOPInstanceUID, received.sha256],
    ).fetchone()
    if row:
        if row["newest"] != row["seq"]:
            stands_again(db, row["seq"], row["newest"])
        if row["purged_at"]:
            _is_here_again(db, row["seq"])
        return Recorded(row["seq"], duplicate=True, differs=False)
    known = db.conn.execute(
        "SELECT seq FROM instance WHERE sop_instance_uid = ? ORDER BY arrival DESC, seq DESC LIMIT 1",
        [received.SOPInstanceUID],
    ).fetchone()
    seq = insert(db, "instance", _row(received))
    insert(db, "job", {"seq": seq, "state": "queued", "tries": 0})
    detail = "same UID as an earlier object, other content" if known else ""
    event.record(db, seq, "instance", "received", detail)
    if known:
        # What was decided on the older one is not of what now stands, and waits for nothing.
        outbox.replaced(db, known["seq"])
        _comes_last(db, seq)
    outbox.queue(db, seq, None, [(name, "original") for name in originals])
    return Recorded(seq, duplicate=False, differs=bool(known))


def _row(received: Received) -> Row:
    values = {column: getattr(received, name) for name, column in _COLUMNS}
    boot = {"received_boot_id": boot_id(), "received_boot_s": boot_seconds()}
    return {**values, **boot, "received_at": utc_now(), "state": "received", "reason": ""}


def _is_here_again(db: Database, seq: int) -> None:
    db.conn.execute("UPDATE instance SET purged_at = '', kept_in = '' WHERE seq = ?", [seq])
    event.record(db, seq, "instance", "received", "sent again: its file is here again")


def stands_again(db: Database, seq: int, over: int) -> None:
    """Make an object current again, over another of its UID. Call inside a transaction."""
    outbox.replaced(db, over)
    outbox.stands_again(db, seq)
    event.record(db, seq, "instance", "received", "sent again: it replaces what came in between")
    _comes_last(db, seq)


def _comes_last(db: Database, seq: int) -> None:
    """Events are numbered in the order of arrival, also of what has its row already."""
    db.conn.execute(
        "UPDATE instance SET arrival = (SELECT max(id) FROM event) WHERE seq = ?", [seq]
    )
