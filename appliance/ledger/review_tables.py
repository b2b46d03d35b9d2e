"""What reviews hold since the first release."""

from sqlite_utils import Database, Migrations


def register(migrations: Migrations) -> None:
    """Add these columns to the ledger's migrations."""

    @migrations(name="0060_restores")
    def _restores(db: Database) -> None:
        # Of an undo: the review that stands again, null where none does. After those of earlier
        # releases none stood.
        db.execute("ALTER TABLE review ADD COLUMN restores INTEGER REFERENCES review (id)")
