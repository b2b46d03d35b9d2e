"""The ledger's file: opening it, transactions that can race, waiting for somebody else's change."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from appliance.errors import LedgerError
from appliance.ledger import schema
from appliance.ledger.news import News

DAMAGE_MARK = "ledger.damaged"  # beside the file: whoever runs stops, and looks at all of it
# SQLITE_CORRUPT and SQLITE_NOTADB in SQLite's words; "malformed JSON" is neither.
_DAMAGE = ("disk image is malformed", "malformed database schema", "not a database")

Row = dict[str, Any]
Parameters = Sequence[Any] | Mapping[str, Any]

_BUSY_S = 10.0  # a transaction is never longer than 50 ms: a longer wait means a hung writer
_POLL_S = 0.02  # PRAGMA data_version costs about 2 µs; 20 ms are not noticed at the bedside


class Ledger:
    """The SQLite file of a box. Safe to share between threads: each gets its own connection.

    Parameters
    ----------
    state_dir
        The box's state directory; the file is `ledger.db` in it.

    Raises
    ------
    LedgerError
        When the file can't be opened, is damaged, or comes from a newer release.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "ledger.db"
        self._local = threading.local()
        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
            # It holds names: nobody else reads it, whoever made the directory. SQLite gives its
            # other files the same rights. One that is there isn't opened: closing it again would
            # end the locks of every connection that this process has to it (POSIX).
            if not self.path.exists():
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o640))
            schema.migrate(self.path, self._connect)
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                "open the ledger",
                f"{self.path}: {error}",
                "Check that the state directory is writable and the file system is sound.",
            ) from error

    @property
    def db(self) -> Database:
        """This thread's connection."""
        if not hasattr(self._local, "db"):
            self._local.db = Database(self._connect())
            self._local.end = _End(self._local.db.conn)
        db: Database = self._local.db
        return db

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        # One process runs checkpoints (see `checkpoint`): several at once can lose a WAL
        # reset in SQLite before 3.51.3.
        connection.execute("PRAGMA wal_autocheckpoint=0")
        return connection

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """Hold the write lock from the first statement to the commit.

        A deferred BEGIN takes the lock only at the first write, so that two claims could
        both read "free" before either writes.
        """
        db = self.db
        db.conn.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.conn.execute("COMMIT")
        except BaseException as error:
            self._note_damage(error)
            # Also of the commit: a disk that is full there leaves the transaction open.
            if db.conn.in_transaction:
                db.conn.execute("ROLLBACK")
            raise

    def _note_damage(self, error: BaseException) -> None:
        if is_damage(error):
            with suppress(OSError):
                self.path.with_name(DAMAGE_MARK).touch(mode=0o640)

    def read(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Return the rows of a query as dictionaries."""
        try:
            cursor = self.db.conn.execute(sql, parameters)
            # dict(row) would look every name up along the row: half the time of a long list.
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]
        except sqlite3.Error as error:
            self._note_damage(error)
            raise

    def read_one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """Return the first row of a query, or None."""
        row = self.db.conn.execute(sql, parameters).fetchone()
        return dict(row) if row is not None else None

    def data_version(self) -> int:
        """Return a number that changes whenever another connection has committed."""
        version: int = self.db.conn.execute("PRAGMA data_version").fetchone()[0]
        return version

    def wait_for_change(
        self, wait: Callable[[float], bool], timeout: float, poll: float = _POLL_S
    ) -> bool:
        """Wait until another connection commits.

        Parameters
        ----------
        wait
            Sleeps for the seconds given and returns True when the service must stop
            (`service.Stop.wait`).
        timeout, poll
            Longest wait, and time between two looks while somebody writes, in seconds.

        Returns
        -------
        bool
            True when something changed; False at the timeout or when asked to stop.
        """
        seen, news = getattr(self._local, "seen", None), self._news()
        deadline = time.monotonic() + timeout
        while True:
            version = self.data_version()
            if version != seen:
                self._local.seen = version
                return True
            left = deadline - time.monotonic()
            if left <= 0 or news.sleep(wait, left, poll):
                return False

    def _news(self) -> News:
        if not hasattr(self._local, "news"):
            assert self.db  # its end is this thread's end
            self._local.news = News(self.path)
            self._local.end.also = self._local.news.close
        news: News = self._local.news
        return news

    def checkpoint(self) -> None:
        """Fold the WAL into the database. Only the process that holds the checkpoint lock may."""
        self.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close this thread's connection."""
        if hasattr(self._local, "db"):
            self._local.db.conn.close()
            del self._local.db
        if hasattr(self._local, "news"):
            self._local.news.close()
            del self._local.news


class _End:
    """Closes a connection when its thread ends: `Database` is a cycle, and held files until then."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.also: Callable[[], None] = lambda: None

    def __del__(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()
        self.also()


def is_damage(error: BaseException) -> bool:
    """Tell whether SQLite says that the file itself is broken."""
    return isinstance(error, sqlite3.Error) and any(word in str(error) for word in _DAMAGE)


def insert(db: Database, table: str, values: Row) -> int:
    """Insert a row and return its integer key. Call inside a transaction.

    Plain SQL: sqlite-utils looks at the table's schema each time, and would make a missing one.
    """
    names = ", ".join(f'"{name}"' for name in values)
    places = ", ".join("?" * len(values))
    cursor = db.conn.execute(
        f"INSERT INTO {table} ({names}) VALUES ({places})", list(values.values())
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid
