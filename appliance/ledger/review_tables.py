"""What the ledger holds of reviews since the first release."""

from sqlite_utils import Database, Migrations


def register(migrations: Migrations) -> None:
    """Add these columns and tables to the ledger's migrations."""

    @migrations(name="0060_restores")
    def _restores(db: Database) -> None:
        # Of an undo: the review that stands again, null where none does. After those of earlier
        # releases none stood.
        db.execute("ALTER TABLE review ADD COLUMN restores INTEGER REFERENCES review (id)")

    @migrations(name="0069_report_basis")
    def _report_basis(db: Database) -> None:
        # The newest review of all when the first of a review's results was first tried.
        db.execute(
            "CREATE TABLE report_basis (review_id INTEGER PRIMARY KEY REFERENCES review (id),"
            " newest_review INTEGER NOT NULL) STRICT"
        )
