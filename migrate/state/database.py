"""One connection to SQLite: transactions, small questions, and its errors in our words."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import Exit, StateError
from ..model import Checkpoint, MailboxName
from .rows import HOW_TO_REBUILD, SELECTED, checkpoint_of, damaged_row, seal_message, seal_small

MEMORY = Path(":memory:")

_KINDS = {
    sqlite3.SQLITE_CORRUPT: Exit.STATE_DAMAGED,
    sqlite3.SQLITE_NOTADB: Exit.STATE_DAMAGED,
    sqlite3.SQLITE_FORMAT: Exit.STATE_DAMAGED,
    sqlite3.SQLITE_MISMATCH: Exit.STATE_DAMAGED,
    sqlite3.SQLITE_BUSY: Exit.STATE_LOCKED,
    sqlite3.SQLITE_LOCKED: Exit.STATE_LOCKED,
    sqlite3.SQLITE_PROTOCOL: Exit.STATE_LOCKED,
    sqlite3.SQLITE_FULL: Exit.STATE_UNWRITABLE,
    sqlite3.SQLITE_IOERR: Exit.STATE_UNWRITABLE,
    sqlite3.SQLITE_READONLY: Exit.STATE_UNWRITABLE,
    sqlite3.SQLITE_CANTOPEN: Exit.STATE_UNWRITABLE,
    sqlite3.SQLITE_PERM: Exit.STATE_UNWRITABLE,
    sqlite3.SQLITE_NOMEM: Exit.STATE_UNWRITABLE,
}

_HINTS = {
    Exit.STATE_DAMAGED: HOW_TO_REBUILD,
    Exit.STATE_LOCKED: "Another program uses it; try again when that has ended.",
    Exit.STATE_UNWRITABLE: "Check the free space, the owner and the health of the disk it stands on.",
    Exit.UNEXPECTED: "",
}


# The module decodes texts of a damaged file, and its error messages about them, before it raises.
_Foreign = (sqlite3.Error, OSError, UnicodeDecodeError)


def state_error(error: sqlite3.Error | OSError | UnicodeDecodeError, path: Path) -> StateError:
    """The same trouble as a StateError."""
    if isinstance(error, OSError):
        what = (
            "there is no space left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or "I/O error"
        )
        return unwritable(path, what)
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # The module itself raises these; of data, only text that is no UTF-8.
        is_text = isinstance(error, UnicodeDecodeError) or "UTF-8" in str(error)
        kind = Exit.STATE_DAMAGED if is_text else Exit.UNEXPECTED
    elif code == sqlite3.SQLITE_CORRUPT_INDEX or code & 0xFF in _KINDS:
        kind = _KINDS.get(code & 0xFF, Exit.STATE_DAMAGED)
    else:
        kind = Exit.UNEXPECTED
    what = {
        Exit.STATE_DAMAGED: f"the state file {path} is damaged ({error})",
        Exit.STATE_LOCKED: f"the state file {path} is in use ({error})",
        Exit.STATE_UNWRITABLE: f"the state file {path} cannot be written ({error})",
        Exit.UNEXPECTED: f"the state file refused a step ({error})",
    }[kind]
    return StateError(what, exit=kind, hint=_HINTS[kind])


def unwritable(path: Path, why: str) -> StateError:
    return StateError(
        f"{path} cannot be written: {why}", exit=Exit.STATE_UNWRITABLE, hint=_HINTS[Exit.STATE_UNWRITABLE]
    )


def fault(what: str) -> StateError:
    """A step that the caller may not ask for: a fault of ours, and nothing was written."""
    return StateError(what, exit=Exit.UNEXPECTED)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the file system inside become StateErrors."""
    try:
        yield
    except _Foreign as error:
        raise state_error(error, path) from error


