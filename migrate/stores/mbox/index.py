"""The index beside an mbox file: what the file alone cannot tell, and the proof of what it tells.

    index = head *( entry / mark )            JSON, one object a line, only ever appended to
    head  = mailbox, uidvalidity, the first uid of the file, the last one of the file before
    entry = uid, offset, length and SHA-256 of what stands in the file; octets and SHA-256 of the message;
            internal date, flags, sender of the From_ line, and the note of wire.mbox
    mark  = so far the file is on the disk; SHA-256 of the index in front of this line, where all of it is good

    index = head encrypted                    of a file that is encrypted (stores.mbox.encrypt): what has to be known
                                              without the key; the whole index stands beside it, encrypted too

Every line carries the proof that it is whole (stores.record). The entries of a batch are
on the disk before its first octet goes into the file, the mark comes when its last one is there: what a crash
left behind the last mark is known, octet for octet, before it is looked at.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from ...model import BLOCK, DateSource, Flags, InternalDate, MailboxName
from ...wire.mbox import LineEnds, Note, from_line
from ..record import LINE_LIMIT, SealedIndex, sealed, unsealed, whole
from .age import locked

SUFFIX = ".index"
VERSION = 1
# What stands at the beginning of an entry is all that a reader of many needs.
_BEGINNING = b'\n{"uid":'
# The lines of an index that is proven. Each stands behind a line end, so that what is in a text is none.
_PROVEN = re.compile(
    rb'\n\{"(?:uid":([0-9]{1,18}),"offset":([0-9]{1,18}),"length":([0-9]{1,18}),"stored":"|end":([0-9]{1,18})[,}])'
)
_EXTENT = re.compile(rb'\{"uid":([0-9]{1,18}),"offset":([0-9]{1,18}),"length":([0-9]{1,18}),"stored":"([0-9a-f]{64})",')


@dataclass(frozen=True, slots=True)
class Head:
    """The first line of an index."""

    mailbox: MailboxName
    uidvalidity: int
    first: int  # uid of the first message of this file
    after: int  # uid of the last message of the file before, 0: there is none

    def line(self) -> bytes:
        return sealed(
            {
                "popferry": VERSION,
                "mailbox": list(self.mailbox.levels),
                "uidvalidity": self.uidvalidity,
                "first": self.first,
                "after": self.after,
            }
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of the file."""

    uid: int
    offset: int
    length: int
    stored: bytes  # SHA-256 of these octets of the file
    octets: int
    exact: bytes  # SHA-256 of the message
    internaldate: InternalDate
    flags: Flags
    sender: str
    note: Note

    @property
    def end(self) -> int:
        return self.offset + self.length

    @property
    def from_line(self) -> bytes:
        return from_line(self.sender.encode("ascii"), self.internaldate.when)

    def line(self) -> bytes:
        return sealed(
            {
                "uid": self.uid,
                "offset": self.offset,
                "length": self.length,
                "stored": self.stored.hex(),
                "octets": self.octets,
                "sha256": self.exact.hex(),
                "internaldate": self.internaldate.when.isoformat(),
                "flags": sorted(self.flags.names),
                "sender": self.sender,
                "line-ends": self.note.line_ends.value,
                "final-line-end": self.note.is_ended,
            }
        )


class Extent(NamedTuple):
    """Where one message stands in the file, and the SHA-256 of these octets."""

    uid: int
    offset: int
    length: int
    stored: bytes

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Mark:
    """The file is on the disk up to here."""

    end: int
    before: bytes = b""  # SHA-256 of the index in front of this line; nothing where a line of it is damaged

    def line(self) -> bytes:
        return sealed({"end": self.end} | ({"before": self.before.hex()} if self.before else {}))


class Stored(NamedTuple):
    """A file as it stands on the disk."""

    octets: int
    sha256: str


def stored(path: Path) -> Stored:
    """The file as it is now; FileNotFoundError where there is none."""
    digest, octets = sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
            octets += len(block)
    return Stored(octets, digest.hexdigest())


@dataclass(frozen=True, slots=True)
class Encrypted:
    """All that is said of an encrypted file. Its messages have the uids from ``first`` to ``last``, every one."""

    first: int
    last: int
    octets: int  # of the mbox file
    since: str  # the oldest internal date of its messages, and the newest
    until: str
    file: Stored  # the two encrypted files
    index: Stored

    def line(self) -> bytes:
        return sealed({"encrypted": {**asdict(self), "file": self.file._asdict(), "index": self.index._asdict()}})


def parse(line: bytes) -> Head | Entry | Mark | Encrypted | None:
    """What a line says; None when it is damaged."""
    said = unsealed(line)
    try:
        return None if said is None else _record(said)
    except (ValueError, KeyError, TypeError):
        return None  # written by a program that we are not


def _skim(line: bytes) -> Head | Extent | Mark | Encrypted | None:
    """The same, and of an entry only where its message stands: an index of many is read in a fourth of the time."""
    text = whole(line)
    found = None if text is None else _EXTENT.match(text)
    if found is None:
        record = parse(line)
        return Extent(record.uid, record.offset, record.length, record.stored) if isinstance(record, Entry) else record
    return Extent(int(found[1]), int(found[2]), int(found[3]), bytes.fromhex(found[4].decode("ascii")))


