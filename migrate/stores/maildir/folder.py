"""A mailbox as a Maildir that messages are delivered to, and what is done about what a crash left there.

What stands behind the last mark of the index is of an Append that was not answered:

    a file in new/ or cur/ with the octets of its entry     delivered: kept, and marked
    a file in tmp/, or none                                 removed; the entry is void, its uid is not given again

Nothing else is ever removed. A file that no entry knows is somebody else's message: it gets a uid and stays.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from ...errors import MailboxError
from ...model import BLOCK, INBOX, MailboxName, display
from ...wire.maildir import unique_of
from .. import disk
from ..dirnames import MESSAGES, PARTS, directory_of, parts_of
from .files import Files
from .index import INDEX, Entry, Guest, Head, Index, Kind, Record
from .keywords import clear_lock

LOCK = "popferry.lock"
FOLDER = "maildirfolder"  # says that this is no account of its own (Maildir++)

Notices = list[tuple[str, bytes]]
Indexes = dict[Path, Index]  # what was read of indexes, by their paths; one of another size is read anew


class Folder:
    """One mailbox below ``root``. Every method that writes needs ``run_lock`` on ``directory``, with the name LOCK."""

    def __init__(
        self,
        root: Path,
        mailbox: MailboxName,
        *,
        clock: Callable[[], float] = time.time,
        notices: Notices | None = None,
        floor: int = 0,
        indexes: Indexes | None = None,
    ) -> None:
        self.mailbox = mailbox
        self.directory = directory_of(root, mailbox)
        self.files = Files(self.directory)
        self.notices = notices if notices is not None else []
        self._index = (indexes or {}).get(self.index_path)
        self._guests: list[tuple[int, str]] = []  # of a rehearsal: uid and unique part of those not in the index
        self._clock = clock
        self._floor = floor  # a uid that somebody remembers, though an index that was put back may not

    # --- reading ----------------------------------------------------------------------------

    @property
    def index_path(self) -> Path:
        return self.directory / INDEX

    @property
    def index(self) -> Index:
        if self._index is None:
            raise MailboxError(f"the mailbox {self.mailbox} does not exist")
        return self._index

    def exists(self) -> bool:
        return bool(parts_of(self.directory))

    def refresh(self) -> None:
        """Takes in what other runs have written to the index."""
        size = disk.size_of(self.index_path)
        if self._index is None or size != self._index.size + self._index.torn:
            self._index = Index(self.index_path) if self.index_path.exists() else None

    @property
    def uidvalidity(self) -> int:
        head = self._index.head if self._index is not None else None
        return head.uidvalidity if head else 1  # of a rehearsal

    @property
    def uidnext(self) -> int:
        guest = self._guests[-1][0] if self._guests else 0
        return max(self._floor, guest, self._index.last if self._index is not None else 0) + 1

    def uids(self, low: int = 1) -> Iterator[int]:
        """Every uid from ``low`` on whose message was there at the last look, ascending."""
        if self._index is not None:
            for place in range(bisect_left(self._index.uids, low), len(self._index)):
                if self._is_there(self._index, place):
                    yield self._index.uids[place]
        yield from (uid for uid, unique in self._guests if uid >= low and unique in self.files)

    def unique(self, uid: int) -> str | None:
        """The unique part of a message's name; None where there is no such message."""
        if self._index is not None and (place := self._index.place(uid)) is not None:
            return self._index.uniques[place] if self._is_there(self._index, place, is_looked=False) else None
        return dict(self._guests).get(uid)

    def entry(self, uid: int) -> Entry | None:
        """What was stored; None of a guest."""
        place = self._index.place(uid) if self._index is not None else None
        return None if self._index is None or place is None else self._index.entry(place)

    def _is_there(self, index: Index, place: int, *, is_looked: bool = True) -> bool:
        is_message = index.kind(place) in (Kind.STORED, Kind.GUEST)
        return is_message and (not is_looked or index.uniques[place] in self.files)

    # --- writing ----------------------------------------------------------------------------

    def make(self) -> None:
        """Makes the mailbox, or what of it is missing."""
        for name in PARTS:
            disk.make_directory(self.directory / name)
        if self.mailbox != INBOX and not (self.directory / FOLDER).exists():
            disk.create(self.directory / FOLDER)
        if not self.index_path.exists():
            disk.create(self.index_path, self._head().line())

    def _head(self) -> Head:
        # Seconds since the epoch: a mailbox that is made again has another one (RFC 3501 §2.3.1.1).
        return Head(self.mailbox, max(1, int(self._clock())))

    def settle(self) -> None:
        """Puts right what a crash left."""
        self.refresh()
        index = self.index
        if index.open_places() or index.torn:
            self.files.look()
            self._mend(index)
        if index.head is None:
            self.append([self._head()])

    def sweep(self) -> None:
        """Removes from tmp/ what dead runs left there: every file with a name that the index knows is ours."""
        clear_lock(self.directory)
        for path in (self.directory / "tmp").iterdir():
            if unique_of(path.name) in self.index.places:
                disk.remove(path)

    def welcome(self, *, is_dry: bool) -> None:
        """Gives a uid to every message that somebody else delivered. With ``is_dry`` only until it is closed."""
        self.files.look()
        known = self._index.places if self._index is not None else {}
        strangers = sorted(unique for unique in self.files if unique not in known or self._is_void(unique))
        first = self.uidnext
        if is_dry:
            self._guests = list(enumerate(strangers, start=first))
        elif strangers:
            self.append([Guest(uid, self.files.name(unique)) for uid, unique in enumerate(strangers, start=first)])

    def _is_void(self, unique: str) -> bool:
        return self._index is not None and self._index.kind(self._index.places[unique]) == Kind.VOID

    def append(self, records: Iterable[Record], *, is_synced: bool = True) -> None:
        """Writes lines to the index, and takes them in."""
        index, records = self.index, list(records)
        lines = [record.line() for record in records]
        disk.append(self.index_path, lines, is_synced=is_synced)
        for record, line in zip(records, lines, strict=True):
            index.take(record, line, index.size + len(line))

    def mark(self) -> None:
        """Says that every entry so far is delivered."""
        # Not synced: a crash that takes the mark away leaves entries whose files are found and read.
        self.append([self.index.mark(self.index.last)], is_synced=False)

    def sync(self) -> None:
        """The names of all messages last from now on."""
        for name in MESSAGES:
            disk.sync_directory(self.directory / name)

    # --- after a crash ----------------------------------------------------------------------

    def _mend(self, index: Index) -> None:
        last = index.last
        if index.torn:
            # Lines of entries that were never on the disk whole: none of their files had a name yet.
            disk.cut(self.index_path, index.size, index.size + index.torn)
            index.torn = 0
            index.tail.clear()
        void = [place for place in index.open_places() if not self._is_delivered(index, place)]
        self.sync()
        self.append([index.mark(last, (index.uids[place] for place in void))])
        if void:
            text = f"An interrupted run left {len(void):,} messages undelivered in {display(str(self.directory), 1000)}"
            self.notices.append((f"{text}: they do not count as stored", b""))

    def _is_delivered(self, index: Index, place: int) -> bool:
        entry = index.entry(place)
        if entry is None:
            return False
        with self.files.open(index.uniques[place]) as opened:
            if opened is None:
                return False
            digest = sha256()
            while block := opened.stream.read(BLOCK):
                digest.update(block)
            return digest.digest() == entry.stored


def find_lost(root: Path, mailbox: MailboxName, uids: Iterable[int], indexes: Indexes | None = None) -> list[int]:
    """Those of these uids that are not there, ascending; another program may have moved them to another folder."""
    folder = Folder(root, mailbox, indexes=indexes)
    with disk.translated(root):
        folder.refresh()
        folder.files.look()
        return sorted(set(uids).difference(folder.uids()))
