"""Tables of models on trial: what a candidate drew in the shadow, what a new one did wrong."""

from sqlite_utils import Database, Migrations


def register(migrations: Migrations) -> None:
    """Add these tables to the ledger's migrations."""

    @migrations(name="0071_release_mark")
    def _release_mark(db: Database) -> None:
        # How far the ledger was at a release's step: what came before it and what after.
        db.execute(
            "CREATE TABLE release_mark (step INTEGER PRIMARY KEY REFERENCES release_step (id),"
            " analysis INTEGER NOT NULL, review INTEGER NOT NULL, event INTEGER NOT NULL) STRICT"
        )

    @migrations(name="0072_shadow")
    def _shadow(db: Database) -> None:
        # `sha256` is the candidate's bundle, `against` the model in force; `figures` are JSON.
        for table, about in (("shadow_loop", "analysis"), ("shadow_review", "review")):
            db.execute(
                f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, name TEXT NOT NULL,"
                f" sha256 TEXT NOT NULL, against TEXT NOT NULL,"
                f" {about}_id INTEGER NOT NULL REFERENCES {about} (id),"
                " figures TEXT NOT NULL, at TEXT NOT NULL) STRICT"
            )
            db.execute(f"CREATE UNIQUE INDEX {table}_once ON {table} (sha256, {about}_id, against)")

    @migrations(name="0073_release_fault")
    def _release_fault(db: Database) -> None:
        # `step` is the release's newest one then; `kind`: crash, failed. One row of `release_loading` while a new model is being loaded.
        db.execute(
            "CREATE TABLE release_fault (id INTEGER PRIMARY KEY, name TEXT NOT NULL,"
            " sha256 TEXT NOT NULL, step INTEGER NOT NULL, kind TEXT NOT NULL, why TEXT NOT NULL, at TEXT NOT NULL) STRICT"
        )
        db.execute("CREATE INDEX release_fault_of ON release_fault (sha256, id)")
        db.execute(
            "CREATE TABLE release_loading (id INTEGER PRIMARY KEY CHECK (id = 1),"
            " name TEXT NOT NULL, boot_id TEXT NOT NULL, at TEXT NOT NULL) STRICT"
        )
