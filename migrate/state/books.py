"""The state of one pair of accounts: what the engine asks and records (books.Books).

Used from one thread at a time. Every method that writes is one transaction,
durable when it returns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from ..books import Candidate, ListingFacts, MailboxMemory, Tally
from ..errors import StateError
from ..model import Checkpoint, MailboxName, Message, MessageRef, Origin, Stage, Work
from .database import Database, fault
from .destination import Destination
from .file import digest
from .listing import Listing
from .lock import RunLock
from .rows import Values, sealed, values_of
from .schema import COLUMNS, quoted
from .spool import Spool
from .work import Bindings

CUT_SESSIONS = 1000  # that are remembered
ALIVE_S = 1.0  # how exactly the file says when its run was last alive

# A column in an index is written only where it changes: SQLite would rewrite the index entry all the same.
_INDEXED = (("uid", "octets"), ("idx",), ("mailbox", "uidvalidity", "uid_dest"))
_ORDER = (*COLUMNS, "seal")
_OLD = f"SELECT {', '.join(column for group in _INDEXED for column in group)} FROM message WHERE id = ?"
_uid, _idx, _claim = (itemgetter(*map(_ORDER.index, group)) for group in _INDEXED)


@cache
def _update(changed: tuple[bool, ...]) -> tuple[str, Callable[[Values], Any]]:
    """The statement for a row whose groups of ``_INDEXED`` change so, and what picks its values."""
    same = {column for group, is_changed in zip(_INDEXED, changed, strict=True) if not is_changed for column in group}
    columns = [column for column in _ORDER if column != "id" and column not in same]
    values = ", ".join(f"{column} = ?{place}" for place, column in enumerate(columns, 2))
    return f"UPDATE message SET {values} WHERE id = ?1", itemgetter(0, *map(_ORDER.index, columns))


_COPIED = (Stage.APPENDED, Stage.VERIFIED, Stage.RELEASING, Stage.RELEASED, Stage.DUPLICATE)
_HOLDERS = quoted(Stage.VERIFIED, Stage.RELEASING, Stage.DUPLICATE)
_FINISHED = (Stage.VERIFIED, Stage.RELEASING, Stage.RELEASED, Stage.DUPLICATE)


class State:
    """An open state file. Closed by ``close``, which frees the lock."""

    def __init__(self, db: Database, spool: Spool, *, clock: Callable[[], float], lock: RunLock | None = None) -> None:
        self._db = db
        self._spool = spool
        self._clock = clock
        self._lock = lock
        self._alive = 0.0
        self._session: int = db.meta("session") or 0
        self._listing = Listing(db)
        self._bindings = Bindings(db, self._listing)
        self._dest = Destination(db)

    def close(self) -> None:
        lock, self._lock = self._lock, None
        try:
            self._db.close()
            if lock is not None and not self._db.has_failed:
                # Without the note the next run checks the file in full: nothing to fail for.
                with suppress(StateError):
                    lock.leave(digest(self._db.path))
        finally:
            if lock is not None:
                lock.release()

    @property
    def database(self) -> Database:
        """For whoever checks it from outside."""
        return self._db

    def image(self) -> bytes:
        """The whole database as octets: what ``open_memory`` starts from again."""
        return self._db.connection.serialize()

    # --- the run and the listing -----------------------------------------------------------

    def begin_run(self, wall: float) -> tuple[int, float | None]:
        last_alive: float | None = self._db.meta("alive")
        with self._db.transaction():
            number = self._db.take("run")
            self._db.set_meta("began", wall)
            self._note_alive(wall)
        return number, last_alive

    def _note_alive(self, wall: float) -> None:
        if abs(wall - self._alive) >= ALIVE_S:
            self._db.set_meta("alive", wall)
            self._alive = wall

    def begin_session(self) -> int:
        with self._db.transaction():
            number = self._db.take("session")
            self._db.set_meta("reached", self._clock())
            if before := self._db.meta("open_session"):
                cut = [*str(self._db.meta("cut_sessions") or "").split(), str(before)]
                self._db.set_meta("cut_sessions", " ".join(cut[-CUT_SESSIONS:]))
            self._db.set_meta("open_session", number)
        self._session = number
        return number

    def end_session(self) -> None:
        with self._db.transaction():
            self._db.set_meta("open_session", 0)

    def cut_off(self, limit: int) -> list[Work]:
        sessions = str(self._db.meta("cut_sessions") or "").split()
        return self._bindings.fetched_in(sessions, limit) if sessions else []

    def forget_cuts(self) -> None:
        with self._db.transaction():
            self._db.set_meta("cut_sessions", "")

    def record_listing(self, refs: Iterable[MessageRef]) -> ListingFacts:
        return self._listing.record(refs)

    def note_counted(self, messages: int) -> None:
        vanished = self._listing.vanished()
        with self._db.transaction():
            self._db.set_meta("counted", messages)
            self._db.set_meta("counted_vanished", vanished)

    def mark_vanished(self) -> int:
        return self._listing.mark_vanished(self._session)

    def has_baseline(self) -> bool:
        return self._db.meta("baseline") is not None

    def skip(self, reason: str, uids: Collection[bytes] | None) -> int:
        return self._listing.skip(reason, uids, None if uids is not None else self._clock())

    def next_work(self, limit: int, after: int) -> list[Work]:
        return self._bindings.next_work(limit, after)

    def releasable(self, limit: int, after: int, verified_before: int) -> list[Work]:
        return self._bindings.releasable(limit, after, verified_before, self._session)

    def count_open(self, limit: int | None) -> tuple[int, int]:
        return self._bindings.count_open(limit)

    def count_releasable(self, verified_before: int, limit: int | None = None) -> tuple[int, int]:
        return self._bindings.count_releasable(verified_before, self._session, limit)

    # --- rows ------------------------------------------------------------------------------

    def commit(self, batches: Sequence[tuple[Checkpoint, ...]]) -> None:
        rows = [row for batch in batches for row in batch]
        with self._db.transaction() as c:
            for row in rows:
                self._bindings.make_real(row.id, is_known=row.fetched_session == self._session)
            values = [
                values_of(row, None if row.mailbox is None else self._db.ensure_mailbox(row.mailbox)) for row in rows
            ]
            # Row by row, each asked about when those before it are written: one may come twice.
            for changed, some in groupby(values, lambda new: _changed(c, new)):
                statement, pick = _update(changed)
                c.executemany(statement, map(pick, some))
            self._note_alive(self._clock())

    def bind(self, ref: MessageRef, keep: Checkpoint, placeholder: Checkpoint) -> None:
        if not self._bindings.bind(ref, keep, placeholder.id):
            return
        # What the placeholder kept safe is a copy of the message of ``keep``.
        if keep.stage in _FINISHED:
            self._spool.remove([placeholder.id])
        else:
            self._spool.move(placeholder.id, keep.id)

    def split(self, ref: MessageRef) -> Checkpoint:
        return self._bindings.split(ref)

    def retrieved_unsafe(self, session: int) -> list[Work]:
        return self._bindings.retrieved_unsafe(session)

    def is_listed(self, row_id: int) -> bool:
        return self._bindings.is_listed(row_id)

    def list_again(self, mailbox: MailboxName, uids: Iterable[int]) -> int:
        """How many messages, whose copies were under these uids or have none any more, the source lists now, under
        their own UIDL or that of a duplicate: the next run fetches them. The others stay on record. Only for a
        destination from which nobody deletes."""
        number = self._db.mailbox_id(mailbox)
        # Of a duplicate, a twin's row has the copy, or what was there before us is it.
        which = f"WHERE m.mailbox = ? AND m.stage IN ({_HOLDERS}) AND m.twin IS NULL AND m.uid_dest"
        lost = self._db.checkpoints(f"{which} IS NULL", (number,))
        lost += [row for uid in uids for row in self._db.checkpoints(f"{which} = ?", (number, uid))]
        again: list[Checkpoint] = []
        count = 0
        twins = self._listed_twins(number) if lost else {}
        for row in lost:
            shown = [row] if self.is_listed(row.id) else []
            shown += twins.get(row.id, [])
            if shown:
                count += 1
                # Also where the source has a twin alone: for that one, this row would hold the copy.
                again += shown if shown[0] is row else [row, *shown]
        self.commit([tuple(row._replace(stage=Stage.VERIFIED) for row in again if row.stage is Stage.RELEASING)])
        again = [row._replace(stage=Stage.LISTED, origin=None, uid_dest=None, twin=None) for row in again]
        self.commit([tuple(row._replace(proof="", verified_at=None, proven_run=None) for row in again)])
        return count

    def _listed_twins(self, number: int | None) -> dict[int, list[Checkpoint]]:
        """By id of the row that has the copy, the duplicates of it that the source lists now."""
        found: dict[int, list[Checkpoint]] = {}
        where = "WHERE m.mailbox = ? AND m.stage = 'duplicate' AND m.twin IS NOT NULL ORDER BY m.id"
        for row in self._db.checkpoints(where, (number,)):
            if row.twin is not None and self.is_listed(row.id):
                found.setdefault(row.twin, []).append(row)
        return found

    def stored(self) -> dict[MailboxName, tuple[list[int], int]]:
        """What has to be there, by mailbox: the uids that rows claim, and how many rows were safe and have none now."""
        return self._dest.stored()

    def highest_uids(self) -> dict[MailboxName, int]:
        """The highest uid of each mailbox of the destination that a row claims."""
        return self._dest.highest_uids()

    def row(self, row_id: int) -> Checkpoint:
        rows = self._db.checkpoints("WHERE m.id = ?", (row_id,))
        row = rows[0] if rows else self._bindings.virtual(row_id)
        if row is None:
            raise fault(f"there is no row {row_id}")
        return row

    def unplaced(self, mailbox: MailboxName) -> list[Checkpoint]:
        return self._dest.unplaced(mailbox)

    def open_mailboxes(self) -> list[MailboxName]:
        return self._dest.open_mailboxes()

    def awaiting_proof(self, limit: int, after: int) -> list[Checkpoint]:
        return self._db.checkpoints(
            "WHERE m.stage = 'appended' AND m.uid_dest IS NOT NULL AND m.id > ? ORDER BY m.id LIMIT ?", (after, limit)
        )

    def settle_open(self) -> bool:
        return bool(
            self._db.ask(
                "SELECT 1 FROM message WHERE stage = 'intended' OR (stage = 'appended' AND uid_dest IS NULL) LIMIT 1"
            )
        )

    def tally(self) -> Tally:
        return tally(self._db)

    # --- destination -----------------------------------------------------------------------

    def mailbox(self, mailbox: MailboxName) -> MailboxMemory | None:
        return self._dest.mailbox(mailbox)

    def remember_mailbox(self, mailbox: MailboxName, memory: MailboxMemory) -> None:
        self._dest.remember_mailbox(mailbox, memory)

    def forget_uids(self, mailbox: MailboxName) -> int:
        return self._dest.forget_uids(mailbox)

    def unknown_uids(self, mailbox: MailboxName, uids: Sequence[int]) -> list[int]:
        return self._dest.unknown_uids(mailbox, uids)

    def suspects(self, mailbox: MailboxName, low: int) -> list[int]:
        return self._dest.suspects(mailbox, low)

    def holders(self, indexes: Sequence[bytes]) -> dict[bytes, list[Checkpoint]]:
        return self._dest.holders(indexes)

    def index(self, mailbox: MailboxName, served: Sequence[tuple[int, bytes, int]]) -> None:
        self._dest.index(mailbox, served)

    def learn(self, mailbox: MailboxName, uid: int, content: bytes | None) -> None:
        self._dest.learn(mailbox, uid, content)

    def lookup(self, mailbox: MailboxName, indexes: Sequence[bytes]) -> dict[bytes, list[Candidate]]:
        return self._dest.lookup(mailbox, indexes)

    def is_apart(self, mailbox: MailboxName) -> bool | None:
        return self._dest.is_apart(mailbox)

    def note_apart(self, mailbox: MailboxName, is_apart: bool) -> None:
        self._dest.note_apart(mailbox, is_apart)

    # --- spool -----------------------------------------------------------------------------

    def spool(self, row_id: int, message: Message) -> None:
        with self._db.transaction():
            self._bindings.make_real(row_id, is_known=False)
        self._spool.keep(row_id, message)

    def spooled(self, row_id: int) -> Message:
        return self._spool.get(row_id)

    def keep_back(self, row_id: int) -> None:
        kept = {row.id for row in self.kept_back()} | {row_id}
        with self._db.transaction():
            self._db.set_meta("kept_back", " ".join(map(str, sorted(kept))))

    def kept_back(self) -> list[Checkpoint]:
        ids = [int(text) for text in str(self._db.meta("kept_back") or "").split()]
        rows = [row for one in ids for row in self._db.checkpoints("WHERE m.id = ?", (one,))]
        return [row for row in rows if row.stage in _FINISHED and row.is_spooled]

    def unspool(self, row_ids: Sequence[int]) -> None:
        self._spool.remove(row_ids)

    def tidy_spool(self) -> None:
        """Takes up what a killed run kept, and removes what is needed no more. Under the lock, before a run.

        A message that was kept just before the run died is perhaps the only
        copy: its row learns of it. Copies of rows that nobody knows stay.
        """
        self._spool.sweep()
        found: list[int] = []
        for row_id in sorted({one.row_id for one in self._spool.kept()}):
            for stage_text, is_spooled in self._db.ask("SELECT stage, is_spooled FROM message WHERE id = ?", (row_id,)):
                stage = Stage(stage_text)
                if stage in _FINISHED and not is_spooled:
                    self._spool.remove([row_id])
                elif stage in (Stage.LISTED, Stage.SET_ASIDE, Stage.GONE) and not is_spooled:
                    found.append(row_id)
        with self._db.transaction() as c:
            seal = sealed(stage="'listed'", is_spooled="1")
            c.executemany(
                f"UPDATE message SET stage = 'listed', is_spooled = 1, seal = {seal} WHERE id = ?",
                ((row_id,) for row_id in found),
            )


def _changed(c: sqlite3.Connection, new: Values) -> tuple[bool, ...]:
    """Which groups of ``_INDEXED`` are not yet as they are to be."""
    old = c.execute(_OLD, new[:1]).fetchone()
    if old is None:
        raise fault("a message to be recorded has no row")
    return old[:2] != _uid(new), old[2] != _idx(new), old[3:] != _claim(new)


def tally(db: Database) -> Tally:
    """The books, from one pass over all rows. Every row is in exactly one part."""
    parts = dict.fromkeys(Tally.__slots__, 0)
    for stage_text, origin_text, count, octets, altered in db.ask(
        "SELECT stage, origin, count(*), ifnull(sum(size), 0), sum(instr(proof, 'changed') > 0)"
        " FROM message GROUP BY stage, origin"
    ):
        stage = Stage(stage_text)
        part = _part(stage, None if origin_text is None else Origin(origin_text))
        parts[part] += count
        parts["listed"] += count
        parts["altered"] += altered
        parts["released"] += count if stage is Stage.RELEASED else 0
        if part == "copied":
            parts["octets"] += octets
            parts["verified"] += count if stage is not Stage.APPENDED else 0
    return Tally(**parts)


def _part(stage: Stage, origin: Origin | None) -> str:
    if stage in _COPIED:
        if origin is None:
            origin = Origin.TWIN if stage is Stage.DUPLICATE else Origin.COPIED
        return {Origin.COPIED: "copied", Origin.THERE: "there", Origin.TWIN: "duplicate"}[origin]
    return {
        Stage.LISTED: "open",
        Stage.INTENDED: "open",
        Stage.SKIPPED: "skipped",
        Stage.SET_ASIDE: "set_aside",
        Stage.GONE: "gone",
    }[stage]
