"""The table of commands: what the page asks of another service, and what came of it."""

from sqlite_utils import Database, Migrations


def register(migrations: Migrations) -> None:
    """Add this table to the ledger's migrations."""

    @migrations(name="0067_command")
    def _command(db: Database) -> None:
        # `state`: asked, taken, done, failed. `answer` is a JSON list of sentences.
        db.execute(
            "CREATE TABLE command (id INTEGER PRIMARY KEY, service TEXT NOT NULL,"
            ' what TEXT NOT NULL, subject TEXT NOT NULL, "by" TEXT NOT NULL, at TEXT NOT NULL,'
            " state TEXT NOT NULL, answer TEXT NOT NULL, answered_at TEXT NOT NULL) STRICT"
        )
        db.execute("CREATE INDEX command_open ON command (service) WHERE state = 'asked'")
        db.execute("CREATE INDEX command_subject ON command (what, subject, id)")