def _record(said: dict[str, Any]) -> Head | Entry | Mark | Encrypted | None:
    if "popferry" in said:
        if said["popferry"] != VERSION:
            return None
        return Head(MailboxName(tuple(said["mailbox"])), said["uidvalidity"], said["first"], said["after"])
    if "encrypted" in said:
        one = said["encrypted"]
        return Encrypted(**{**one, "file": Stored(**one["file"]), "index": Stored(**one["index"])})
    if "uid" not in said:
        return Mark(said["end"], bytes.fromhex(said.get("before", "")))
    return Entry(
        uid=said["uid"],
        offset=said["offset"],
        length=said["length"],
        stored=bytes.fromhex(said["stored"]),
        octets=said["octets"],
        exact=bytes.fromhex(said["sha256"]),
        internaldate=InternalDate(datetime.fromisoformat(said["internaldate"]), DateSource.STORE),
        flags=Flags(frozenset(said["flags"])),
        sender=said["sender"],
        note=Note(LineEnds(said["line-ends"]), said["final-line-end"]),
    )


def read_head(path: Path) -> Head | None:
    """The head of an index; None where its first line is none."""
    with path.open("rb") as stream:
        record = parse(stream.readline(LINE_LIMIT))
    return record if isinstance(record, Head) else None


def read_encrypted(path: Path) -> Encrypted | None:
    """What an index says of a file that is encrypted; None where it is not, or nobody can read it."""
    with path.open("rb") as stream:
        stream.readline(LINE_LIMIT)
        record = parse(stream.readline(LINE_LIMIT))
    return record if isinstance(record, Encrypted) else None


def count_entries(path: Path) -> int:
    """About how many messages an index has, without a look at each."""
    count = 0
    before = b""
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            count += (before + block).count(_BEGINNING)
            before = block[1 - len(_BEGINNING) :]
    return count


class Index(SealedIndex[Head | Entry | Extent | Mark | Encrypted]):
    """What an index says, with a few octets held for each message: an entry is read again when it is asked for."""

    def _clear(self) -> None:
        super()._clear()
        self.head: Head | None = None
        self.encrypted: Encrypted | None = None  # then nothing is known of a single message, but that it is there
        self.offsets = array("Q")  # where in the file each message begins
        self.ends = array("Q")  # where it ends
        self.marked = 0  # so many of them stand in front of the last mark
        self.reached = 0  # the furthest end that a mark tells; beyond the last message, one has lost its line

    def _parse(self, line: bytes) -> Head | Extent | Mark | Encrypted | None:
        return _skim(line)

    def _hold(self, record: Head | Entry | Extent | Mark | Encrypted, start: int) -> None:
        match record:
            case Head() if self.head is None:
                self.head = record
            case Entry() | Extent():
                self._add(record.uid, record.offset, record.end, start)
            case Mark():
                self.marked = len(self.uids)
                self.reached = max(self.reached, record.end)
            case Encrypted() if not self.uids:
                self.encrypted = record
                count = record.last + 1 - record.first
                self.uids.extend(range(record.first, record.last + 1))
                self.offsets.extend([0] * count)
                self.ends.extend([record.octets] * count)
                self.marked, self.reached = count, record.octets

    def _hold_many(self, text: bytes, place: int) -> int:
        found, line = 0, place + 1
        uids, offsets, ends, lines = self.uids.append, self.offsets.append, self.ends.append, self._lines.append
        for match in _PROVEN.finditer(text):
            found += 1
            uid, offset, length, end = match.groups()
            if end is None:
                begin = int(offset)
                uids(int(uid))
                offsets(begin)
                ends(begin + int(length))
                lines(line + match.start())
            else:
                self.marked = len(self.uids)
                self.reached = max(self.reached, int(end))
        return found

    def _add(self, uid: int, offset: int, end: int, line: int) -> None:
        self.uids.append(uid)
        self.offsets.append(offset)
        self.ends.append(end)
        self._lines.append(line)

    def mark(self, end: int, lines: Iterable[bytes] = ()) -> Mark:
        """The mark that is written next, behind these lines."""
        return Mark(end, self.digest(lines))

    def entry(self, number: int) -> Entry | None:
        """The entry, by its place; None when its line cannot be read any more."""
        return next(self.entries(number))[1]

    def entries(self, start: int = 0) -> Iterator[tuple[int, Entry | None]]:
        """Place and entry of each one from that place on."""
        for number, line in self._lines_from(start):
            record = parse(line)
            yield number, record if isinstance(record, Entry) else None

    def extents(self) -> Iterator[Extent | None]:
        """Where each message stands; None when its line cannot be read any more."""
        for _, line in self._lines_from(0):
            record = _skim(line)
            yield record if isinstance(record, Extent) else None

    def _lines_from(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Place and line of each entry from that place on. StoreError where they are encrypted."""
        if self.encrypted is not None:
            raise locked(self.path)
        with self._opener() as stream:
            place = 0
            for number in range(start, len(self.uids)):
                if place != self._lines[number]:
                    place = stream.seek(self._lines[number])
                line = stream.readline(LINE_LIMIT)
                place += len(line)
                yield number, line

    def drop(self, first: int) -> int:
        """Forgets the entries from that place on. Value: the octets of the index in front of them."""
        if first < len(self.uids):
            self.size, self._digest = self._lines[first], None
            del self.uids[first:], self.offsets[first:], self.ends[first:], self._lines[first:]
        return self.size

    @property
    def end(self) -> int:
        """Where the last message ends in the file."""
        return self.ends[-1] if self.ends else 0
