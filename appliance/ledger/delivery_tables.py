"""Tables of what destinations are asked to answer for, and how the outbox is gone through."""

from sqlite_utils import Database, Migrations

# `awaits` says who has to act before the courier goes on with a row: nobody (""), a report of
# storage commitment ("commitment"), or the destination's administrator ("permission").
_STATEMENTS = [
    "ALTER TABLE outbox ADD COLUMN awaits TEXT NOT NULL DEFAULT ''",
    # One walk in the order of the rows, whatever has been delivered before.
    "CREATE INDEX outbox_originals ON outbox (destination, id)"
    " WHERE state IN ('queued', 'sent') AND review_id IS NULL",
    "CREATE INDEX outbox_results ON outbox (destination, id)"
    " WHERE state IN ('queued', 'sent') AND review_id IS NOT NULL",
    "CREATE INDEX outbox_leased ON outbox (destination) WHERE owner IS NOT NULL",
    # A transaction of PS3.4 J.3.2: open (not yet answered), asked, reported, void.
    "CREATE TABLE asked (id INTEGER PRIMARY KEY, destination TEXT NOT NULL,"
    " transaction_uid TEXT NOT NULL, state TEXT NOT NULL, until_boot_id TEXT NOT NULL,"
    " until_s REAL NOT NULL, at TEXT NOT NULL, changed_at TEXT NOT NULL) STRICT",
    "CREATE UNIQUE INDEX asked_transaction ON asked (transaction_uid)",
    "CREATE INDEX asked_open ON asked (destination, state)",
    # An object that was sent: `reason` is null until a report names it, then 0 or why not.
    "CREATE TABLE asked_item (id INTEGER PRIMARY KEY,"
    " outbox_id INTEGER NOT NULL REFERENCES outbox (id), sop_class_uid TEXT NOT NULL,"
    " sop_instance_uid TEXT NOT NULL, times INTEGER NOT NULL,"
    " asked_id INTEGER REFERENCES asked (id), reason INTEGER) STRICT",
    "CREATE UNIQUE INDEX asked_item_once ON asked_item (outbox_id, sop_instance_uid)",
    "CREATE INDEX asked_item_object ON asked_item (sop_instance_uid)",
    "CREATE INDEX asked_item_transaction ON asked_item (asked_id)",
    # Reports as they came; `content` is JSON: [SOP class, SOP instance, failure reason] each.
    "CREATE TABLE report (id INTEGER PRIMARY KEY, transaction_uid TEXT NOT NULL,"
    " content TEXT NOT NULL, at TEXT NOT NULL, taken_at TEXT NOT NULL) STRICT",
    "CREATE INDEX report_transaction ON report (transaction_uid)",
    "CREATE INDEX report_new ON report (id) WHERE taken_at = ''",
    # Whether a destination can be used now, as its couriers found it.
    "CREATE TABLE destination_state (name TEXT PRIMARY KEY, problem TEXT NOT NULL,"
    " next_try_boot_id TEXT NOT NULL, next_try_at REAL NOT NULL, since TEXT NOT NULL) STRICT",
]

# Apart: what may go now, and what was tried and waits; `turn` walks along both.
_WALKS = [
    "DROP INDEX outbox_originals",
    "DROP INDEX outbox_results",
    "CREATE INDEX outbox_originals ON outbox (destination, id)"
    " WHERE state IN ('queued', 'sent') AND awaits != 'commitment' AND review_id IS NULL"
    " AND next_try_at IS NULL",
    "CREATE INDEX outbox_results ON outbox (destination, id)"
    " WHERE state IN ('queued', 'sent') AND awaits != 'commitment' AND review_id IS NOT NULL"
    " AND next_try_at IS NULL",
    "CREATE INDEX outbox_postponed ON outbox (destination, next_try_boot_id, next_try_at)"
    " WHERE state IN ('queued', 'sent') AND awaits != 'commitment' AND next_try_at IS NOT NULL",
]


def register(migrations: Migrations) -> None:
    """Add these tables to the ledger's migrations."""

    @migrations(name="0048_asked")
    def _asked(db: Database) -> None:
        for statement in _STATEMENTS:
            db.execute(statement)

    @migrations(name="0077_outbox_walks")
    def _outbox_walks(db: Database) -> None:
        for statement in _WALKS:
            db.execute(statement)

    @migrations(name="0078_outbox_release")
    def _outbox_release(db: Database) -> None:
        # Which release of Echocart tried it first; "" where none has, or none that knew of this.
        db.execute("ALTER TABLE outbox ADD COLUMN first_release TEXT NOT NULL DEFAULT ''")
