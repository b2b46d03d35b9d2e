"""Tables of corrections on their way to the central archive."""

from sqlite_utils import Database, Migrations


def register(migrations: Migrations) -> None:
    """Add these tables to the ledger's migrations."""

    @migrations(name="0064_review_facts")
    def _facts(db: Database) -> None:
        # Who decided, by role alone, and what it took: null where the page didn't say.
        db.execute(
            "CREATE TABLE review_facts (review_id INTEGER PRIMARY KEY REFERENCES review (id),"
            " role TEXT NOT NULL, seconds INTEGER, strokes INTEGER) STRICT"
        )

    @migrations(name="0065_correction_release")
    def _correction_release(db: Database) -> None:
        # `pixels_sha256` names exactly what the person looked at: nothing else leaves.
        db.execute(
            "CREATE TABLE correction_release (id INTEGER PRIMARY KEY,"
            " review_id INTEGER NOT NULL REFERENCES review (id), pixels_sha256 TEXT NOT NULL,"
            ' "by" TEXT NOT NULL, at TEXT NOT NULL) STRICT'
        )
        db.execute("CREATE INDEX correction_release_review ON correction_release (review_id)")
        for table in ("review_facts", "correction_release"):
            _never_changes(db, table)

    @migrations(name="0076_correction_stay")
    def _correction_stay(db: Database) -> None:
        # Somebody looked and said no: it isn't asked again.
        db.execute(
            "CREATE TABLE correction_stay (review_id INTEGER PRIMARY KEY REFERENCES review (id),"
            ' "by" TEXT NOT NULL, at TEXT NOT NULL) STRICT'
        )
        _never_changes(db, "correction_stay")


def _never_changes(db: Database, table: str) -> None:
    for operation, verb in (("UPDATE", "changed"), ("DELETE", "deleted")):
        db.execute(
            f"CREATE TRIGGER {table}_is_never_{verb} BEFORE {operation} ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{table} rows are immutable'); END"
        )
