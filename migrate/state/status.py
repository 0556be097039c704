"""What a state file tells people: read whether a run holds it or not, and never written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..books import Tally
from ..errors import Exit, StateError
from ..model import Checkpoint, MailboxName, Stage, display
from .books import tally
from .checks import damaged_file, problems
from .database import translated
from .file import check_accounts, check_header, open_read_only
from .lock import is_held
from .place import beside, check_file, missing
from .replace import is_set_aside
from .rows import damaged_row, sealed
from .schema import APPLICATION_ID, MAGIC, quoted

_RELEASED = quoted(Stage.RELEASING, Stage.RELEASED)
_UNPROVEN = quoted(Stage.INTENDED, Stage.APPENDED)
_NOT_SAFE = quoted(Stage.LISTED, Stage.INTENDED, Stage.APPENDED, Stage.SET_ASIDE)


@dataclass(frozen=True, slots=True)
class MailboxSummary:
    name: MailboxName
    uidvalidity: int | None
    messages: int  # rows that name it


@dataclass(frozen=True, slots=True)
class Summary:
    """What a state file knows. Times are seconds since the epoch, None before the first run."""

    path: Path
    source: str
    dest: str
    is_running: bool
    created: float
    runs: int
    began: float | None  # the last run
    alive: float | None  # when it last wrote something, to the second
    tally: Tally
    stages: dict[Stage, int]
    mailboxes: tuple[MailboxSummary, ...]


@dataclass(frozen=True, slots=True)
class Aside:
    """One message that was set aside; both texts are safe to show."""

    row: int
    uidl: str
    reason: str
    attempts: int


class StateReader:
    """A state file opened for questions. A context manager."""

    def __init__(self, path: Path) -> None:
        if not check_file(path):
            raise missing(path)
        self._is_running = is_held(beside(path, ".lock"))
        with translated(path):
            self._before = os.stat(path)
        check_header(path)
        self._db = open_read_only(path, is_quiet=not self._is_running)

    def __enter__(self) -> StateReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def accounts(self) -> tuple[str, str]:
        return self._db.meta("source"), self._db.meta("dest")

    def check_accounts(self, source: str, dest: str) -> None:
        """StateError(USAGE) where the file belongs to another pair of accounts."""
        check_accounts(self._db.path, self.accounts(), (source, dest))

    def summary(self) -> Summary:
        """Every number of it belongs together. StateError when a row that it counts is damaged."""
        db = self._db
        with translated(db.path):
            db.connection.execute("BEGIN")  # one view of the file, also while a run writes
        try:
            self._check_seals()
            source, dest = self.accounts()
            found = Summary(
                path=db.path,
                source=source,
                dest=dest,
                is_running=self._is_running,
                created=db.meta("created"),
                runs=db.meta("run"),
                began=db.meta("began"),
                alive=db.meta("alive"),
                tally=tally(db),
                stages={Stage(text): count for text, count in db.ask("SELECT stage, count(*) FROM message GROUP BY 1")},
                mailboxes=self._mailboxes(),
            )
        finally:
            with translated(db.path):
                db.connection.execute("ROLLBACK")
        self._check_unchanged()
        return found

    def _check_seals(self) -> None:
        damaged = self._db.one(f"SELECT id FROM message WHERE seal IS NOT {sealed()} LIMIT 1")
        if damaged is not None:
            raise damaged_row(f"the row of message {damaged}")

    def _mailboxes(self) -> tuple[MailboxSummary, ...]:
        counts = dict(self._db.ask("SELECT mailbox, count(*) FROM message GROUP BY mailbox"))
        known = dict(self._db.ask("SELECT id, uidvalidity FROM mailbox"))
        return tuple(
            MailboxSummary(name, known[number], counts.get(number, 0)) for number, name in self._db.mailboxes().items()
        )

    def set_aside(self) -> Iterator[Aside]:
        """Every message that was set aside, by id."""
        for row in self._db.checkpoints("WHERE m.stage = 'set aside' ORDER BY m.id"):
            yield Aside(row.id, display(row.uid), display(row.reason, 1000), row.attempts)

    def skipped(self) -> dict[str, int]:
        """How many messages were marked as done without being fetched, by reason."""
        return dict(
            self._db.ask("SELECT reason, count(*) FROM message WHERE stage = 'skipped' GROUP BY reason ORDER BY reason")
        )

    def not_copied(self) -> Iterator[tuple[Checkpoint, Checkpoint | None]]:
        """Every message that was not copied because the destination has it, and the message whose copy serves both."""
        for row in self._db.checkpoints("WHERE m.origin IN ('twin', 'there') ORDER BY m.id"):
            twins = [] if row.twin is None else self._db.checkpoints("WHERE m.id = ?", (row.twin,))
            yield row, twins[0] if twins else None

    def altered(self) -> Iterator[Checkpoint]:
        """Every message that the destination keeps with a named change, by id; ``proof`` names it."""
        yield from self._db.checkpoints("WHERE instr(m.proof, 'changed') > 0 ORDER BY m.id")

    def released(self, limit: int = 1000) -> Iterator[Checkpoint]:
        """Every message that the source was asked to delete, by id, in bounded memory. StateError
        where the file cannot be believed: then a row may be missing without a trace."""
        db = self._db
        with translated(db.path):
            db.connection.execute("BEGIN")  # one view of the file, also while a run writes
        try:
            for problem in problems(db):
                raise damaged_file(db.path, problem)
            after = 0
            while rows := db.checkpoints(
                f"WHERE m.stage IN ({_RELEASED}) AND m.id > ? ORDER BY m.id LIMIT ?", (after, limit)
            ):
                yield from rows
                after = rows[-1].id
        finally:
            with translated(db.path):
                db.connection.execute("ROLLBACK")
        self._check_unchanged()

    def unproven(self) -> dict[MailboxName, int]:
        """By mailbox of the destination, the lowest uid of a copy that may be there and was not read back yet."""
        names = self._db.mailboxes()
        rows = self._db.ask(
            "SELECT mailbox, min(coalesce(uid_dest, uidnext, 1)) FROM message WHERE mailbox IS NOT NULL"
            f" AND stage IN ({_UNPROVEN}) GROUP BY mailbox"
        )
        return {names[number]: uid for number, uid in rows}

    def reached(self) -> float | None:
        """When a run was last let in by the source, by the clock of its machine; None where no run noted it."""
        when: float | None = self._db.meta("reached")
        return when

    def unfinished(self) -> int:
        """How many messages are neither verified at the destination nor done otherwise."""
        return int(self._db.one(f"SELECT count(*) FROM message WHERE stage IN ({_NOT_SAFE})"))

    def problems(self) -> Iterator[str]:
        """One sentence for each thing wrong with the file; nothing when it is sound."""
        yield from problems(self._db)
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        """Without a log the file was read as one that nobody changes: that has to have been true."""
        with translated(self._db.path):
            now = os.stat(self._db.path)
        if not self._is_running and (now.st_mtime_ns, now.st_size) != (self._before.st_mtime_ns, self._before.st_size):
            raise StateError("a run began while the state file was read", exit=Exit.STATE_LOCKED, hint="Ask once more.")


def read_state(path: Path) -> StateReader:
    """The state file, opened so that nothing of it changes. StateError(USAGE) when there is none."""
    return StateReader(path)


def unfinished_elsewhere(path: Path, source_account: str) -> str:
    """Why nothing may be deleted at this source: another state file beside this one still needs it. Empty: nothing."""
    for other in state_files(path.parent, but=path):
        try:
            with read_state(other) as reader:
                source, _ = reader.accounts()
                count = reader.unfinished() if source == source_account else 0
        except StateError as error:
            return f"another state file cannot be read, and may be of the same source: {other} ({error.what})"
        if count:
            return f"another state file of the same source still has {count:,} messages that are not verified: {other}"
    return ""


def state_files(directory: Path, *, but: Path | None = None) -> list[Path]:
    """The state files that stand in a directory, without those in whose place another one stands.

    ``but``: one that this process has open. Opened once more and closed, it would lose its locks (POSIX, fcntl).
    """
    mine = set() if but is None else {Path(f"{but}{suffix}") for suffix in ("", "-wal", "-shm")}
    with translated(directory):
        found = sorted(directory.glob("*")) if directory.is_dir() else []
    return [path for path in found if path not in mine and _is_state_file(path) and not is_set_aside(path)]


def _is_state_file(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            header = stream.read(100)
    except OSError:
        return False
    return header.startswith(MAGIC) and int.from_bytes(header[68:72]) == APPLICATION_ID
