"""The index beside an mbox file: what the file alone cannot tell, and the proof of what it tells.

    index = head *( entry / mark )            JSON, one object a line, only ever appended to
    head  = mailbox, uidvalidity, the first uid of the file, the last one of the file before
    entry = uid, offset, length and SHA-256 of what stands in the file; octets and SHA-256 of the message;
            internal date, flags, sender of the From_ line, and the note of wire.mbox
    mark  = so far the file is on the disk

Every line ends in ``"check"``, the first 16 digits of the SHA-256 of the rest of it. The entries of a batch are
on the disk before its first octet goes into the file, the mark comes when its last one is there: what a crash
left behind the last mark is known, octet for octet, before it is looked at.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...model import DateSource, Flags, InternalDate, MailboxName
from ...wire.mbox import LineEnds, Note, from_line

SUFFIX = ".index"
VERSION = 1
LINE_LIMIT = 1024 * 1024  # a longer line is none of ours

_LINE = re.compile(rb'(\{.*),"check":"([0-9a-f]{16})"\}\n')


@dataclass(frozen=True, slots=True)
class Head:
    """The first line of an index."""

    mailbox: MailboxName
    uidvalidity: int
    first: int  # uid of the first message of this file
    after: int  # uid of the last message of the file before, 0: there is none

    def line(self) -> bytes:
        return checked_line(
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
        return checked_line(
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


@dataclass(frozen=True, slots=True)
class Mark:
    """The file is on the disk up to here."""

    end: int

    def line(self) -> bytes:
        return checked_line({"end": self.end})


def checked_line(record: dict[str, Any]) -> bytes:
    """The record as a line that ends in its check."""
    text = json.dumps(record, separators=(",", ":")).encode("ascii")
    return text[:-1] + b',"check":"%s"}\n' % _check(text)


def _check(text: bytes) -> bytes:
    return sha256(text).hexdigest()[:16].encode("ascii")


def parse(line: bytes) -> Head | Entry | Mark | None:
    """What a line says; None when it is damaged."""
    said = record_of(line)
    try:
        return None if said is None else _record(said)
    except (ValueError, KeyError, TypeError):
        return None  # written by a program that we are not


def record_of(line: bytes) -> dict[str, Any] | None:
    """The record that ``checked_line`` made a line of; None when it is damaged."""
    found = _LINE.fullmatch(line)
    if found is None or _check(found[1] + b"}") != found[2]:
        return None
    try:
        said = json.loads(found[1] + b"}")
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _record(said: dict[str, Any]) -> Head | Entry | Mark | None:
    if "popferry" in said:
        if said["popferry"] != VERSION:
            return None
        return Head(MailboxName(tuple(said["mailbox"])), said["uidvalidity"], said["first"], said["after"])
    if "uid" not in said:
        return Mark(said["end"])
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


class Index:
    """What an index says, with a few octets held for each message: an entry is read again when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head: Head | None = None
        self.uids = array("Q")
        self.ends = array("Q")  # where in the file each message ends
        self._lines = array("Q")  # where in the index its line begins
        self.marked = 0  # so many of them stand in front of the last mark
        self.bad: list[int] = []  # numbers of damaged lines that have a good one behind them
        self.tail: list[int] = []  # the same, without
        self.size = 0  # octets of the whole good lines, up to the first bad one of the tail
        self._read()

    def _read(self) -> None:
        with self.path.open("rb") as stream:
            place = number = 0
            while line := stream.readline(LINE_LIMIT):
                number += 1
                record = parse(line)
                place += len(line)
                if record is None:
                    self.tail.append(number)
                    continue
                self.bad += self.tail
                self.tail.clear()
                self.take(record, len(line), place)

    def take(self, record: Head | Entry | Mark, octets: int, size: int) -> None:
        """A good line that ends at ``size``."""
        self.size = size
        match record:
            case Head() if self.head is None:
                self.head = record
            case Entry():
                self.uids.append(record.uid)
                self.ends.append(record.end)
                self._lines.append(size - octets)
            case Mark():
                self.marked = len(self.uids)

    def __len__(self) -> int:
        return len(self.uids)

    def entry(self, number: int) -> Entry | None:
        """The entry, by its place; None when its line cannot be read any more."""
        return next(self.entries(number))[1]

    def entries(self, start: int = 0) -> Iterator[tuple[int, Entry | None]]:
        """Place and entry of each one from that place on."""
        with self.path.open("rb") as stream:
            for number in range(start, len(self.uids)):
                if stream.tell() != self._lines[number]:
                    stream.seek(self._lines[number])
                record = parse(stream.readline(LINE_LIMIT))
                yield number, record if isinstance(record, Entry) else None

    def drop(self, first: int) -> int:
        """Forgets the entries from that place on. Value: the octets of the index in front of them."""
        if first < len(self.uids):
            self.size = self._lines[first]
            del self.uids[first:], self.ends[first:], self._lines[first:]
        return self.size

    @property
    def end(self) -> int:
        """Where the last message ends in the file."""
        return self.ends[-1] if self.ends else 0
