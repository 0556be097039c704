"""A state file in the making, for ``popferry rebuild``: the old one stands until the new one is whole."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import Exit, MessageError, StateError
from ..model import Message, Stage
from . import schema
from .books import State
from .database import Database, translated, unwritable
from .file import (
    HEADER_OCTETS,
    check_accounts,
    look_at,
    make_file,
    open_for_run,
    open_read_only,
    remove_leftovers,
)
from .listing import new_rows
from .lock import RunLock
from .place import beside, check_directory, check_file, make_directory
from .replace import LOGS, SPOOL, complete, free_number, in_the_making, make_ready, remove, set_aside
from .spool import Digester, FileSpool, Kept, Spool

Accounts = tuple[str, str]


class NewState(State):
    """Books that also take over what the old state kept in its spool."""

    def __init__(self, db: Database, spool: Spool, old_spool: Spool, *, clock: Callable[[], float]) -> None:
        super().__init__(db, spool, clock=clock)
        self._old_spool = old_spool
        self._taken: set[Kept] = set()
        self.damaged: set[Kept] = set()

    def close_whole(self) -> bool:
        """Closes the file. Whether something was left in its log."""
        busy = self._db.one("PRAGMA wal_checkpoint(TRUNCATE)")
        self.close()
        return bool(busy) or Path(f"{self._db.path}-wal").exists()

    def take_up(self) -> tuple[int, int, int]:
        """Gives each message of the old spool to the row of its content, best one that is still to be copied.

        Where there are more of them than rows, the source lists some no more: they get rows of their own, so that
        they are not lost. Value: messages kept for the new state, damaged ones, the highest row id before.
        """
        after = self._db.meta("message") or 0
        waiting = self._old_by_content()
        open_rows: dict[bytes, list[int]] = defaultdict(list)
        done_rows: dict[bytes, int] = defaultdict(int)
        for row_id, exact, stage in self._db.ask("SELECT id, exact, stage FROM message WHERE exact IS NOT NULL"):
            if exact in waiting:
                if stage in (Stage.LISTED.value, Stage.SET_ASIDE.value):
                    open_rows[exact].append(row_id)
                else:
                    done_rows[exact] += 1
        count = 0
        for exact, some in waiting.items():
            rows = open_rows[exact]
            for kept in some[: len(rows)] + some[len(rows) + done_rows[exact] :]:
                count += self._take(kept, rows.pop(0) if rows else None)
            self._taken.update(some)
        return count, len(self.damaged), after

    def _old_by_content(self) -> dict[bytes, list[Kept]]:
        found: dict[bytes, list[Kept]] = defaultdict(list)
        for kept in self._old_spool.kept():
            if kept not in self._taken:
                found[kept.exact].append(kept)
        return found

    def _take(self, kept: Kept, row_id: int | None) -> bool:
        """Whether the message could be read. Without a row it gets a new one, without a UIDL: nobody knows it."""
        try:
            message = self._old_spool.get(kept.row_id)
        except MessageError:
            self.damaged.add(kept)
            return False
        try:
            if message.fingerprint.exact != kept.exact:  # two under one number: which is right, nobody knows
                self.damaged.add(kept)
                return False
            self._keep(message, self._new_row(message) if row_id is None else row_id)
        finally:
            message.discard()
        return True

    def _new_row(self, message: Message) -> int:
        with self._db.transaction() as c:
            row_id = self._db.take("message")
            c.execute(new_rows("(SELECT ? AS row, x'' AS uid, ? AS octets)"), (row_id, message.octets))
        return row_id

    def _keep(self, message: Message, row_id: int) -> None:
        self.spool(row_id, message)
        kept = self.row(row_id)._replace(stage=Stage.LISTED, is_spooled=True, fingerprint=message.fingerprint)
        self.commit([(kept,)])


class Rebuilding:
    """The state in the making, as ``state``; ``damage`` says what was wrong with the old one, if there was one."""

    def __init__(self, path: Path, state: NewState, damage: str) -> None:
        self.state = state
        self.damage = damage
        self._path = path
        self.number = free_number(path)

    def finish(self) -> None:
        """The new file takes the place of the old one, which is kept beside it."""
        making = in_the_making(self._path)
        # A close says nothing about octets that stayed in the log.
        left = self.state.close_whole()
        if left:
            raise unwritable(making, "what was written did not reach the file")
        look_at(making)
        make_ready(self._path, self.number)
        complete(self._path)
        with translated(self._path):
            if not self.state.damaged:
                # All that stood in it has been taken over, or is at the destination.
                shutil.rmtree(beside(set_aside(self._path, self.number), SPOOL), ignore_errors=True)
            if not any(beside(self._path, SPOOL).iterdir()):
                beside(self._path, SPOOL).rmdir()


@contextmanager
def rebuilding(
    path: Path, source_account: str, dest_account: str, *, digester: Digester, clock: Callable[[], float] = time.time
) -> Iterator[Rebuilding]:
    """A new state for this pair of accounts, which counts once ``finish`` was called.

    StateError: USAGE where the file that is there is sound, or belongs to other
    accounts; STATE_DAMAGED where it may not be put aside (another owner, a
    newer version, no file of ours); STATE_LOCKED; STATE_UNWRITABLE.
    """
    accounts = (source_account, dest_account)
    with translated(path):
        if not path.parent.exists():
            make_directory(path.parent)
    check_directory(path.parent)
    lock = RunLock(beside(path, ".lock"))
    making = in_the_making(path)
    try:
        complete(path)
        remove_leftovers(path)
        damage = _damage(path, accounts)
        make_file(making, accounts, clock())
        state = NewState(
            _open(making),
            FileSpool(beside(making, SPOOL), digester),
            FileSpool(beside(path, SPOOL), digester),
            clock=clock,
        )
        try:
            yield Rebuilding(path, state, damage)
        finally:
            state.close()
    finally:
        try:
            remove(making)
        finally:
            lock.release()


def _open(making: Path) -> Database:
    db = open_for_run(making)
    with translated(making):
        # Until it is ready it counts for nothing: one fsync at the end is enough.
        db.connection.execute("PRAGMA synchronous = OFF")
    return db


def _damage(path: Path, accounts: Accounts) -> str:
    """What is wrong with the file that is there; nothing where there is none. StateError where it has to stay."""
    if not check_file(path):
        logs = [suffix for suffix in LOGS if Path(f"{path}{suffix}").exists()]
        return f"the state file {path} is missing, and its log is there" if logs else ""
    try:
        _, found = look_at(path)
    except StateError as error:
        if error.exit is not Exit.STATE_DAMAGED or not _may_step_aside(path):
            raise
        return error.what
    check_accounts(path, found, accounts)
    raise StateError(
        f"the state file {path} is sound: there is nothing to rebuild",
        exit=Exit.USAGE,
        hint="popferry migrate goes on with it. If it is an old copy, or what it knows is gone from the destination, "
        "move it away, then run the same command again.",
    )


def _may_step_aside(path: Path) -> bool:
    """Whether a file that was refused is one of ours, of this version, or what is left of one."""
    with translated(path), path.open("rb") as stream:
        header = stream.read(HEADER_OCTETS)
    has_magic, application = header.startswith(schema.MAGIC), int.from_bytes(header[68:72])
    if has_magic and application == schema.APPLICATION_ID:
        return int.from_bytes(header[60:64]) <= schema.VERSION
    # A file that was cut, or one whose marks were hit: the other one of the two is there.
    if len(header) < HEADER_OCTETS:
        return schema.MAGIC.startswith(header[: len(schema.MAGIC)])
    return application == schema.APPLICATION_ID or (has_magic and _has_our_tables(path))


def _has_our_tables(path: Path) -> bool:
    try:
        db = open_read_only(path, is_quiet=True)
        try:
            with translated(path):
                return schema.shape(db.connection) == schema.expected_shape()
        finally:
            db.close()
    except StateError:
        return False  # not to be read at all: then it is not known to be ours
