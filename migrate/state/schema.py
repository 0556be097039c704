"""The tables of the state file, and what makes a file one of ours.

``message`` has one row for each message that a listing of the source ever
showed; ``served`` is the index of what the destination held before us;
``mailbox`` remembers the destination's mailboxes; ``meta`` holds the accounts
and the counters. Every row carries a seal (``rows``), because a flipped bit in
a SQLite file goes unnoticed in many places.
"""

from __future__ import annotations

import sqlite3

from ..model import TRANSITIONS, Stage

APPLICATION_ID = 0x706F7066  # "popf"
VERSION = 1
MAGIC = b"SQLite format 3\0"

# In the order in which ``rows`` reads, writes and seals them.
COLUMNS = (
    "id",
    "uid",
    "octets",
    "stage",
    "origin",
    "mailbox",
    "flags",
    "internaldate",
    "date_source",
    "size",
    "exact",
    "settled",
    "oddities",
    "idx",
    "content",
    "has_message_id",
    "uidvalidity",
    "uidnext",
    "uid_dest",
    "twin",
    "proof",
    "reason",
    "attempts",
    "verified_at",
    "proven_run",
    "fetched_session",
    "is_spooled",
)


def quoted(*stages: Stage) -> str:
    """The stages as a SQL list."""
    return ", ".join(f"'{stage.value}'" for stage in stages)


TABLES = """
CREATE TABLE meta (
  key TEXT PRIMARY KEY NOT NULL,
  value,
  seal BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE mailbox (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  uidvalidity INTEGER,
  floor INTEGER,
  scanned INTEGER,
  looked INTEGER,
  seal BLOB NOT NULL
);

CREATE TABLE message (
  id INTEGER PRIMARY KEY,
  uid BLOB NOT NULL,
  octets INTEGER,
  stage TEXT NOT NULL,
  origin TEXT,
  mailbox INTEGER,
  flags TEXT NOT NULL DEFAULT '',
  internaldate TEXT,
  date_source TEXT,
  size INTEGER,
  exact BLOB,
  settled BLOB,
  oddities INTEGER,
  idx BLOB,
  content BLOB,
  has_message_id INTEGER,
  uidvalidity INTEGER,
  uidnext INTEGER,
  uid_dest INTEGER,
  twin INTEGER,
  proof TEXT NOT NULL DEFAULT '',
  reason TEXT NOT NULL DEFAULT '',
  attempts INTEGER NOT NULL DEFAULT 0,
  verified_at INTEGER,
  proven_run INTEGER,
  fetched_session INTEGER,
  is_spooled INTEGER NOT NULL DEFAULT 0,
  seal BLOB NOT NULL,
  CHECK (uid_dest IS NULL OR (mailbox IS NOT NULL AND uidvalidity IS NOT NULL))
);
CREATE INDEX message_uid ON message (uid, octets);
CREATE INDEX message_idx ON message (idx) WHERE idx IS NOT NULL;
CREATE UNIQUE INDEX message_claim ON message (mailbox, uid_dest, uidvalidity) WHERE uid_dest IS NOT NULL;
CREATE INDEX message_stage ON message (stage);

CREATE TABLE served (
  mailbox INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  idx BLOB NOT NULL,
  octets INTEGER NOT NULL,
  content BLOB,
  seal BLOB NOT NULL,
  PRIMARY KEY (mailbox, uid)
) WITHOUT ROWID;
CREATE INDEX served_idx ON served (mailbox, idx);
"""


def _illegal_step() -> str:
    """One search in one text: it is asked for every row that is written."""
    legal = ";".join(f"{a.value}>{b.value}" for a, stages in TRANSITIONS.items() for b in sorted_stages(stages))
    return f"OLD.stage <> NEW.stage AND instr(';{legal};', ';' || OLD.stage || '>' || NEW.stage || ';') = 0"


def sorted_stages(stages: frozenset[Stage]) -> list[Stage]:
    return sorted(stages, key=lambda stage: stage.value)


# Guards belong to the connection, not to the file: they are always those of the program that writes.
GUARDS = f"""
CREATE TEMP TRIGGER legal_step BEFORE UPDATE OF stage ON main.message WHEN {_illegal_step()}
BEGIN SELECT RAISE(ABORT, 'illegal transition'); END;
CREATE TEMP TRIGGER same_message BEFORE UPDATE OF id ON main.message WHEN OLD.id <> NEW.id
BEGIN SELECT RAISE(ABORT, 'a row changed its id'); END;
CREATE TEMP TRIGGER first_step BEFORE INSERT ON main.message WHEN NEW.stage <> '{Stage.LISTED.value}'
BEGIN SELECT RAISE(ABORT, 'illegal transition: a new row is listed'); END;
CREATE TEMP TRIGGER never_forget BEFORE DELETE ON main.message
WHEN OLD.stage <> '{Stage.LISTED.value}' OR OLD.uid_dest IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a row that went further than listed is kept'); END;
"""

# The listing of the source session; it lives as long as the connection, in a temporary file of its own.
LISTING = """
CREATE TEMP TABLE bound (
  number INTEGER PRIMARY KEY,
  uid BLOB NOT NULL,
  octets INTEGER,
  row INTEGER,
  is_fault INTEGER NOT NULL,
  is_unsure INTEGER NOT NULL DEFAULT 0,
  is_resolved INTEGER NOT NULL DEFAULT 0
);
CREATE TEMP TABLE unsure (uid BLOB PRIMARY KEY, refs INTEGER, rows INTEGER) WITHOUT ROWID;
CREATE TEMP TABLE blank (
  id INTEGER PRIMARY KEY,
  uid BLOB NOT NULL,
  octets INTEGER,
  rank INTEGER NOT NULL,
  is_taken INTEGER NOT NULL DEFAULT 0
);
CREATE TEMP TABLE spare (uid BLOB NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (uid, id)) WITHOUT ROWID;
CREATE TEMP TABLE named (uid BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE pair (number INTEGER PRIMARY KEY, row INTEGER NOT NULL);
"""


def make_tables(connection: sqlite3.Connection) -> None:
    """Creates every table in an empty database, in the transaction that is open."""
    for statement in TABLES.split(";"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def shape(connection: sqlite3.Connection) -> list[tuple[str, str, str | None]]:
    """Every table and index as the database itself describes it."""
    return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()


def expected_shape() -> list[tuple[str, str, str | None]]:
    connection = sqlite3.connect(":memory:")
    try:
        make_tables(connection)
        return shape(connection)
    finally:
        connection.close()
