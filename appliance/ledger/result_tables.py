"""Tables of the objects that reviews have become, and of what searches find them by."""

from sqlite_utils import Database, Migrations


def register(migrations: Migrations) -> None:
    """Add these tables to the ledger's migrations."""

    @migrations(name="0061_result_form")
    def _result_form(db: Database) -> None:
        # In which forms a review's segmentations may have left for a destination, newest last. Of
        # those that left before there were forms nothing is said here.
        db.execute(
            "CREATE TABLE result_form (id INTEGER PRIMARY KEY,"
            " review_id INTEGER NOT NULL REFERENCES review (id), destination TEXT NOT NULL,"
            " form TEXT NOT NULL, at TEXT NOT NULL) STRICT"
        )
        db.execute(
            "CREATE UNIQUE INDEX result_form_once ON result_form (review_id, destination, form)"
        )

    @migrations(name="0062_result_object")
    def _result_object(db: Database) -> None:
        # The objects that a review became, byte for byte as destinations get them. `form` is that
        # of the segmentation, "" of what has none; `number` counts the objects of one delivery.
        text = "kind form sop_class_uid sop_instance_uid series_instance_uid transfer_syntax_uid"
        columns = ", ".join(f"{name} TEXT NOT NULL" for name in f"{text} sha256 at".split())
        db.execute(
            f"CREATE TABLE result_object (id INTEGER PRIMARY KEY, {columns},"
            " review_id INTEGER NOT NULL REFERENCES review (id), number INTEGER NOT NULL,"
            " modality TEXT NOT NULL, series_number INTEGER NOT NULL, size INTEGER NOT NULL,"
            " purged_at TEXT NOT NULL) STRICT"
        )
        db.execute("CREATE UNIQUE INDEX result_object_uid ON result_object (sop_instance_uid)")
        db.execute("CREATE INDEX result_object_review ON result_object (review_id, kind)")

    @migrations(name="0063_described")
    def _described(db: Database) -> None:
        # What searches look at, of each file once (`content`: PS3.18 annex F), by its hash.
        db.execute(
            "CREATE TABLE described (sha256 TEXT PRIMARY KEY, study_instance_uid TEXT NOT NULL,"
            " study_date TEXT NOT NULL, accession_number TEXT NOT NULL, content TEXT NOT NULL)"
            " STRICT, WITHOUT ROWID"
        )
        db.execute("CREATE INDEX described_date ON described (study_date, study_instance_uid)")
        db.execute("CREATE INDEX described_accession ON described (accession_number)")
