"""A small engine for tests of the books: it copies what a listing shows, by the rules of the real one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from migrate.books import MailboxMemory
from migrate.commands import Digest
from migrate.model import (
    INBOX,
    Checkpoint,
    DateSource,
    Fingerprint,
    Flags,
    InternalDate,
    Message,
    MessageRef,
    Origin,
    Stage,
    Work,
)
from migrate.rules.dedupe import Digester
from migrate.state import State, open_memory, open_state
from migrate.stores.memory import MemoryListing

SOURCE, DEST = "alice@pop.example.org", "alice@imap.example.org"
WHEN = InternalDate(datetime(2020, 2, 29, 12, 0, 0, tzinfo=timezone(timedelta(hours=2))), DateSource.RECEIVED)


def digester() -> Digest:
    return Digester()


def fingerprint(data: bytes) -> Fingerprint:
    digest = Digester()
    digest.update(data)
    return digest.finish()


def mail(name: str, extra: str = "") -> bytes:
    """A message of its own for each name; ``extra`` are header lines."""
    return f"Message-ID: <{name}@example.org>\r\nSubject: {name}\r\n{extra}\r\nBody of {name}.\r\n".encode()


def message(data: bytes) -> Message:
    return Message(len(data), data[: data.index(b"\r\n\r\n") + 4], fingerprint(data), data)


def memory_state(wall: float = 1000.0) -> State:
    state = open_memory(SOURCE, DEST, digester=digester, clock=lambda: wall)
    state.begin_run(wall)
    return state


def file_state(path: Path, wall: float = 1000.0) -> State:
    return open_state(path, SOURCE, DEST, digester=digester, clock=lambda: wall)


def refs(*listed: tuple[bytes, int | None]) -> MemoryListing:
    return MemoryListing(MessageRef(uid, number, octets) for number, (uid, octets) in enumerate(listed, 1))


def intended(row: Checkpoint, data: bytes, session: int = 1, uidnext: int = 1) -> Checkpoint:
    return row._replace(
        stage=Stage.INTENDED,
        origin=Origin.COPIED,
        mailbox=INBOX,
        flags=Flags(frozenset({"\\Seen", "work"})),
        internaldate=WHEN,
        fingerprint=fingerprint(data),
        uidvalidity=7,
        uidnext=uidnext,
        attempts=row.attempts + 1,
        fetched_session=session,
    )


def verified(row: Checkpoint, at: int = 1000) -> Checkpoint:
    return row._replace(stage=Stage.VERIFIED, proof="octets", verified_at=at, proven_run=1)


def copy_all(state: State, *rows: tuple[Checkpoint, bytes], session: int = 1) -> list[Checkpoint]:
    """The rows after three commits: intended, appended (uid = id + 100), verified."""
    stored = [intended(row, data, session) for row, data in rows]
    state.commit([tuple(stored)])
    stored = [row._replace(stage=Stage.APPENDED, uid_dest=row.id + 100) for row in stored]
    state.commit([tuple(stored)])
    stored = [verified(row) for row in stored]
    state.commit([tuple(stored)])
    return stored


@dataclass
class MiniEngine:
    """Runs over one state; ``uploads`` are the messages sent to the destination, in order."""

    state: State
    uploads: list[bytes] = field(default_factory=list)
    fetches: int = 0
    is_dedupe_off: bool = True

    def session(self, listing: Sequence[tuple[bytes, bytes]], *, stop_after: int | None = None) -> None:
        """One source session over (uid, octets of the message)."""
        state = self.state
        session = state.begin_session()
        state.remember_mailbox(INBOX, MailboxMemory(7, 1, 1))
        state.record_listing(refs(*((uid, len(data)) for uid, data in listing)))
        matched: set[int] = set()
        for count, work in enumerate(list(_all_work(state))):
            if stop_after is not None and count >= stop_after:
                return
            assert work.ref is not None
            self._one(work, listing[work.ref.number - 1][1], session, matched)
        state.mark_vanished()

    def _one(self, work: Work, data: bytes, session: int, matched: set[int]) -> None:
        state, ref, row = self.state, work.ref, work.row
        assert ref is not None
        self.fetches += 1
        key = fingerprint(data).key
        rows = [one.row for one in state.lookup(INBOX, [key.index]).get(key.index, []) if one.row is not None]
        known = [one for one in rows if one.fingerprint is not None and one.fingerprint.key.content == key.content]
        known = [one for one in known if one.id != row.id and one.id not in matched and not state.is_listed(one.id)]
        if work.is_unsure:
            known.sort(key=lambda one: one.uid != ref.uid)
        elif row.fingerprint is not None:
            known = []
        if known:
            keep = known[0]._replace(uid=ref.uid, octets=ref.octets, fetched_session=session)
            matched.add(keep.id)
            state.bind(ref, known[0], row)
            state.commit([(keep,)])
            return
        if row.id in matched:
            row = state.split(ref)
        matched.add(row.id)
        self.uploads.append(data)
        copy_all(state, (row._replace(octets=ref.octets), data), session=session)


def _all_work(state: State) -> Iterator[Work]:
    after = 0
    while works := state.next_work(3, after):
        yield from works
        after = works[-1].row.id
