"""Tables of drift: figures of each loop and review, and what each day's look found."""

from sqlite_utils import Database, Migrations

_FIGURES = [
    # A row for each loop a model's gates have judged. `outcome` is drawn or refused; `day` is on
    # the box's calendar; `figures` is JSON, a number each.
    "CREATE TABLE drift_loop (id INTEGER PRIMARY KEY,"
    " seq INTEGER NOT NULL REFERENCES instance (seq), model TEXT NOT NULL,"
    " outcome TEXT NOT NULL, day TEXT NOT NULL, scanner TEXT NOT NULL,"
    " figures TEXT NOT NULL) STRICT",
    "CREATE INDEX drift_loop_day ON drift_loop (model, day)",
    "CREATE INDEX drift_loop_seq ON drift_loop (seq)",
    # `size` is 1 less the Dice of what a correction changed; null where it can't be told.
    "CREATE TABLE drift_review (review_id INTEGER PRIMARY KEY REFERENCES review (id),"
    " seq INTEGER NOT NULL REFERENCES instance (seq), model TEXT NOT NULL,"
    " decision TEXT NOT NULL, day TEXT NOT NULL, size REAL) STRICT",
    "CREATE INDEX drift_review_day ON drift_review (model, day)",
]
_FOUND = [
    # Of each day, feature, reference and window: never looked at twice. `distance` reaches `threshold` where
    # they differ.
    "CREATE TABLE drift_day (id INTEGER PRIMARY KEY, model TEXT NOT NULL, day TEXT NOT NULL,"
    " feature TEXT NOT NULL, span TEXT NOT NULL, source TEXT NOT NULL, studies INTEGER NOT NULL,"
    " reference INTEGER NOT NULL, distance REAL, threshold REAL, mean REAL, reference_mean REAL,"
    " differs INTEGER NOT NULL) STRICT",
    "CREATE UNIQUE INDEX drift_day_once ON drift_day (model, day, feature, source, span)",
]


def register(migrations: Migrations) -> None:
    """Add these tables to the ledger's migrations."""

    @migrations(name="0074_drift_figures")
    def _figures(db: Database) -> None:
        for statement in _FIGURES:
            db.execute(statement)
        _freeze(db, "drift_loop", "drift_review")

    @migrations(name="0075_drift_day")
    def _found(db: Database) -> None:
        for statement in _FOUND:
            db.execute(statement)
        _freeze(db, "drift_day")


def _freeze(db: Database, *tables: str) -> None:
    for table in tables:
        for operation, verb in (("UPDATE", "changed"), ("DELETE", "deleted")):
            db.execute(
                f"CREATE TRIGGER {table}_is_never_{verb} BEFORE {operation} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} rows are immutable'); END"
            )
