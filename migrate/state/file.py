"""The state file as a file: made whole or not at all, checked before it is believed, opened for one run.

It is made under another name, its tables committed and synced, then renamed
and the directory synced. An existing file is looked at without any change to
it (read-only, and immutable where it has no write-ahead log) until every check
has passed: whose it is, that it is one of ours, its version, its structure,
every seal, the accounts.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import xxhash

from ..errors import Exit, StateError
from ..model import BLOCK
from . import schema
from .checks import check_connection
from .database import Database, translated
from .place import sync_directory
from .rows import HOW_TO_REBUILD

Hook = Callable[[str], None]
Accounts = tuple[str, str]

# How a file of version n becomes one of version n + 1, from version 1 on: in one transaction.
MIGRATIONS: Sequence[Callable[[sqlite3.Connection], None]] = ()

HEADER_OCTETS = 100  # of a SQLite file; user_version stands at 60, application_id at 68
_STATEMENTS = 200  # prepared statements kept
_BUSY_S = 2.0


def no_hook(step: str) -> None:
    """Tests and simulators put their own in its place, to die between two steps."""


# --- making -------------------------------------------------------------------------------------


def temporary_name(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def remove_leftovers(path: Path) -> None:
    """Removes what a killed run left half-made. Under the lock."""
    with translated(path):
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{temporary_name(path)}{suffix}").unlink(missing_ok=True)


def make_file(path: Path, accounts: Accounts, wall: float, hook: Hook = no_hook) -> None:
    """Makes a new state file, durably. Under the lock, and only where none is."""
    if (wal := _wal(path)).exists():
        raise StateError(
            f"the state file {path} is missing, and its log {wal.name} is there",
            exit=Exit.STATE_DAMAGED,
            hint=f"Put the state file back. If it is lost: {HOW_TO_REBUILD}",
        )
    temporary = temporary_name(path)
    with translated(path):
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        os.chmod(temporary, 0o600)
        hook("named")
        connection = sqlite3.connect(temporary, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            fill(connection, accounts, wall, path)
            hook("filled")
            # From the first octet: otherwise the first run would write a second journal.
            connection.execute("PRAGMA journal_mode = WAL")
            hook("logged")
        finally:
            connection.close()
        hook("closed")
        handle = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        hook("synced")
        os.rename(temporary, path)
        hook("renamed")
        sync_directory(path.parent)
        hook("durable")


def fill(connection: sqlite3.Connection, accounts: Accounts, wall: float, path: Path) -> None:
    """The tables and the first entries of an empty database, in one transaction."""
    db = Database(connection, path)
    with db.transaction():
        schema.make_tables(connection)
        db.set_meta("source", accounts[0])
        db.set_meta("dest", accounts[1])
        db.set_meta("created", wall)
        for counter in ("run", "session", "message"):
            db.set_meta(counter, 0)


# --- looking ------------------------------------------------------------------------------------


def _wal(path: Path) -> Path:
    return Path(f"{path}-wal")


def _has_log(path: Path) -> bool:
    wal = _wal(path)
    return wal.exists() and wal.stat().st_size > 0


def check_header(path: Path, newest: int = schema.VERSION) -> None:
    """StateError when the file is empty, foreign or from a newer version. Reads a hundred octets, no more."""
    with translated(path), path.open("rb") as stream:
        header = stream.read(HEADER_OCTETS)
    if not header:
        raise StateError(
            f"the state file {path} is empty",
            exit=Exit.STATE_DAMAGED,
            hint=f"It was emptied or never written; it does not mean a first run. {HOW_TO_REBUILD}",
        )
    application, version = int.from_bytes(header[68:72]), int.from_bytes(header[60:64])
    if not header.startswith(schema.MAGIC) or application != schema.APPLICATION_ID:
        raise StateError(
            f"{path} is not a state file of popferry",
            exit=Exit.STATE_DAMAGED,
            hint="It is left as it is. Choose another file with --state.",
        )
    check_version(path, version, newest)


def check_version(path: Path, version: int, newest: int = schema.VERSION) -> None:
    if version > newest:
        raise StateError(
            f"the state file {path} was made by a newer version of popferry",
            exit=Exit.STATE_DAMAGED,
            hint="It is left as it is. Install the newest popferry and run it again.",
        )
    if version < 1:
        raise StateError(
            f"the state file {path} is damaged: it says version {version}, which never was",
            exit=Exit.STATE_DAMAGED,
            hint=HOW_TO_REBUILD,
        )


def open_read_only(path: Path, *, is_quiet: bool) -> Database:
    """The file opened so that nothing is written. ``is_quiet``: no run is using it.

    Where there is no log, nothing appears beside the file either.
    """
    with translated(path):
        how = "&immutable=1" if is_quiet and not _has_log(path) else ""
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro{how}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=_BUSY_S,
            cached_statements=_STATEMENTS,
        )
    return Database(connection, path)


def digest(path: Path) -> bytes:
    """A digest of the whole file, or nothing while a log belongs to it.

    It finds what a disk or another program has changed since. Who wants to deceive can write the note too, so a digest
    of cryptography would keep nobody out, and takes ten times as long.
    """
    with translated(path):
        if _has_log(path):
            return b""
        with path.open("rb") as stream:
            digest = xxhash.xxh3_128()
            while block := stream.read(BLOCK):
                digest.update(block)
            return digest.hexdigest().encode()


def look_at(path: Path, left_behind: bytes = b"") -> tuple[int, Accounts]:
    """Version and accounts of a file that passed every check. Under the lock; nothing is written.

    Where the file is, octet for octet, what the last run closed, that is proof
    enough, and takes a tenth of the time.
    """
    check_header(path, schema.VERSION)
    is_as_left = bool(left_behind) and digest(path) == left_behind
    db = open_read_only(path, is_quiet=True)
    try:
        version = db.one("PRAGMA user_version")
        check_version(path, version)
        if version == schema.VERSION and not is_as_left:
            check_connection(db)
        return version, (str(db.meta("source")), str(db.meta("dest")))
    finally:
        db.close()


def check_accounts(path: Path, found: Accounts, wanted: Accounts) -> None:
    if found != wanted:
        raise StateError(
            f"the state file {path} belongs to another pair: {found[0]} to {found[1]}, not {wanted[0]} to {wanted[1]}",
            exit=Exit.USAGE,
            hint="Choose another file with --state. popferry status --rebind OLD NEW follows a renamed account.",
        )


# --- opening ------------------------------------------------------------------------------------


def open_for_run(path: Path) -> Database:
    """The checked file, opened to be written."""
    with translated(path):
        os.chmod(path, 0o600)
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=_BUSY_S,
            cached_statements=_STATEMENTS,
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            settle(connection)
        except BaseException:
            connection.close()
            raise
    return Database(connection, path)


def settle(connection: sqlite3.Connection, *, temp_store: str = "FILE") -> None:
    """How a connection that writes behaves: every commit is on the disk before it returns."""
    for pragma in (
        "synchronous = FULL",
        "fullfsync = ON",  # macOS: fsync alone does not reach the platter
        "checkpoint_fullfsync = ON",
        "cell_size_check = ON",
        "trusted_schema = OFF",
        f"temp_store = {temp_store}",  # FILE: a listing of a million messages does not stay in memory
        "cache_size = -500",
        "temp.cache_size = -250",
        "journal_size_limit = 16777216",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.executescript(schema.LISTING + schema.GUARDS)


def migrate(path: Path, version: int, steps: Sequence[Callable[[sqlite3.Connection], None]]) -> None:
    """Brings a file of an older version to the newest, in one transaction, after a copy of it was made.

    Under the lock. The copy stays: ``<state>.version-<n>``.
    """
    copy = path.with_name(f"{path.name}.version-{version}")
    with translated(path):
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            _copy(connection, copy)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for step in steps[version - 1 :]:
                step(connection)
            connection.execute(f"PRAGMA user_version = {len(steps) + 1}")
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()


def _copy(connection: sqlite3.Connection, copy: Path) -> None:
    temporary = temporary_name(copy)
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    target = sqlite3.connect(temporary, isolation_level=None)
    try:
        connection.backup(target)
    finally:
        target.close()
    os.rename(temporary, copy)
    sync_directory(copy.parent)