class Database:
    """A connection whose every error is a StateError. Closed by ``close``.

    Once a commit failed, nothing more is written: what a failed fsync left on
    the disk is not known before the file is opened anew.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path
        self._failed: StateError | None = None
        self._mailboxes: dict[int, MailboxName] = {}
        self._numbers: dict[MailboxName, int] = {}
        with translated(path):
            connection.create_function("seal_message", -1, seal_message, deterministic=True)
            connection.create_function("seal_small", -1, seal_small, deterministic=True)

    @property
    def has_failed(self) -> bool:
        return self._failed is not None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of what is done inside becomes durable at the end, or nothing of it."""
        if self._failed is not None:
            raise StateError(
                f"nothing more is written after an error: {self._failed.what}",
                exit=self._failed.exit,
                hint=self._failed.hint,
            )
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._roll_back()
            found = state_error(error, self.path)
            if found.exit is not Exit.UNEXPECTED:
                self._failed = found
            raise found from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        self._forget_mailboxes()
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._failed = state_error(error, self.path)

    def checkpoint(self) -> None:
        """What stands in the log stands in the file from now on, unless somebody reads it just now."""
        self.ask("PRAGMA wal_checkpoint(PASSIVE)")

    def ask(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[Any]:
        """Every row that the question gives."""
        with translated(self.path):
            return self.connection.execute(sql, values).fetchall()

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """The rows one after the other, in bounded memory."""
        with translated(self.path):
            yield from self.connection.execute(sql, values)

    def one(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> Any:
        """The only value of the only row, or None."""
        rows = self.ask(sql, values)
        return rows[0][0] if rows else None

    def checkpoints(self, rest: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[Checkpoint]:
        """The rows of ``message m`` that the rest of the question names, each checked against its seal."""
        records = self.ask(f"SELECT {SELECTED} FROM message m {rest}", values)
        mailboxes = self.mailboxes()
        return [checkpoint_of(record, mailboxes) for record in records]

    # --- meta ----------------------------------------------------------------------------------

    def meta(self, key: str) -> Any:
        """A value of the table meta. StateError when it is damaged; None when it was never set."""
        rows = self.ask("SELECT value, seal FROM meta WHERE key = ?", (key,))
        if not rows:
            return None
        value, seal = rows[0]
        if seal != seal_small(key, value):
            raise damaged_row(f'the entry "{key}"')
        return value

    def set_meta(self, key: str, value: Any) -> None:
        """Inside a transaction."""
        self.connection.execute(
            "INSERT INTO meta (key, value, seal) VALUES (?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value, seal = excluded.seal",
            (key, value, seal_small(key, value)),
        )

    def take(self, counter: str, count: int = 1) -> int:
        """The first of ``count`` new numbers of a counter that never gives one twice; inside a transaction."""
        first: int = (self.meta(counter) or 0) + 1
        if count:
            self.set_meta(counter, first + count - 1)
        return first

    # --- mailboxes -----------------------------------------------------------------------------

    def mailboxes(self) -> dict[int, MailboxName]:
        """The names of the destination's mailboxes by their number in the file."""
        if not self._mailboxes:
            rows = self.ask("SELECT id, name, uidvalidity, floor, scanned, looked, seal FROM mailbox")
            for *columns, seal in rows:
                if seal != seal_small(*columns):
                    raise damaged_row(f"the mailbox {columns[0]}")
                name = MailboxName.parse(columns[1])
                self._mailboxes[columns[0]] = name
                self._numbers[name] = columns[0]
        return self._mailboxes

    def _forget_mailboxes(self) -> None:
        self._mailboxes.clear()
        self._numbers.clear()

    def mailbox_id(self, name: MailboxName) -> int | None:
        return self._numbers.get(name) if self.mailboxes() else None

    def ensure_mailbox(self, name: MailboxName) -> int:
        """The number of the mailbox, which it gets now if it has none; inside a transaction."""
        number = self.mailbox_id(name)
        if number is None:
            number = max(self.mailboxes(), default=0) + 1
            seal = seal_small(number, str(name), None, None, None, None)
            self.connection.execute("INSERT INTO mailbox (id, name, seal) VALUES (?, ?, ?)", (number, str(name), seal))
            self._mailboxes[number] = name
            self._numbers[name] = number
        return number

    def close(self) -> None:
        with translated(self.path):
            self.connection.close()
