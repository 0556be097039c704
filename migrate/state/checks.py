"""Whether a state file can be believed: its structure, its tables, and the seal of every row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import Exit, StateError
from ..model import display
from .database import Database, translated
from .rows import HOW_TO_REBUILD, sealed
from .schema import expected_shape, shape

_MUST_HAVE = ("source", "dest", "created", "run", "session", "message")

# Every sealed table, the seal as it should be, and what a row of it is called.
_SEALED = (
    ("meta", "seal_small(key, value)", "the entry", "key"),
    ("mailbox", "seal_small(id, name, uidvalidity, floor, scanned, looked)", "the mailbox", "id"),
    ("message", sealed(), "the row of message", "id"),
    ("served", "seal_small(mailbox, uid, idx, octets, content)", "the entry of uid", "uid"),
)


def problems(db: Database) -> Iterator[str]:
    """One sentence for each thing wrong with the file; nothing when it is sound.

    Every index is compared with its table: a row that an index does not show
    would be taken for one that does not exist.
    """
    try:
        yield from _problems(db)
    except StateError as error:
        if error.exit not in (Exit.STATE_DAMAGED, Exit.UNEXPECTED):
            raise
        yield error.what


def _problems(db: Database) -> Iterator[str]:
    for (line,) in db.stream("PRAGMA integrity_check(20)"):
        if line != "ok":
            yield f"SQLite finds: {display(str(line))}"
    with translated(db.path):
        is_ours = shape(db.connection) == expected_shape()
    if not is_ours:
        yield "its tables are not those that popferry made"
        return
    for table, seal, what, name in _SEALED:
        for (found,) in db.stream(f"SELECT {name} FROM {table} WHERE seal IS NOT {seal}"):
            yield f"{what} {display(str(found))} does not fit its checksum"
    for key in _MUST_HAVE:
        if db.meta(key) is None:
            yield f'the entry "{key}" is missing'
    if (db.one("SELECT max(id) FROM message") or 0) > (db.meta("message") or 0):
        yield "it has messages with numbers that were never given"


def check_connection(db: Database) -> None:
    """StateError(STATE_DAMAGED) with the first problem, if there is one."""
    first = next(problems(db), None)
    if first is not None:
        raise damaged_file(db.path, first)


def damaged_file(path: Path, problem: str) -> StateError:
    return StateError(f"the state file {path} is damaged: {problem}", exit=Exit.STATE_DAMAGED, hint=HOW_TO_REBUILD)
