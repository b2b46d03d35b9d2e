"""The table of tokens: what programs know themselves by."""

from sqlite_utils import Database, Migrations


def register(migrations: Migrations) -> None:
    """Add this table to the ledger's migrations."""

    @migrations(name="0053_token")
    def _token(db: Database) -> None:
        # A removed one keeps its row: its name stands in the audit, and nobody else gets it.
        db.execute(
            "CREATE TABLE token (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
            " token_sha256 TEXT NOT NULL UNIQUE, added_by TEXT NOT NULL, added_at TEXT NOT NULL,"
            " removed_at TEXT NOT NULL DEFAULT '') STRICT"
        )
