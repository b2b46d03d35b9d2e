"""The table of releases: what became of models that came by a signed update."""

from sqlite_utils import Database, Migrations


def register(migrations: Migrations) -> None:
    """Add this table to the ledger's migrations."""

    @migrations(name="0070_release_step")
    def _release_step(db: Database) -> None:
        # `sha256` is of the bundle: the same name with other content is another release. `before`
        # is the model that a promoted one replaced.
        db.execute(
            "CREATE TABLE release_step (id INTEGER PRIMARY KEY, name TEXT NOT NULL,"
            " sha256 TEXT NOT NULL, state TEXT NOT NULL, why TEXT NOT NULL,"
            ' before TEXT NOT NULL, "by" TEXT NOT NULL, at TEXT NOT NULL) STRICT'
        )
        db.execute("CREATE INDEX release_step_name ON release_step (name, id)")
