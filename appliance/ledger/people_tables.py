"""Tables of people: who may use the page, their sessions, bad PINs, and the audit's chain."""

# Initials stand on reviews for good: a user who is removed keeps the row, and nobody else gets
# the initials. PINs are here as argon2id strings only.
PEOPLE = (
    """CREATE TABLE user (
         id INTEGER PRIMARY KEY,
         initials TEXT NOT NULL UNIQUE,
         roles TEXT NOT NULL,
         pin TEXT NOT NULL,
         added_at TEXT NOT NULL,
         removed_at TEXT NOT NULL DEFAULT ''
       ) STRICT""",
    # A session belongs to one boot: times are seconds since it, so that no clock can stretch one.
    """CREATE TABLE session (
         id INTEGER PRIMARY KEY,
         token_sha256 TEXT NOT NULL UNIQUE,
         user_id INTEGER NOT NULL REFERENCES user (id),
         boot_id TEXT NOT NULL,
         begun_s REAL NOT NULL,
         seen_s REAL NOT NULL
       ) STRICT""",
    "CREATE INDEX session_user ON session (user_id)",
    # subject: "user:AK" or "address:10.1.2.3". until_s counts from the boot named beside it.
    """CREATE TABLE bad_pin (
         subject TEXT PRIMARY KEY,
         tries INTEGER NOT NULL,
         boot_id TEXT NOT NULL,
         until_s REAL NOT NULL,
         wait_s REAL NOT NULL
       ) STRICT""",
)

AUDIT = (
    """CREATE TABLE audit (
         id INTEGER PRIMARY KEY,
         at TEXT NOT NULL,
         who TEXT NOT NULL,
         what TEXT NOT NULL,
         subject TEXT NOT NULL,
         detail TEXT NOT NULL,
         sha256 TEXT NOT NULL
       ) STRICT""",
)
