"""The ways to open a state: for a run, for a rehearsal, in memory, to follow a renamed account."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from ..errors import Exit, StateError
from . import schema
from .books import State
from .checks import check_connection
from .database import MEMORY, Database, translated
from .file import (
    MIGRATIONS,
    Accounts,
    Hook,
    check_accounts,
    check_header,
    fill,
    look_at,
    make_file,
    migrate,
    no_hook,
    open_for_run,
    open_read_only,
    remove_leftovers,
    settle,
)
from .lock import RunLock, is_held
from .place import beside, check_directory, check_file, make_directory, missing
from .replace import complete
from .spool import Digester, FileSpool, MemorySpool

Clock = Callable[[], float]


def open_state(
    path: Path,
    source_account: str,
    dest_account: str,
    *,
    digester: Digester,
    create: bool = True,
    clock: Clock = time.time,
    hook: Hook = no_hook,
) -> State:
    """The state of this pair of accounts, locked for this run; made when there is none and ``create``.

    StateError: STATE_LOCKED when another run holds it; STATE_DAMAGED when it
    cannot be believed or is newer than this program, and then it is left as it
    is; STATE_UNWRITABLE; USAGE when it belongs to other accounts.
    """
    accounts = (source_account, dest_account)
    lock = _lock(path, create)
    try:
        hook("locked")
        complete(path)
        remove_leftovers(path)
        if not check_file(path):
            if not create:
                raise missing(path)
            make_file(path, accounts, clock(), hook)
        _check(path, lock.left_behind, accounts)
        state = State(open_for_run(path), FileSpool(beside(path, ".spool"), digester), clock=clock, lock=lock)
    except BaseException:
        lock.release()
        raise
    try:
        state.tidy_spool()
    except BaseException:
        state.close()
        raise
    return state


def has_state(path: Path) -> bool:
    """Whether there is a state file, or what is left of one. StateError where it is not ours alone."""
    return check_file(path) or beside(path, "-wal").exists()


def _lock(path: Path, create: bool) -> RunLock:
    with translated(path):
        if not path.parent.exists():
            if not create:
                raise missing(path)
            make_directory(path.parent)
    check_directory(path.parent)
    if not create and not check_file(path):
        raise missing(path)
    return RunLock(beside(path, ".lock"))


def _check(path: Path, left_behind: bytes, wanted: Accounts | None = None) -> Accounts:
    """The accounts of the file, which passed every check and is of this version now."""
    version, found = look_at(path, left_behind)
    if wanted is not None:
        check_accounts(path, found, wanted)
    if version < schema.VERSION:
        migrate(path, version, MIGRATIONS)
        look_at(path)
    return found


# --- without a file of its own ------------------------------------------------------------------


def open_memory(
    source_account: str,
    dest_account: str,
    *,
    digester: Digester,
    clock: Clock = time.time,
    image: bytes | None = None,
    spool: MemorySpool | None = None,
) -> State:
    """A state in memory, new or from ``State.image``: for simulators, whose ``spool`` outlives a run."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with translated(MEMORY):
        connection.deserialize(_empty(source_account, dest_account) if image is None else image)
        settle(connection, temp_store="MEMORY")
    return State(Database(connection, MEMORY), spool or MemorySpool(digester), clock=clock)


@cache
def _empty(*accounts: str) -> bytes:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        fill(connection, (accounts[0], accounts[1]), 0.0, MEMORY)
        return connection.serialize()
    finally:
        connection.close()


def rehearsal(
    path: Path, source_account: str, dest_account: str, *, digester: Digester, clock: Clock = time.time
) -> State:
    """A copy of the state, or a new one, for a run that may change nothing: it vanishes when closed."""
    # An empty name: SQLite keeps it in memory, and in a nameless temporary file when it grows.
    connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    db = Database(connection, path)
    try:
        if check_file(path):
            check_header(path)
            original = open_read_only(path, is_quiet=not is_held(beside(path, ".lock")))
            try:
                with translated(path):
                    original.connection.backup(connection)
            finally:
                original.close()
            check_connection(db)
            check_accounts(path, (db.meta("source"), db.meta("dest")), (source_account, dest_account))
        else:
            fill(connection, (source_account, dest_account), clock(), path)
        with translated(path):
            settle(connection)
    except BaseException:
        connection.close()
        raise
    return State(db, MemorySpool(digester), clock=clock)


# --- other accounts -----------------------------------------------------------------------------


def rebind(path: Path, old: str, new: str) -> None:
    """The account ``old`` of this state, at either end, is called ``new`` from now on.

    StateError(USAGE) when neither end is ``old``, or the state is missing.
    """
    lock = _lock(path, create=False)
    try:
        remove_leftovers(path)
        found = _check(path, lock.left_behind)
        ends = [key for key, account in zip(("source", "dest"), found, strict=True) if account == old]
        if not ends:
            raise StateError(
                f"the state file {path} is of {found[0]} to {found[1]}, not of {old}",
                exit=Exit.USAGE,
                hint="Write the account as it stands there.",
            )
        db = open_for_run(path)
        try:
            with db.transaction():
                for key in ends:
                    db.set_meta(key, new)
                db.set_meta("counted", 0)  # another server may have other habits
        finally:
            db.close()
    finally:
        lock.release()
